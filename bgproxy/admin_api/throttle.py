"""How many calls each client may make: a bucket of tokens, which fills as time passes. Pure: time is a parameter.

A failed authentication costs more than a call, so that nobody can try many tokens. It has to be asked before the
token is looked at: otherwise the right one would be answered at any speed.
"""

from __future__ import annotations

from math import ceil
from typing import Final, NamedTuple

from bgproxy.errors import ControlError

BURST_S: Final = 2.0  # a bucket holds what fills it in this time
FAILURE_TOKENS: Final = 10  # of which the call itself has taken one
# Beyond, the client that has called least recently is forgotten, and has a full bucket again.
CLIENTS: Final = 10_000


class TooManyCalls(ControlError):
    status = 429
    title = "There are too many calls"


class Bucket(NamedTuple):
    tokens: float  # below zero after failures
    at: float


class Throttle:
    """`client` is whoever is to be counted as one; `per_s` is the limit as it is configured now."""

    def __init__(self) -> None:
        self._buckets: dict[bytes, Bucket] = {}  # the most recent last

    def admit(self, client: bytes, per_s: float, now: float) -> None:
        """Takes a token, or raises `TooManyCalls`."""
        tokens = self._tokens(client, per_s, now)
        if tokens < 1:
            self._keep(client, tokens, now)
            wait_s = ceil((1 - tokens) / per_s)
            raise TooManyCalls(
                f"one address may make {per_s:g} calls a second, and failed authentications count as "
                f"{FAILURE_TOKENS}: try again in {wait_s} s, or raise admin.requests_per_second",
                retry_after=wait_s,
            )
        self._keep(client, tokens - 1, now)

    def punish(self, client: bytes, per_s: float, now: float) -> None:
        """The call that was admitted had no token that is known."""
        self._keep(client, self._tokens(client, per_s, now) - (FAILURE_TOKENS - 1), now)

    def __len__(self) -> int:
        return len(self._buckets)

    # Private

    def _tokens(self, client: bytes, per_s: float, now: float) -> float:
        most = BURST_S * per_s
        bucket = self._buckets.get(client)
        return most if bucket is None else min(bucket.tokens + (now - bucket.at) * per_s, most)

    def _keep(self, client: bytes, tokens: float, now: float) -> None:
        self._buckets.pop(client, None)
        self._buckets[client] = Bucket(tokens, now)
        if len(self._buckets) > CLIENTS:
            del self._buckets[next(iter(self._buckets))]
