import select
import time

from benchmarks.latency.ticker import Ticker

INTERVAL_NS = 300_000
TICKS = 100


def test_it_ticks_more_finely_than_an_event_loop_would_and_loses_none() -> None:
    """A hundred ticks of 0.3 ms: whoever rounds to milliseconds counts thirty in that time."""
    ticks = 0
    before_ns = time.perf_counter_ns()
    with Ticker(INTERVAL_NS) as ticker, select.epoll() as poller:
        began_ns = looked_ns = time.perf_counter_ns()
        poller.register(ticker.fileno(), select.EPOLLIN)
        while ticks < TICKS:
            assert poller.poll(5)
            looked_ns = time.perf_counter_ns()
            ticks += ticker.take()
    assert (
        (looked_ns - began_ns) // INTERVAL_NS <= ticks <= (time.perf_counter_ns() - before_ns) // INTERVAL_NS
    )
