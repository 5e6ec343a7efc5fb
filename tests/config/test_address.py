from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgproxy.config.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1:8000", Address("10.0.0.1", 8000)),
        ("App-1.Example.com:80", Address("app-1.example.com", 80)),
        ("[2001:DB8:0::1]:65535", Address("2001:db8::1", 65535)),
        ("unix:/run/app.sock", Address(path="/run/app.sock")),
    ],
)
def test_an_address_is_read_in_each_of_its_forms(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.1", "has no port"),
        ("[::1]", "has no port"),
        (":8080", "for every address of this machine write 0.0.0.0"),
        ("*:8080", "for every address of this machine write 0.0.0.0"),
        ("::1:8080", "put an IPv6 address in brackets"),
        ("[10.0.0.1]:80", "no IPv6 address in its brackets"),
        ("10.0.0.256:80", "no valid host"),
        ("a b:80", "no valid host"),
        ("http://app:80", "put an IPv6 address in brackets"),
        ("app:0", "number from 1 to 65535"),
        ("app:65536", "number from 1 to 65535"),
        ("app:", "number from 1 to 65535"),
        ("app:80 ", "number from 1 to 65535"),
        ("unix:app.sock", "an absolute path"),
        ("unix:/run/", "an absolute path"),
        ("unix:/" + "a" * 107, "107 bytes"),
    ],
)
def test_a_wrong_address_is_refused_with_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        parse_address(text)
    assert str(caught.value).startswith(repr(text))


def test_port_zero_is_for_those_who_ask_for_any_port() -> None:
    assert parse_address("127.0.0.1:0", any_port=True).port == 0


@pytest.mark.parametrize(
    ("text", "loopback", "name"),
    [
        ("127.0.0.1:1", True, False),
        ("127.9.9.9:1", True, False),
        ("[::1]:1", True, False),
        ("[::ffff:127.0.0.1]:1", True, False),
        ("localhost:1", True, True),
        ("unix:/a", True, False),
        ("0.0.0.0:1", False, False),
        ("[::]:1", False, False),
        ("localhost.example.com:1", False, True),
    ],
)
def test_an_address_knows_who_can_reach_it_and_whether_it_needs_dns(
    text: str, *, loopback: bool, name: bool
) -> None:
    address = parse_address(text)
    assert (address.is_loopback, address.is_name) == (loopback, name)


@given(st.text(alphabet="a1.:[]-*/\0 unix%") | st.text())
def test_any_text_is_an_address_that_survives_writing_or_a_value_error(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address
