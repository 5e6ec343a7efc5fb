"""PROXY headers: whole, byte by byte and with trailing bytes, all three agree."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgproxy.proxy.proxy_protocol import SIGNATURE, TLV_BYTES, UNIX, V1_BYTES, Header, build, crc32c, parse

BEHIND = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n"
V4 = Header((b"192.0.2.7", 4711), (b"198.51.100.1", 443))
V6 = Header((b"2001:db8::7", 4711), (b"2001:db8::1", 8443))
REFUSED = "refused"

Outcome = tuple[Header, int] | str | None


def outcome(data: bytes) -> Outcome:
    try:
        header, size = parse(data)
    except ValueError:
        return REFUSED
    assert (header is None) == (size == 0)
    return None if header is None else (header, size)


def feed(data: bytes) -> Outcome:
    """What comes of `data`; as far as it has come by itself, more bytes change nothing."""
    whole = outcome(data)
    first = next((found for end in range(len(data) + 1) if (found := outcome(data[:end]))), None)
    assert first == whole, "byte by byte"
    if whole is not None:
        assert outcome(data + BEHIND) == whole, "with trailing bytes"
    return whole


def v1(text: str) -> bytes:
    return f"PROXY {text}\r\n".encode()


def v2(command: int, kind: int, body: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, kind, len(body) if length is None else length) + body


def field(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


ADDRESSES_4 = IPv4Address("192.0.2.7").packed + IPv4Address("198.51.100.1").packed + b"\x12\x67\x01\xbb"
ADDRESSES_6 = IPv6Address("2001:db8::7").packed + IPv6Address("2001:db8::1").packed + b"\x12\x67\x20\xfb"


# --- version 1 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "header"),
    [
        (v1("TCP4 192.0.2.7 198.51.100.1 4711 443"), V4),
        (v1("TCP6 2001:db8::7 2001:db8::1 4711 8443"), V6),
        (v1("TCP6 2001:DB8:0::7 2001:db8:0:0:0:0:0:1 4711 8443"), V6),
        (v1("TCP4 0.0.0.0 255.255.255.255 0 65535"), Header((b"0.0.0.0", 0), (b"255.255.255.255", 65535))),
        (v1("UNKNOWN"), Header()),
        (v1("UNKNOWN 192.0.2.7 198.51.100.1 4711 443"), Header()),
        (v1("UNKNOWN whatever it is"), Header()),
    ],
)
def test_a_line_says_where_a_connection_is_from_and_to(line: bytes, header: Header) -> None:
    assert feed(line) == (header, len(line))


def test_the_longest_line_is_a_line_and_a_longer_one_is_not() -> None:
    longest = v1("UNKNOWN " + "x" * (V1_BYTES - 16))
    assert len(longest) == V1_BYTES
    assert feed(longest) == (Header(), V1_BYTES)
    assert feed(v1("UNKNOWN " + "x" * (V1_BYTES - 15))) == REFUSED
    assert feed(b"PROXY " + b"x" * V1_BYTES) == REFUSED


@pytest.mark.parametrize(
    "line",
    [
        v1("TCP4 192.0.2.7 198.51.100.1 4711"),
        v1("TCP4 192.0.2.7 198.51.100.1 4711 443 1"),
        v1("TCP4 192.0.2.7 198.51.100.1 4711 443 "),
        v1("TCP4  192.0.2.7 198.51.100.1 4711 443"),
        v1(" TCP4 192.0.2.7 198.51.100.1 4711 443"),
        v1("TCP4\t192.0.2.7 198.51.100.1 4711 443"),
        v1("TCP4 2001:db8::7 2001:db8::1 4711 443"),
        v1("TCP6 192.0.2.7 198.51.100.1 4711 443"),
        v1("TCP4 192.0.2.07 198.51.100.1 4711 443"),
        v1("TCP4 192.0.2 198.51.100.1 4711 443"),
        v1("TCP4 192.0.2.256 198.51.100.1 4711 443"),
        v1("TCP6 fe80::1%eth0 2001:db8::1 4711 443"),
        v1("TCP4 192.0.2.7 198.51.100.1 04711 443"),
        v1("TCP4 192.0.2.7 198.51.100.1 +471 443"),
        v1("TCP4 192.0.2.7 198.51.100.1 4711 65536"),
        v1("TCP4 192.0.2.7 198.51.100.1 4711 123456"),
        v1("TCP4 192.0.2.7 198.51.100.1 4711 "),
        v1("TCP4 192.0.2.7 198.51.100.1 4711 \xb2"),
        v1("TCP4 192.0.2.7\0 198.51.100.1 4711 443"),
        v1("tcp4 192.0.2.7 198.51.100.1 4711 443"),
        v1("UDP4 192.0.2.7 198.51.100.1 4711 443"),
        v1("UNKNOWNS"),
        v1(""),
        b"PROXY UNKNOWN\n",
        b"PROXY UNKNOWN\rx\n",
        b"proxy UNKNOWN\r\n",
        b" PROXY UNKNOWN\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"\n",
    ],
)
def test_anything_else_is_refused(line: bytes) -> None:
    assert feed(line) == REFUSED


# --- version 2 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "header"),
    [
        (v2(0x21, 0x11, ADDRESSES_4), V4),
        (v2(0x21, 0x21, ADDRESSES_6), V6),
        (v2(0x21, 0x31, bytes(216)), Header((UNIX, 0), (UNIX, 0))),
        (v2(0x21, 0x00, b""), Header()),
        (v2(0x20, 0x00, b""), Header()),
        (v2(0x20, 0x11, ADDRESSES_4), Header()),
        (v2(0x20, 0xFF, b"whatever it is"), Header()),
        (v2(0x21, 0x11, ADDRESSES_4 + field(0x02, b"app.example.com") + field(0x04, b"")), V4),
        (v2(0x21, 0x11, ADDRESSES_4 + field(0xEA, bytes(TLV_BYTES - 3))), V4),
    ],
)
def test_a_binary_header_says_the_same(message: bytes, header: Header) -> None:
    whole = outcome(message)
    assert whole == (header, len(message))
    assert len(message) > 1000 or feed(message) == whole


@pytest.mark.parametrize(
    "message",
    [
        SIGNATURE[:-1] + b"\r" + v2(0x21, 0x11, ADDRESSES_4)[12:],
        v2(0x11, 0x11, ADDRESSES_4),
        v2(0x22, 0x11, ADDRESSES_4),
        v2(0x01, 0x11, ADDRESSES_4),
        v2(0x21, 0x12, ADDRESSES_4),
        v2(0x21, 0x10, ADDRESSES_4),
        v2(0x21, 0x41, ADDRESSES_4),
        v2(0x21, 0x11, ADDRESSES_4[:-1]),
        v2(0x21, 0x21, ADDRESSES_4),
        v2(0x21, 0x31, ADDRESSES_6),
        v2(0x21, 0x11, ADDRESSES_4 + b"\x04"),
        v2(0x21, 0x11, ADDRESSES_4 + b"\x04\0"),
        v2(0x21, 0x11, ADDRESSES_4 + b"\x04\0\x05four"),
        v2(0x21, 0x11, b"", length=0xFFFF),
        v2(0x20, 0x00, b"", length=216 + TLV_BYTES + 1),
        v2(0x21, 0x11, ADDRESSES_4 + field(0x03, b"\0\0\0\0")),
        v2(0x21, 0x11, ADDRESSES_4 + field(0x03, b"")),
    ],
)
def test_any_other_binary_header_is_refused(message: bytes) -> None:
    assert feed(message) == REFUSED


def test_what_is_refused_is_refused_before_all_of_it_has_arrived() -> None:
    assert outcome(v2(0x21, 0x11, b"", length=0xFFFF)) == REFUSED
    assert outcome(b"GET") == REFUSED
    assert outcome(SIGNATURE + b"\x31") == REFUSED


def test_a_checksum_is_of_the_whole_header_without_itself() -> None:
    body = ADDRESSES_4 + field(0x01, b"h2") + field(0x03, bytes(4)) + field(0x04, b"padding")
    blank = v2(0x21, 0x11, body)
    at = blank.index(field(0x03, bytes(4))) + 3
    summed = blank[:at] + crc32c(blank).to_bytes(4, "big") + blank[at + 4 :]
    assert feed(summed) == (V4, len(summed))
    for index in {*range(16, len(summed))} - {at - 3}:  # without its type it is no checksum
        broken = summed[:index] + bytes([summed[index] ^ 1]) + summed[index + 1 :]
        assert outcome(broken) != (V4, len(summed)), index


def test_the_checksum_is_that_of_rfc_3720() -> None:
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


# --- ours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "header", "message"),
    [
        (1, V4, v1("TCP4 192.0.2.7 198.51.100.1 4711 443")),
        (1, V6, v1("TCP6 2001:db8::7 2001:db8::1 4711 8443")),
        (1, Header(), v1("UNKNOWN")),
        (2, V4, v2(0x21, 0x11, ADDRESSES_4)),
        (2, V6, v2(0x21, 0x21, ADDRESSES_6)),
        (2, Header(), v2(0x20, 0x00, b"")),
    ],
)
def test_what_we_build_is_what_others_expect(version: int, header: Header, message: bytes) -> None:
    assert build(version, header.source, header.destination) == message


@pytest.mark.parametrize("version", [1, 2])
def test_addresses_of_two_families_are_written_as_ipv6(version: int) -> None:
    message = build(version, (b"192.0.2.7", 4711), (b"2001:db8::1", 443))
    assert feed(message) == (Header((b"::ffff:192.0.2.7", 4711), (b"2001:db8::1", 443)), len(message))


@pytest.mark.parametrize("version", [1, 2])
def test_whoever_has_no_address_is_unknown_and_a_zone_stays_here(version: int) -> None:
    unknown = build(version, (UNIX, 0), V4.destination)
    assert feed(unknown) == (Header(), len(unknown))
    zoned = build(version, (b"fe80::1%eth0", 1), (b"fe80::2%eth0", 2))
    assert feed(zoned) == (Header((b"fe80::1", 1), (b"fe80::2", 2)), len(zoned))


PORTS = st.integers(0, 65535)
HOSTS = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(*[st.ip_addresses(v=6)] * 2)
)


@given(st.sampled_from([1, 2]), HOSTS, PORTS, PORTS)
def test_what_we_build_is_read_as_it_was_meant(
    version: int, hosts: tuple[IPv4Address | IPv6Address, ...], source_port: int, destination_port: int
) -> None:
    source, destination = (str(host).encode() for host in hosts)
    message = build(version, (source, source_port), (destination, destination_port))
    found = feed(message)
    assert isinstance(found, tuple)
    header, size = found
    assert size == len(message)
    assert header.source is not None
    assert header.destination is not None
    assert [ip_address(each[0].decode()) for each in (header.source, header.destination)] == list(hosts)
    assert (header.source[1], header.destination[1]) == (source_port, destination_port)


@given(
    st.sampled_from(
        [v1("TCP4 192.0.2.7 198.51.100.1 4711 443"), v2(0x21, 0x11, ADDRESSES_4 + field(4, b"ab"))]
    ),
    st.data(),
)
def test_whatever_a_header_is_changed_to_all_ways_of_feeding_agree(
    message: bytes, data: st.DataObject
) -> None:
    """Bytes are replaced, put in and left out."""
    changed = bytearray(message)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(changed)))
        changed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    feed(bytes(changed))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_refused_or_wait_for_more(data: bytes) -> None:
    feed(data)
    feed(b"PROXY " + data)
    feed(SIGNATURE + data)
