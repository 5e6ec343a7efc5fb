"""Who may call what. Pure: a request's headers in, a caller or a refusal out.

The admin API can move all traffic, so a browser must not be able to reach it for somebody else: a request
with a foreign Host (DNS rebinding) or a foreign Origin (cross-site request forgery) is refused before
anything else is looked at.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from bgproxy.config.address import parse_address
from bgproxy.errors import ControlError
from bgproxy.model import Admin, Role


class Unauthenticated(ControlError):
    status = 401
    title = "A token is needed"


class WrongToken(Unauthenticated):
    title = "The token is not known"


class Forbidden(ControlError):
    status = 403
    title = "The call is not allowed"


@dataclass(frozen=True, slots=True)
class Caller:
    name: str
    role: Role


_ORDER = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)


def check_host(admin: Admin, headers: Mapping[str, str]) -> None:
    """Raises `Forbidden` unless Host and Origin are ours (an address, localhost, or a configured name)."""
    host = headers.get("Host", "")
    name = host_name(host)
    if not (_is_address(name) or name in {"", "localhost", _bound_name(admin)} or name in admin.hosts):
        raise Forbidden(
            f"the Host header names {name!r}, which is not this API: use its address, "
            "or add the name to admin.hosts in the configuration"
        )
    origin = headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise Forbidden(f"the page at {origin!r} may not call this API")


def authenticate(admin: Admin, headers: Mapping[str, str], peer: str) -> Caller:
    """The caller that the token stands for. Without tokens everybody who can connect is admin.

    (The configuration allows that on loopback and unix sockets only.)
    """
    if not admin.tokens:
        return Caller(f"anonymous ({peer})", Role.ADMIN)
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not given:
        raise Unauthenticated("send the header Authorization: Bearer TOKEN, or set BGPROXY_TOKEN for the CLI")
    found: Caller | None = None
    for token in admin.tokens:
        # Every token is compared, in constant time, so that the time tells nothing.
        if hmac.compare_digest(token.secret.encode(), given.strip().encode(errors="surrogateescape")):
            found = Caller(token.name, token.role)
    if found is None:
        raise WrongToken("the token that was sent is none of this bgproxy's: it may have been replaced")
    return found


def require(caller: Caller, role: Role) -> None:
    if _ORDER.index(caller.role) < _ORDER.index(role):
        raise Forbidden(f"{caller.name} is {caller.role}; this call needs {role}")


def host_name(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


# Private


@lru_cache(maxsize=64)
def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _bound_name(admin: Admin) -> str:
    address = parse_address(admin.bind, any_port=True)
    return "localhost" if address.path is not None else address.host
