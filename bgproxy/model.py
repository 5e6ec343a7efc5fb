"""The frozen values that every part of bgproxy shares. No I/O, no clocks, no imports of our own.

Three groups, in the order in which they arise: what the operator *configured* (`Config`), what the
operators' calls made of it (`Desired`, which the state store keeps), and what the engine is told
(`Snapshot`, which also knows health, holds and resolved addresses). Durations are seconds (float,
`inf` for "never"), sizes are bytes, points in time are Unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import inf


class Health(StrEnum):
    """An upstream is `unknown` until its first check has ended; only `healthy` ones get traffic."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Balance(StrEnum):
    ROUND_ROBIN = "round_robin"
    LEAST_CONN = "least_conn"


class WhenUnhealthy(StrEnum):
    """What a request gets when no upstream of its pool is healthy."""

    FAIL = "fail"  # 503 at once
    TRY_ALL = "try_all"  # balance over all of them, as if they were healthy
    OTHER_POOL = "other_pool"  # use the other pool if that one is healthy, else 503


class Role(StrEnum):
    """What a token may do; each role includes the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


# --- what the operator configured ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Upstream:
    """One address of a pool: `host:port`, `[v6]:port` or `unix:/path`. Weight 0 takes no traffic."""

    address: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Pool:
    version: str = ""
    upstreams: tuple[Upstream, ...] = ()


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How an upstream is probed, and how many results in a row change the verdict.

    `kind` is `http`, `tcp` or `command`; the fields after the thresholds belong to one kind each.
    """

    kind: str = "http"
    interval_s: float = 2.0
    timeout_s: float = 1.0
    healthy_after: int = 2
    unhealthy_after: int = 3
    path: str = "/"
    method: str = "GET"
    host: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    expect_status: tuple[int, ...] = (200,)
    expect_body: str | None = None  # regular expression, searched for
    command: tuple[str, ...] = ()  # argv; {address}, {host} and {port} are filled in


@dataclass(frozen=True, slots=True)
class Sticky:
    """Keeps a client on the side that a canary gave it. Exactly one of the two is set."""

    cookie: str | None = None
    header: str | None = None
    ttl_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Preview:
    """The ways, besides a preview listener, to reach the idle pool on purpose."""

    hosts: tuple[str, ...] = ()
    header: str | None = None
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Timeouts:
    connect_s: float = 1.0
    request_head_s: float = 10.0
    request_body_s: float = 30.0  # without progress
    response_head_s: float = 30.0
    idle_s: float = 60.0  # a kept-alive connection, or a response body without progress
    total_s: float = inf


@dataclass(frozen=True, slots=True)
class Retries:
    """`attempts` counts retries, not the first try; `budget` is the share of requests (0..1) retried."""

    attempts: int = 2
    budget: float = 0.2


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    pools: dict[str, Pool]  # exactly two; the names are the operator's, "blue" and "green" by habit
    active: str  # for the very first start only
    hosts: tuple[str, ...] = ()  # lower case; empty: any host; "*.example.com": any label below
    paths: tuple[str, ...] = ("/",)
    balance: Balance = Balance.LEAST_CONN
    health: HealthCheck = HealthCheck()
    sticky: Sticky | None = None
    preview: Preview = Preview()
    drain_timeout_s: float = 30.0
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    when_unhealthy: WhenUnhealthy = WhenUnhealthy.FAIL

    def other(self, pool: str) -> str:
        """The pool that is not `pool`."""
        first, second = self.pools
        return second if pool == first else first


@dataclass(frozen=True, slots=True)
class Listener:
    name: str
    bind: str  # host:port, [v6]:port or unix:/path
    preview: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    name: str
    role: Role
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Admin:
    bind: str = "127.0.0.1:9900"
    tokens: tuple[Token, ...] = ()
    hosts: tuple[str, ...] = ()  # names, besides loopback and the bound address, that Host may carry


@dataclass(frozen=True, slots=True)
class Config:
    services: dict[str, Service]
    listeners: tuple[Listener, ...]
    admin: Admin = Admin()
    workers: int = 1
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    state_backend: str = "sqlite"  # sqlite or memory
    state_path: str = "/var/lib/bgproxy/state.db"
    resolve_interval_s: float = 10.0
    shutdown_timeout_s: float = 30.0


# --- what the operators' calls made of it ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Match:
    """A request matches if the named header, cookie or query parameter has exactly this value."""

    kind: str  # header, cookie or query
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Canary:
    """`weight` percent of the requests, and all that match a rule, go to the idle pool.

    `salt` names the release: with a new one, other clients are the first to see green.
    """

    weight: int = 0
    match: tuple[Match, ...] = ()
    salt: str = ""


@dataclass(frozen=True, slots=True)
class ServiceState:
    active: str
    previous: str | None = None  # where a rollback goes; None before the first switch
    canary: Canary | None = None
    pools: dict[str, Pool] = field(default_factory=dict)  # set through the API, instead of configured
    drain_until: float | None = None  # the idle pool's upgraded connections end then
    generation: int = 0  # of the last change to this service


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything durable: what traffic should do. `generation` grows by one with every change."""

    generation: int
    services: dict[str, ServiceState]


# --- what the engine is told ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UpstreamView:
    """`address` can be connected to as it is (names are resolved); `slot` and `tag` place its counters."""

    name: str
    address: str
    weight: int
    health: Health
    slot: int
    tag: int


@dataclass(frozen=True, slots=True)
class PoolView:
    name: str
    version: str
    upstreams: tuple[UpstreamView, ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """Park new requests until a snapshot without it comes, and `until` at the latest.

    A request over either limit ends the hold: it is never refused.
    """

    id: int
    until: float
    max_requests: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One service as the engine has to serve it. `active` and `idle` are the names of its pools."""

    name: str
    slot: int
    tag: int
    hosts: tuple[str, ...]
    paths: tuple[str, ...]
    active: PoolView
    idle: PoolView
    balance: Balance
    when_unhealthy: WhenUnhealthy
    timeouts: Timeouts
    retries: Retries
    sticky: Sticky | None
    preview: Preview
    canary: Canary | None
    hold: Hold | None
    drain_until: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    generation: int
    services: tuple[ServiceView, ...]
