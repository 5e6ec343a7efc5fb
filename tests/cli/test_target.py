from __future__ import annotations

import pytest

from bgproxy.cli.target import parse_target


def test_an_url_names_host_and_port() -> None:
    target = parse_target("http://127.0.0.1:9900/")
    assert (target.host, target.port, target.tls, str(target)) == (
        "127.0.0.1",
        9900,
        False,
        "http://127.0.0.1:9900",
    )


def test_https_and_the_schemes_own_port_are_understood() -> None:
    target = parse_target("https://[::1]")
    assert (target.host, target.port, target.tls) == ("::1", 443, True)


def test_a_unix_socket_is_a_path() -> None:
    assert parse_target("unix:/run/bgproxy.sock").path == "/run/bgproxy.sock"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("127.0.0.1:9900", "no address of an admin API"),
        ("http://", "no host"),
        ("http://h:99999", "no valid port"),
        ("http://[::1", "no address of an admin API"),
        ("http://h/admin", "more than scheme, host and port"),
        ("http://me:secret@h", "more than scheme, host and port"),
        ("unix:relative", "absolute path"),
    ],
)
def test_anything_else_is_refused_with_what_would_be_right(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        parse_target(text)
