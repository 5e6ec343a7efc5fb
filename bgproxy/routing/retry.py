"""How many requests of a service may be tried again: a share of all requests, plus a small burst.

Without it, retries multiply the load on a pool that is already failing (Envoy's and Linkerd's retry
budgets are the same idea).
"""

from __future__ import annotations

from typing import Final

from bgproxy.http1.head import RequestHead
from bgproxy.model import Retries

# RFC 9110 section 9.2.2: repeating these does no harm, so they may be sent to another upstream.
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})

# Retries that are possible before any request has paid for them.
BURST: Final = 10.0
# For how many requests' share is saved up: an upstream that dies under load fails many requests at once.
SAVED_REQUESTS: Final = 1000


def may_repeat(head: RequestHead, retries: Retries) -> bool:
    """Whether a request that an upstream may have seen may be sent to another one."""
    return head.method in IDEMPOTENT or (
        retries.idempotency_key and head.fields.get(b"idempotency-key") is not None
    )


class RetryBudget:
    """`requests` is counted by the caller; the tokens follow from it when a retry is asked for."""

    __slots__ = ("_paid", "_tokens", "requests", "share")

    def __init__(self, retries: Retries) -> None:
        self.share = retries.budget
        self.requests = 0
        self._paid = 0
        self._tokens = BURST

    def spend(self) -> bool:
        """Takes one retry out of the budget; False if it is used up."""
        self._tokens = min(self._most(), self._tokens + (self.requests - self._paid) * self.share)
        self._paid = self.requests
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _most(self) -> float:
        return BURST + self.share * SAVED_REQUESTS
