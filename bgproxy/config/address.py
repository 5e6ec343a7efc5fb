"""An address as it is written: `host:port`, `[v6]:port` or `unix:/path`.

Owns the one grammar that configuration, API and command line share. Never resolves a name and never
opens a socket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

UNIX_PREFIX = "unix:"

_NAME_BYTES = 253  # RFC 1035 section 2.3.4, without the root's dot
_UNIX_PATH_BYTES = 107  # sun_path on Linux, without its final NUL
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_PORT = re.compile(r"[0-9]{1,5}")
_REMEMBERED = 16_384  # more than there can be upstreams, of which every change looks at all


@dataclass(frozen=True, slots=True)
class Address:
    """Either `path` is set, or `host` (lower case, without brackets) and `port`. `str()` writes it back."""

    host: str = ""
    port: int = 0
    path: str | None = None

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach it: loopback, `localhost` (RFC 6761 section 6.3), a Unix socket."""
        if self.path is not None:
            return True
        ip = _ip(self.host)
        if ip is None:
            return self.host == "localhost" or self.host.endswith(".localhost")
        mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
        return (mapped or ip).is_loopback

    @property
    def is_name(self) -> bool:
        """The host has to be resolved before anything can connect to it."""
        return self.path is None and _ip(self.host) is None

    def __str__(self) -> str:
        if self.path is not None:
            return f"{UNIX_PREFIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@lru_cache(maxsize=_REMEMBERED)
def parse_address(text: str, *, any_port: bool = False) -> Address:
    """Port 0, "a free one", means something to a listener only, which asks for it with `any_port`."""
    if text.startswith(UNIX_PREFIX):
        return Address(path=_unix_path(text))
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise ValueError(f"{text!r} has no port: write host:port, [v6]:port or unix:/path")
    return Address(host=_host(text, host), port=_port(text, port, 0 if any_port else 1))


def is_host_name(text: str) -> bool:
    """A name that DNS, or an IPv4 address that the internet, could have. Lower case only."""
    if len(text) > _NAME_BYTES or not _NAME.fullmatch(text):
        return False
    return _ip(text) is not None or not text.rpartition(".")[2].isdigit()


# Private


def _unix_path(text: str) -> str:
    path = text.removeprefix(UNIX_PREFIX)
    if not path.startswith("/") or path.endswith("/") or not path.isprintable():
        raise ValueError(
            f"{text!r} is not a socket: write unix: and an absolute path, such as unix:/run/app.sock"
        )
    if len(path.encode()) > _UNIX_PATH_BYTES:
        raise ValueError(
            f"{text!r} is too long: the system allows {_UNIX_PATH_BYTES} bytes for a socket's path"
        )
    return path


def _host(text: str, host: str) -> str:
    if host in {"", "*"}:
        raise ValueError(f"{text!r} has no host: for every address of this machine write 0.0.0.0 or [::]")
    if host.startswith("[") and host.endswith("]"):
        ip = _ip(host[1:-1])
        if isinstance(ip, IPv6Address):
            return str(ip)
        raise ValueError(f"{text!r} has no IPv6 address in its brackets: write it like [2001:db8::1]:8000")
    if ":" in host:
        raise ValueError(f"{text!r} is ambiguous: put an IPv6 address in brackets, like [2001:db8::1]:8000")
    name = host.lower()
    if not is_host_name(name):
        raise ValueError(
            f"{text!r} has no valid host: write a name, an IPv4 address or an IPv6 address in brackets"
        )
    return name


def _port(text: str, port: str, lowest: int) -> int:
    if not _PORT.fullmatch(port) or not lowest <= int(port) <= 65535:
        raise ValueError(
            f"{text!r} has no valid port: write a number from {lowest} to 65535 after the last colon"
        )
    return int(port)


@lru_cache(maxsize=_REMEMBERED)
def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
