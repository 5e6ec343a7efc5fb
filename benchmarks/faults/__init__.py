"""Upstreams that fail under load: what clients notice, beside what a perfect proxy would have let through."""
