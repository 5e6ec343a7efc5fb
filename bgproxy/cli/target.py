"""Where the admin API is, as `--admin` says it: `http://host:port`, `https://host:port` or `unix:/path`.

Owns that grammar, and by which files both sides of https know each other; never connects.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from bgproxy.config.address import UNIX_PREFIX, parse_address
from bgproxy.model import Certificate

DEFAULT = "http://127.0.0.1:9900"


@dataclass(frozen=True, slots=True)
class Target:
    """Either `path` of a Unix socket is set, or `host` and `port`."""

    text: str
    host: str = "localhost"
    port: int = 0
    tls: bool = False
    path: str | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Identity:
    """`ca` is the path of the authorities to trust; None: what the system trusts."""

    ca: str | None = None
    certificate: Certificate | None = None


def parse_target(text: str) -> Target:
    if text.startswith(UNIX_PREFIX):
        return Target(text, path=parse_address(text).path)
    example = f"write it like {DEFAULT} or unix:/run/bgproxy.sock"
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(f"{text!r} is no address of an admin API: {example}") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"{text!r} is no address of an admin API: {example}")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{text!r} has more than scheme, host and port: {example}")
    if not parts.hostname:
        raise ValueError(f"{text!r} has no host: {example}")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise ValueError(f"{text!r} has no valid port: {example}") from None
    return Target(text.rstrip("/"), host=parts.hostname, port=port, tls=parts.scheme == "https")
