from __future__ import annotations

import pytest

from bgproxy.model import Balance, HashOn
from bgproxy.routing.hash_key import hash_key
from tests.routing.snapshots import live_pool, pool, request

PEER = b"192.0.2.7"


@pytest.mark.parametrize(
    ("on", "lines", "target", "key"),
    [
        (HashOn("source"), (), "/", PEER),
        (HashOn("path"), (), "/a/b?c=d", b"/a/b"),
        (HashOn("path"), (), "/a/b", b"/a/b"),
        (HashOn("header", "X-Tenant"), ("x-tenant: Blue ",), "/", b"Blue"),
        (HashOn("header", "X-Tenant"), ("X-Tenant: one", "X-Tenant: two"), "/", b"one"),
        (HashOn("header", "X-Tenant"), ("X-Tenant:",), "/", None),
        (HashOn("header", "X-Tenant"), (), "/", None),
        (HashOn("cookie", "session"), ("Cookie: a=b; session=s1",), "/", b"s1"),
        (HashOn("cookie", "session"), ("Cookie: SESSION=s1",), "/", None),
        (HashOn("cookie", "session"), ("Cookie: session=",), "/", None),
        (HashOn("cookie", "session"), (), "/", None),
    ],
)
def test_requests_are_told_apart_by_what_is_configured(
    on: HashOn, lines: tuple[str, ...], target: str, key: bytes | None
) -> None:
    assert hash_key(on)(request(*lines, target=target), PEER) == key


def test_a_client_without_an_address_has_no_key() -> None:
    assert hash_key(HashOn("source"))(request(), b"") is None


def test_requests_without_a_key_take_turns() -> None:
    balanced = live_pool(pool("blue", 1, 1, 1), Balance.HASH, hash_on=HashOn("cookie", "session"))
    assert balanced.hash_key is not None
    key = balanced.hash_key(request(), PEER)
    chosen = [balanced.choose_by(key) for _ in range(6)]
    assert chosen[:3] == chosen[3:]
    assert set(chosen) == set(balanced.upstreams)
