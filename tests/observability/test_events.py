from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable

import pytest

from bgproxy.observability.events import BEHIND, KEPT, Event, EventLog

PATIENCE_S = 5.0


async def following(
    log: EventLog, after: int | None = None
) -> tuple[AsyncGenerator[Event], asyncio.Task[Event]]:
    """A follower that is on, and its next event."""
    follower = log.follow(after)
    pending = asyncio.ensure_future(_next(follower))
    await asyncio.sleep(0)
    return follower, pending


async def _next(follower: AsyncGenerator[Event]) -> Event:
    async with asyncio.timeout(PATIENCE_S):
        return await anext(follower)


def test_ids_only_grow_also_when_the_clock_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog()
    for now in (1000.0, 1000.0, 900.0, 1000.000002, 2000.0):
        monkeypatch.setattr("bgproxy.observability.events.time.time", lambda now=now: now)
        log.add("switch", "text")
    ids = [event.id for event in log.since(0)]
    assert ids == sorted(set(ids))
    assert len(ids) == 5


def test_a_successor_goes_on_with_higher_ids() -> None:
    before = EventLog().add("switch", "text")
    assert EventLog().add("switch", "text").id > before.id


def test_an_event_has_everything_for_people_and_machines() -> None:
    event = EventLog().add("switch", "blue → green", service="web", generation=2)
    assert (event.kind, event.text, event.service, event.data) == (
        "switch",
        "blue → green",
        "web",
        {"generation": 2},
    )


def test_an_event_is_there_at_once_and_its_line_of_the_log_when_there_is_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    later: list[Callable[[], None]] = []
    log = EventLog(later.append)
    with caplog.at_level("INFO"):
        event = log.add("switch", "blue → green")
        assert log.since(0) == [event]
        assert not caplog.messages
        for write in later:
            write()
    assert caplog.messages == ["switch: blue → green"]


def test_an_event_that_is_a_refusal_is_one_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    event = EventLog().add("reload", "refused", level=logging.ERROR, outcome="refused")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert event.data == {"outcome": "refused"}


def test_since_is_what_came_after() -> None:
    log = EventLog()
    first, second, third = (log.add("a", str(number)) for number in range(3))
    assert log.since(first.id) == [second, third]
    assert log.since(third.id) == []
    assert log.since(0) == [first, second, third]


def test_only_so_many_are_kept() -> None:
    log = EventLog()
    events = [log.add("a", str(number)) for number in range(KEPT + 10)]
    assert log.since(0) == events[10:]


async def test_a_follower_hears_what_happens_from_now_on() -> None:
    log = EventLog()
    log.add("a", "before")
    follower, pending = await following(log)
    new = log.add("a", "after")
    assert await pending == new
    await follower.aclose()


async def test_a_follower_that_resumes_misses_nothing_and_hears_nothing_twice() -> None:
    log = EventLog()
    seen, missed = log.add("a", "seen"), log.add("a", "missed")
    follower, pending = await following(log, seen.id)
    new = log.add("a", "new")
    heard = [await pending, await _next(follower)]
    assert heard == [missed, new]
    await follower.aclose()


async def test_all_followers_hear_everything() -> None:
    log = EventLog()
    followers = [await following(log) for _ in range(5)]
    event = log.add("a", "text")
    assert [await pending for _, pending in followers] == [event] * 5
    for follower, _ in followers:
        await follower.aclose()


async def test_a_follower_that_is_too_slow_is_cut_off_after_what_it_could_have_heard() -> None:
    log = EventLog()
    follower, pending = await following(log)
    events = [log.add("a", str(number)) for number in range(BEHIND + 50)]
    heard = [await pending]
    with contextlib.suppress(StopAsyncIteration):
        while True:
            heard.append(await _next(follower))
    assert heard == events[: len(heard)]
    assert BEHIND <= len(heard) < len(events)
    resumed, pending = await following(log, heard[-1].id)
    assert await pending == events[len(heard)]
    await resumed.aclose()


async def test_a_follower_that_left_is_forgotten() -> None:
    log = EventLog()
    follower, pending = await following(log)
    pending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await pending
    await follower.aclose()
    assert not log._followers


async def test_close_ends_every_follower() -> None:
    log = EventLog()
    pending = [(await following(log))[1] for _ in range(3)]
    log.close()
    for each in pending:
        with pytest.raises(StopAsyncIteration):
            await each
