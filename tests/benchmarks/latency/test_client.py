"""The client, against a server that answers as it is told."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks.latency import client
from benchmarks.latency.client import ClientError
from benchmarks.scenarios import SMALL_BODY

ANSWER = f"HTTP/1.1 200 OK\r\nContent-Length: {len(SMALL_BODY)}\r\n\r\n{SMALL_BODY}".encode()
STALL_S = 0.3

Answer = Callable[[socket.socket, int], None]


@contextmanager
def server(answer: Answer) -> Iterator[int]:
    """A thread for each connection; `answer` gets the number of the request, counted over all of them."""
    lock = threading.Lock()
    count = 0

    def serve(accepted: socket.socket) -> None:
        nonlocal count
        with accepted:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while accepted.recv(4096):
                with lock:
                    count += 1
                    answer(accepted, count)

    def accept() -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return  # the test is over
            threading.Thread(target=serve, args=[accepted], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()


def at_once(accepted: socket.socket, _: int) -> None:
    accepted.sendall(ANSWER)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "WARM_UP_S", 0.1)
    monkeypatch.setattr(client, "PATIENCE_S", 1.0)


def test_it_sends_at_the_rate_and_counts_what_came_after_the_warm_up() -> None:
    with server(at_once) as port:
        measured = client.run(port, rate_per_s=500, seconds=0.5, connections=4)
    assert measured.requests == 250
    assert measured.requests_per_s <= 300 / (
        299 / 500
    )  # the warm-up is in it, and the last one is due after 299 others
    assert 0 < measured.latency_us["p0"] <= measured.latency_us["p50"] <= measured.latency_us["p100"]


def test_what_was_due_during_a_stall_has_waited_for_it() -> None:
    """A closed loop would see four slow requests of 250, and a p90 as if nothing had happened."""

    def stall_once(accepted: socket.socket, number: int) -> None:
        if number == 100:
            time.sleep(STALL_S)
        accepted.sendall(ANSWER)

    with server(stall_once) as port:
        measured = client.run(port, rate_per_s=500, seconds=0.5, connections=4)
    assert measured.requests == 250
    # Due evenly over the stall: half of those 150 waited for more than half of it.
    assert measured.latency_us["p75"] > STALL_S / 3 * 1e6
    assert measured.late_us["p75"] > STALL_S / 3 * 1e6


def test_an_answer_in_pieces_is_one_answer() -> None:
    def in_pieces(accepted: socket.socket, _: int) -> None:
        for piece in (ANSWER[:5], ANSWER[5:-9], ANSWER[-9:]):
            accepted.sendall(piece)

    with server(in_pieces) as port:
        assert client.run(port, rate_per_s=200, seconds=0.2, connections=1).requests == 40


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "503 Service Unavailable.*instead of an answer"),
        (ANSWER + ANSWER[:1], "instead of an answer"),
    ],
)
def test_another_answer_is_an_error(said: bytes, expected: str) -> None:
    def wrongly(accepted: socket.socket, _: int) -> None:
        accepted.sendall(said)

    with server(wrongly) as port, pytest.raises(ClientError, match=expected):
        client.run(port, rate_per_s=100, seconds=0.2, connections=1)


def test_a_closed_connection_is_an_error() -> None:
    def hang_up(accepted: socket.socket, _: int) -> None:
        accepted.shutdown(socket.SHUT_RDWR)

    with server(hang_up) as port, pytest.raises(ClientError, match="the connection was closed"):
        client.run(port, rate_per_s=100, seconds=0.2, connections=2)


def test_an_answer_that_never_comes_is_an_error() -> None:
    def forget_some(accepted: socket.socket, number: int) -> None:
        if number % 20:
            accepted.sendall(ANSWER)

    with (
        server(forget_some) as port,
        pytest.raises(ClientError, match="of 60 requests were not answered 1 s"),
    ):
        client.run(port, rate_per_s=200, seconds=0.2, connections=4)


def test_as_a_program_it_prints_what_it_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with server(at_once) as port:
        arguments = ["--port", str(port), "--rate", "200", "--seconds", "0.2", "--connections", "2"]
        assert client.main(arguments) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["requests"] == 40
    assert set(said) == {"requests", "requests_per_s", "latency_us", "late_us", "busy"}


def test_as_a_program_it_says_where_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert client.main(["--port", str(port), "--rate", "200", "--seconds", "0.2"]) == 1
    assert f"to port {port}" in capsys.readouterr().err
