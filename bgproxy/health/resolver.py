"""Names in upstream addresses -> addresses that can be connected to, looked up again and again.

A failing lookup never takes an address away: the last known ones stay. Never blocks the loop, and
never has two lookups of one host at once.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bgproxy.config.address import Address, parse_address
from bgproxy.health.schedule import jittered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

MAX_LOOKUPS_AT_ONCE = 16  # each is a thread while it lasts
LOOKUP_TIMEOUT_S = 5.0
UNRESOLVED_RETRY_S = 1.0  # instead of the interval, while no address is known at all


class Resolver:
    """A name is an upstream address as configured, with its port: `app.internal:8000`.

    `on_change(name, addresses)` is called when a lookup changed what `addresses(name)` answers;
    `on_condition(host, reason)` when lookups of a host begin to fail, and with None when they work
    again. `lookup` blocks, and answers as `socket.getaddrinfo` does.
    """

    def __init__(
        self,
        on_change: Callable[[str, tuple[str, ...]], None],
        *,
        on_condition: Callable[[str, str | None], None],
        interval_s: float,
        lookup: Callable[..., Sequence[tuple[Any, ...]]] = socket.getaddrinfo,
        lookup_timeout_s: float = LOOKUP_TIMEOUT_S,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._on_change = on_change
        self._on_condition = on_condition
        self._interval_s = interval_s
        self._lookup = lookup
        self._lookup_timeout_s = lookup_timeout_s
        self._jitter = jitter
        self._loop = asyncio.get_running_loop()

        self._hosts: dict[str, _Host] = {}
        self._restored: dict[str, tuple[str, ...]] = {}
        self._slots = asyncio.Semaphore(MAX_LOOKUPS_AT_ONCE)

    def restore(self, addresses: Mapping[str, Iterable[str]]) -> None:
        """What was known before a restart, by name; it stands until a lookup has answered."""
        for name, known in addresses.items():
            address = parse_address(name)
            if address.is_name:
                self._restored[address.host] = tuple(sorted(parse_address(each).host for each in known))

    def set_names(self, names: Iterable[str]) -> None:
        """Keep exactly these resolved. What is known of hosts that stay is kept."""
        by_host: dict[str, set[str]] = {}
        for name in names:
            address = parse_address(name)
            if address.is_name:
                by_host.setdefault(address.host, set()).add(name)
        for gone in self._hosts.keys() - by_host.keys():
            self._hosts.pop(gone).task.cancel()
        for host, of_host in by_host.items():
            if host not in self._hosts:
                self._hosts[host] = _Host(self._loop.create_task(self._keep_resolved(host)))
                self._hosts[host].ips = self._restored.pop(host, ())
            self._hosts[host].names = of_host

    def addresses(self, name: str) -> tuple[str, ...]:
        """All of them, sorted; empty until the first lookup has succeeded. An IP or path is its own."""
        address = parse_address(name)
        if not address.is_name:
            return (name,)
        known = self._hosts.get(address.host)
        return tuple(str(Address(ip, address.port)) for ip in known.ips) if known else ()

    async def until_resolved(self) -> None:
        """Returns when the first lookup of every host has ended, well or badly."""
        await asyncio.gather(*(host.first.wait() for host in self._hosts.values()))

    async def close(self) -> None:
        tasks = [host.task for host in self._hosts.values()]
        self.set_names(())
        await asyncio.gather(*tasks, return_exceptions=True)

    # Private

    async def _keep_resolved(self, name: str) -> None:
        answer: asyncio.Future[tuple[str, ...] | Exception] | None = None
        while True:
            if answer is None:
                await self._slots.acquire()
                answer = self._start_lookup(name)
            await asyncio.wait([answer], timeout=self._lookup_timeout_s)
            host = self._hosts[name]
            if answer.done():
                self._learn(name, host, answer.result())
                answer = None
            else:  # the thread cannot be stopped: wait for the same answer next time
                self._learn(name, host, TimeoutError(f"no answer within {self._lookup_timeout_s:g}s"))
            self._loop.call_soon(host.first.set)  # behind the callbacks of what was learnt
            pause_s = self._interval_s if host.ips else min(self._interval_s, UNRESOLVED_RETRY_S)
            await asyncio.sleep(jittered(pause_s, self._jitter()))

    def _start_lookup(self, name: str) -> asyncio.Future[tuple[str, ...] | Exception]:
        """In a thread of its own, a daemon: a pool's would keep a stopping process waiting for DNS."""
        answer: asyncio.Future[tuple[str, ...] | Exception] = self._loop.create_future()

        def finish(outcome: tuple[str, ...] | Exception) -> None:
            self._slots.release()
            answer.set_result(outcome)

        def run() -> None:
            outcome: tuple[str, ...] | Exception
            try:
                outcome = _prefer_ipv4(self._lookup(name, None, type=socket.SOCK_STREAM))
            except Exception as error:  # noqa: BLE001 - a resolver plugin may raise anything: it failed
                outcome = error
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
                self._loop.call_soon_threadsafe(finish, outcome)

        try:
            threading.Thread(target=run, name=f"lookup {name}", daemon=True).start()
        except RuntimeError as error:  # the system has no thread for us: the lookup failed
            finish(error)
        return answer

    def _learn(self, name: str, host: _Host, outcome: tuple[str, ...] | Exception) -> None:
        """Callbacks run from the loop, so that one that raises is reported and lookups go on."""
        failing = isinstance(outcome, Exception)
        if failing != host.failing:
            host.failing = failing
            self._loop.call_soon(self._on_condition, name, _reason(outcome) if failing else None)
        if not isinstance(outcome, Exception) and outcome != host.ips:
            host.ips = outcome
            for address in sorted(host.names):
                self._loop.call_soon(self._on_change, address, self.addresses(address))


class _Host:
    __slots__ = ("failing", "first", "ips", "names", "task")

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.names: set[str] = set()
        self.ips: tuple[str, ...] = ()
        self.failing = False
        self.first = asyncio.Event()


def _prefer_ipv4(rows: Sequence[tuple[Any, ...]]) -> tuple[str, ...]:
    """One family only, so that `localhost` is one upstream."""
    family = socket.AF_INET if any(row[0] == socket.AF_INET for row in rows) else socket.AF_INET6
    ips = {str(row[4][0]) for row in rows if row[0] == family}
    if not ips:
        raise OSError("no address")
    return tuple(sorted(ips))


def _reason(error: object) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
