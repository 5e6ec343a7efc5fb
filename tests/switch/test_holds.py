from __future__ import annotations

import pytest

from bgproxy.errors import Conflict
from bgproxy.observability.events import EventLog
from bgproxy.switch.calls import HoldLimits
from bgproxy.switch.holds import WORKER_GRACE_S, Holds


class Publications:
    def __init__(self) -> None:
        self.events = EventLog()
        self.count = 0
        self.holds = Holds(self.events, self.publish)

    def publish(self) -> None:
        self.count += 1


@pytest.fixture
def published() -> Publications:
    return Publications()


def test_services_are_held_together_each_with_a_hold_of_its_own(published: Publications) -> None:
    ids = published.holds.begin(["web", "api"], HoldLimits(5.0, 7, 9))
    present = published.holds.present()
    assert tuple(present[name].id for name in ("web", "api")) == ids
    assert {(each.max_requests, each.max_bytes) for each in present.values()} == {(7, 9)}
    assert published.count == 1


def test_ids_only_grow_also_from_one_controller_to_the_next(published: Publications) -> None:
    first = published.holds.begin(["web", "api"], HoldLimits())
    published.holds.end(first, "why")
    again = published.holds.begin(["web"], HoldLimits())
    successor = Publications().holds.begin(["web"], HoldLimits())
    assert sorted({*first, *again, *successor}) == [*first, *again, *successor]


def test_workers_let_go_after_the_controller(
    published: Publications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bgproxy.switch.holds.time.time", lambda: 1000.0)
    published.holds.begin(["web"], HoldLimits(5.0))
    assert published.holds.present()["web"].until == 1005.0 + WORKER_GRACE_S


def test_the_end_is_published_and_told(published: Publications) -> None:
    ids = published.holds.begin(["web", "api"], HoldLimits())
    published.holds.end(ids, "it is enough")
    assert not published.holds.present()
    assert published.count == 2
    assert [(each.service, each.text) for each in published.events.since(0)] == [
        ("web", "requests of web go on: it is enough"),
        ("api", "requests of api go on: it is enough"),
    ]


def test_an_end_that_comes_late_ends_nobody_elses_hold(published: Publications) -> None:
    """Such as the timer of a hold that was released, when there is a new one."""
    old = published.holds.begin(["web"], HoldLimits())
    published.holds.end(old, "released")
    new = published.holds.begin(["web"], HoldLimits())
    before = published.count
    published.holds.end(old, "its time is up")
    assert published.holds.has(new)
    assert published.count == before


def test_what_is_forgotten_is_not_published_by_itself(published: Publications) -> None:
    ids = published.holds.begin(["web"], HoldLimits())
    assert published.holds.forget(ids) == ["web"]
    assert published.count == 1
    assert not published.holds.has(ids)
    assert published.events.since(0) == []


def test_a_group_with_one_held_service_is_not_held(published: Publications) -> None:
    published.holds.begin(["api"], HoldLimits())
    with pytest.raises(Conflict, match="api: already held"):
        published.holds.begin(["web", "api"], HoldLimits())
    assert list(published.holds.present()) == ["api"]
