import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from bgproxy.health import resolver as resolver_module
from bgproxy.health.resolver import Resolver

from .doubles import Told


class FakeDns:
    """Blocks like `socket.getaddrinfo`, and answers as told."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, ...] | Exception] = {}
        self.hangs: dict[str, threading.Event] = {}
        self.asked: Told[str] = Told()
        self.counts: dict[str, int] = {}
        self.running: set[str] = set()
        self.most_at_once = 0
        self.loop = asyncio.get_running_loop()

    def __call__(self, host: str, port: None, *, type: int) -> Sequence[tuple[Any, ...]]:  # noqa: A002
        self.running.add(host)
        self.most_at_once = max(self.most_at_once, len(self.running))
        self.loop.call_soon_threadsafe(self.count, host)
        if hang := self.hangs.get(host):
            hang.wait(20)
        self.running.discard(host)
        answer = self.answers.get(host, socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
        if isinstance(answer, Exception):
            raise answer
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(families[":" in ip], type, 6, "", (ip, 0)) for ip in answer for _ in range(2)]

    def count(self, host: str) -> None:
        self.counts[host] = self.counts.get(host, 0) + 1
        self.asked.put_nowait(host)


class Bench:
    def __init__(self) -> None:
        self.dns = FakeDns()
        self.changes: Told[tuple[str, tuple[str, ...]]] = Told()
        self.conditions: Told[tuple[str, str | None]] = Told()
        self.resolver = self.make()

    def make(self, **options: Any) -> Resolver:
        settings: dict[str, Any] = {"interval_s": 0.01, "lookup": self.dns, **options}
        return Resolver(
            lambda name, addresses: self.changes.put_nowait((name, addresses)),
            on_condition=lambda host, reason: self.conditions.put_nowait((host, reason)),
            **settings,
        )

    async def lookups(self, host: str, count: int) -> None:
        """Wait for so many more lookups to end: a lookup starts when the one before has been learned from."""
        count += 1
        while count:
            count -= await self.dns.asked.get() == host


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    for hang in bench.dns.hangs.values():
        hang.set()
    await bench.resolver.close()


async def test_ip_addresses_and_unix_paths_are_not_looked_up(bench: Bench) -> None:
    bench.dns.answers["app"] = ("10.0.0.1",)
    literals = ("10.0.0.9:80", "[2001:db8::1]:80", "unix:/run/app.sock")
    bench.resolver.set_names([*literals, "app:80"])
    await bench.lookups("app", 1)
    assert [bench.resolver.addresses(name) for name in literals] == [(name,) for name in literals]
    assert bench.dns.counts.keys() == {"app"}


async def test_all_addresses_of_a_name_are_given_sorted_and_once(bench: Bench) -> None:
    bench.dns.answers["app"] = ("10.0.0.2", "10.0.0.1")
    bench.resolver.set_names(["app:8000"])
    assert bench.resolver.addresses("app:8000") == ()
    assert await bench.changes.get() == ("app:8000", ("10.0.0.1:8000", "10.0.0.2:8000"))
    assert bench.resolver.addresses("app:8000") == ("10.0.0.1:8000", "10.0.0.2:8000")


async def test_ipv4_is_preferred(bench: Bench) -> None:
    bench.dns.answers["app"] = ("2001:db8::1", "10.0.0.1")
    bench.resolver.set_names(["app:80"])
    assert await bench.changes.get() == ("app:80", ("10.0.0.1:80",))


async def test_a_name_with_ipv6_only_resolves_to_that(bench: Bench) -> None:
    bench.dns.answers["app"] = ("2001:db8::2", "2001:db8::1")
    bench.resolver.set_names(["app:80"])
    assert await bench.changes.get() == ("app:80", ("[2001:db8::1]:80", "[2001:db8::2]:80"))


async def test_localhost_is_one_upstream_of_the_systems_own_resolver(bench: Bench) -> None:
    resolver = bench.make(lookup=socket.getaddrinfo)
    resolver.set_names(["localhost:80"])
    assert await bench.changes.get() == ("localhost:80", ("127.0.0.1:80",))
    await resolver.close()


async def test_a_host_is_looked_up_once_for_all_its_ports(bench: Bench) -> None:
    bench.dns.answers["app"] = ("10.0.0.1",)
    resolver = bench.make(interval_s=3600.0)
    resolver.set_names(["app:80", "app:81"])
    assert [await bench.changes.get() for _ in range(2)] == [
        ("app:80", ("10.0.0.1:80",)),
        ("app:81", ("10.0.0.1:81",)),
    ]
    assert bench.dns.counts == {"app": 1}
    await resolver.close()


async def test_a_change_is_told_once(bench: Bench) -> None:
    bench.dns.answers["app"] = ("10.0.0.1",)
    bench.resolver.set_names(["app:80"])
    await bench.changes.get()
    await bench.lookups("app", 3)
    assert bench.changes.empty()
    bench.dns.answers["app"] = ("10.0.0.2",)
    assert await bench.changes.get() == ("app:80", ("10.0.0.2:80",))


async def test_a_failure_keeps_the_last_known_addresses_and_is_told_once(bench: Bench) -> None:
    bench.dns.answers["app"] = ("10.0.0.1",)
    bench.resolver.set_names(["app:80"])
    await bench.changes.get()

    del bench.dns.answers["app"]
    assert await bench.conditions.get() == ("app", "Name or service not known")
    await bench.lookups("app", 3)
    assert bench.conditions.empty()
    assert bench.resolver.addresses("app:80") == ("10.0.0.1:80",)

    bench.dns.answers["app"] = ("10.0.0.1",)
    assert await bench.conditions.get() == ("app", None)
    assert bench.changes.empty()


@pytest.mark.parametrize(
    ("answer", "reason"), [((), "no address"), (UnicodeError("label too long"), "label too long")]
)
async def test_whatever_goes_wrong_in_a_lookup_is_a_failure(
    bench: Bench, answer: tuple[str, ...] | Exception, reason: str
) -> None:
    bench.dns.answers["app"] = answer
    bench.resolver.set_names(["app:80"])
    assert await bench.conditions.get() == ("app", reason)
    await bench.lookups("app", 2)


async def test_a_lookup_that_hangs_is_not_repeated_and_delays_no_other(bench: Bench) -> None:
    bench.dns.answers = {"stuck": ("10.0.0.1",), "app": ("10.0.0.2",)}
    bench.dns.hangs["stuck"] = threading.Event()
    resolver = bench.make(lookup_timeout_s=0.01)
    resolver.set_names(["stuck:80", "app:80"])
    assert await bench.conditions.get() == ("stuck", "no answer within 0.01s")
    await bench.lookups("app", 5)
    assert bench.dns.counts["stuck"] == 1

    bench.dns.hangs["stuck"].set()
    assert await bench.conditions.get() == ("stuck", None)
    assert resolver.addresses("stuck:80") == ("10.0.0.1:80",)
    await resolver.close()


async def test_no_more_than_the_limit_of_lookups_run_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_module, "MAX_LOOKUPS_AT_ONCE", 2)
    hosts = ["a", "b", "c"]
    bench.dns.answers = dict.fromkeys(hosts, ("10.0.0.1",))
    bench.dns.hangs = {host: threading.Event() for host in hosts}
    resolver = bench.make()
    resolver.set_names([f"{host}:80" for host in hosts])
    assert {await bench.dns.asked.get() for _ in range(2)} == {"a", "b"}
    bench.dns.hangs["c"].set()
    bench.dns.hangs["b"].set()
    assert (await bench.changes.get())[0] == "b:80"
    assert (await bench.changes.get())[0] == "c:80"
    assert bench.dns.most_at_once == 2
    await resolver.close()


async def test_a_name_that_is_taken_away_is_forgotten(bench: Bench) -> None:
    bench.dns.answers = {"app": ("10.0.0.1",), "other": ("10.0.0.2",)}
    bench.resolver.set_names(["app:80", "other:80"])
    await bench.lookups("app", 1)
    bench.resolver.set_names(["other:80"])
    assert bench.resolver.addresses("app:80") == ()
    asked = bench.dns.counts["app"]
    await bench.lookups("other", 3)
    assert bench.dns.counts["app"] <= asked + 1  # one may have been on its way


async def test_a_listener_that_raises_is_reported_and_lookups_go_on(bench: Bench) -> None:
    reported: Told[str] = Told()
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: reported.put_nowait(str(context["exception"]))
    )

    def broken(name: str, addresses: tuple[str, ...]) -> None:
        raise RuntimeError(*addresses)

    bench.dns.answers["app"] = ("10.0.0.1",)
    resolver = Resolver(broken, on_condition=lambda *_: None, interval_s=0.01, lookup=bench.dns)
    resolver.set_names(["app:80"])
    assert await reported.get() == "10.0.0.1:80"
    bench.dns.answers["app"] = ("10.0.0.2",)
    assert await reported.get() == "10.0.0.2:80"
    await resolver.close()


async def test_close_does_not_wait_for_a_lookup_that_hangs(bench: Bench) -> None:
    bench.dns.hangs["stuck"] = threading.Event()
    bench.resolver.set_names(["stuck:80"])
    assert await bench.dns.asked.get() == "stuck"
    await bench.resolver.close()
    assert not bench.dns.hangs["stuck"].is_set()
