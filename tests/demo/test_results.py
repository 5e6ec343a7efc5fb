import asyncio
from pathlib import Path

from bgproxy.demo.ledger import Outcome, Request
from bgproxy.demo.results import ResultReader, ResultWriter


def request(number: int) -> Request:
    return Request(f"r{number}", "GET", "/", 1.0, 2.0, Outcome.ANSWERED, 200, "v1", "blue-1")


async def test_a_reader_gets_every_request_once(tmp_path: Path) -> None:
    path = tmp_path / "results"
    reader = ResultReader(path)
    assert reader.read() == []
    with path.open("a") as file:
        writer = ResultWriter(file)
        writer.add(request(1))
        writer.add(request(2))
        writer.flush()
        assert reader.read() == [request(1), request(2)]
        assert reader.read() == []
        writer.add(request(3))
        writer.flush()
        assert reader.read() == [request(3)]


async def test_a_request_reaches_the_file_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "results"
    with path.open("a") as file:
        ResultWriter(file).add(request(1))
        reader = ResultReader(path)
        async with asyncio.timeout(5):
            while not (found := reader.read()):
                await asyncio.sleep(0)
    assert found == [request(1)]


def test_a_half_written_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "results"
    reader = ResultReader(path)
    line = request(1).line()
    path.write_text(line + line[:7])
    assert reader.read() == [request(1)]
    path.write_text(line + line)
    assert reader.read() == [request(1)]
