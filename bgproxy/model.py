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
from typing import Final

KIB: Final = 1024


class Health(StrEnum):
    """An upstream is `unknown` until its first check has ended; only `healthy` ones get traffic."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Balance(StrEnum):
    ROUND_ROBIN = "round_robin"
    LEAST_CONN = "least_conn"
    P2C = "p2c"  # the better of two, by requests in flight and by latency (EWMA)
    HASH = "hash"  # consistent: the same key leads to the same upstream


class WhenUnhealthy(StrEnum):
    """What a request gets when no upstream of its pool is healthy."""

    FAIL = "fail"  # 503 at once
    TRY_ALL = "try_all"  # balance over all of them, as if they were healthy
    OTHER_POOL = "other_pool"  # use the other pool if that one is healthy, else 503


class Protocol(StrEnum):
    HTTP = "http"
    TCP = "tcp"  # bytes, whatever they mean


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
    connect_s: float = 1.0  # with the TLS handshake
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
    body_bytes: int = 64 * KIB  # a request of up to this size, its head included, is kept for another try
    idempotency_key: bool = False  # whether an Idempotency-Key makes any request safe to repeat


@dataclass(frozen=True, slots=True)
class Limits:
    """What one service lets through. None: no limit."""

    request_body_bytes: int | None = None  # 413
    upstream_requests: int | None = None  # in flight at one upstream; each worker has its share
    queue: int = 0  # requests of a pool that wait for an upstream, in each worker; 503 beyond
    queue_timeout_s: float = 5.0  # 503


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Idle connections to upstreams, kept by each worker."""

    connections: int = 1024  # for each upstream
    idle_s: float = (
        4.0  # below the 5 s that Node.js and others wait; an upstream's own hint counts if it is shorter
    )
    age_s: float = inf  # since it was opened


@dataclass(frozen=True, slots=True)
class Certificate:
    """Paths of PEM files: the certificate with its chain, and its key."""

    cert: str
    key: str


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """How connections to upstreams are secured. `ca` is a path; None: what the system trusts."""

    verify: bool = True
    ca: str | None = None
    server_name: str | None = None  # for SNI and verification; None: the upstream's own name
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True)
class Outlier:
    """An upstream that fails so many times in a row gets no requests for a while."""

    consecutive_failures: int = 5
    ejection_s: float = 10.0
    max_ejected: float = 0.5  # share (0..1) of a pool; the last one that is left is never ejected


@dataclass(frozen=True, slots=True)
class HashOn:
    """The key of `Balance.HASH`: kind is `source`, `path`, `header` or `cookie`; the last two have a name."""

    kind: str = "source"
    name: str = ""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A share (0..1) of the requests that are safe is also sent to the idle pool, for comparison."""

    share: float
    timeout_s: float = 10.0
    body_bytes: int = 256 * KIB  # of larger response bodies only status and headers are compared
    headers: tuple[str, ...] = ("content-type", "location")  # lower case: those that have to be equal
    ignore_json: tuple[str, ...] = ()  # paths such as `$.time` or `$.items[*].id`, left out of a comparison


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """The body that stands for the error answers of bgproxy itself with one of these statuses."""

    statuses: tuple[int, ...]
    content_type: str
    body: str  # {status}, {title}, {detail} and {request_id} are filled in, escaped for HTML


@dataclass(frozen=True, slots=True)
class ServiceHeaders:
    """`host` replaces the Host of forwarded requests; `pool` names a response header that tells the pool."""

    host: str | None = None
    pool: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """How a service's requests are treated, as the workers get it with every snapshot."""

    balance: Balance = Balance.LEAST_CONN
    hash_on: HashOn = HashOn()
    when_unhealthy: WhenUnhealthy = WhenUnhealthy.FAIL
    sticky: Sticky | None = None
    preview: Preview = Preview()
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    limits: Limits = Limits()
    keepalive: Keepalive = Keepalive()
    headers: ServiceHeaders = ServiceHeaders()
    upstream_tls: UpstreamTls | None = None
    send_proxy: int = 0  # the version of the PROXY protocol that upstreams are greeted with; 0: none
    outlier: Outlier | None = None
    slow_start_s: float = 0.0  # an upstream that has become healthy is brought up to its weight in this time
    mirror: Mirror | None = None
    error_pages: tuple[ErrorPage, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    pools: dict[str, Pool]  # exactly two; the names are the operator's, "blue" and "green" by habit
    active: str  # for the very first start only
    protocol: Protocol = Protocol.HTTP
    hosts: tuple[str, ...] = ()  # lower case; empty: any host; "*.example.com": any label below
    paths: tuple[str, ...] = ("/",)
    health: HealthCheck = HealthCheck()
    drain_timeout_s: float = 30.0
    policy: Policy = Policy()

    def other(self, pool: str) -> str:
        """The pool that is not `pool`."""
        first, second = self.pools
        return second if pool == first else first


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """What a client's request head may be like."""

    request_line_bytes: int = 8 * KIB  # 414
    header_block_bytes: int = 32 * KIB  # 431; with the request line, what a client can make us buffer
    header_count: int = 100  # 431


@dataclass(frozen=True, slots=True)
class ListenerTls:
    """`certificates`: the first is for clients that name no host, or one that no other is for."""

    certificates: tuple[Certificate, ...]
    min_version: str = "1.2"
    alpn: tuple[str, ...] = ("http/1.1",)
    client_ca: str | None = None  # path: clients are asked for a certificate that this has signed
    client_required: bool = True  # if there is a client_ca


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What is told to upstreams about the client, and whom of its peers a listener believes about it."""

    trusted: tuple[str, ...] = ()  # networks (CIDR), or `unix`, whose X-Forwarded-* and Forwarded are kept
    x_forwarded: bool = True  # X-Forwarded-For, -Proto, -Host and -Port
    forwarded: bool = False  # Forwarded (RFC 7239)
    via: bool = True
    request_id: bool = True  # X-Request-Id
    traceparent: bool = False  # start a trace for requests that are in none (W3C Trace Context)


@dataclass(frozen=True, slots=True)
class Listener:
    name: str
    bind: str  # host:port, [v6]:port or unix:/path
    preview: bool = False
    protocol: Protocol = Protocol.HTTP
    service: str | None = None  # of a TCP listener: where its connections go
    tls: ListenerTls | None = None
    proxy_protocol: bool = False  # every connection begins with a PROXY header, version 1 or 2
    head: HeadLimits = HeadLimits()
    connections: int | None = None  # at once, over all workers; further ones get 503, or are closed
    connections_per_client: int | None = None  # by address
    forwarding: Forwarding = Forwarding()


@dataclass(frozen=True, slots=True)
class AccessLog:
    """One line for each request: those that are `always` written, and a sample of the others."""

    path: str = "stdout"
    format: str = "json"  # or combined
    sample: float = 1.0  # share (0..1)
    always_status: int | None = 500  # this and above, and requests that got no answer
    always_slower_s: float | None = None
    except_paths: tuple[str, ...] = ()  # prefixes that are never written, such as /health


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
    tls: ListenerTls | None = None
    body_bytes: int = 1024 * KIB  # 413
    requests_per_s: float = 50.0  # from one address, with a burst of twice as many; 429


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
    access_log: AccessLog | None = None


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
class Maintenance:
    """Every request gets a 503 with this Retry-After, except those that ask for the preview."""

    retry_after_s: int = 60
    reason: str = ""  # shown to clients


@dataclass(frozen=True, slots=True)
class ServiceState:
    active: str
    previous: str | None = None  # where a rollback goes; None before the first switch
    canary: Canary | None = None
    pools: dict[str, Pool] = field(default_factory=dict)  # set through the API, instead of configured
    drain_until: float | None = None  # the idle pool's upgraded connections end then
    generation: int = 0  # of the last change to this service
    maintenance: Maintenance | None = None


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
    policy: Policy = Policy()
    protocol: Protocol = Protocol.HTTP
    canary: Canary | None = None
    maintenance: Maintenance | None = None
    hold: Hold | None = None
    drain_until: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    generation: int
    services: tuple[ServiceView, ...]
