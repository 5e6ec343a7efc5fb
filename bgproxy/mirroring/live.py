"""A service's mirror as one worker has it: which requests are due, and by what their answers are compared.

Only requests that change nothing are mirrored (RFC 9110 section 9.2.1), and only those that are complete with
their head: a body would have to be kept for a copy that nobody waits for.
"""

from __future__ import annotations

from typing import Final

from bgproxy.http1.head import RequestHead
from bgproxy.mirroring import json_paths
from bgproxy.model import Mirror

SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
# Shares are exact to this part of all.
PARTS: Final = 1_000_000


class LiveMirror:
    """One per service and snapshot. Pass the one `before`, so that the share stays exact."""

    __slots__ = ("_parts", "_position", "body_bytes", "headers", "ignored", "settings", "timeout_s")

    def __init__(self, settings: Mirror, before: LiveMirror | None = None) -> None:
        self.settings = settings
        self.timeout_s = settings.timeout_s
        self.body_bytes = settings.body_bytes
        self.headers = tuple(name.encode() for name in settings.headers)
        self.ignored = tuple(json_paths.parse(path) for path in settings.ignore_json)
        self._parts = round(settings.share * PARTS)
        self._position: int = 0 if before is None else before._position

    def is_due(self, head: RequestHead) -> bool:
        """Whether this request of the active pool is one to be mirrored; to be asked once for each."""
        fields = head.fields
        if head.method not in SAFE or fields.content_length or fields.chunked or fields.upgrade is not None:
            return False
        # As the split of a canary: of any N requests in a row that may be mirrored, exactly the share is.
        self._position += self._parts
        if self._position < PARTS:
            return False
        self._position -= PARTS
        return True
