"""Which service a request belongs to: by host, then by the longest path prefix.

A table is built once per worker and snapshot; a look-up is one dictionary access for the host, and one
more for every segment of the path where a host has more than one service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from bgproxy.model import Protocol, Snapshot, UpstreamView
from bgproxy.routing.balance import LivePool, LiveUpstream
from bgproxy.routing.outlier import OnEjection
from bgproxy.routing.split import LiveService

# Hosts that clients made up are remembered too, up to this many, before the memory starts anew.
HOST_MEMORY: Final = 1024

_ANY_HOST: Final = b"*"


class Route(NamedTuple):
    service: LiveService
    preview: bool


class Routes:
    """The services of one host by path prefix. Prefixes end at segment boundaries: /api is not /apix."""

    __slots__ = ("_by_prefix", "_longest_bytes", "only")

    def __init__(self) -> None:
        self._by_prefix: dict[bytes, Route] = {}
        self._longest_bytes = 0
        self.only: Route | None = None  # if every path has the same

    def add(self, prefix: bytes, route: Route) -> None:
        prefix = prefix.rstrip(b"/")
        self._by_prefix[prefix] = route
        self._longest_bytes = max(self._longest_bytes, len(prefix))
        self.only = route if list(self._by_prefix) == [b""] else None

    def find(self, target: bytes) -> Route | None:
        if self.only is not None:
            return self.only
        # What lies behind the longest prefix cannot matter, however many segments a client sends.
        path = target.partition(b"?")[0][: self._longest_bytes + 1]
        by_prefix = self._by_prefix
        while True:
            route = by_prefix.get(path)
            if route is not None or not path:
                return route
            path = path[: max(path.rfind(b"/"), 0)]


class Table:
    """Everything that a worker routes by, compiled from one snapshot.

    `restless` are the pools whose `tick` has to be called now and then; they put themselves in and out.
    """

    __slots__ = ("_memory", "_routes", "_sole", "restless", "services", "upstreams")

    def __init__(
        self,
        snapshot: Snapshot,
        record: Callable[[int, int], memoryview[int]],
        before: Table | None = None,
        *,
        workers: int = 1,
        on_ejection: OnEjection = lambda upstream: None,  # noqa: ARG005 - nobody is told
    ) -> None:
        self.services: dict[str, LiveService] = {}
        self.upstreams: dict[int, LiveUpstream] = {}  # by tag, which is unique for ever
        self.restless: set[LivePool] = set() if before is None else before.restless
        self._routes: dict[bytes, Routes] = {}
        # What was found for a host before: the one service that it has, or where to look for a path.
        self._sole: dict[bytes, Route] = {}
        self._memory: dict[bytes, tuple[Routes, ...]] = {}

        def live(view: UpstreamView) -> LiveUpstream:
            upstream = None if before is None else before.upstreams.get(view.tag)
            if upstream is None:
                upstream = LiveUpstream(view, record(view.slot, view.tag))
            else:
                upstream.see(view)
            self.upstreams[view.tag] = upstream
            return upstream

        for view in snapshot.services:
            previous = None if before is None else before.services.get(view.name)
            if previous is not None and previous.view == view:
                service = previous
                for upstream in (*service.active.upstreams, *service.idle.upstreams):
                    self.upstreams[upstream.tag] = upstream
            else:
                service = LiveService(
                    view,
                    record(view.slot, view.tag),
                    live,
                    previous,
                    workers=workers,
                    restless=self.restless,
                    on_ejection=on_ejection,
                )
            self.services[view.name] = service
            if view.protocol is Protocol.TCP:
                continue  # its connections come from a listener of their own
            for host in view.hosts or ("*",):
                self._add(host, view.paths, Route(service, preview=False))
            for host in view.policy.preview.hosts:
                self._add(host, view.paths, Route(service, preview=True))
        if before is not None:
            self._forget(before)

    def find(self, host: bytes, target: bytes) -> Route | None:
        """The route of a request; `host` is lower case and may carry a port. None: nothing serves it."""
        route = self._sole.get(host)
        if route is not None:
            return route
        chain = self._memory.get(host)
        if chain is None:
            chain = self._remember(host)
        for routes in chain:
            route = routes.find(target)
            if route is not None:
                return route
        return None

    # Private

    def _forget(self, before: Table) -> None:
        """What this table has replaced decides nothing any more, whatever its last requests still report."""
        if self.restless:
            pools = (pool for service in self.services.values() for pool in (service.active, service.idle))
            self.restless.intersection_update(pools)
        for tag, upstream in before.upstreams.items():
            if tag not in self.upstreams:
                upstream.observe = None

    def _add(self, host: str, paths: tuple[str, ...], route: Route) -> None:
        routes = self._routes.setdefault(host.encode(), Routes())
        for path in paths:
            routes.add(path.encode(), route)

    def _remember(self, host: bytes) -> tuple[Routes, ...]:
        if len(self._memory) >= HOST_MEMORY:
            self._memory.clear()
            self._sole.clear()
        chain = self._memory[host] = tuple(self._most_exact_first(without_port(host)))
        if chain and chain[0].only is not None:
            self._sole[host] = chain[0].only
        return chain

    def _most_exact_first(self, name: bytes) -> Iterator[Routes]:
        """The exact host, its wildcards from long to short, any host: where one has no such path, the next."""
        names = [name]
        dot = name.find(b".")
        while dot >= 0:
            names.append(b"*" + name[dot:])
            dot = name.find(b".", dot + 1)
        names.append(_ANY_HOST)
        return (self._routes[candidate] for candidate in names if candidate in self._routes)


def without_port(host: bytes) -> bytes:
    """`host` without its port and without the dot of a fully qualified name."""
    if host.startswith(b"["):
        return host[: host.find(b"]") + 1]
    return host.partition(b":")[0].rstrip(b".")
