"""Limits that several processes keep together."""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter

import pytest

from bgproxy.shared_memory.clients import WINDOW_CELLS, Clients, Limit, Ticket, network_of
from bgproxy.shared_memory.counters import PARKED, USED_RECORDS, CounterReader, WorkerBlock, vacate
from bgproxy.shared_memory.layout import BLOCKS, CLIENT_CELLS, SharedMemory
from tests.shared_memory.conftest import Start, said

ALICE, BOB = b"192.0.2.7", b"192.0.2.8"


def worker(memory: SharedMemory, block: int) -> Clients:
    WorkerBlock(memory, block)
    return Clients(memory, block)


def enters(limit: Limit, client: bytes = ALICE) -> Ticket | None:
    """As a connection does that may come in."""
    ticket = limit.enter()
    if ticket is not None and not limit.enter_as(ticket, client):
        ticket.give_back()
        return None
    return ticket


def let_in(limit: Limit, attempts: int, client: bytes = ALICE) -> list[Ticket]:
    return [ticket for _ in range(attempts) if (ticket := enters(limit, client)) is not None]


# --- what is counted ------------------------------------------------------------------------------


def test_as_many_are_let_in_as_the_limit_says_and_again_when_some_have_left(memory: SharedMemory) -> None:
    limit = worker(memory, 0).limit("public", 3, None)
    tickets = let_in(limit, 5)
    assert len(tickets) == 3
    tickets[0].give_back()
    tickets[0].give_back()
    assert len(let_in(limit, 5)) == 1


def test_all_workers_have_one_limit_together(memory: SharedMemory) -> None:
    limits = [worker(memory, block).limit("public", 10, None) for block in (0, 1, BLOCKS - 1)]
    tickets = [let_in(limit, 4) for limit in limits]
    assert [len(each) for each in tickets] == [4, 4, 2]
    for ticket in tickets[0]:
        ticket.give_back()
    assert len(let_in(limits[2], 10)) == 4


def test_each_listener_and_each_client_has_its_own(memory: SharedMemory) -> None:
    clients = worker(memory, 0)
    public, secure = clients.limit("public", None, 2), clients.limit("secure", None, 2)
    for limit in (public, secure):
        for client in (ALICE, BOB):
            assert len(let_in(limit, 3, client)) == 2


def test_whoever_is_over_the_limit_of_its_address_is_not_counted_for_the_listener(
    memory: SharedMemory,
) -> None:
    limit = worker(memory, 0).limit("public", 3, 2)
    assert len(let_in(limit, 9, ALICE)) == 2
    assert len(let_in(limit, 9, BOB)) == 1


def test_a_listener_that_is_opened_on_two_sockets_is_one_listener(memory: SharedMemory) -> None:
    WorkerBlock(memory, 0)
    first = Clients(memory, 0).limit("public", 3, None)
    assert len(let_in(first, 2)) == 2
    second = Clients(memory, 0).limit("public", 3, None)
    assert len(let_in(second, 2)) == 1
    assert enters(first) is None


@pytest.mark.parametrize(
    ("client", "network"),
    [
        (b"192.0.2.7", b"\xc0\0\x02\x07"),
        (b"::ffff:192.0.2.7", b"\xc0\0\x02\x07"),
        (b"2001:db8:1:2:3:4:5:6", b"\x20\x01\x0d\xb8\0\x01\0\x02"),
        (b"2001:db8:1:2::", b"\x20\x01\x0d\xb8\0\x01\0\x02"),
        (b"fe80::1%eth0", b"\xfe\x80\0\0\0\0\0\0"),
        (b"unix:", None),
    ],
)
def test_a_client_is_an_ipv4_address_or_a_network_of_ipv6(client: bytes, network: bytes | None) -> None:
    assert network_of(client) == network


def test_whoever_has_no_address_has_no_limit_of_its_own(memory: SharedMemory) -> None:
    limit = worker(memory, 0).limit("public", None, 1)
    assert len(let_in(limit, 5, b"unix:")) == 5


# --- other processes ------------------------------------------------------------------------------


def test_processes_that_all_enter_at_once_never_exceed_the_limit(memory: SharedMemory, start: Start) -> None:
    most, blocks = 50, (0, 1, 2)
    children = [start("take_places", block, most, fds=(memory.fd,)) for block in blocks]
    assert [said(child) for child in children] == ["ready"] * 3
    memory.word()[0] = 1
    taken = sum(int(said(child)) for child in children)
    assert 0 < taken <= most
    limit = worker(memory, 3).limit("public", most, most)
    assert len(let_in(limit, most)) == most - taken
    assert enters(limit) is None


def test_what_a_killed_worker_had_counts_no_more_although_nobody_has_said_so(
    memory: SharedMemory, start: Start
) -> None:
    child = start("take_places", 0, 5, fds=(memory.fd,))
    assert said(child) == "ready"
    memory.word()[0] = 1
    assert said(child) == "5"
    limit = worker(memory, 1).limit("public", 5, 5)
    assert enters(limit) is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert len(let_in(limit, 9)) == 5


def test_what_a_worker_had_counts_no_more_after_it_is_said_to_be_gone(memory: SharedMemory) -> None:
    assert len(let_in(worker(memory, 0).limit("public", 5, 5), 9)) == 5
    other = worker(memory, 1).limit("public", 5, 5)
    assert enters(other) is None
    vacate(memory, 0)
    assert len(let_in(other, 9)) == 5


def test_a_successor_in_a_block_begins_with_nothing_whether_it_has_limits_or_not(
    memory: SharedMemory,
) -> None:
    observer = worker(memory, 1).limit("public", 5, 5)
    assert len(let_in(worker(memory, 0).limit("public", 5, 5), 9)) == 5
    assert enters(observer) is None
    WorkerBlock(memory, 0)
    tickets = let_in(observer, 9)
    assert len(tickets) == 5
    for ticket in tickets:
        ticket.give_back()
    assert len(let_in(worker(memory, 0).limit("public", 5, 5), 9)) == 5


# --- the table ------------------------------------------------------------------------------------


def test_counts_of_many_clients_that_come_and_go_are_exact(memory: SharedMemory) -> None:
    """Beside those of another worker, with cells used again and again."""
    mine, other = (worker(memory, block).limit("public", 4000, 3) for block in (0, 1))
    there: list[tuple[bytes, Ticket]] = []
    for number in range(20_000):
        client = b"10.0.%d.%d" % (number * number % 11, number * 7 % 251)
        limit = other if number % 3 else mine
        have = Counter(name for name, _ in there)[client] if number % 50 == 0 else None
        ticket = enters(limit, client)
        if have is not None:
            assert (ticket is not None) == (have < 3)
        if ticket is not None:
            there.append((client, ticket))
        if len(there) > 500:
            there.pop(number % 400)[1].give_back()
    for _, ticket in there:
        ticket.give_back()
    assert len(let_in(mine, 9)) == 3


def test_all_is_blank_when_all_have_left(memory: SharedMemory) -> None:
    limit = worker(memory, 0).limit("public", 300, 300)
    header = memory.block(0)[: USED_RECORDS + 1].tolist()
    for number in range(200):
        ticket = enters(limit, b"10.0.0.%d" % number)
        assert ticket is not None
        ticket.give_back()
    block = memory.block(0)
    assert block[: USED_RECORDS + 1].tolist() == header
    assert not any(block[256:512].tolist())
    assert not any(block[-CLIENT_CELLS:].tolist())


def test_a_full_table_limits_nobody_new_and_says_so_once(
    memory: SharedMemory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = worker(memory, 0).limit("public", None, 1)
    monkeypatch.setattr(Clients, "hash", lambda *parts: int.from_bytes(parts[-1], "big") << 24)
    hosts = [b"10.0.0.%d" % number for number in range(WINDOW_CELLS)]
    tickets = [enters(limit, host) for host in hosts]
    assert all(tickets)
    assert [len(let_in(limit, 2, host)) for host in hosts] == [0] * WINDOW_CELLS
    assert len(let_in(limit, 3, b"10.0.1.1")) == 3
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert record.getMessage().startswith("listener public: there is no room to count all of its clients")


def test_limits_take_memory_for_those_who_are_there_only(memory: SharedMemory) -> None:
    for block in range(4):
        WorkerBlock(memory, block)
    CounterReader(memory).workers()
    before = os.fstat(memory.fd).st_blocks
    limits = [Clients(memory, block).limit("public", 100, 100) for block in range(4)]
    for limit in limits:
        assert enters(limit)
    pages = (os.fstat(memory.fd).st_blocks - before) * 512 / 4096
    assert pages <= 2 * len(limits)


def test_the_tables_are_apart_from_the_counters() -> None:
    assert max(USED_RECORDS, PARKED) < 128
