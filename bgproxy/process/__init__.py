"""Wiring: which processes there are, what each is made of, and how they start and end."""
