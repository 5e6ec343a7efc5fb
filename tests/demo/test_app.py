import asyncio
import sys
import time
from hashlib import sha256

import pytest

from bgproxy.demo import message
from bgproxy.demo.app import pieces

from .conftest import Connect
from .processes import AppProcess

NAMED = b"X-Request: r-1"


async def test_every_answer_names_version_upstream_and_request(app: AppProcess, connect: Connect) -> None:
    peer = await connect(app.port)
    for start in (b"GET /", b"POST /", b"GET /chunked", b"GET /health", b"GET /version", b"GET /nothing"):
        answer = await peer.ask(start, b"", NAMED)
        named = [answer.fields[name] for name in (b"x-version", b"x-upstream", b"x-request")]
        assert named == [b"v1", b"blue-1", b"r-1"]


async def test_a_post_is_answered_with_the_digest_of_its_body(app: AppProcess, connect: Connect) -> None:
    peer = await connect(app.port)
    body = b"x" * 100_000
    digest = sha256(body).hexdigest().encode()
    assert (await peer.ask(b"POST /", body)).body == digest
    chunks = message.chunk(body[:7]) + message.chunk(body[7:]) + message.chunk(b"")
    peer.send(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert (await peer.message()).body == digest


async def test_a_chunked_answer_has_all_its_pieces(app: AppProcess, connect: Connect) -> None:
    peer = await connect(app.port)
    answer = await peer.ask(b"GET /chunked", b"", NAMED)
    assert answer.fields[b"transfer-encoding"] == b"chunked"
    assert answer.body == b"".join(pieces(b"r-1"))


async def test_requests_sent_at_once_are_answered_in_their_order(app: AppProcess, connect: Connect) -> None:
    peer = await connect(app.port)
    paths = [b"/slow", b"/", b"/chunked", b"/version"]
    peer.send(b"".join(b"GET %b?q HTTP/1.1\r\nX-Request: %b\r\n\r\n" % (path, path) for path in paths))
    assert [(await peer.message()).fields[b"x-request"] for _ in paths] == paths


async def test_health_follows_break_and_mend(app: AppProcess, connect: Connect) -> None:
    peer = await connect(app.port)
    asked = (b"GET /health", b"POST /break", b"GET /health", b"POST /mend", b"GET /health")
    seen = [(await peer.ask(start)).start.split()[1] for start in asked]
    assert seen == [b"200", b"200", b"503", b"200", b"200"]


async def test_the_journal_has_every_request_that_was_answered(app: AppProcess, connect: Connect) -> None:
    peer = await connect(app.port)
    before = time.monotonic()
    await peer.ask(b"POST /", b"a", b"X-Request: one")
    await peer.ask(b"GET /slow", b"", b"X-Request: two")
    await peer.ask(b"POST /", b"a", b"X-Request: one")
    await peer.ask(b"GET /health")
    lines = [line.split() for line in app.journal.read_text().splitlines()]
    assert [line[:3] for line in lines] == [
        ["POST", "/", "one"],
        ["GET", "/slow", "two"],
        ["POST", "/", "one"],
    ]
    times = [float(line[3]) for line in lines]
    assert sorted(times) == times
    assert before - 0.001 <= times[0] <= times[-1] <= time.monotonic()


async def test_a_request_that_was_not_complete_is_not_in_the_journal(
    app: AppProcess, connect: Connect
) -> None:
    broken_off, peer = await connect(app.port), await connect(app.port)
    broken_off.send(b"POST / HTTP/1.1\r\nX-Request: half\r\nContent-Length: 9\r\n\r\nhalf")
    broken_off.close()
    await peer.ask(b"GET /", b"", b"X-Request: whole")
    assert app.journal.read_text().startswith("GET / whole ")
    assert app.journal.read_text().count("\n") == 1


@pytest.mark.parametrize(
    "request_bytes",
    [b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"],
)
async def test_a_connection_that_cannot_or_shall_not_go_on_is_closed(
    app: AppProcess, connect: Connect, request_bytes: bytes
) -> None:
    peer = await connect(app.port)
    peer.send(request_bytes)
    assert (await peer.message()).fields[b"connection"] == b"close"
    assert await peer.rest() == b""


async def test_sigterm_finishes_what_is_being_answered_and_closes_the_rest(
    app: AppProcess, connect: Connect
) -> None:
    busy, reading, idle = [await connect(app.port) for _ in range(3)]
    await idle.ask(b"GET /")
    busy.send(b"GET /slow HTTP/1.1\r\nX-Request: slow\r\n\r\n")
    reading.send(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na")
    async with asyncio.timeout(5):
        while "slow" not in app.journal.read_text():
            await idle.ask(b"GET /")
        app.process.terminate()
        assert await idle.rest() == b""
        reading.send(b"b")
        for peer in (reading, busy):
            answer = await peer.message()
            assert answer.start == b"HTTP/1.1 200 OK"
            assert answer.fields[b"connection"] == b"close"
        assert await app.process.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        await connect(app.port)


async def test_a_client_that_leaves_does_not_disturb_the_app(app: AppProcess, connect: Connect) -> None:
    gone, peer = await connect(app.port), await connect(app.port)
    gone.send(b"GET /slow HTTP/1.1\r\n\r\n")
    gone.close(reset=True)
    assert (await peer.ask(b"GET /slow")).start == b"HTTP/1.1 200 OK"
    app.process.terminate()
    assert await app.process.wait() == 0


async def test_a_port_that_is_taken_is_told_in_one_line(app: AppProcess) -> None:
    """The app of the tutorial is the first thing that many a reader starts."""
    command = ("-m", "bgproxy.demo.app", "--port", str(app.port), "--version", "v1", "--name", "second")
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode() == f"cannot listen on 127.0.0.1:{app.port}: Address already in use\n"
