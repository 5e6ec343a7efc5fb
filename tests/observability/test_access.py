"""Which requests get a line, and what cannot be made to stand in one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgproxy.model import AccessLog
from bgproxy.observability.access import FORMATS, Entry, Outcome, line_of, rule
from tests.observability.entries import entry

PAGE = Path(__file__).parents[2] / "docs/how-to/access-log.md"
COMBINED = re.compile(
    rb'(?P<peer>\S+) - - \[(?P<time>[^]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?P<bytes>\d+)'
    rb' "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)"\n'
)

ANYTHING = st.builds(
    entry,
    peer=st.text(st.characters(codec="utf-8")),
    method=st.binary(),
    target=st.binary(),
    host=st.none() | st.binary(),
    version=st.none() | st.text(st.characters(codec="utf-8")),
    request_id=st.none() | st.binary(),
    referer=st.none() | st.binary(),
    user_agent=st.none() | st.binary(),
)


def json_line(told: Entry) -> bytes:
    return line_of(told, FORMATS["json"])


def combined_line(told: Entry) -> bytes:
    return line_of(told, FORMATS["combined"])


def told(**values: Any) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(json_line(entry(**values)))
    return line


# The rule


def test_everything_is_written_unless_something_else_is_said() -> None:
    wants = rule(AccessLog())
    assert all(wants(status, 0, b"/") for status in (0, 101, 200, 404, 500) * 10)


@pytest.mark.parametrize(("share", "written"), [(0.0, 0), (0.01, 10), (0.3, 300), (0.999, 999), (1.0, 1000)])
def test_a_sample_is_exact_from_the_first_request_on(share: float, written: int) -> None:
    wants = rule(AccessLog(sample=share))
    verdicts = [wants(200, 0, b"/") for _ in range(3000)]
    assert [sum(verdicts[start : start + 1000]) for start in (0, 1000, 2000)] == [written] * 3
    assert verdicts[0] == (written > 0)


def test_errors_and_requests_without_an_answer_are_written_whatever_the_sample() -> None:
    wants = rule(AccessLog(sample=0.0))
    assert [status for status in (0, 200, 404, 499, 500, 504) if wants(status, 0, b"/")] == [0, 500, 504]


def test_which_statuses_are_always_written_can_be_said() -> None:
    wants = rule(AccessLog(sample=0.0, always_status=400))
    assert [status for status in (0, 200, 399, 400) if wants(status, 0, b"/")] == [0, 400]
    wants = rule(AccessLog(sample=0.0, always_status=None))
    assert [status for status in (0, 200, 500) if wants(status, 0, b"/")] == []


def test_slow_requests_are_written_whatever_the_sample() -> None:
    wants = rule(AccessLog(sample=0.0, always_slower_s=0.5))
    assert [us for us in (0, 499_999, 500_000, 9_000_000) if wants(200, us, b"/")] == [500_000, 9_000_000]
    assert not rule(AccessLog(sample=0.0, always_slower_s=float("inf")))(200, 9_000_000, b"/")


def test_what_is_always_written_takes_nothing_away_from_the_sample() -> None:
    wants = rule(AccessLog(sample=0.5))
    for _ in range(7):
        assert wants(503, 0, b"/")
    assert [wants(200, 0, b"/") for _ in range(4)] == [True, False, True, False]


def test_excepted_paths_are_never_written_not_even_as_errors() -> None:
    wants = rule(AccessLog(except_paths=("/health", "/static/")))
    for target in (b"/health", b"/health?a=/b", b"/health/live", b"/static/a.css", b"/static"):
        assert not wants(500, 0, target), target


@pytest.mark.parametrize(
    "target",
    [
        b"/healthy",
        b"/",
        b"*",
        b"/a/health",
        b"/health/../admin",
        b"/health/%2e%2e/admin",
        b"/health\\..\\admin",
    ],
)
def test_nobody_hides_behind_an_excepted_path(target: bytes) -> None:
    assert rule(AccessLog(except_paths=("/health",)))(200, 0, target)


# JSON


def test_a_json_line_tells_everything_about_a_request() -> None:
    assert told() == {
        "time": "2026-01-02T03:04:05.250Z",
        "client": "192.0.2.1",
        "method": "GET",
        "target": "/cart?item=7",
        "host": "shop.example.com",
        "protocol": "HTTP/1.1",
        "scheme": "https",
        "tls": "TLSv1.3",
        "status": 200,
        "outcome": "ok",
        "service": "web",
        "pool": "blue",
        "version": "v1.0.0",
        "upstream": "10.0.0.1:8000",
        "attempts": 1,
        "request_bytes": 0,
        "response_bytes": 512,
        "connect_ms": None,
        "first_byte_ms": 1.5,
        "duration_ms": 2.25,
        "request_id": "6f1c",
        "referer": "https://example.com/",
        "user_agent": "curl/8.5.0",
    }


def test_a_request_that_could_not_be_read_has_null_for_what_is_not_known() -> None:
    line = told(method=b"", target=b"", host=None, service=None, pool=None, version=None, upstream=None)
    unknown = ("method", "target", "host", "protocol", "service", "pool", "version", "upstream")
    assert [line[key] for key in unknown] == [None] * len(unknown)


def test_seconds_do_not_stick() -> None:
    times = [told(ended_at=1_767_323_045 + ms / 1000)["time"][17:] for ms in (0, 500, 1000, 60_000, 250)]
    assert times == ["05.000Z", "05.500Z", "06.000Z", "05.000Z", "05.250Z"]


@given(ANYTHING)
def test_a_json_line_is_one_line_of_ascii_from_clients_whatever_they_send(entry: Entry) -> None:
    line = json_line(entry)
    values = json.loads(line)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    for key in ("method", "target", "host", "request_id", "referer", "user_agent"):
        assert values[key] is None or values[key].isascii()


@given(
    ANYTHING,
    st.builds(
        dict,
        ended_at=st.floats(0, 4e9),
        connect_us=st.none() | st.integers(0, 10**13),
        first_byte_us=st.none() | st.integers(0, 10**13),
        duration_us=st.integers(0, 10**13),
        status=st.integers(0, 599),
        attempts=st.integers(0, 9),
        response_bytes=st.integers(0, 2**60),
    ),
)
def test_a_json_line_is_what_an_encoder_makes_of_its_values(entry: Entry, numbers: dict[str, Any]) -> None:
    """It is put together of parts, which must not show: neither in a number nor in a separator."""
    line = json_line(entry._replace(**numbers))
    assert line == orjson.dumps(json.loads(line), option=orjson.OPT_APPEND_NEWLINE)
    for name in ("connect", "first_byte", "duration"):
        taken_us = numbers[f"{name}_us"]
        assert json.loads(line)[f"{name}_ms"] == (None if taken_us is None else taken_us / 1000)


# Combined


def test_a_combined_line_is_the_one_of_apache() -> None:
    assert combined_line(entry()) == (
        b'192.0.2.1 - - [02/Jan/2026:03:04:05 +0000] "GET /cart?item=7 HTTP/1.1" 200 512 '
        b'"https://example.com/" "curl/8.5.0"\n'
    )


def test_a_combined_line_has_a_dash_for_what_is_not_known_and_499_for_a_client_that_left() -> None:
    line = combined_line(entry(peer="", method=b"", target=b"", status=0, referer=None, user_agent=None))
    assert line == b'- - - [02/Jan/2026:03:04:05 +0000] "-" 499 512 "-" "-"\n'


def test_a_combined_line_escapes_quotes_backslashes_controls_and_what_is_not_ascii() -> None:
    line = combined_line(entry(user_agent=b'a" \\ \r\n\x1b[31m \xc3\xa9'))
    assert line.endswith(rb'"a\" \\ \x0d\x0a\x1b[31m \xc3\xa9"' + b"\n")


@given(ANYTHING)
def test_a_combined_line_parses_to_its_own_values_whatever_clients_send(entry: Entry) -> None:
    line = combined_line(entry)
    assert re.fullmatch(rb"[ -~]*\n", line)
    if " " not in entry.peer:
        found = COMBINED.fullmatch(line)
        assert found is not None
        assert found["status"] == b"200"
        agent = found["agent"].decode("unicode_escape").encode("latin-1")
        assert agent == (entry.user_agent or b"-")


# Promises


def test_no_value_of_an_entry_is_a_credential() -> None:
    assert not {"authorization", "cookie", "set_cookie", "headers"} & set(Entry._fields)


def test_the_page_names_every_value_and_every_outcome() -> None:
    page = PAGE.read_text()
    assert [name for name in (*told(), *get_args(Outcome)) if f"`{name}`" not in page] == []
    assert [name for name in FORMATS if f"`format: {name}`" not in page] == []
