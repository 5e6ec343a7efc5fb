import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, Self

import pytest

from bgproxy.health import prober as prober_module
from bgproxy.health.checks import Checker
from bgproxy.health.prober import Prober, Target, TargetKey, Transition
from bgproxy.health.schedule import FIRST_CHECKS_APART_S
from bgproxy.health.thresholds import CheckResult, HealthState
from bgproxy.model import Health, HealthCheck, UpstreamTls

from .doubles import Answering, Serve, Told

ADDRESS = "10.0.0.1:8000"
SLOW = "10.0.0.2:8000"
CHECK = HealthCheck(interval_s=0.01, timeout_s=60.0, healthy_after=2, unhealthy_after=3)
RARE = replace(CHECK, interval_s=3600.0)
NOW = 1_700_000_000.0


class Scripted(Checker):
    """Answers as told: per address `ok`, an error to raise, or a gate to wait at. Counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.ok = True
        self.error: Exception | None = None
        self.gates: dict[str, asyncio.Event] = {}
        self.started: Told[tuple[str, HealthCheck]] = Told()
        self.starts: dict[str, list[float]] = {}
        self.as_it_ends: Callable[[], None] | None = None
        self.running: dict[str, int] = {}
        self.most_at_once = 0

    async def run(
        self, address: str, check: HealthCheck, tls: UpstreamTls | None = None, name: str = ""
    ) -> CheckResult:
        self.starts.setdefault(address, []).append(asyncio.get_running_loop().time())
        self.running[address] = self.running.get(address, 0) + 1
        self.most_at_once = max(self.most_at_once, sum(self.running.values()))
        self.started.put_nowait((address, check))
        assert self.running[address] == 1
        try:
            if gate := self.gates.get(address):
                await gate.wait()
            if self.error is not None:
                raise self.error
            if self.as_it_ends:
                asyncio.get_running_loop().call_soon(self.as_it_ends)
            return CheckResult(self.ok, "as told", 0.001)
        finally:
            self.running[address] -= 1


class Bench:
    """A prober whose changes can be waited for."""

    def __init__(self) -> None:
        self.checker = Scripted()
        self.changes: Told[tuple[str, Transition]] = Told()
        self.prober = Prober(self.on_change, checker=self.checker, clock=lambda: NOW, jitter=lambda: 0.5)

    def on_change(self, target: Target, transition: Transition) -> None:
        self.changes.put_nowait((target.address, transition))

    def state(self, address: str = ADDRESS) -> HealthState:
        status = self.prober.health_of(target(address).key)
        assert status is not None
        return status.state

    async def probes(self, address: str, count: int) -> None:
        """Wait for so many more probes of `address` to start."""
        while count:
            started, _ = await self.checker.started.get()
            count -= started == address


def target(address: str = ADDRESS, check: HealthCheck = CHECK) -> Target:
    return Target("web", "blue", address, check)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.prober.close()


async def test_a_new_target_is_unknown_until_its_first_check_decides(bench: Bench) -> None:
    bench.prober.set_targets([target()])
    assert bench.state().health is Health.UNKNOWN
    address, transition = await bench.changes.get()
    assert address == ADDRESS
    assert transition == Transition(Health.UNKNOWN, Health.HEALTHY, "as told", NOW)
    status = bench.prober.states()[TargetKey("web", "blue", ADDRESS)]
    assert status.state.since == NOW
    assert (status.checked_at, status.duration_s) == (NOW, 0.001)


async def test_failures_in_a_row_make_a_target_unhealthy_and_successes_bring_it_back(bench: Bench) -> None:
    bench.prober.set_targets([target()])
    await bench.changes.get()
    bench.checker.ok = False
    _, transition = await bench.changes.get()
    assert (transition.before, transition.after) == (Health.HEALTHY, Health.UNHEALTHY)
    assert bench.state().failures == CHECK.unhealthy_after
    bench.checker.ok = True
    _, transition = await bench.changes.get()
    assert (transition.before, transition.after) == (Health.UNHEALTHY, Health.HEALTHY)
    assert bench.state().successes == CHECK.healthy_after


async def test_a_check_that_raises_counts_as_failed_and_checks_go_on(bench: Bench) -> None:
    bench.checker.error = RuntimeError("a defect")
    bench.prober.set_targets([target()])
    _, transition = await bench.changes.get()
    assert transition.after is Health.UNHEALTHY
    assert transition.reason == "the check itself failed: RuntimeError: a defect"
    bench.checker.error = None
    _, transition = await bench.changes.get()
    assert transition.after is Health.HEALTHY


async def test_a_listener_that_raises_is_reported_and_checks_go_on() -> None:
    reported: Told[object] = Told()
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: reported.put_nowait(context["exception"])
    )

    def broken(target: Target, transition: Transition) -> None:
        raise RuntimeError(transition.after)

    checker = Scripted()
    prober = Prober(broken, checker=checker)
    prober.set_targets([target()])
    assert repr(await reported.get()) == repr(RuntimeError(Health.HEALTHY))
    checker.ok = False
    assert repr(await reported.get()) == repr(RuntimeError(Health.UNHEALTHY))
    await prober.close()


async def test_a_target_is_never_probed_twice_at_once_and_delays_no_other(bench: Bench) -> None:
    bench.checker.gates[SLOW] = asyncio.Event()
    bench.prober.set_targets([target(SLOW), target()])
    await bench.probes(ADDRESS, 10)
    assert len(bench.checker.starts[SLOW]) == 1
    bench.checker.gates[SLOW].set()
    await bench.probes(SLOW, 2)


async def test_the_interval_runs_from_start_to_start(bench: Bench) -> None:
    """A probe that takes most of its interval must not push the next one back by as much."""
    check = replace(CHECK, interval_s=0.1)
    bench.checker.gates[ADDRESS] = gate = asyncio.Event()
    bench.prober.set_targets([target(check=check)])
    for _ in range(4):
        await bench.probes(ADDRESS, 1)
        asyncio.get_running_loop().call_later(0.08, gate.set)
        await gate.wait()
        gate.clear()
    starts = bench.checker.starts[ADDRESS]
    gaps = [after - before for before, after in pairwise(starts)]
    assert min(gaps) >= 0.09
    assert min(gaps) < 0.15


async def test_a_changed_check_keeps_the_health_and_is_used_at_once(bench: Bench) -> None:
    bench.checker.ok = False
    bench.prober.set_targets([target(check=RARE)])
    await bench.changes.get()
    before = bench.state()
    await bench.probes(ADDRESS, 1)

    changed = replace(RARE, path="/ready", unhealthy_after=1, healthy_after=1)
    bench.prober.set_targets([target(check=changed)])
    assert bench.state() == before
    assert await bench.checker.started.get() == (ADDRESS, changed)


@pytest.mark.parametrize("other", [{"tls": UpstreamTls(verify=False)}, {"name": "app.internal:8443"}])
async def test_a_target_that_is_verified_in_another_way_is_checked_anew(
    bench: Bench, other: dict[str, Any]
) -> None:
    bench.prober.set_targets([target(check=RARE)])
    await bench.probes(ADDRESS, 1)
    bench.prober.set_targets([replace(target(check=RARE), **other)])
    assert await bench.checker.started.get() == (ADDRESS, RARE)


async def test_an_unchanged_target_is_left_alone(bench: Bench) -> None:
    bench.prober.set_targets([target(check=RARE)])
    await bench.changes.get()
    for _ in range(3):
        bench.prober.set_targets([target(check=replace(RARE)), target(SLOW)])
        await bench.probes(SLOW, 3)
    assert len(bench.checker.starts[ADDRESS]) == 1


async def test_the_result_of_a_check_that_was_replaced_does_not_count(bench: Bench) -> None:
    bench.checker.gates[ADDRESS] = gate = asyncio.Event()
    bench.prober.set_targets([target(check=RARE)])
    await bench.probes(ADDRESS, 1)
    changed = replace(RARE, path="/ready")
    bench.prober.set_targets([target(check=changed)])
    assert await bench.checker.started.get() == (ADDRESS, changed)
    assert bench.state().health is Health.UNKNOWN
    gate.set()
    await bench.changes.get()
    assert bench.state().successes == 1


async def test_a_check_replaced_in_the_moment_in_which_it_ended_does_not_count(bench: Bench) -> None:
    """The task is done, but its callback has not run yet: it can no longer be cancelled."""
    changed = replace(RARE, path="/ready")

    def replace_check() -> None:
        bench.checker.as_it_ends = None
        bench.prober.set_targets([target(check=changed)])

    bench.checker.as_it_ends = replace_check
    bench.prober.set_targets([target(check=RARE)])
    await bench.changes.get()
    assert [await bench.checker.started.get() for _ in range(2)] == [(ADDRESS, RARE), (ADDRESS, changed)]
    assert bench.state().successes == 1


async def test_a_removed_target_is_forgotten_and_new_when_it_returns(bench: Bench) -> None:
    bench.prober.set_targets([target()])
    await bench.changes.get()
    bench.prober.set_targets([])
    assert bench.prober.states() == {}
    assert bench.prober.health_of(target().key) is None
    bench.prober.set_targets([target()])
    assert bench.state().health is Health.UNKNOWN


async def test_removing_a_target_ends_its_running_probe(bench: Bench) -> None:
    bench.checker.gates[ADDRESS] = asyncio.Event()
    bench.prober.set_targets([target(check=RARE)])
    await bench.probes(ADDRESS, 1)
    bench.prober.set_targets([target(SLOW)])
    await bench.changes.get()
    assert bench.checker.running[ADDRESS] == 0


async def test_the_same_address_in_two_pools_is_two_targets(bench: Bench) -> None:
    green = replace(target(check=RARE), pool="green")
    bench.prober.set_targets([target(check=RARE), green])
    await bench.changes.get()
    await bench.changes.get()
    assert {key.pool for key in bench.prober.states()} == {"blue", "green"}


async def test_a_restored_state_goes_on_where_it_was(bench: Bench) -> None:
    known = HealthState(Health.HEALTHY, since=NOW - 3600, failures=1, reason="connection refused")
    bench.checker.ok = False
    bench.prober.restore({target().key: known})
    bench.prober.set_targets([target()])
    assert bench.state() == known
    await bench.probes(ADDRESS, 2)
    assert bench.changes.empty()
    _, transition = await bench.changes.get()
    assert (transition.before, transition.after) == (Health.HEALTHY, Health.UNHEALTHY)
    assert len(bench.checker.starts[ADDRESS]) == 2


async def test_a_restored_state_is_used_once(bench: Bench) -> None:
    bench.prober.restore({target().key: HealthState(Health.HEALTHY, since=NOW)})
    for health in (Health.HEALTHY, Health.UNKNOWN):
        bench.prober.set_targets([target(check=RARE)])
        assert bench.state().health is health
        bench.prober.set_targets([])


async def test_a_restored_state_expires(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober_module, "RESTORED_FOR_S", -1.0)
    bench.prober.restore({target().key: HealthState(Health.HEALTHY, since=NOW)})
    bench.prober.set_targets([target()])
    assert bench.state().health is Health.UNKNOWN


async def test_check_now_does_not_wait_for_the_interval(bench: Bench) -> None:
    bench.prober.set_targets([target(check=RARE)])
    await bench.changes.get()
    async with asyncio.timeout(10):
        await bench.prober.check_now([target().key])
    assert bench.state().successes == 2


async def test_check_now_is_not_content_with_a_probe_that_had_already_started(bench: Bench) -> None:
    bench.checker.gates[ADDRESS] = gate = asyncio.Event()
    bench.prober.set_targets([target(check=RARE)])
    await bench.probes(ADDRESS, 1)
    asked = asyncio.create_task(bench.prober.check_now([target().key]))
    asyncio.get_running_loop().call_soon(gate.set)
    async with asyncio.timeout(10):
        await asked
    assert len(bench.checker.starts[ADDRESS]) == 2
    assert bench.state().successes == 2


async def test_check_now_skips_what_is_not_a_target_and_what_is_removed_meanwhile(bench: Bench) -> None:
    bench.checker.gates[ADDRESS] = asyncio.Event()
    bench.prober.set_targets([target()])
    asked = asyncio.create_task(bench.prober.check_now([target().key, TargetKey("web", "blue", "none:1")]))
    await bench.probes(ADDRESS, 1)
    bench.prober.set_targets([])
    async with asyncio.timeout(10):
        await asked


async def test_no_more_than_the_limit_of_probes_run_at_once_and_all_others_get_their_turn(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prober_module, "MAX_PROBES_AT_ONCE", 2)
    first, second, third, removed = (f"10.0.0.{n}:80" for n in range(1, 5))
    bench.checker.gates = dict.fromkeys((first, second), asyncio.Event())
    bench.prober.set_targets([target(address, RARE) for address in (first, second, third, removed)])
    everybody_is_due = asyncio.Event()  # timers fire in their order
    asyncio.get_running_loop().call_later(4 * FIRST_CHECKS_APART_S, everybody_is_due.set)
    await everybody_is_due.wait()
    assert bench.checker.starts.keys() == {first, second}

    bench.prober.set_targets([target(address, RARE) for address in (first, second, third)])
    bench.checker.gates[first].set()
    assert {(await bench.changes.get())[0] for _ in range(3)} == {first, second, third}
    assert bench.checker.most_at_once == 2
    assert removed not in bench.checker.starts


async def test_close_ends_running_probes(bench: Bench) -> None:
    bench.checker.gates[ADDRESS] = asyncio.Event()
    bench.prober.set_targets([target()])
    await bench.probes(ADDRESS, 1)
    await bench.prober.close()
    assert bench.checker.running[ADDRESS] == 0


async def test_thousands_of_targets_are_probed_without_blocking_the_loop(serve: Serve) -> None:
    """3000 addresses of one local server; the loop must never stand still for a quarter second."""
    count = 3000
    healthy = asyncio.Event()
    seen: set[str] = set()

    def on_change(target: Target, transition: Transition) -> None:
        assert transition.after is Health.HEALTHY, transition.reason
        seen.add(target.address)
        if len(seen) == count:
            healthy.set()

    server = Answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    port = (await serve(server, "0.0.0.0")).rpartition(":")[2]
    check = HealthCheck(interval_s=3600.0, timeout_s=20.0, expect_body="ok")
    targets = [Target("web", "blue", f"127.0.{n // 250}.{n % 250 + 1}:{port}", check) for n in range(count)]
    prober = Prober(on_change)
    pulse = Pulse()
    with Sentinel() as sentinel:
        async with asyncio.timeout(20):
            prober.set_targets(targets)
            await healthy.wait()
            pulse.timer.cancel()
            await prober.close()
    assert len(server.heads) == count
    assert pulse.longest_s < 0.25 + sentinel.longest_s


class Pulse:
    """Ticks on the loop and remembers the longest time between two ticks."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.longest_s = 0.0
        self.last = time.perf_counter()
        self.timer: asyncio.Handle = self.loop.call_soon(self.tick)

    def tick(self) -> None:
        now = time.perf_counter()
        self.longest_s = max(self.longest_s, now - self.last)
        self.last = now
        self.timer = self.loop.call_later(0.005, self.tick)


class Sentinel:
    """Ticks in a thread beside the loop, and so stands still only when the whole process does.

    A busy loop hands it the interpreter every few milliseconds, a blocked one at once: what it misses, other
    programs have taken.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _tick(self) -> None:
        last = time.perf_counter()
        while not self._stop.wait(0.005):
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - last)
            last = now
