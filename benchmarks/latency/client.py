"""A client whose requests are due on a schedule, whatever has become of those before: an open loop.

    python -m benchmarks.latency.client --port N --rate 20000 --seconds 5

A request's latency counts from when it was due, not from when it could be sent: what waits behind a slow answer,
or for this program to be given the processor, has waited. It must never leave out a request: one that fails, or
that is not answered, ends the run with an error.

One thread and epoll, no event loop: it shares a core with the backend, and a loop's timers are a millisecond apart.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import select
import socket
import sys
import time
from array import array
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks.latency import percentiles
from benchmarks.latency.percentiles import Curve
from benchmarks.latency.ticker import Ticker
from benchmarks.scenarios import SMALL, SMALL_BODY

CONNECTIONS: Final = 64
# It does not wake more often than this for what is due, and then exactly when something is; answers wake it, too.
TICK_NS: Final = 50_000
# At the beginning, and not counted: connections to the backend are made, and Python specialises its bytecode.
WARM_UP_S: Final = 0.5
# For what is outstanding when everything has been sent.
PATIENCE_S: Final = 5.0
CONNECT_S: Final = 5.0
READ_BYTES: Final = 4096
NS_PER_S: Final = 1_000_000_000

_REQUEST: Final = f"GET {SMALL} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
_GOOD: Final = b"HTTP/1.1 200 "
_END: Final = b"\r\n\r\n" + SMALL_BODY.encode()


class ClientError(Exception):
    """A request was not answered as it should be; the text says how."""


@dataclass(frozen=True, slots=True)
class Measured:
    """`late_us` is how long after its time a request was sent: the client's own part in the latency."""

    requests: int
    requests_per_s: float
    latency_us: Curve
    late_us: Curve
    busy: float  # this program, as a share of a core


class _Connection:
    """`due_ns` is that of the request that it waits for."""

    __slots__ = ("due_ns", "pending", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), CONNECT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.due_ns = -1
        self.pending = b""


def run(port: int, *, rate_per_s: float, seconds: float, connections: int = CONNECTIONS) -> Measured:
    """`seconds` at the rate, after the warm-up. Requests take turns on the connections that are free."""
    with ExitStack() as stack:
        crowd = []
        for _ in range(connections):
            crowd.append(_Connection(port))
            stack.enter_context(crowd[-1].socket)
        # A collection would be a pause of ours in somebody's latency; and there are no cycles.
        gc.collect()
        gc.disable()
        stack.callback(gc.enable)
        return _follow(crowd, rate_per_s, seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency.client", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    given = parser.parse_args(arguments)
    try:
        measured = run(
            given.port, rate_per_s=given.rate, seconds=given.seconds, connections=given.connections
        )
    except (ClientError, OSError) as error:
        print(f"at {given.rate:,.0f} requests/s to port {given.port}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(measured)))
    return 0


# Private


def _follow(crowd: Sequence[_Connection], rate_per_s: float, seconds: float) -> Measured:
    clock = time.perf_counter_ns
    spacing_ns = NS_PER_S / rate_per_s
    uncounted = int(rate_per_s * WARM_UP_S)
    total = uncounted + max(1, int(rate_per_s * seconds))
    counted_from_ns = int(uncounted * spacing_ns)
    last_ns = int((total - 1) * spacing_ns)
    hopeless_ns = last_ns + int(PATIENCE_S * NS_PER_S)
    latencies, lateness = array("q"), array("q")
    by_descriptor = {connection.socket.fileno(): connection for connection in crowd}
    idle = deque(crowd)
    tick_ns = int(math.ceil(TICK_NS / spacing_ns) * spacing_ns)
    with ExitStack() as stack:
        poller = stack.enter_context(select.epoll())
        for descriptor in by_descriptor:
            poller.register(descriptor, select.EPOLLIN)
        sent = done = due_ns = 0
        began_cpu_s = time.process_time()
        # The ticks begin with the schedule, a moment later: one that is early would find nothing due until the next.
        began_ns = clock()
        ticker = stack.enter_context(Ticker(tick_ns))
        poller.register(ticker.fileno(), select.EPOLLIN)
        while done < total:
            for descriptor, _ in poller.poll():
                connection = by_descriptor.get(descriptor)
                if connection is None:
                    ticker.take()
                elif _is_answered(connection):
                    if connection.due_ns >= counted_from_ns:
                        latencies.append(clock() - began_ns - connection.due_ns)
                    connection.due_ns = -1
                    idle.append(connection)
                    done += 1
            now_ns = clock() - began_ns
            while idle and due_ns <= now_ns and sent < total:
                connection = idle.popleft()
                connection.due_ns = due_ns
                connection.socket.send(_REQUEST)
                if due_ns >= counted_from_ns:
                    lateness.append(now_ns - due_ns)
                sent += 1
                due_ns = int(sent * spacing_ns)
                now_ns = clock() - began_ns
            if now_ns > hopeless_ns:
                raise ClientError(
                    f"{total - done:,} of {total:,} requests were not answered {PATIENCE_S:g} s after the last was due"
                )
        elapsed_s = (clock() - began_ns) / NS_PER_S
    return Measured(
        requests=len(latencies),
        requests_per_s=total / elapsed_s,
        latency_us=percentiles.curve_us(latencies),
        late_us=percentiles.curve_us(lateness),
        busy=(time.process_time() - began_cpu_s) / elapsed_s,
    )


def _is_answered(connection: _Connection) -> bool:
    data = connection.socket.recv(READ_BYTES)
    answer = connection.pending + data if connection.pending else data
    is_whole = answer.endswith(_END)
    if (
        not data
        or connection.due_ns < 0
        or not answer.startswith(_GOOD[: len(answer)])
        or (not is_whole and _END in answer)
    ):
        what = repr(answer[:400]) if data else "the connection was closed"
        raise ClientError(f"{what}, instead of an answer with status 200")
    connection.pending = b"" if is_whole else answer
    return is_whole


if __name__ == "__main__":
    sys.exit(main())
