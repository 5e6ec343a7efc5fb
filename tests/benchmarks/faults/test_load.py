import asyncio
import os
from pathlib import Path

from benchmarks.faults import load
from benchmarks.faults.upstream import Connection, Upstream
from bgproxy.demo.results import ResultReader


async def test_the_clients_end_after_so_many_requests(tmp_path: Path) -> None:
    journal = os.open(tmp_path / "journal", os.O_WRONLY | os.O_CREAT)
    upstream = Upstream(journal, None, 1)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(upstream), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    path = tmp_path / "results"
    with path.open("a") as file:
        await load.run(file, port=port, clients=4, requests=50, think_s=0.0)
    server.close()
    os.close(journal)
    requests = ResultReader(path).read()
    assert len(requests) == 50
    assert all(each.ok for each in requests)
