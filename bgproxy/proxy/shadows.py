"""The copies that one worker has under way, and the connections that they leave.

Decides which requests are copied, and bounds how many at once. The idle pool's books do not show them: with
nothing but copies under way it is idle, and safe to stop.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, Final

from bgproxy.proxy import keepalive, limits
from bgproxy.proxy.mirror import Shadow
from bgproxy.routing.upstream import LiveUpstream
from bgproxy.shared_memory.layout import RECORD_CELLS
from bgproxy.shared_memory.mirrors import LEFT_OUT, MIRRORED, MirrorWriter

if TYPE_CHECKING:
    from bgproxy.mirroring.compare import Comparison
    from bgproxy.model import PoolView
    from bgproxy.proxy.dataplane import DataPlane
    from bgproxy.proxy.exchange import Exchange

MARK: Final = b"X-Bgproxy-Mirror: true\r\n"
MARK_NAME: Final = b"x-bgproxy-mirror"


class Shadows:
    """True while there is something to sweep."""

    def __init__(self, plane: DataPlane, writer: MirrorWriter) -> None:
        self.plane = plane
        self.writer = writer
        self.under_way: set[Shadow] = set()
        self._twins: dict[int, LiveUpstream] = {}
        self._comparisons: deque[tuple[Shadow, Generator[None, None, Comparison]]] = deque()

    def __bool__(self) -> bool:
        return bool(self.under_way or self._twins)

    def begin(self, exchange: Exchange) -> Shadow | None:
        """Sends a copy of a request that is about to be sent, if it is one to be mirrored."""
        service, head = exchange.service, exchange.head
        mirror, view, outgoing = service.mirror, service.view, exchange.outgoing
        if mirror is None or outgoing is None or exchange.pool is not service.active:
            return None
        if (view.drain_until is not None and view.canary is None) or not mirror.is_due(head):
            return None
        tally = self.writer.tally(view.slot, view.tag)
        upstream = None
        if len(self.under_way) < limits.SHADOWS and not self.plane.draining:
            key = service.idle.hash_key
            upstream = (
                service.idle.choose()
                if key is None
                else service.idle.choose_by(key(head, exchange.downstream.peer))
            )
        if upstream is None:
            tally[LEFT_OUT] += 1
            return None
        tally[MIRRORED] += 1
        shadow = Shadow(self, exchange, mirror, tally, self._twin(upstream, view.idle))
        self.under_way.add(shadow)
        shadow.send(marked(outgoing))
        return shadow

    def compare(self, shadow: Shadow, comparison: Generator[None, None, Comparison]) -> None:
        """Goes through a comparison beside everything else that the worker does, and tells the shadow.

        Until then it counts as under way: a worker that cannot keep up with comparing copies less.
        """
        self._comparisons.append((shadow, comparison))
        if len(self._comparisons) == 1:
            self.plane.loop.call_soon(self._go_on)

    def sweep(self, now: float) -> None:
        for shadow in [each for each in self.under_way if each.until < now]:
            shadow.expired()
        upstreams = self.plane.table.upstreams
        for tag, twin in list(self._twins.items()):
            upstream = upstreams.get(tag)
            if upstream is None or upstream.retired:
                twin.retired = True  # what is under way to it leaves no connection
                keepalive.close_idle(twin)
                del self._twins[tag]
            elif twin.idle:
                keepalive.close_idle(twin, now)

    def close(self) -> None:
        """Ends whatever is left."""
        for shadow in list(self.under_way):
            shadow.drop()
        for twin in self._twins.values():
            keepalive.close_idle(twin)

    # Private

    def _go_on(self) -> None:
        """One comparison up to its next pause."""
        shadow, comparison = self._comparisons.popleft()
        try:
            next(comparison)
        except StopIteration as end:
            shadow.tell(end.value)
        else:
            self._comparisons.append((shadow, comparison))
        finally:
            if self._comparisons:
                self.plane.loop.call_soon(self._go_on)

    def _twin(self, upstream: LiveUpstream, pool: PoolView) -> LiveUpstream:
        """The same upstream with a keepalive cache of its own and with books that nobody reads."""
        twin = self._twins.get(upstream.tag)
        if twin is None:
            view = next(each for each in pool.upstreams if each.tag == upstream.tag)
            books = memoryview(array("Q", bytes(8 * RECORD_CELLS)))
            twin = self._twins[upstream.tag] = LiveUpstream(view, books)
        return twin


def marked(outgoing: bytes) -> bytes:
    """The request as it goes to the idle pool: so marked that nobody takes it for a client's (see `http1.fields`)."""
    line_bytes = outgoing.find(b"\n") + 1
    return outgoing[:line_bytes] + MARK + outgoing[line_bytes:]
