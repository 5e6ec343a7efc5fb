"""Which pool of a service gets a request: active, or idle for a canary's share and for previews.

Three rules make a canary honest. The share is exact, not random: of any 100 requests in a row that one
worker splits, `weight` go to the idle pool. A sticky client holds a bucket (0..99) of the release, and
raising the weight only ever adds buckets, so nobody moves back. A client that has been on the idle side
stays there until the release is over, also if the weight is lowered.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import blake2b
from typing import Final
from urllib.parse import parse_qsl

from bgproxy.http1.error_pages import ErrorPages
from bgproxy.http1.head import Fields, RequestHead
from bgproxy.mirroring.live import LiveMirror
from bgproxy.model import Canary, Match, PoolView, ServiceView, Sticky, UpstreamView, WhenUnhealthy
from bgproxy.routing.balance import NO_LIMIT, LivePool, LiveUpstream
from bgproxy.routing.cookie import cookie_value
from bgproxy.routing.outlier import OnEjection
from bgproxy.routing.retry import RetryBudget

BUCKETS: Final = 100
# 61 is coprime to 100: any 100 new clients in a row get each bucket exactly once, well mixed.
_BUCKET_STRIDE: Final = 61

# The pool, and a Set-Cookie value for the response ("" for none).
Choice = tuple[LivePool, bytes]


class LiveService:
    """A service as this worker serves it: its compiled split and pools, and what outlives a snapshot."""

    __slots__ = (
        "_active",
        "_canary",
        "_cookie",
        "_held_by",
        "_idle",
        "_matches",
        "_position",
        "_salt",
        "_sticky",
        "active",
        "cells",
        "error_pages",
        "hold",
        "host",
        "idle",
        "is_plain_upstream",
        "keepalive",
        "limits",
        "maintenance",
        "mirror",
        "pool_header",
        "preview_header",
        "preview_secret",
        "response_head_s",
        "retries",
        "retry_body_bytes",
        "retry_budget",
        "special",
        "split",
        "timeouts",
        "total_s",
        "undivided",
        "view",
    )

    def __init__(
        self,
        view: ServiceView,
        cells: memoryview[int],
        live: Callable[[UpstreamView], LiveUpstream],
        before: LiveService | None = None,
        *,
        workers: int = 1,
        restless: set[LivePool] | None = None,
        on_ejection: OnEjection = lambda upstream: None,  # noqa: ARG005 - nobody is told
    ) -> None:
        self.view = view
        self.cells = cells
        policy = view.policy
        pools = {} if before is None else {pool.name: pool for pool in (before.active, before.idle)}
        share = share_of(policy.limits.upstream_requests, workers)

        def live_pool(pool: PoolView) -> LivePool:
            return LivePool(
                pool,
                policy,
                live,
                before=pools.get(pool.name),
                share=share,
                restless=restless,
                on_ejection=on_ejection,
            )

        self.active: LivePool = live_pool(view.active)
        self.idle: LivePool = live_pool(view.idle)
        # Where a split's next request stands in its period of 100; kept across snapshots, so that the
        # share stays exact while health changes.
        self._position: int = 0 if before is None else before._position
        self.retry_budget: RetryBudget = (
            RetryBudget(policy.retries) if before is None else before.retry_budget
        )
        self.retry_budget.share = policy.retries.budget
        self._active: Choice = (self.active, b"")
        self._idle: Choice = (self.idle, b"")
        if not self.active and policy.when_unhealthy is WhenUnhealthy.OTHER_POOL and self.idle:
            self._active = self._idle
        self.hold = view.hold
        self._canary = view.canary
        self._sticky = policy.sticky
        self._matches = () if view.canary is None else view.canary.match
        self._cookie = b"" if policy.sticky is None else (policy.sticky.cookie or "").encode()
        self._salt = b"" if view.canary is None else view.canary.salt.encode()
        self._held_by = b"%b=%b" % (self._cookie, self._salt)
        header = policy.preview.header
        secret = policy.preview.secret or ""
        self.preview_header = header.lower().encode() if header is not None and secret else None
        self.preview_secret = secret.encode()
        self._compile_policy(view, before)
        self.split = self._compile_split()
        # What `split` gives every request, if it does.
        self.undivided: Choice | None = self._active if self.split == self._split_active else None

    def preview(self) -> Choice:
        """The idle pool, whatever the canary says: for preview listeners and hosts."""
        return self._idle

    def split_stream(self) -> LivePool:
        """`split` for a connection that has no head: by the weight alone."""
        canary = self._canary
        if canary is not None and self.idle and self._exact(canary.weight):
            return self.idle
        return self._active[0]

    def is_preview(self, head: RequestHead) -> bool:
        """Whether the request carries the secret of the preview."""
        return self.preview_header is not None and self._is_preview(head.fields)

    # Private

    def _compile_policy(self, view: ServiceView, before: LiveService | None) -> None:
        """What a request asks for, without the way to it; `special` is whether any of it is rare."""
        policy = view.policy
        self.timeouts = policy.timeouts
        # What every request asks for, at hand.
        self.total_s = policy.timeouts.total_s
        self.response_head_s = policy.timeouts.response_head_s
        self.retry_body_bytes = policy.retries.body_bytes
        self.retries = policy.retries
        self.limits = policy.limits
        self.keepalive = policy.keepalive
        self.maintenance = view.maintenance
        self.host = None if policy.headers.host is None else policy.headers.host.encode()
        self.pool_header = None if policy.headers.pool is None else pool_header(policy.headers.pool)
        self.error_pages = ErrorPages(policy.error_pages) if policy.error_pages else None
        self.mirror: LiveMirror | None = None
        if policy.mirror is not None:
            self.mirror = LiveMirror(policy.mirror, None if before is None else before.mirror)
        self.is_plain_upstream = policy.upstream_tls is None and not policy.send_proxy
        self.special = not (
            self.maintenance is None
            and self.hold is None
            and self.mirror is None
            and self.host is None
            and self.pool_header is None
            and self.preview_header is None
            and self.limits.request_body_bytes is None
            and not policy.send_proxy
        )

    def _compile_split(self) -> Callable[[RequestHead], Choice]:
        if self._canary is not None and self.idle:
            split = self._split_canary
        elif self.preview_header is not None:
            split = self._split_preview
        else:
            return self._split_active
        return split

    def _split_active(self, head: RequestHead) -> Choice:  # noqa: ARG002 - one signature for all splits
        return self._active

    def _split_preview(self, head: RequestHead) -> Choice:
        return self._idle if self._is_preview(head.fields) else self._active

    def _split_canary(self, head: RequestHead) -> Choice:
        canary, sticky = self._canary, self._sticky
        assert canary is not None  # noqa: S101 - compiled for nothing else
        if self.preview_header is not None and self._is_preview(head.fields):
            return self._idle
        for match in self._matches:
            if matches(match, head):
                return self._idle
        if sticky is None:
            return self._idle if self._exact(canary.weight) else self._active
        if sticky.header is not None:
            value = head.fields.get(sticky.header.lower().encode())
            if value is None:
                return self._idle if self._exact(canary.weight) else self._active
            return self._idle if bucket_of(canary.salt, value) < canary.weight else self._active
        return self._split_by_cookie(canary, sticky, head.fields)

    def _split_by_cookie(self, canary: Canary, sticky: Sticky, fields: Fields) -> Choice:
        memo = fields.held
        if memo is None or memo[0] != self._held_by:
            memo = fields.held = self._held_by, read_cookie(fields, self._cookie, self._salt)
        held = memo[1]
        if held is None:
            bucket, seen_idle = self._next_bucket(), False
        else:
            bucket, seen_idle = held
        to_idle = seen_idle or bucket < canary.weight
        choice = self._idle if to_idle else self._active
        if held is not None and to_idle == seen_idle:
            return choice
        side = "i" if to_idle else "a"
        value = f"{sticky.cookie}={canary.salt}.{bucket}.{side}; Path=/; Max-Age={int(sticky.ttl_s)}"
        return choice[0], f"{value}; HttpOnly; SameSite=Lax".encode()

    def _exact(self, weight: int) -> bool:
        # Bresenham's line: the requests of the idle side are spread evenly over the period.
        self._position = position = (self._position + 1) % BUCKETS
        return (position * weight) % BUCKETS < weight

    def _next_bucket(self) -> int:
        self._position = position = (self._position + 1) % BUCKETS
        return (position * _BUCKET_STRIDE) % BUCKETS

    def _is_preview(self, fields: Fields) -> bool:
        assert self.preview_header is not None  # noqa: S101 - asked for only where there is one
        value = fields.get(self.preview_header)
        return value is not None and hmac.compare_digest(value, self.preview_secret)


def pool_header(name: str) -> Callable[[LivePool], bytes]:
    """The line that tells a client its pool and version, as a Structured Field item (RFC 8941)."""

    def line(pool: LivePool) -> bytes:
        version = "".join(each for each in pool.version if " " <= each <= "~" and each not in '"\\')
        return f'{name}: {pool.name};version="{version}"\r\n'.encode()

    return line


def share_of(upstream_requests: int | None, workers: int) -> int:
    """How many requests one of so many workers may have in flight at one upstream."""
    return NO_LIMIT if upstream_requests is None else max(1, -(-upstream_requests // workers))


def bucket_of(salt: str, value: bytes) -> int:
    """The bucket (0..99) of a header's value, for this release only."""
    digest = blake2b(value, digest_size=8, key=salt.encode()[:64]).digest()
    return int.from_bytes(digest, "big") % BUCKETS


def read_cookie(fields: Fields, name: bytes, salt: bytes) -> tuple[int, bool] | None:
    """(bucket, has been on the idle side) from our cookie; None if it is absent, foreign or older."""
    value = cookie_value(fields, name)
    if value is None:
        return None
    parts = value.rsplit(b".", 2)
    if len(parts) != 3 or parts[0] != salt or not parts[1].isdigit() or len(parts[1]) > 2:
        return None
    return int(parts[1]), parts[2] == b"i"


def matches(match: Match, head: RequestHead) -> bool:
    """Whether a request has the header, cookie or query parameter that a rule names, with its value."""
    wanted = match.value.encode()
    if match.kind == "header":
        return head.fields.get(match.name.lower().encode()) == wanted
    if match.kind == "cookie":
        return cookie_value(head.fields, match.name.encode()) == wanted
    query = head.target.partition(b"?")[2].decode("ascii")  # no other bytes get through http1.head
    return (match.name, match.value) in parse_qsl(query, keep_blank_values=True)
