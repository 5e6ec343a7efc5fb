"""Payloads that describe themselves."""

from __future__ import annotations


def numbered_payload(number: int, largest_bytes: int) -> bytes:
    """Nothing but `number`, over and over; most are short, every eighth is up to the largest."""
    limit = largest_bytes // 8 if number % 8 == 0 else 64
    return number.to_bytes(8, "little") * (1 + number * 7919 % limit)
