from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bgproxy.shared_memory import slots
from bgproxy.shared_memory.counters import FIRST_SLOT, UNROUTED_SLOT
from bgproxy.shared_memory.layout import RECORDS
from bgproxy.shared_memory.slots import Key, Slots

FEW_RECORDS = 7

keys = st.sampled_from(
    [("web",), *(("web", pool, f"10.0.0.{n}:80") for pool in ("blue", "green") for n in "12345")]
)


class SlotsMachine(RuleBasedStateMachine):
    """The controller takes and releases, requests come and go, and now and then there is a new controller."""

    def __init__(self) -> None:
        super().__init__()
        self.records = mock.patch.object(slots, "RECORDS", FEW_RECORDS)
        self.records.start()
        self.busy: set[int] = set()
        self.slots = Slots(self.is_quiet)
        self.living: dict[Key, tuple[int, int]] = {}
        self.tags: set[int] = set()

    def is_quiet(self, slot: int) -> bool:
        return slot not in self.busy

    def teardown(self) -> None:
        self.records.stop()

    @rule(key=keys)
    def take(self, key: Key) -> None:
        known = self.living.get(key)
        unusable = {slot for slot, _ in self.living.values()} | self.busy
        try:
            slot, tag = place = self.slots.take(key)
        except ValueError:
            assert known is None
            assert unusable == set(range(FIRST_SLOT, FEW_RECORDS))
            return
        if known is not None:
            assert place == known
            return
        assert FIRST_SLOT <= slot < FEW_RECORDS
        assert slot not in unusable
        assert tag not in self.tags
        self.tags.add(tag)
        self.living[key] = place

    @rule(kept=st.sets(keys))
    def keep_only(self, kept: set[Key]) -> None:
        self.slots.keep_only(kept)
        self.living = {key: place for key, place in self.living.items() if key in kept}

    @rule(key=keys)
    def requests_begin(self, key: Key) -> None:
        if key in self.living:
            self.busy.add(self.living[key][0])

    @rule(slot=st.integers(FIRST_SLOT, FEW_RECORDS - 1))
    def requests_end(self, slot: int) -> None:
        self.busy.discard(slot)

    @rule()
    def the_controller_is_replaced(self) -> None:
        self.slots = Slots(self.is_quiet)
        self.slots.restore(self.living)

    @invariant()
    def no_two_share_a_slot(self) -> None:
        used = [slot for slot, _ in self.living.values()]
        assert len(used) == len(set(used))


SlotsMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestSlots = SlotsMachine.TestCase


def always_quiet(slot: int) -> bool:
    return True


def test_a_key_keeps_its_record() -> None:
    slots = Slots(always_quiet)
    place = slots.take(("web",))
    slots.take(("api",))
    slots.keep_only([("web",)])
    assert slots.take(("web",)) == place


def test_the_record_of_unrouted_requests_is_never_handed_out() -> None:
    slots = Slots(always_quiet)
    slots.restore({})
    assert slots.take(("web",))[0] > UNROUTED_SLOT


def test_a_released_slot_comes_back_with_another_tag() -> None:
    slots = Slots(always_quiet)
    slot, tag = slots.take(("web",))
    slots.keep_only([])
    again, new_tag = slots.take(("web",))
    assert again == slot
    assert new_tag != tag


def test_there_are_others_only_if_there_is_something_to_release() -> None:
    slots = Slots(always_quiet)
    slots.take(("web",))
    assert not slots.has_others({("web",), ("api",)})
    assert slots.has_others({("api",)})
    slots.keep_only([])
    assert not slots.has_others(set())


def test_a_busy_slot_waits_behind_a_quiet_one() -> None:
    busy: set[int] = set()
    slots = Slots(lambda slot: slot not in busy)
    first, second = (slots.take((name,))[0] for name in ("a", "b"))
    slots.keep_only([])
    busy.add(first)
    assert slots.take(("c",))[0] == second
    assert slots.take(("d",))[0] not in {first, second}
    busy.clear()
    assert slots.take(("e",))[0] == first


def test_a_successor_does_not_hand_out_what_requests_still_use() -> None:
    """The predecessor had released the highest slot, so nothing that is restored tells of it."""
    busy: set[int] = set()
    slots = Slots(lambda slot: slot not in busy)
    kept: dict[Key, tuple[int, int]] = {("web",): slots.take(("web",))}
    busy.add(slots.take(("old",))[0])
    slots.keep_only(kept)
    successor = Slots(lambda slot: slot not in busy)
    successor.restore(kept)
    assert successor.take(("new",))[0] not in busy


def test_a_successor_fills_the_gaps() -> None:
    slots = Slots(always_quiet)
    slots.restore({("a",): (FIRST_SLOT, 1), ("b",): (FIRST_SLOT + 2, 2)})
    assert slots.take(("a",)) == (FIRST_SLOT, 1)
    assert slots.take(("c",))[0] == FIRST_SLOT + 1
    assert slots.take(("d",))[0] == FIRST_SLOT + 3


def test_a_successor_whose_clock_went_back_repeats_no_living_tag() -> None:
    slots = Slots(always_quiet)
    future_tag = 2**62
    slots.restore({("a",): (FIRST_SLOT, future_tag)})
    assert slots.take(("b",))[1] > future_tag


def test_all_records_can_be_used_and_no_more() -> None:
    slots = Slots(always_quiet)
    for number in range(FIRST_SLOT, RECORDS):
        slots.take((str(number),))
    with pytest.raises(ValueError, match=f"all {RECORDS - FIRST_SLOT} records .* are in use"):
        slots.take(("one more",))
    slots.keep_only([(str(number),) for number in range(FIRST_SLOT, RECORDS - 1)])
    assert slots.take(("one more",))[0] == RECORDS - 1


def test_the_room_is_what_can_be_taken() -> None:
    busy: set[int] = set()
    with mock.patch.object(slots, "RECORDS", FEW_RECORDS):
        handed = Slots(lambda slot: slot not in busy)
        assert handed.room([(name,) for name in "abcdef"]) == 0
        taken = {name: handed.take((name,))[0] for name in "abcdef"}
        assert handed.room([("a",), ("b",), ("a",)]) == 0
        assert handed.room([("g",)]) == -1
        handed.keep_only([(name,) for name in "abcd"])
        assert handed.room([("g",)]) == 1
        busy.add(taken["f"])
        assert handed.room([("g",), ("h",)]) == -1
