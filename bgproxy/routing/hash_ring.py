"""Consistent hashing: which upstream a key belongs to, and whom it falls to if that one cannot take it.

A ring of points (Karger and others, 1997), rather than a table such as Maglev's (Eisenbud and others, 2016).
A table spreads keys more evenly, but has to be filled anew, for every upstream at once, whenever one falls
ill, is ejected or recovers; on a ring such a one is stepped over, which moves its own keys and no others. So
the ring is made of all upstreams that have a weight, whatever their health, and lives until they change.

Workers agree with each other, and with those of the next version: positions depend on addresses alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from hashlib import blake2b
from struct import Struct
from typing import Final

from bgproxy.routing.upstream import LiveUpstream

# Points of the upstream with the least weight: shares are within about 8 % of what they should be.
POINTS: Final = 160
# If weights differ a lot, their ratio takes more points, up to this many in all; beyond it shares are coarser.
RING_POINTS: Final = 65536

# Positions fit in one digit of a Python integer, which is what makes sorting and searching them fast.
_POSITION_BITS: Final = 30
_POSITION_MASK: Final = 2**_POSITION_BITS - 1
_SLICE: Final = Struct("<16I")  # of a 64-byte digest

Members = tuple[tuple[LiveUpstream, int], ...]  # with their weights


class HashRing:
    __slots__ = ("_owners", "_points", "members")

    def __init__(self, members: Members) -> None:
        """Takes about 0.5 us for a point. `members` has at least one."""
        self.members = members
        per_weight = points_per_weight([weight for _, weight in members])
        owner: dict[int, LiveUpstream] = {}
        for upstream, weight in members:
            for point in positions(upstream.address, max(1, round(weight * per_weight))):
                owner.setdefault(point, upstream)
        self._points = sorted(owner)
        self._owners = [owner[point] for point in self._points]
        self._owners.append(self._owners[0])  # behind the last point the ring begins again

    def owner(self, digest: int) -> LiveUpstream:
        return self._owners[bisect_left(self._points, digest & _POSITION_MASK)]

    def walk(self, digest: int) -> Iterator[LiveUpstream]:
        """Once around: the owner, and those whom the key falls to without it, each as often as it has points."""
        start = bisect_left(self._points, digest & _POSITION_MASK)
        yield from self._owners[start:-1]
        yield from self._owners[:start]


def digest_of(key: bytes) -> int:
    """64 bits: the lower ones are the position on the ring, the upper ones are free for other uses."""
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")


def positions(address: str, count: int) -> Iterator[int]:
    """The first `count` points of an upstream: with another weight it has more of the same, or fewer."""
    for number in range(-(-count // 16)):
        digest = blake2b(address.encode(), salt=number.to_bytes(8, "little")).digest()
        for position in _SLICE.unpack(digest)[: count - 16 * number]:
            yield position & _POSITION_MASK


def points_per_weight(weights: list[int]) -> float:
    """Depends on the set of weights as little as can be, or a newcomer would move everybody's points."""
    scale = POINTS / min(weights)
    most = max(RING_POINTS, POINTS * len(weights))
    while scale * sum(weights) > most:
        scale /= 2
    return scale
