"""The port to whatever moves traffic: told what should be, asked what is.

An engine never decides. It applies a whole snapshot, and says honestly what it can see: `is_live` has
three answers, and `None`, cannot tell, is never to be taken for a yes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bgproxy.model import Snapshot
from bgproxy.shared_memory.counters import Totals, WorkerView
from bgproxy.shared_memory.mirrors import Mirrored, MirrorTotals

# (service,), (service, pool) or (service, pool, address)
Key = tuple[str, ...]
# The key of requests that no route fits.
UNROUTED: Key = ("",)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is under way at a moment. `idle` counts kept-alive connections without a request."""

    in_flight: int
    tunnels: int
    idle: int

    def is_empty(self) -> bool:
        return not (self.in_flight or self.tunnels or self.idle)


class Engine(Protocol):
    def predecessor(self) -> Snapshot | None:
        """What was in force before this controller; None if nothing was, or nobody can tell."""

    def has_room(self, keys: Iterable[Key]) -> bool:
        """Whether a snapshot of these services and upstreams could be applied now."""

    def apply(self, snapshot: Snapshot) -> None:
        """Makes `snapshot` the one that traffic obeys; in force when this returns."""

    @property
    def sequence(self) -> int:
        """How many snapshots have been applied, by predecessors too."""

    def is_live(self) -> bool | None:
        """Whether everybody who serves has taken notice of the last snapshot applied."""

    def traffic(self, service: str, pool: str) -> Traffic:
        """What is under way between us and one pool."""

    def totals(self, key: Key) -> Totals:
        """What was counted for a service's own answers, or for one upstream."""

    def accepted(self) -> int:
        """Clients accepted so far, by workers that have ended as well."""

    def log_dropped(self) -> int:
        """Lines of the access log that were lost so far, by workers that have ended as well."""

    def ended_holds(self) -> set[int]:
        """The holds that were ended because a limit was reached."""

    def parked(self, service: str) -> tuple[int, int]:
        """(requests, bytes) that a hold of the service keeps at the moment."""

    def mirror_totals(self, service: str) -> MirrorTotals:
        """What became of the copies of a service's requests."""

    def mirrored(self, service: str) -> Mirrored:
        """The same, with what the copies have shown."""

    def workers(self) -> Sequence[WorkerView]:
        """Those who serve; empty for an engine that does not say."""

    async def news(self) -> None:
        """Returns when something of the above may have changed."""

    def close(self) -> None: ...
