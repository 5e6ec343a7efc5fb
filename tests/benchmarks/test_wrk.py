import pytest

from benchmarks import wrk
from benchmarks.wrk import Load, WrkError

CLEAN = """\
Running 3s test @ http://127.0.0.1:8080/small
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.53ms  410.11us  11.02ms   95.43%
    Req/Sec    41.69k     1.72k   43.80k    80.00%
  124482 requests in 3.00s, 22.55MB read
Requests/sec:  41484.49
Transfer/sec:      7.52MB
"""


def test_a_clean_run_has_requests_and_time() -> None:
    assert wrk.parse(CLEAN) == Load(124482, 3.0, 0)


def test_socket_errors_and_bad_statuses_are_failures() -> None:
    errors = (
        "  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 50000\n"
    )
    assert wrk.parse(CLEAN.replace("Requests/sec", errors + "Requests/sec")).failures == 54321


@pytest.mark.parametrize(
    ("text", "elapsed_s"), [("500.00ms", 0.5), ("1.00m", 60.0), ("0.02h", 72.0), ("900.00us", 0.0009)]
)
def test_time_has_a_unit(text: str, elapsed_s: float) -> None:
    assert wrk.parse(CLEAN.replace("3.00s,", f"{text},")).elapsed_s == pytest.approx(elapsed_s)


def test_an_output_without_figures_is_an_error_that_shows_it() -> None:
    with pytest.raises(WrkError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused")
