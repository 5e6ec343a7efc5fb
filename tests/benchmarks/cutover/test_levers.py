import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.contenders import ContenderError
from benchmarks.cutover import levers
from benchmarks.cutover.levers import NGINX_UPSTREAM
from benchmarks.cutover.place import Place

APPS = {"blue": (8001, 8002), "green": (8003, 8004)}


@contextmanager
def answering(listener: socket.socket, answer: bytes) -> Iterator[list[bytes]]:
    """One connection; what it was sent is in the list when the context is over."""
    received: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            received.append(connection.recv(65536))
            connection.sendall(answer)

    listener.settimeout(5)
    thread = threading.Thread(target=serve)
    with listener:
        thread.start()
        yield received
        thread.join()


@contextmanager
def admin_api(directory: Path, answer: bytes) -> Iterator[tuple[Place, list[bytes]]]:
    listener = socket.create_server(("127.0.0.1", 0))
    place = Place(directory, 1, listener.getsockname()[1], APPS)
    with answering(listener, answer) as received:
        yield place, received


def an_answer(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def test_bgproxy_says_how_long_it_took_to_sync(tmp_path: Path) -> None:
    with admin_api(tmp_path, an_answer("200 OK", '{"sync_milliseconds": 1.5}')) as (place, received):
        assert levers.bgproxy(place, "green") == 0.0015
    head, _, body = received[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /admin/switch HTTP/1.1\r\n")
    assert json.loads(body)["to"] == "green"


def test_a_call_that_changes_nothing_is_made_like_a_switch(tmp_path: Path) -> None:
    with admin_api(tmp_path, an_answer("200 OK", "{}")) as (place, received):
        levers.touch(place)
    assert received[0].startswith(b"GET /healthz HTTP/1.1\r\n")


def test_a_chunked_answer_is_read_to_its_end(tmp_path: Path) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nOK\n\r\n0\r\n\r\n"
    with admin_api(tmp_path, chunked) as (place, received):
        levers.envoy(place, "green")
    assert received[0].startswith(b"POST /runtime_modify?routing.traffic_shift.web=100 ")


def test_caddy_is_sent_the_whole_configuration(tmp_path: Path) -> None:
    with admin_api(tmp_path, an_answer("200 OK", "")) as (place, received):
        levers.caddy(place, "green")
    assert b"Content-Type: text/caddyfile\r\n" in received[0]
    assert b"reverse_proxy 127.0.0.1:8003 127.0.0.1:8004 {" in received[0]


def test_a_refused_call_is_an_error_with_the_answer(tmp_path: Path) -> None:
    with (
        admin_api(tmp_path, an_answer("409 Conflict", "green is not healthy")) as (place, _),
        pytest.raises(ContenderError, match=r"POST /admin/switch.*409 Conflict: green is not healthy"),
    ):
        levers.bgproxy(place, "green")


def test_an_answer_that_breaks_off_is_no_acknowledgement(tmp_path: Path) -> None:
    with (
        admin_api(tmp_path, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nOK") as (place, _),
        pytest.raises(ContenderError, match="closed the connection in mid-answer"),
    ):
        levers.caddy(place, "green")


@pytest.mark.parametrize(("answer", "is_refused"), [(b"\n", False), (b"entry not found.\n\n", True)])
def test_haproxy_takes_a_map_silently_or_says_what_is_wrong(
    tmp_path: Path, answer: bytes, is_refused: bool
) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "runtime.sock"))
    listener.listen()
    place = Place(tmp_path, 1, 2, APPS)
    with answering(listener, answer) as received:
        if is_refused:
            with pytest.raises(ContenderError, match="entry not found"):
                levers.haproxy(place, "green")
        else:
            levers.haproxy(place, "green")
    assert received == [f"set map {tmp_path}/active.map active green\n".encode()]


def test_nginx_that_cannot_be_signalled_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nginx"
    program.write_text('#!/bin/sh\necho "invalid PID number" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setattr("benchmarks.contenders.process.find", lambda _: str(program))
    place = Place(tmp_path, 1, 2, APPS)
    with pytest.raises(ContenderError, match=r"nginx -s reload.*invalid PID number"):
        levers.nginx(place, "green")
    assert (tmp_path / "upstream.conf").read_text() == place.fill(NGINX_UPSTREAM, "green")
