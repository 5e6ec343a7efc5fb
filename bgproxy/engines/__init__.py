"""Who moves traffic. The rest of the controller knows the port in `base` only."""
