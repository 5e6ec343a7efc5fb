"""The demonstration: a small app, a load that checks every answer, and the books that prove what was lost."""
