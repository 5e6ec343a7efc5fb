"""The switch: what operators ask for becomes desired state, and desired state becomes traffic."""
