"""A cutover by bgproxy beside the same one by each peer's own recommended way."""
