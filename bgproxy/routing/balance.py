"""Which upstream of a pool gets a request.

A `LivePool` knows who can be chosen at present, and has the one function compiled that chooses among them:
what a pool does not use is not looked at by its requests. It never waits and reads no clock; ejections and
slow starts move on when `tick` is called, which is needed only while the pool is among the restless.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any, Final, Protocol

from bgproxy.model import Balance, Health, Policy, PoolView, UpstreamView, WhenUnhealthy
from bgproxy.routing import outlier, warmup
from bgproxy.routing.hash_key import HashKey, hash_key
from bgproxy.routing.hash_ring import HashRing, Members, digest_of
from bgproxy.routing.outlier import OnEjection, Outliers
from bgproxy.routing.p2c import TwoChoices
from bgproxy.routing.turns import interleave
from bgproxy.routing.upstream import LiveUpstream
from bgproxy.routing.warmup import WarmUp

__all__ = ["LivePool", "LiveUpstream"]

# least_conn compares at most this many upstreams, beginning with the one in turn (so that weights count
# while all are idle): all of a small pool, and of a large one a sample whose minimum is as good
# (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001), so that the cost does not
# grow with the pool.
LEAST_CONN_SAMPLE: Final = 8
# How far a key looks for an upstream that can take it. Half of the ring would have to be unable to make one
# of 2^64 keys look further; where nearly all are, keys are spread over the rest without regard to the ring.
RING_STEPS: Final = 64
NO_LIMIT: Final = 2**62

# The upper bits of a key's digest: an upstream that warms up takes the keys for which they are below its gate.
_GATE_BITS: Final = 10
_GATE_SHIFT: Final = 64 - _GATE_BITS
_GATE_OPEN: Final = 2**_GATE_BITS


class Choose(Protocol):
    """The upstream for the next request, none of `tried`; None if there is no other."""

    def __call__(self, tried: Container[LiveUpstream] = (), /) -> LiveUpstream | None: ...


class LivePool:
    """A pool as this worker balances over it.

    `choose` is for every pool; where `hash_key` is not None, `choose_by` is to be asked instead. `share` is
    how many requests this worker may have at one upstream.
    """

    __slots__ = (
        "_candidates",
        "_distinct",
        "_gates",
        "_looks",
        "_members",
        "_outliers",
        "_pick",
        "_policy",
        "_restless",
        "_ring",
        "_round",
        "_share",
        "_turn",
        "_turns",
        "_two_choices",
        "_warm_up",
        "choose",
        "hash_key",
        "name",
        "response_memo",
        "upstreams",
        "version",
    )

    choose: Choose
    hash_key: HashKey | None
    _pick: Choose
    _distinct: tuple[LiveUpstream, ...]
    _turns: tuple[LiveUpstream, ...]
    _looks: int
    _gates: dict[LiveUpstream, int]

    def __init__(
        self,
        view: PoolView,
        policy: Policy,
        live: Callable[[UpstreamView], LiveUpstream],
        *,
        before: LivePool | None = None,
        share: int = NO_LIMIT,
        restless: set[LivePool] | None = None,
        on_ejection: OnEjection = lambda upstream: None,  # noqa: ARG005 - nobody is told
    ) -> None:
        self.name = view.name
        self.version = view.version
        entries = [(entry, live(entry)) for entry in view.upstreams]
        self.upstreams = tuple(upstream for _, upstream in entries)
        usable = [(entry, upstream) for entry, upstream in entries if entry.weight > 0]
        healthy = [upstream for entry, upstream in usable if entry.health is Health.HEALTHY]
        if not healthy and policy.when_unhealthy is WhenUnhealthy.TRY_ALL:
            healthy = [upstream for _, upstream in usable]
        self.response_memo: Any = None  # the last head that one of them has sent, see `LiveUpstream`
        self._candidates = tuple(healthy)
        self._policy = policy
        self._share = share
        self._restless: set[LivePool] = set() if restless is None else restless
        self._turn: int = 0 if before is None else before._turn
        # the hash
        self.hash_key = None
        self._members: Members = ()
        self._ring: HashRing | None = None
        if policy.balance is Balance.HASH:
            self.hash_key = hash_key(policy.hash_on)
            self._members = tuple((upstream, entry.weight) for entry, upstream in usable)
            if before is not None and before._ring is not None and before._ring.members == self._members:
                self._ring = before._ring
        # what is learnt from traffic
        self._two_choices: TwoChoices = TwoChoices() if before is None else before._two_choices
        self._outliers: Outliers | None = None
        if policy.outlier is not None:
            self._outliers = Outliers(policy.outlier, self.upstreams, healthy, on_ejection)
        self._warm_up: WarmUp | None = None
        if policy.slow_start_s:
            self._warm_up = WarmUp(policy.slow_start_s, healthy)
        for upstream in self.upstreams:
            upstream.observe = self._observer(upstream)
            if self._outliers is None and upstream.ejected_until:
                outlier.restore(upstream, on_ejection)
            if self._warm_up is None:
                warmup.skip(upstream)
        self._round = interleave(healthy)
        self._compile()
        if self._is_restless():
            self._restless.add(self)

    def __bool__(self) -> bool:
        """True if there is an upstream that may be chosen."""
        return bool(self._turns)

    def choose_by(self, key: bytes | None, tried: Container[LiveUpstream] = ()) -> LiveUpstream | None:
        """The upstream that `key` belongs to, or the next on the ring that can take it; in turn if it is None."""
        if key is None:
            return self.choose(tried)
        if not self._turns:
            return None
        ring = self._ring
        if ring is None:
            ring = self._ring = HashRing(self._members)
        digest = digest_of(key)
        gate, gates = digest >> _GATE_SHIFT, self._gates
        upstream = ring.owner(digest)
        if gate < gates.get(upstream, 0) and upstream.in_flight < self._share and upstream not in tried:
            return upstream
        for upstream in islice(ring.walk(digest), RING_STEPS):
            if gate < gates.get(upstream, 0) and upstream.in_flight < self._share and upstream not in tried:
                return upstream
        return next(self._others(tried, digest), None)

    def is_full(self) -> bool:
        """True if all that may be chosen have as many requests as they may have; False if there are none."""
        return bool(self._distinct) and all(each.in_flight >= self._share for each in self._distinct)

    def tick(self, now: float) -> None:
        """Lets ejected ones return whose time is over, and those that warm up have more of their weight."""
        back = [] if self._outliers is None else self._outliers.tick(now)
        warmer = False
        if self._warm_up is not None:
            self._warm_up.begin(back)
            warmer = self._warm_up.tick(now)
            if warmer:
                self._round = interleave(self._candidates)
        if back or warmer:
            self._compile()
        if not self._is_restless():
            self._restless.discard(self)

    # Private: what requests find compiled

    def _compile(self) -> None:
        """To be called whenever it has changed who can be chosen, or with which weight."""
        ready, turns = self._candidates, self._round
        if self._outliers is not None and self._outliers.ejected:
            ready = tuple(upstream for upstream in ready if not upstream.ejected_until)
            turns = tuple(upstream for upstream in turns if not upstream.ejected_until)
        self._distinct = ready
        self._turns = turns
        # What least_conn compares the upstream in turn with. Without weights that one is the first of them.
        self._looks = min(LEAST_CONN_SAMPLE - 1, len(ready) - (len(turns) == len(ready)))
        if self.hash_key is not None:
            warmest = max((upstream.warmth for upstream in ready), default=1.0)
            self._gates = {each: round(_GATE_OPEN * each.warmth / warmest) for each in ready}
        self._pick = self._picker()
        self.choose = self._pick if self._share == NO_LIMIT else self._choose_within_share

    def _picker(self) -> Choose:
        balance = self._policy.balance
        if not self._turns:
            picker: Choose = self._choose_nobody
        elif len(self._turns) == 1:
            picker = self._choose_only
        elif balance is Balance.LEAST_CONN:
            picker = self._choose_least
        elif balance is Balance.P2C:
            picker = self._choose_better
        else:
            picker = self._choose_in_turn
        return picker

    def _choose_nobody(self, _tried: Container[LiveUpstream] = (), /) -> None:
        return None

    def _choose_only(self, tried: Container[LiveUpstream] = (), /) -> LiveUpstream | None:
        return self._choose_other(tried) if tried else self._turns[0]

    def _choose_in_turn(self, tried: Container[LiveUpstream] = (), /) -> LiveUpstream | None:
        turns = self._turns
        turn = self._turn + 1
        if turn >= len(turns):
            turn = 0
        self._turn = turn
        return self._choose_other(tried) if tried else turns[turn]

    def _choose_least(self, tried: Container[LiveUpstream] = (), /) -> LiveUpstream | None:
        turns = self._turns
        turn = self._turn + 1
        if turn >= len(turns):
            turn = 0
        self._turn = turn
        if tried:
            return self._choose_other(tried)
        best = turns[turn]
        best_load = best.in_flight / best.weight
        if best_load:
            others = self._distinct
            count = len(others)
            turn %= count
            left = self._looks
            while best_load and left:
                left -= 1
                turn += 1
                if turn >= count:
                    turn = 0
                other = others[turn]
                load = other.in_flight / other.weight
                if load < best_load:
                    best, best_load = other, load
        return best

    def _choose_better(self, tried: Container[LiveUpstream] = (), /) -> LiveUpstream | None:
        return self._choose_other(tried) if tried else self._two_choices.choose(self._distinct)

    def _choose_within_share(self, tried: Container[LiveUpstream] = (), /) -> LiveUpstream | None:
        upstream = self._pick(tried)
        if upstream is None or upstream.in_flight < self._share:
            return upstream
        return self._choose_other(tried)

    # Private: what few requests need

    def _choose_other(self, tried: Container[LiveUpstream]) -> LiveUpstream | None:
        """Looks for somebody who can take a request that the one in turn cannot."""
        balance = self._policy.balance
        others = self._others(tried, self._turn)
        if balance is Balance.LEAST_CONN:
            return min(islice(others, LEAST_CONN_SAMPLE), key=_load, default=None)
        if balance is Balance.P2C:
            self._turn += 1
            return min(islice(others, 2), key=self._two_choices.cost, default=None)
        return next(others, None)

    def _others(self, tried: Container[LiveUpstream], start: int) -> Iterator[LiveUpstream]:
        """Everybody who can take a request; costs more than a few looks only where nearly nobody can."""
        distinct = self._distinct
        count = len(distinct)
        start %= count
        for index in chain(range(start, count), range(start)):
            upstream = distinct[index]
            # In a pool of an older snapshot somebody may have been ejected since.
            if upstream.in_flight < self._share and not upstream.ejected_until and upstream not in tried:
                yield upstream

    # Private: what traffic teaches

    def _observer(self, upstream: LiveUpstream) -> Callable[[bool, int, float], None] | None:
        if self._policy.balance is Balance.P2C or self._outliers is not None:
            return partial(self._observe, upstream)
        return None

    def _observe(self, upstream: LiveUpstream, failed: bool, duration_us: int, now: float) -> None:  # noqa: FBT001 - as it is called
        if self._policy.balance is Balance.P2C:
            self._two_choices.observe(upstream, duration_us, now, failed=failed)
        if self._outliers is not None and self._outliers.observe(upstream, now, failed=failed):
            self._restless.add(self)
            self._compile()

    def _is_restless(self) -> bool:
        return bool(
            (self._outliers is not None and self._outliers.ejected)
            or (self._warm_up is not None and self._warm_up.warming)
        )


def _load(upstream: LiveUpstream) -> float:
    return upstream.in_flight / upstream.weight
