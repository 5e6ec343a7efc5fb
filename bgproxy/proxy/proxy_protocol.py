"""The PROXY protocol, versions 1 and 2: how a proxy tells the next one whom a connection is from.

Owns the headers' bytes: which are right, what they say, and how ours are written. Never does any I/O.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final

Address = tuple[bytes, int]  # as text, without brackets, and the port; `unix:` and 0 on a unix socket

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"  # of version 2
V1_BYTES: Final = 107  # the longest line, CR LF included
V2_FIXED_BYTES: Final = 16
TLV_BYTES: Final = 4096  # of type-length-value fields behind the addresses

UNIX: Final = b"unix:"
_V1_NAME: Final = b"PROXY "
_V1_FAMILIES: Final = {b"TCP4": AF_INET, b"TCP6": AF_INET6}

_LOCAL, _PROXY = 0x20, 0x21  # version and command
_UNSPEC, _TCP4, _TCP6, _UNIX_STREAM = 0x00, 0x11, 0x21, 0x31  # address family and transport
_ADDRESSES_BYTES: Final = {_UNSPEC: 0, _TCP4: 12, _TCP6: 36, _UNIX_STREAM: 216}
_CRC32C_TYPE: Final = 0x03


@dataclass(frozen=True, slots=True)
class Header:
    """Without a source (UNKNOWN, LOCAL, UNSPEC) the connection is from whom it seems to be from."""

    source: Address | None = None
    destination: Address | None = None


def parse(data: bytes) -> tuple[Header | None, int]:
    """The header that `data` begins with and how long it is; (None, 0) if some of it is missing.

    Raises ValueError as soon as the bytes can be no header.
    """
    if data[: len(SIGNATURE)] == SIGNATURE[: len(data)]:
        return _parse_v2(data)
    if data[: len(_V1_NAME)] == _V1_NAME[: len(data)]:
        return _parse_v1(data)
    raise ValueError("it does not begin with a PROXY header")


def build(version: int, source: Address | None, destination: Address | None) -> bytes:
    """The header of a connection from `source` to `destination`; without them, of one of our own."""
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n" if version == 1 else _v2(_LOCAL, _UNSPEC, b"")
    try:
        family, hosts = _pack(source[0].decode("latin-1"), destination[0].decode("latin-1"))
    except OSError:  # one of them is no IP address
        return b"PROXY UNKNOWN\r\n" if version == 1 else _v2(_PROXY, _UNSPEC, b"")
    if version == 1:
        name = b"TCP4" if family == AF_INET else b"TCP6"
        source_text, destination_text = (inet_ntop(family, host).encode() for host in hosts)
        ports = b"%d %d\r\n" % (source[1], destination[1])
        return b" ".join([b"PROXY", name, source_text, destination_text, ports])
    kind = _TCP4 if family == AF_INET else _TCP6
    return _v2(_PROXY, kind, b"".join(hosts) + struct.pack("!HH", source[1], destination[1]))


# Private


def _parse_v1(data: bytes) -> tuple[Header | None, int]:
    line, end, _ = data[:V1_BYTES].partition(b"\n")
    if not end:
        if len(data) >= V1_BYTES:
            raise ValueError(f"its PROXY line is longer than {V1_BYTES} bytes")
        return None, 0
    size = len(line) + 1
    if not line.endswith(b"\r"):
        raise ValueError("its PROXY line does not end with CR LF")
    words = line[:-1].split(b" ")
    if words[1] == b"UNKNOWN":
        return Header(), size
    family = _V1_FAMILIES.get(words[1])
    if family is None or len(words) != 6:
        raise ValueError("its PROXY line is not `PROXY TCP4|TCP6 source destination port port`")
    _, _, source, destination, source_port, destination_port = words
    return Header(
        (_v1_host(family, source), _v1_port(source_port)),
        (_v1_host(family, destination), _v1_port(destination_port)),
    ), size


def _v1_host(family: int, text: bytes) -> bytes:
    try:
        return inet_ntop(family, inet_pton(family, text.decode("ascii"))).encode()
    except (OSError, ValueError):
        raise ValueError("its PROXY line has an address that is none of its family") from None


def _v1_port(text: bytes) -> int:
    if not text.isdigit() or len(text) > 5 or (text[0] == 0x30 and len(text) > 1) or int(text) > 0xFFFF:
        raise ValueError("its PROXY line has a port that is no number from 0 to 65535")
    return int(text)


def _parse_v2(data: bytes) -> tuple[Header | None, int]:
    at = len(SIGNATURE)
    command = data[at] if len(data) > at else _PROXY
    if command not in {_LOCAL, _PROXY}:
        raise ValueError(f"its PROXY header has the unknown version and command {command:#04x}")
    if len(data) < V2_FIXED_BYTES:
        return None, 0
    kind = data[13]
    length = int.from_bytes(data[14:16], "big")
    size = V2_FIXED_BYTES + length
    if length > _ADDRESSES_BYTES[_UNIX_STREAM] + TLV_BYTES:
        raise ValueError(f"its PROXY header announces {length} bytes")
    if command == _PROXY and kind not in _ADDRESSES_BYTES:
        raise ValueError(f"its PROXY header has the address family and transport {kind:#04x}")
    if command == _PROXY and length < _ADDRESSES_BYTES[kind]:
        raise ValueError(f"its PROXY header has only {length} bytes for its addresses")
    if len(data) < size:
        return None, 0
    if command == _LOCAL:
        return Header(), size
    _check_fields(data[:size], V2_FIXED_BYTES + _ADDRESSES_BYTES[kind])
    if kind == _UNIX_STREAM:
        return Header((UNIX, 0), (UNIX, 0)), size
    if kind == _UNSPEC:
        return Header(), size
    family, width = (AF_INET, 4) if kind == _TCP4 else (AF_INET6, 16)
    source, destination = data[16 : 16 + width], data[16 + width : 16 + 2 * width]
    source_port, destination_port = struct.unpack_from("!HH", data, 16 + 2 * width)
    return Header(
        (inet_ntop(family, source).encode(), source_port),
        (inet_ntop(family, destination).encode(), destination_port),
    ), size


def _check_fields(header: bytes, at: int) -> None:
    """Raises ValueError unless the fields from `at` on fill the header, and a checksum among them fits."""
    while at < len(header):
        if at + 3 > len(header):
            raise ValueError("its PROXY header ends within a field")
        kind, length = header[at], int.from_bytes(header[at + 1 : at + 3], "big")
        value, at = at + 3, at + 3 + length
        if at > len(header):
            raise ValueError("its PROXY header ends within a field")
        if kind == _CRC32C_TYPE and (
            length != 4
            or int.from_bytes(header[value:at], "big") != crc32c(header[:value] + bytes(4) + header[at:])
        ):
            raise ValueError("its PROXY header does not have the checksum that it says")


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3720, appendix B.4."""
    table, crc = _crc32c_table(), 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


@cache
def _crc32c_table() -> list[int]:
    table = []
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


def _pack(source: str, destination: str) -> tuple[int, tuple[bytes, bytes]]:
    """Of one family: an IPv4 address beside an IPv6 one is written as IPv6 (RFC 4291 section 2.5.5.2)."""
    if ":" not in source and ":" not in destination:
        return AF_INET, (inet_pton(AF_INET, source), inet_pton(AF_INET, destination))
    return AF_INET6, (_as_ipv6(source), _as_ipv6(destination))


def _as_ipv6(text: str) -> bytes:
    host = text.partition("%")[0]  # a zone means something on this machine only
    return inet_pton(AF_INET6, host if ":" in host else f"::ffff:{host}")


def _v2(command: int, kind: int, addresses: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, kind, len(addresses)) + addresses
