"""Which outcomes of a case are right. Every judge says what is wrong, or None. Pure, no I/O.

They join: `a & b` wants both, `a | b` is content with either, as the RFCs often are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.wire.observed import Observed, Request


@dataclass(frozen=True, slots=True)
class Judge:
    """`expects` is what is right in words; `find_fault` is what is wrong with what was seen."""

    expects: str
    find_fault: Callable[[Observed], str | None]
    wants_end: bool = False  # the case goes on until the proxy closes, or nobody can wait any longer

    def __and__(self, other: Judge) -> Judge:
        return Judge(
            f"{self.expects}, {other.expects}",
            lambda seen: self.find_fault(seen) or other.find_fault(seen),
            self.wants_end or other.wants_end,
        )

    def __or__(self, other: Judge) -> Judge:
        def find(seen: Observed) -> str | None:
            first, second = self.find_fault(seen), other.find_fault(seen)
            return (
                None
                if first is None or second is None
                else first
                if first == second
                else f"{first}; {second}"
            )

        return Judge(f"{self.expects}, or {other.expects}", find, self.wants_end or other.wants_end)


def refused(*statuses: int) -> Judge:
    """An error or a closed connection, and no upstream has got a whole request or an ambiguous one."""

    def find(seen: Observed) -> str | None:
        if seen.requests:
            return f"reached the upstream as {_lines(seen)}"
        ambiguous = _ambiguous(seen)
        if ambiguous is not None:
            return ambiguous
        if not seen.responses:
            return _unreadable(seen) if seen.end == "open" or _raw(seen) else None
        status = seen.responses[0].status
        if status < 400 or (statuses and status not in statuses):
            return f"answered {status}"
        return None

    return Judge(f"refused{_listed(statuses)}", find)


def refused_after(count: int) -> Judge:
    """As `refused`, behind this number of requests that were all right."""

    def find(seen: Observed) -> str | None:
        if len(seen.requests) != count:
            return f"reached the upstream as {_lines(seen)}"
        later = seen.responses[count:]
        if later and later[0].status < 400:
            return f"answered {later[0].status}"
        return _ambiguous(seen) or (None if later or seen.end != "open" else _unreadable(seen))

    return Judge(f"refused after {count}", find)


def forwarded(
    body: bytes | None = None,
    *,
    method: bytes | None = None,
    target: bytes | None = None,
    host: bytes | None = None,
    count: int = 1,
    status: int = 200,
) -> Judge:
    """Exactly `count` unambiguous requests, of which the last is as given, each answered with `status`."""

    def find(seen: Observed) -> str | None:
        ambiguous = _ambiguous(seen)
        if ambiguous is not None:
            return ambiguous
        if len(seen.requests) != count:
            return f"{len(seen.requests)} requests reached the upstream: {_lines(seen)}; client: {_answers(seen)}"
        last = seen.requests[-1]
        if body is not None and last.body != body:
            return f"the upstream got the body {_short(bytes(last.body))}"
        if method is not None and last.method != method:
            return f"the upstream got the method {_short(last.method)}"
        if target is not None and last.target != target:
            return f"the upstream got the target {_short(last.target)}"
        if host is not None and last.get(b"host") != [host]:
            return f"the upstream got the Host {last.get(b'host')}"
        statuses = [each.status for each in seen.responses if each.whole]
        return None if statuses == [status] * count else f"the client got {_answers(seen)}"

    wanted = {"method": method, "target": target, "host": host, "body": body}
    details = [f"{name} {_short(value)}" for name, value in wanted.items() if value is not None]
    return Judge(" ".join(["forwarded once" if count == 1 else f"forwarded as {count}", *details]), find)


def answered(*statuses: int, body: bytes | None = None, count: int = 1) -> Judge:
    """The client has got `count` whole responses and nothing else; the last one is as given."""

    def find(seen: Observed) -> str | None:
        whole = [each for each in seen.responses if each.whole]
        if len(whole) != count or len(seen.responses) != count:
            return f"the client got {_answers(seen)}"
        last = whole[-1]
        if last.status not in statuses:
            return f"answered {last.status}"
        if body is not None and last.body != body:
            return f"the client got the body {_short(bytes(last.body))}"
        return _left(seen)

    what = "" if body is None else f" with the body {_short(body)}"
    return Judge(f"answered{_listed(statuses)}{what}", find)


def failed_upstream() -> Judge:
    """A 5xx, or a connection that was closed without a response: nothing that looks like a success."""

    def find(seen: Observed) -> str | None:
        if not seen.responses:
            return _unreadable(seen) if seen.end == "open" or _raw(seen) else None
        status = seen.responses[0].status
        return None if status >= 500 else f"the client got {_answers(seen)}"

    return Judge("answered 5xx or closed", find)


def aborted() -> Judge:
    """What was sent of the response has no clean end. A client of a body that ends with the connection is reset."""

    def find(seen: Observed) -> str | None:
        if not seen.responses:
            return _unreadable(seen) if seen.end == "open" or _raw(seen) else None
        last = seen.responses[-1]
        if last.status >= 500:
            return None
        if last.whole:
            return f"the client got a whole {last.status} with the body {_short(bytes(last.body))}"
        return None if seen.end != "open" else "the client was left waiting"

    return Judge("visibly aborted", find)


def closed() -> Judge:
    """The proxy has closed the client's connection."""
    return Judge(
        "closed", lambda seen: None if seen.end != "open" else "the connection was kept open", wants_end=True
    )


def kept_open() -> Judge:
    return Judge("kept open", lambda seen: None if seen.end == "open" else "the connection was closed")


def within(seconds: float) -> Judge:
    return Judge(
        f"within {seconds:g} s",
        lambda seen: None if seen.elapsed_s <= seconds else f"it took {seen.elapsed_s:.1f} s",
    )


def tries(count: int) -> Judge:
    """How many requests, whole or not, all upstreams have got together."""

    def find(seen: Observed) -> str | None:
        got = sum(len(side.reader.requests) for side in seen.upstreams)
        return None if got == count else f"upstreams got {got} requests"

    return Judge(f"tried {count} times", find)


def request_has(name: bytes, *values: bytes) -> Judge:
    """The last request has exactly these values of a field, none if there are none."""

    def find(seen: Observed) -> str | None:
        got = seen.requests[-1].get(name) if seen.requests else []
        return None if got == list(values) else f"the upstream got {name.decode()}: {got}"

    return Judge(f"{name.decode()} {_values(values)} upstream", find)


def request_where(what: str, test: Callable[[Request], bool]) -> Judge:
    """The last request passes a test of its own."""

    def find(seen: Observed) -> str | None:
        if not seen.requests:
            return "nothing reached the upstream"
        last = seen.requests[-1]
        return None if test(last) else f"the upstream got {last.fields}"

    return Judge(what, find)


def response_has(name: bytes, *values: bytes) -> Judge:
    def find(seen: Observed) -> str | None:
        got = seen.responses[-1].get(name) if seen.responses else []
        return None if got == list(values) else f"the client got {name.decode()}: {got}"

    return Judge(f"{name.decode()} {_values(values)} to the client", find)


def request_trailer(name: bytes, *values: bytes) -> Judge:
    def find(seen: Observed) -> str | None:
        got = [value for key, value in seen.requests[-1].trailers if key == name] if seen.requests else []
        return None if got == list(values) else f"the upstream got the trailer {name.decode()}: {got}"

    return Judge(f"trailer {name.decode()} {_values(values)} upstream", find)


def response_trailer(name: bytes, *values: bytes) -> Judge:
    def find(seen: Observed) -> str | None:
        got = [value for key, value in seen.responses[-1].trailers if key == name] if seen.responses else []
        return None if got == list(values) else f"the client got the trailer {name.decode()}: {got}"

    return Judge(f"trailer {name.decode()} {_values(values)} to the client", find)


def informed(*statuses: int) -> Judge:
    """These 1xx came before the last response."""

    def find(seen: Observed) -> str | None:
        got = tuple(status for status, _ in seen.responses[-1].informational) if seen.responses else ()
        return None if got == statuses else f"the client got the informational responses {list(got)}"

    return Judge(f"informed{_listed(statuses) or ' of nothing'}", find)


def client_never_got(data: bytes) -> Judge:
    def find(seen: Observed) -> str | None:
        return f"the client got {_short(data)}" if any(data in side.raw for side in seen.clients) else None

    return Judge(f"no {_short(data)} to a client", find)


def client_got(data: bytes) -> Judge:
    """These bytes in a row, on the last connection."""

    def find(seen: Observed) -> str | None:
        raw = bytes(seen.clients[-1].raw) if seen.clients else b""
        return None if data in raw else f"the client got only {_short(raw)}"

    return Judge(f"{_short(data)} to the client", find)


def upstream_never_got(data: bytes) -> Judge:
    def find(seen: Observed) -> str | None:
        return (
            f"the upstream got {_short(data)}" if any(data in side.raw for side in seen.upstreams) else None
        )

    return Judge(f"no {_short(data)} upstream", find)


def upstream_got(data: bytes) -> Judge:
    def find(seen: Observed) -> str | None:
        return (
            None
            if any(data in side.raw for side in seen.upstreams)
            else f"the upstream never got {_short(data)}"
        )

    return Judge(f"{_short(data)} upstream", find)


def upstream_ended(*ends: str) -> Judge:
    """How the proxy has ended the last connection to an upstream."""

    def find(seen: Observed) -> str | None:
        end = seen.upstreams[-1].end if seen.upstreams else "never opened"
        return None if end in ends else f"the connection to the upstream was {end}"

    return Judge(f"upstream connection {' or '.join(ends)}", find)


def client_ended(*ends: str) -> Judge:
    def find(seen: Observed) -> str | None:
        return None if seen.end in ends else f"the client's connection was {seen.end}"

    return Judge(f"client connection {' or '.join(ends)}", find, wants_end=True)


# Private


def _raw(seen: Observed) -> bytes:
    return bytes(seen.clients[-1].raw) if seen.clients else b""


def _ambiguous(seen: Observed) -> str | None:
    """A connection that got something else than requests which both parsers read alike."""
    for side in seen.upstreams:
        if side.fault is not None:
            return f"the upstream got what is not clear ({side.fault}): {_short(bytes(side.raw))}"
    return None


def _unreadable(seen: Observed) -> str:
    raw = _raw(seen)
    if raw:
        return f"the client got what is no response: {_short(raw)}"
    return "the client got neither an answer nor an end" if seen.end == "open" else "closed without an answer"


def _left(seen: Observed) -> str | None:
    """Bytes that the client got behind its last response."""
    last = seen.clients[-1] if seen.clients else None
    if last is None or seen.responses[-1].status == 101:
        return None
    sizes = bytes(last.raw)
    body = bytes(seen.responses[-1].body)
    if body and not seen.responses[-1].get(b"transfer-encoding") and not sizes.endswith(body):
        return f"the client got more than its responses: {_short(sizes)}"
    return None


def _lines(seen: Observed) -> str:
    requests = [f"{each.method.decode()} {_short(each.target)}" for each in seen.requests]
    return ", ".join(requests) or "nothing"


def _answers(seen: Observed) -> str:
    answers = [
        f"{each.status} {_short(bytes(each.body))}{'' if each.whole else ' unfinished'}"
        for each in seen.responses
    ]
    return f"{', '.join(answers) or _unreadable(seen)}, {seen.end}"


def _listed(statuses: tuple[int, ...]) -> str:
    return f" {'/'.join(map(str, statuses))}" if statuses else ""


def _values(values: tuple[bytes, ...]) -> str:
    return " ".join(map(_short, values)) if values else "absent"


def _short(data: bytes) -> str:
    text = repr(data[:160])[1:]
    return text if len(data) <= 160 else f"{text}... ({len(data)} bytes)"
