import pytest

from benchmarks.wire import judge
from benchmarks.wire.judge import Judge
from benchmarks.wire.observed import ClientSide, End, Observed, UpstreamSide

GET = b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\n\r\nok"
BAD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"


def seen(
    client: bytes = b"", *upstreams: bytes, end: End = "open", methods: tuple[str, ...] = ("GET",)
) -> Observed:
    sides = [UpstreamSide("a", bytearray(raw)) for raw in upstreams]
    for side in sides:
        side.reader.feed(bytes(side.raw))
    return Observed(methods, [ClientSide(bytearray(client), end)], sides)


RIGHT: list[tuple[str, Judge, Observed]] = [
    ("an error", judge.refused(), seen(BAD)),
    ("one of the errors", judge.refused(400, 408), seen(BAD)),
    ("a close without a word", judge.refused(), seen(end="closed")),
    ("a part of the request that was given up", judge.refused(), seen(BAD, POST[:-2])),
    ("a refusal behind a good one", judge.refused_after(1), seen(OK + BAD, GET, methods=("GET", "GET"))),
    ("a request that got through", judge.forwarded(), seen(OK, GET)),
    (
        "a request with all details",
        judge.forwarded(b"hello", method=b"POST", target=b"/p", host=b"a"),
        seen(OK, POST),
    ),
    ("two on two connections", judge.forwarded(count=2), seen(OK + OK, GET, GET, methods=("GET", "GET"))),
    ("the body that was sent", judge.answered(200, body=b"ok"), seen(OK)),
    ("a gateway's error", judge.failed_upstream(), seen(GATEWAY)),
    ("a gateway that closes", judge.failed_upstream(), seen(end="reset")),
    ("a body cut by the end", judge.aborted(), seen(CUT, end="closed")),
    ("a connection that is closed", judge.closed(), seen(OK, end="closed")),
    ("a connection that is kept", judge.kept_open(), seen(OK)),
    ("a number of tries", judge.tries(2), seen(OK, GET, POST[:-2])),
    ("a field upstream", judge.request_has(b"x-a", b"1"), seen(OK, GET)),
    ("a field that is absent", judge.request_has(b"x-b"), seen(OK, GET)),
    ("a field to the client", judge.response_has(b"x-a", b"1"), seen(OK)),
    ("either of two", judge.refused() | judge.forwarded(), seen(OK, GET)),
    ("both of two", judge.forwarded() & judge.kept_open(), seen(OK, GET)),
]

WRONG: list[tuple[str, Judge, Observed]] = [
    ("a request that got through", judge.refused(), seen(BAD, GET)),
    ("a success", judge.refused(), seen(OK)),
    ("another error", judge.refused(408), seen(BAD)),
    ("silence", judge.refused(), seen()),
    ("garbage", judge.refused(), seen(b"nonsense\r\n\r\n", end="closed")),
    ("an ambiguous request", judge.refused(), seen(BAD, b"GET / HTTP/1.1\r\nX : 1\r\n\r\n")),
    ("a second request behind it", judge.refused_after(1), seen(OK + BAD, GET + GET, methods=("GET", "GET"))),
    ("two instead of one", judge.forwarded(), seen(OK, GET + GET)),
    ("none at all", judge.forwarded(), seen(OK)),
    ("an ambiguous one", judge.forwarded(), seen(OK, GET + b"X : 1\r\n\r\n")),
    ("another body", judge.forwarded(b"other"), seen(OK, POST)),
    ("another target", judge.forwarded(target=b"/q"), seen(OK, POST)),
    ("another Host", judge.forwarded(host=b"b"), seen(OK, POST)),
    ("another status", judge.forwarded(), seen(BAD, GET)),
    ("an unfinished answer", judge.answered(200), seen(CUT)),
    ("something behind the answer", judge.answered(200, body=b"ok"), seen(OK + b"evil")),
    ("a success of a broken upstream", judge.failed_upstream(), seen(OK)),
    ("a clean end of a cut body", judge.aborted(), seen(OK, end="closed")),
    ("a cut body that never ends", judge.aborted(), seen(CUT)),
    ("a connection that is kept", judge.closed(), seen(OK)),
    ("a connection that is closed", judge.kept_open(), seen(OK, end="closed")),
    ("one try too many", judge.tries(1), seen(OK, GET, GET)),
    ("a field that should be gone", judge.request_has(b"x-a"), seen(OK, GET)),
    ("a field that is gone", judge.response_has(b"x-b", b"1"), seen(OK)),
    ("neither of two", judge.refused() | judge.forwarded(b"x"), seen(OK, POST)),
    ("one of both", judge.forwarded() & judge.closed(), seen(OK, GET)),
]


@pytest.mark.parametrize(("what", "right", "observed"), RIGHT, ids=[each[0] for each in RIGHT])
def test_right(what: str, right: Judge, observed: Observed) -> None:
    assert right.find_fault(observed) is None


@pytest.mark.parametrize(("what", "right", "observed"), WRONG, ids=[each[0] for each in WRONG])
def test_wrong(what: str, right: Judge, observed: Observed) -> None:
    assert right.find_fault(observed)


def test_whoever_wants_to_see_the_end_says_so() -> None:
    assert judge.closed().wants_end
    assert (judge.refused() | judge.closed()).wants_end
    assert (judge.forwarded() & judge.closed()).wants_end
    assert not judge.forwarded().wants_end
