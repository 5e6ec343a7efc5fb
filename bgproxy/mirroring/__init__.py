"""Which requests are mirrored, and what the two answers to one differ in: decisions, without I/O."""
