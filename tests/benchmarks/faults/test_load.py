import asyncio
import os
from pathlib import Path

import pytest

from benchmarks.faults import load
from benchmarks.faults.upstream import Connection, Upstream
from bgproxy.demo.ledger import Outcome
from bgproxy.demo.load import Load
from bgproxy.demo.results import ResultReader


async def test_the_clients_end_after_so_many_requests(tmp_path: Path) -> None:
    journal = os.open(tmp_path / "journal", os.O_WRONLY | os.O_CREAT)
    upstream = Upstream(journal, None, 1)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(upstream), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    path = tmp_path / "results"
    with path.open("a") as file:
        await load.run(file, port=port, clients=4, requests=50, seconds=10.0, think_s=0.0)
    server.close()
    os.close(journal)
    requests = ResultReader(path).read()
    assert len(requests) == 50
    assert all(each.ok for each in requests)


async def test_a_request_that_is_never_answered_is_recorded_when_the_time_is_up(tmp_path: Path) -> None:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    path = tmp_path / "results"
    with path.open("a") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Load.stop, "__defaults__", (0.01,))  # how long it waits for what is outstanding
        await load.run(file, port=port, clients=2, requests=50, seconds=0.05, think_s=0.0)
    server.close()
    assert [each.outcome for each in ResultReader(path).read()] == [Outcome.UNANSWERED] * 2
