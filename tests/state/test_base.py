"""The contract: what every state store does, whatever it is made of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import pytest

from bgproxy.errors import Conflict, Invalid, StateError
from bgproxy.state.base import ConfigText, Limits, StateStore, StoredResponse
from bgproxy.state.memory import MemoryStore
from bgproxy.state.sqlite import SqliteStore
from tests.state.examples import commit_up_to, desired, entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Open(Protocol):
    async def __call__(self, limits: Limits = ...) -> StateStore: ...


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Open]:
    opened: list[StateStore] = []

    async def open_store(limits: Limits = Limits()) -> StateStore:  # noqa: B008 - frozen
        store: StateStore
        if request.param == "memory":
            store = MemoryStore(limits=limits, clock=clock)
        else:
            store = await SqliteStore.open(tmp_path / "state.db", limits=limits, clock=clock)
        opened.append(store)
        return store

    yield open_store
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_store: Open) -> StateStore:
    return await open_store()


async def test_a_new_store_remembers_nothing(store: StateStore) -> None:
    assert await store.load() is None
    assert await store.history() == []
    assert await store.generations() == []
    assert await store.config_text() is None
    assert await store.idempotent("key") is None


async def test_a_commit_is_what_load_returns(store: StateStore) -> None:
    await store.commit(desired(1, "blue"), entry(), expected_generation=0)
    await store.commit(desired(2, "green"), entry(), expected_generation=1)
    assert await store.load() == desired(2, "green")


async def test_a_commit_returns_its_history_entry_with_id_and_generations(store: StateStore) -> None:
    await commit_up_to(store, 2)
    stored = await store.commit(
        desired(3), entry(forced=True, from_pool="blue", to_pool="green"), expected_generation=2
    )
    assert stored == entry(
        forced=True, from_pool="blue", to_pool="green", id=3, generation_from=2, generation_to=3
    )
    assert (await store.history())[0] == stored


@pytest.mark.parametrize("expected", [0, 1, 3])
async def test_a_commit_that_expects_another_generation_conflicts_and_changes_nothing(
    store: StateStore, expected: int
) -> None:
    await commit_up_to(store, 2)
    with pytest.raises(Conflict, match=f"at generation 2, not {expected}") as caught:
        await store.commit(
            desired(expected + 1, "blue"),
            entry(),
            expected_generation=expected,
            idempotency=StoredResponse("key", "print", 200, b""),
            config=ConfigText("text", "source"),
        )
    assert caught.value.extra == {"generation": 2, "expected_generation": expected}
    assert await store.load() == desired(2)
    assert len(await store.history()) == 2
    assert await store.idempotent("key") is None
    assert await store.config_text() is None


async def test_a_generation_cannot_be_skipped(store: StateStore) -> None:
    with pytest.raises(ValueError, match="generation 2 cannot follow 0"):
        await store.commit(desired(2), entry(), expected_generation=0)


async def test_of_many_commits_at_once_exactly_one_wins(store: StateStore) -> None:
    await commit_up_to(store, 1)
    results = await asyncio.gather(
        *(store.commit(desired(2), entry(actor=str(number)), expected_generation=1) for number in range(8)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Conflict) for result in results) == 7
    assert [(e.generation_from, e.generation_to) for e in await store.history()] == [(1, 2), (0, 1)]


async def test_what_is_recorded_makes_no_generation(store: StateStore) -> None:
    await commit_up_to(store, 1)
    refused = entry(action="switch", outcome="refused", generation_from=1, generation_to=1)
    stored = await store.record(refused)
    assert stored.id == 2
    assert await store.history(1) == [stored]
    assert await store.load() == desired(1)


async def test_history_is_paged_newest_first(store: StateStore) -> None:
    for number in range(5):
        await store.record(entry(reason=str(number)))
    page = await store.history(2)
    assert [e.reason for e in page] == ["4", "3"]
    page = await store.history(2, before_id=page[-1].id)
    assert [e.reason for e in page] == ["2", "1"]
    assert [e.reason for e in await store.history(2, before_id=page[-1].id)] == ["0"]


async def test_history_of_one_service_has_the_groups_that_it_was_part_of(store: StateStore) -> None:
    for services in [("web",), ("web2",), ("api", "web"), ("webapi",)]:
        await store.record(entry(*services))
    assert [e.services for e in await store.history(service="web")] == [("api", "web"), ("web",)]
    assert [e.services for e in await store.history(service="web", before_id=3)] == [("web",)]
    assert await store.history(service="") == []


async def test_history_is_bounded_and_ids_go_on(open_store: Open) -> None:
    store = await open_store(Limits(history_entries=3))
    for _ in range(5):
        await store.record(entry())
    assert [e.id for e in await store.history()] == [5, 4, 3]


async def test_the_last_generations_can_be_inspected(open_store: Open) -> None:
    store = await open_store(Limits(generations=3))
    await commit_up_to(store, 5)
    assert await store.generations() == [desired(5), desired(4), desired(3)]
    assert await store.generations(1) == [desired(5)]


async def test_a_limit_below_one_is_refused(store: StateStore) -> None:
    for limit in (0, -1):
        with pytest.raises(Invalid, match="at least 1"):
            await store.history(limit)
        with pytest.raises(Invalid, match="at least 1"):
            await store.generations(limit)


async def test_a_commit_keeps_the_response_and_the_configuration_with_it(store: StateStore) -> None:
    response = StoredResponse("key", "print", 200, b'{"generation":1}\xff')
    config = ConfigText("services: {}\n", "/etc/bgproxy.yaml")
    await store.commit(desired(1), entry(), expected_generation=0, idempotency=response, config=config)
    assert await store.idempotent("key") == response
    assert await store.config_text() == config


async def test_a_commit_without_them_leaves_them_alone(store: StateStore) -> None:
    await store.set_config("a: 1", "file")
    await store.remember("key", "print", 409, b"no")
    await commit_up_to(store, 1)
    assert await store.config_text() == ConfigText("a: 1", "file")
    assert await store.idempotent("key") == StoredResponse("key", "print", 409, b"no")


async def test_the_applied_configuration_is_replaced_whole(store: StateStore) -> None:
    await store.set_config("a: 1", "file")
    await store.set_config("b: ü\0", "api")
    assert await store.config_text() == ConfigText("b: ü\0", "api")


async def test_a_key_is_answered_once(store: StateStore) -> None:
    """The first answer stays, and a commit under the same key is not made a second time."""
    first = StoredResponse("key", "print", 409, b"first")
    await store.remember(first.key, first.fingerprint, first.status, first.body)
    with pytest.raises(Conflict, match="'key' already has an answer"):
        await store.remember("key", "print", 200, b"second")
    with pytest.raises(Conflict, match="'key' already has an answer"):
        await store.commit(
            desired(1),
            entry(),
            expected_generation=0,
            idempotency=StoredResponse("key", "print", 200, b"third"),
            config=ConfigText("a", "b"),
        )
    assert await store.idempotent("key") == first
    assert await store.load() is None
    assert await store.history() == []
    assert await store.config_text() is None


async def test_an_answer_expires_and_its_key_is_free_again(open_store: Open, clock: Clock) -> None:
    store = await open_store(Limits(response_ttl_s=60.0))
    await store.remember("key", "print", 200, b"old")
    clock.now += 59.9
    assert await store.idempotent("key") is not None
    clock.now += 0.1
    assert await store.idempotent("key") is None
    await store.remember("key", "print", 200, b"new")
    assert await store.idempotent("key") == StoredResponse("key", "print", 200, b"new")


async def test_the_oldest_answers_make_room(open_store: Open) -> None:
    store = await open_store(Limits(responses=2))
    for key in "abc":
        await store.remember(key, "print", 200, b"")
    assert [await store.idempotent(key) is not None for key in "abc"] == [False, True, True]


async def test_a_key_that_is_used_again_after_it_expired_counts_as_new(
    open_store: Open, clock: Clock
) -> None:
    store = await open_store(Limits(responses=2, response_ttl_s=60.0))
    await store.remember("a", "print", 200, b"")
    clock.now += 60
    for key in "bac":
        await store.remember(key, "print", 200, b"")
    assert [await store.idempotent(key) is not None for key in "bac"] == [False, True, True]


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.record(entry(reason="\udcff")),
        lambda store: store.commit(desired(1), entry(reason="\udcff"), expected_generation=0),
        lambda store: store.commit(desired(1, "\udcff"), entry(), expected_generation=0),
        lambda store: store.commit(
            desired(1), entry(), expected_generation=0, idempotency=StoredResponse("\udcff", "", 1, b"")
        ),
        lambda store: store.commit(
            desired(1), entry(), expected_generation=0, config=ConfigText("\udcff", "file")
        ),
        lambda store: store.remember("key", "\udcff", 200, b""),
        lambda store: store.idempotent("\udcff"),
        lambda store: store.set_config("\udcff", "file"),
    ],
)
async def test_text_that_cannot_be_written_is_the_callers_fault_and_changes_nothing(
    store: StateStore, call: Callable[[StateStore], asyncio.Future[object]]
) -> None:
    with pytest.raises(Invalid):
        await call(store)
    assert await store.load() is None
    assert await store.history() == []
    assert await store.config_text() is None
    await commit_up_to(store, 1)


async def test_a_closed_store_says_so(store: StateStore) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StateError, match="closed"):
        await store.load()
    with pytest.raises(StateError, match="closed"):
        await store.commit(desired(1), entry(), expected_generation=0)
