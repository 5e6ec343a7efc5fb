"""What `balance: hash` tells requests apart by."""

from __future__ import annotations

from collections.abc import Callable

from bgproxy.http1.head import RequestHead
from bgproxy.model import HashOn
from bgproxy.routing.cookie import cookie_value

# Takes the request and its client's address; None if the request has no key.
HashKey = Callable[[RequestHead, bytes], bytes | None]


def hash_key(on: HashOn) -> HashKey:
    if on.kind == "source":
        return lambda _, peer: peer or None
    if on.kind == "path":
        return lambda head, _: head.target.partition(b"?")[0]
    name = on.name.encode()
    if on.kind == "cookie":
        return lambda head, _: cookie_value(head.fields, name) or None
    name = name.lower()
    return lambda head, _: head.fields.get(name) or None
