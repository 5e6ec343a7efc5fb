"""Latency at a fixed rate, beside nginx and beside no proxy at all."""
