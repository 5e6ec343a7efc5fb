import pytest

from benchmarks import wrk
from benchmarks.scenarios import KEEP_ALIVE, SCENARIOS, SERVICES
from benchmarks.wrk import Load, LoadError

CLEAN = """\
Running 3s test @ http://127.0.0.1:8080/small
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.53ms  410.11us  11.02ms   95.43%
    Req/Sec    41.69k     1.72k   43.80k    80.00%
  Latency Distribution
     50%    1.50ms
     75%    1.81ms
     90%    2.11ms
     99%  980.00us
  124482 requests in 3.00s, 22.55MB read
Requests/sec:  41484.49
Transfer/sec:      7.52MB
"""


def test_a_clean_run_has_requests_time_and_latencies() -> None:
    assert wrk.parse(CLEAN) == Load(124482, 3.0, 0, p50_s=1.5 * 1e-3, p99_s=980 * 1e-6)


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
    with pytest.raises(LoadError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused")


def test_latencies_of_seconds_have_a_blank_after_them() -> None:
    assert wrk.parse(CLEAN.replace("980.00us", "  1.01s ")).p99_s == 1.01


def test_an_output_without_latencies_is_an_error_too() -> None:
    with pytest.raises(LoadError, match="no latency for 99%"):
        wrk.parse(CLEAN.replace("     99%  980.00us\n", ""))


def test_the_services_are_asked_in_turn_and_the_cookies_are_those_that_were_set() -> None:
    hosts = wrk.script_of(SCENARIOS["services"])
    assert hosts.count(".bench.test") == SERVICES
    assert 'wrk.headers["Host"]' in hosts
    cookies = wrk.script_of(SCENARIOS["sticky"], ["side=blue", "side=green"])
    assert 'ipairs({"side=blue", "side=green"})' in cookies
    assert wrk.script_of(KEEP_ALIVE) == ""


def test_a_sticky_canary_without_cookies_is_not_measured_as_if_it_had_some() -> None:
    with pytest.raises(LoadError, match="no values for the header Cookie"):
        wrk.script_of(SCENARIOS["sticky"])
