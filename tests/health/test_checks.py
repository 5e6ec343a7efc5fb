import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bgproxy.health.checks import BODY_LIMIT_BYTES, Checker
from bgproxy.model import HealthCheck

from .doubles import Answering, Serve


def answer(status: str = "200 OK", body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture
async def checker() -> AsyncIterator[Checker]:
    checker = Checker()
    yield checker
    await checker.close()


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{unused.getsockname()[1]}"


async def test_an_accepted_status_is_a_success(checker: Checker, serve: Serve) -> None:
    result = await checker.run(await serve(Answering(answer())), HealthCheck())
    assert (result.ok, result.reason) == (True, "status 200")
    assert 0 < result.duration_s < 1


async def test_another_status_is_a_failure_that_says_what_was_expected(
    checker: Checker, serve: Serve
) -> None:
    address = await serve(Answering(answer("503 Service Unavailable")))
    result = await checker.run(address, HealthCheck())
    assert (result.ok, result.reason) == (False, "status 503, expected 200")


async def test_many_expected_statuses_are_told_as_ranges(checker: Checker, serve: Serve) -> None:
    address = await serve(Answering(answer("503 Service Unavailable")))
    result = await checker.run(address, HealthCheck(expect_status=(401, *range(200, 300))))
    assert result.reason == "status 503, expected 200-299, 401"


async def test_the_request_carries_what_the_check_says(checker: Checker, serve: Serve) -> None:
    server = Answering(answer())
    check = HealthCheck(
        method="HEAD",
        path="/health%7Ez?deep=a+b",
        host="app.example.com",
        headers=(("X-Probe", "1"), ("User-Agent", "mine")),
    )
    result = await checker.run(await serve(server), check)
    assert result.ok
    request_line, *lines = server.heads[0].strip().split("\r\n")
    assert request_line == "HEAD /health%7Ez?deep=a+b HTTP/1.1"
    assert {"Host: app.example.com", "X-Probe: 1", "User-Agent: mine"} <= set(lines)


async def test_without_a_host_the_address_is_sent(checker: Checker, serve: Serve) -> None:
    server = Answering(answer())
    address = await serve(server)
    await checker.run(address, HealthCheck())
    assert f"Host: {address}\r\n" in server.heads[0]
    assert "User-Agent: bgproxy-health-check\r\n" in server.heads[0]


async def test_a_redirect_is_judged_and_not_followed(checker: Checker, serve: Serve) -> None:
    server = Answering(answer("302 Found", b"", "Location: /elsewhere"))
    result = await checker.run(await serve(server), HealthCheck())
    assert result.reason == "status 302, expected 200"
    assert len(server.heads) == 1


async def test_a_cookie_is_not_kept_and_a_connection_not_reused(checker: Checker, serve: Serve) -> None:
    heads: list[str] = []
    connections = 0

    async def keep_open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while head := await reader.read(65536):
            heads.append(head.decode())
            writer.write(answer("200 OK", b"", "Set-Cookie: session=1"))
        writer.close()

    port = (await serve(keep_open)).rpartition(":")[2]
    for _ in range(2):
        assert (await checker.run(f"localhost:{port}", HealthCheck())).ok
    assert connections == 2
    assert "session" not in heads[1]


async def test_the_body_has_to_match_the_pattern(checker: Checker, serve: Serve) -> None:
    address = await serve(Answering(answer("200 OK", b'{"status": "starting"}')))
    good = await checker.run(address, HealthCheck(expect_body='"status": *"(ok|starting)"'))
    bad = await checker.run(address, HealthCheck(expect_body='"ok"'))
    assert good.ok
    assert (bad.ok, bad.reason) == (False, "body does not match '\"ok\"'")


@pytest.mark.parametrize(("before", "found"), [(BODY_LIMIT_BYTES - 2, True), (BODY_LIMIT_BYTES - 1, False)])
async def test_no_more_than_the_limit_of_a_body_is_searched(
    checker: Checker, serve: Serve, before: int, found: bool
) -> None:
    address = await serve(Answering(answer("200 OK", b"-" * before + b"ok" + b"-" * 100_000)))
    assert (await checker.run(address, HealthCheck(expect_body="ok"))).ok is found


async def test_an_endless_body_ends_at_the_limit(checker: Checker, serve: Serve) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            writer.close()

    assert (await checker.run(await serve(endless), HealthCheck())).ok


async def test_a_compressed_body_is_neither_asked_for_nor_unpacked(checker: Checker, serve: Serve) -> None:
    server = Answering(answer("200 OK", gzip.compress(b"ok" * 1000), "Content-Encoding: gzip"))
    address = await serve(server)
    assert (await checker.run(address, HealthCheck())).ok
    assert not (await checker.run(address, HealthCheck(expect_body="ok"))).ok
    assert "Accept-Encoding" not in server.heads[0]


async def test_an_answer_that_breaks_off_is_a_failure(checker: Checker, serve: Serve) -> None:
    address = await serve(Answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"))
    result = await checker.run(address, HealthCheck())
    assert (result.ok, result.reason) == (False, "connection closed in mid-response")


async def test_a_connection_without_an_answer_is_a_failure(checker: Checker, serve: Serve) -> None:
    result = await checker.run(await serve(Answering(b"")), HealthCheck())
    assert (result.ok, result.reason) == (False, "connection closed before a response")


async def test_an_answer_that_is_not_http_is_a_failure(checker: Checker, serve: Serve) -> None:
    result = await checker.run(await serve(Answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")), HealthCheck())
    assert (result.ok, result.reason) == (False, "not a valid HTTP response")


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"]
)
async def test_one_timeout_covers_the_whole_probe(checker: Checker, serve: Serve, sent: bytes) -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await reader.read()
        writer.close()

    result = await checker.run(await serve(stall), HealthCheck(timeout_s=0.05))
    assert (result.ok, result.reason) == (False, "timed out after 0.05s")
    assert result.duration_s >= 0.04


@pytest.mark.parametrize("kind", ["http", "tcp"])
async def test_a_closed_port_is_a_failure(checker: Checker, closed_port: str, kind: str) -> None:
    result = await checker.run(closed_port, HealthCheck(kind=kind))
    assert (result.ok, result.reason) == (False, "connection refused")


@pytest.mark.parametrize("kind", ["http", "tcp"])
async def test_a_unix_socket_is_probed_by_its_path(checker: Checker, tmp_path: Path, kind: str) -> None:
    server = Answering(answer())
    path = tmp_path / "app.sock"
    async with await asyncio.start_unix_server(server, path):
        assert (await checker.run(f"unix:{path}", HealthCheck(kind=kind))).ok
    missing = await checker.run(f"unix:{path}.none", HealthCheck(kind=kind))
    assert (missing.ok, missing.reason) == (False, "no such file or directory")


@pytest.mark.parametrize("kind", ["http", "tcp"])
async def test_an_ipv6_address_is_probed(checker: Checker, kind: str) -> None:
    server = await asyncio.start_server(Answering(answer()), "::1", 0)
    async with server:
        address = f"[::1]:{server.sockets[0].getsockname()[1]}"
        assert (await checker.run(address, HealthCheck(kind=kind))).ok


async def test_an_open_port_satisfies_a_tcp_check(checker: Checker, serve: Serve) -> None:
    connected = asyncio.Event()

    async def notice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        connected.set()
        writer.close()

    result = await checker.run(await serve(notice), HealthCheck(kind="tcp"))
    assert (result.ok, result.reason) == (True, "connected")
    async with asyncio.timeout(5):
        await connected.wait()


async def test_a_command_check_runs_the_command(checker: Checker) -> None:
    check = HealthCheck(kind="command", command=("test", "{port}", "=", "8000"))
    assert (await checker.run("10.0.0.1:8000", check)).ok
    assert (await checker.run("10.0.0.1:8001", check)).reason == "exit status 1"


async def test_a_command_that_takes_too_long_is_a_failure(checker: Checker) -> None:
    check = HealthCheck(kind="command", timeout_s=0.05, command=("sleep", "600"))
    assert (await checker.run("10.0.0.1:8000", check)).reason == "timed out after 0.05s"


async def test_a_name_that_does_not_resolve_is_a_failure(checker: Checker) -> None:
    """`.invalid` never exists (RFC 6761 section 6.4)."""
    for kind in ("http", "tcp"):
        result = await checker.run("bgproxy.invalid:80", HealthCheck(kind=kind, timeout_s=20.0))
        assert not result.ok
        assert "name" in result.reason


async def test_an_unknown_kind_is_a_defect_and_raises(checker: Checker) -> None:
    with pytest.raises(ValueError, match="no health check of kind 'carrier-pigeon'"):
        await checker.run("127.0.0.1:1", HealthCheck(kind="carrier-pigeon"))
