"""Request targets and Host (RFC 9112 section 3.2, RFC 9110 section 7.2)."""

from __future__ import annotations

from typing import Final

from benchmarks.wire.case import Case, Send, request
from benchmarks.wire.judge import Judge, answered, forwarded, refused, request_where, upstream_never_got

_ONCE: Final = forwarded()


def _target(
    name: str, target: bytes, right: Judge, *, method: bytes = b"GET", section: str = "9112 3.2.1"
) -> Case:
    client = (Send(request(method + b" " + target + b" HTTP/1.1")),)
    return Case(name, section, client, right, methods=(method.decode(),))


def _host(
    name: str, *hosts: bytes, right: Judge, line: bytes = b"GET / HTTP/1.1", section: str = "9112 3.2"
) -> Case:
    return Case(
        name, section, (Send(request(line, *(b"Host:" + each for each in hosts), host=False)),), right
    )


def _exactly(name: str, target: bytes) -> Case:
    return _target(name, target, forwarded(target=target))


# What the URI grammar forbids and browsers send all the same: passed on as it is, or refused.
def _perhaps(name: str, target: bytes) -> Case:
    return _target(name, target, refused() | forwarded(target=target))


CASES: Final = (
    _exactly("target with a query", b"/a/b?c=d&e=%20f"),
    _exactly("target with an empty query", b"/?"),
    _exactly("target with escapes", b"/a%2Fb%20c?d=%26"),
    _exactly("target with reserved characters", b"/a;b=c,d/@:$!*'()"),
    _exactly("target with two slashes", b"/a//b"),
    _perhaps("target that begins with two slashes", b"//evil.test/a"),
    _perhaps("target with a question mark in the query", b"/a?b?c"),
    _target("target with dot segments", b"/a/../b/./c", refused() | _ONCE),
    _target("target that leaves the root", b"/../../etc/passwd", refused() | _ONCE),
    _target("target with an escaped NUL", b"/a%00b", refused() | forwarded(target=b"/a%00b")),
    _target("target with a broken escape", b"/a%zz", refused() | forwarded(target=b"/a%zz")),
    _perhaps("target with brackets and quotes", b'/a?b[]="c"<d>'),
    _target(
        "target with a backslash",
        b"/a\\b",
        refused() | forwarded(target=b"/a\\b") | forwarded(target=b"/a%5Cb"),
    ),
    _target(
        "target beyond ASCII",
        b"/\xc3\xa4",
        refused() | forwarded(target=b"/\xc3\xa4") | forwarded(target=b"/%C3%A4"),
    ),
    _target(
        "target with a fragment", b"/a#b", refused() | forwarded(target=b"/a") | forwarded(target=b"/a%23b")
    ),
    _target("target with a space", b"/a b", refused()),
    _target("target with a control character", b"/a\x01", refused()),
    _target("target with DEL", b"/a\x7f", refused()),
    _target("target without a slash", b"index.html", refused()),
    _target("target that is only a query", b"?a", refused()),
    # other forms
    _target(
        "OPTIONS *",
        b"*",
        refused() | answered(200, 204) | forwarded(target=b"*"),
        method=b"OPTIONS",
        section="9112 3.2.4",
    ),
    _target("GET *", b"*", refused(), section="9112 3.2.4"),
    _target("CONNECT", b"wire.test:443", refused(), method=b"CONNECT", section="9110 9.3.6"),
    _target("CONNECT with a path", b"/", refused(), method=b"CONNECT", section="9110 9.3.6"),
    _target("GET with an authority", b"wire.test:80", refused(), section="9112 3.2.3"),
    _target("absolute target", b"http://wire.test/a?b", forwarded(host=b"wire.test"), section="9112 3.2.2"),
    _target(
        "absolute target with another host",
        b"http://other.test/a",
        refused() | forwarded(host=b"other.test"),
        section="9112 3.2.2",
    ),
    _target(
        "absolute target with a port",
        b"http://wire.test:80/a",
        refused() | forwarded(host=b"wire.test:80") | forwarded(host=b"wire.test"),
        section="9112 3.2.2",
    ),
    _target(
        "absolute target without a path",
        b"http://wire.test",
        forwarded(host=b"wire.test"),
        section="9112 3.2.2",
    ),
    _target(
        "absolute target with the query at once",
        b"http://wire.test?a",
        refused() | _ONCE,
        section="9112 3.2.2",
    ),
    _target("absolute target in capitals", b"HTTP://WIRE.TEST/a", refused() | _ONCE, section="9112 3.2.2"),
    _target(
        "absolute target with userinfo",
        b"http://user@wire.test/a",
        refused() | (_ONCE & upstream_never_got(b"Host: user@")),
        section="9110 4.2.4",
    ),
    _target("absolute target without an authority", b"http:///a", refused(), section="9110 4.2.1"),
    _target(
        "absolute target of another scheme",
        b"ftp://wire.test/a",
        refused() | forwarded(host=b"wire.test"),
        section="9112 3.2.2",
    ),
    _host("absolute target and no Host", right=refused(), line=b"GET http://wire.test/a HTTP/1.1"),
    _host(
        "absolute target and a malformed Host",
        b" a b",
        right=refused(),
        line=b"GET http://wire.test/a HTTP/1.1",
    ),
    # Host
    _host("no Host", right=refused(400)),
    _host("no Host in HTTP/1.0", right=_ONCE, line=b"GET / HTTP/1.0"),
    _host("Host twice the same", b" wire.test", b" wire.test", right=refused(400)),
    _host("Host twice different", b" wire.test", b" evil.test", right=refused(400)),
    _host("Host twice in HTTP/1.0", b" wire.test", b" evil.test", right=refused(400), line=b"GET / HTTP/1.0"),
    _host("Host that is empty", b"", right=refused() | forwarded()),
    _host("Host with a port", b" wire.test:8080", right=forwarded(host=b"wire.test:8080")),
    _host("Host with whitespace around it", b" \twire.test ", right=forwarded(host=b"wire.test")),
    _host(
        "Host in capitals",
        b" WIRE.test",
        right=request_where(
            "Host in any case", lambda each: [value.lower() for value in each.get(b"host")] == [b"wire.test"]
        ),
    ),
    _host("Host that is an IPv6 address", b" [::1]:8080", right=forwarded(host=b"[::1]:8080")),
    _host("Host with a dot at its end", b" wire.test.", right=forwarded() | refused(404, 421)),
    _host("Host with an empty port", b" wire.test:", right=forwarded()),
    _host("Host with an escape", b" wire%2Etest", right=refused() | forwarded()),
    _host("Host of 1000 bytes", b" " + b"a" * 1000, right=refused() | forwarded()),
    _host("Host with a space in it", b" wire test", right=refused(400)),
    _host("Host with a path", b" wire.test/a", right=refused(400)),
    _host("Host with userinfo", b" user@wire.test", right=refused(400)),
    _host("Host that is a list", b" wire.test, evil.test", right=refused(400)),
    _host("Host with a port of letters", b" wire.test:abc", right=refused(400)),
    _host("Host with two ports", b" wire.test:80:80", right=refused(400)),
    _host("Host with an open bracket", b" [::1", right=refused(400)),
    _host("Host with a query", b" wire.test?a", right=refused(400)),
    _host("Host with a control character", b" wire\x01.test", right=refused(400)),
    _host("Host with NUL", b" wire.test\x00", right=refused(400)),
    _host("Host beyond ASCII", b" w\xefre.test", right=refused(400)),
    _host("Host with a quote", b' wire"test', right=refused(400)),
    Case(
        "Host with a space before the colon",
        "9112 5.1",
        (Send(request(b"GET / HTTP/1.1", b"Host : wire.test", host=False)),),
        refused(400),
    ),
    Case(
        "Host folded onto a second line",
        "9112 5.2",
        (Send(request(b"GET / HTTP/1.1", b"Host:\r\n wire.test", host=False)),),
        refused(400) | forwarded(host=b"wire.test"),
    ),
)
