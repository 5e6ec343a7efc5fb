"""Who remembers: the controller's durable store. `base` is the port, the other files implement it."""
