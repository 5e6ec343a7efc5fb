import asyncio
import contextlib
import socket
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import pytest

from bgproxy.demo import message
from bgproxy.demo.ledger import Change, Kind, Ledger, Outcome, Request
from bgproxy.demo.load import ROUND, Load
from bgproxy.demo.results import ResultReader

from .conftest import Serve
from .processes import AppProcess, Peer

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


async def first_of(port: int, *, count: int = 1) -> list[Request]:
    """What one client reports of its first requests."""
    seen: asyncio.Queue[Request] = asyncio.Queue()
    load = Load(port, seen.put_nowait, clients=1)
    load.start()
    async with asyncio.timeout(5):
        found = [await seen.get() for _ in range(count)]
    await load.stop(0)
    return found


def right(request: message.Message, *fields: bytes, body: bytes | None = None) -> bytes:
    """The answer that the load wants to a POST, which every client begins with or comes to."""
    body = sha256(request.body).hexdigest().encode() if body is None else body
    named = [b"X-Version: v1", b"X-Upstream: one", b"X-Request: " + request.fields[b"x-request"]]
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"HTTP/1.1 200 OK", *(fields or named), length, b"", body])


class Answers:
    """A server that answers with what a function makes of a request, and then closes, resets or goes on."""

    def __init__(self, *, then: str = "go on") -> None:
        self.then = then
        self.connections = 0

    def make(self, request: message.Message) -> bytes:
        return right(request)

    async def __call__(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        peer = Peer(reader, writer)
        with contextlib.suppress(AssertionError, ConnectionError):  # the client has left
            while True:
                peer.send(self.make(await peer.message()))
                if self.then != "go on":
                    break
        peer.close(reset=self.then == "reset")


async def test_many_clients_on_a_sound_app_leave_clean_books(app: AppProcess) -> None:
    ledger = Ledger()
    ledger.changes.append(Change(Kind.START, 0.0, 0.0, frozenset({"v1"})))
    enough = asyncio.Event()

    def sink(request: Request) -> None:
        ledger.add([request])
        if len(ledger.requests) >= 64 * len(ROUND):
            enough.set()

    load = Load(app.port, sink, clients=64)
    load.start()
    async with asyncio.timeout(20):
        await enough.wait()
    await load.stop()
    ledger.add_journal("blue-1", app.journal.read_text().splitlines())
    requests = ledger.requests
    assert ledger.errors() == ledger.stale() == ledger.unprocessed() == []
    assert ledger.duplicates() == []
    assert len(ledger.journal) == len(requests) == len({request.id for request in requests})
    methods = Counter(request.method for request in requests)
    assert abs(methods["POST"] - methods["GET"]) < 0.05 * len(requests)
    assert {request.path for request in requests} == {"/", "/slow", "/chunked"}
    assert min(request.ended - request.started for request in requests if request.path == "/slow") > 0.09
    assert load.outstanding == 0


async def test_a_request_is_reported_with_who_answered_it(serve: Serve) -> None:
    [request] = await first_of(await serve(Answers()))
    assert (request.outcome, request.status, request.ok) == (Outcome.ANSWERED, 200, True)
    assert (request.version, request.upstream, request.preview) == ("v1", "one", False)
    assert request.started < request.ended


async def test_an_announced_close_is_no_failure(serve: Serve) -> None:
    class Closing(Answers):
        def make(self, request: message.Message) -> bytes:
            name = request.fields[b"x-request"]
            return right(request, b"X-Request: " + name, b"Connection: close")

    server = Closing(then="close")
    requests = await first_of(await serve(server), count=2)
    assert requests[0].outcome is Outcome.ANSWERED
    assert server.connections >= 2


async def test_a_close_before_the_answer_is_a_reset(serve: Serve) -> None:
    class Silent(Answers):
        def make(self, request: message.Message) -> bytes:
            return b""

    for then in ("close", "reset"):
        [request] = await first_of(await serve(Silent(then=then)))
        assert (request.outcome, request.status) == (Outcome.RESET, 0)


async def test_a_close_in_mid_answer_is_a_truncation(serve: Serve) -> None:
    class Torn(Answers):
        def make(self, request: message.Message) -> bytes:
            return right(request)[:-1]

    [request] = await first_of(await serve(Torn(then="close")))
    assert request.outcome is Outcome.TRUNCATED


async def test_an_error_status_is_recorded_as_it_is(serve: Serve) -> None:
    class Failing(Answers):
        def make(self, request: message.Message) -> bytes:
            return b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"

    [request] = await first_of(await serve(Failing()))
    assert (request.outcome, request.status, request.ok) == (Outcome.ANSWERED, 502, False)


async def test_the_answer_to_another_request_is_noticed(serve: Serve) -> None:
    class Mixed(Answers):
        def make(self, request: message.Message) -> bytes:
            return right(request, b"X-Request: another")

    [request] = await first_of(await serve(Mixed()))
    assert request.outcome is Outcome.WRONG_ID


async def test_a_wrong_digest_is_noticed(serve: Serve) -> None:
    class Altered(Answers):
        def make(self, request: message.Message) -> bytes:
            return right(request, body=b"0" * 64)

    requests = await first_of(await serve(Altered()), count=2)
    assert {request.method: request.outcome for request in requests}["POST"] is Outcome.WRONG_BODY


@pytest.mark.parametrize(
    "answer",
    [b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nmore"],
)
async def test_an_answer_that_does_not_end_as_announced_is_malformed(serve: Serve, answer: bytes) -> None:
    class Odd(Answers):
        def make(self, request: message.Message) -> bytes:
            return answer

    [request] = await first_of(await serve(Odd()))
    assert request.outcome is Outcome.MALFORMED


async def test_an_answer_to_nothing_is_malformed(serve: Serve) -> None:
    async def talkative(reader: Reader, writer: Writer) -> None:
        peer = Peer(reader, writer)
        peer.send(right(await peer.message()))
        await told_more.wait()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        peer.close()

    told_more = asyncio.Event()
    seen: asyncio.Queue[Request] = asyncio.Queue()
    load = Load(await serve(talkative), seen.put_nowait, clients=1, think_s=60.0)
    load.start()
    async with asyncio.timeout(5):
        assert (await seen.get()).ok
        told_more.set()
        assert (await seen.get()).outcome is Outcome.MALFORMED
    await load.stop()


async def test_a_connection_that_ends_between_two_requests_fails_neither(serve: Serve) -> None:
    server = Answers(then="close")
    seen: asyncio.Queue[Request] = asyncio.Queue()
    load = Load(await serve(server), seen.put_nowait, clients=1, think_s=0.05)
    load.start()
    async with asyncio.timeout(5):
        assert [(await seen.get()).ok for _ in range(2)] == [True, True]
    await load.stop()
    assert server.connections >= 2


async def test_clients_that_lose_their_connections_make_no_more_requests_than_they_shall(
    serve: Serve,
) -> None:
    for requests in range(20, 40):
        seen: list[Request] = []
        load = Load(await serve(Answers(then="reset")), seen.append, clients=20, requests=requests)
        load.start()
        async with asyncio.timeout(5):
            await load.quiet.wait()
        await load.stop()
        assert len(seen) == requests


async def test_a_refused_connection_is_recorded_and_tried_again() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        requests = await first_of(nobody.getsockname()[1], count=2)
    assert [request.outcome for request in requests] == [Outcome.REFUSED] * 2


async def test_a_request_that_never_ends_is_unanswered_when_the_load_stops(serve: Serve) -> None:
    async def mute(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read(-1)
        writer.close()

    asked = asyncio.Event()
    seen: list[Request] = []
    load = Load(await serve(mute), seen.append, clients=1)
    load.start()
    await asked.wait()
    await load.stop(0.01)
    assert [request.outcome for request in seen] == [Outcome.UNANSWERED]


async def test_stopping_waits_for_what_is_outstanding(app: AppProcess) -> None:
    seen: list[Request] = []
    load = Load(app.port, seen.append, clients=20, think_s=0.001, preview=True)
    load.start()
    async with asyncio.timeout(5):
        while "/slow" not in app.journal.read_text():
            await asyncio.sleep(0)
    await load.stop()
    assert all(request.ok and request.preview for request in seen)
    assert len(seen) == len(app.journal.read_text().splitlines())


async def test_as_a_process_it_writes_results_until_it_is_told_to_stop(
    app: AppProcess, tmp_path: Path
) -> None:
    path = tmp_path / "results"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bgproxy.demo.load", "--port", str(app.port), "--results", str(path), "--clients", "8"),
    )
    reader = ResultReader(path)
    async with asyncio.timeout(10):
        while not (seen := reader.read()):
            await asyncio.sleep(0)
        process.terminate()
        assert await process.wait() == 0
    seen += reader.read()
    assert all(request.ok for request in seen)
    assert len(seen) == len(app.journal.read_text().splitlines())
