"""The settings of a service: its pools, and everything that may differ from one service to another.

Owns their words and meanings, and the order in which the reference shows them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.config import JsonDict

from bgproxy import model
from bgproxy.config.settings import Settings, one_of
from bgproxy.config.values import (
    Argument,
    Authority,
    Boolean,
    Duration,
    ExactHost,
    FilePath,
    HashKey,
    HeaderValue,
    Host,
    Integer,
    Interval,
    JsonPath,
    Method,
    Name,
    PageFile,
    Path,
    Regex,
    RequestTarget,
    SecretFromEnv,
    SecretFromFile,
    Share,
    Size,
    Statuses,
    Timeout,
    Token,
    UpstreamAddress,
)

_HEALTH = model.HealthCheck()
_KEEPALIVE = model.Keepalive()
_LIMITS = model.Limits()
_MIRROR = model.Mirror(share=0)
_OUTLIER = model.Outlier()
_POLICY = model.Policy()
_POOL = model.Pool()
_RETRIES = model.Retries()
_SERVICE = model.Service(name="", pools={}, active="")
_STICKY = model.Sticky()
_TIMEOUTS = model.Timeouts()
_UPSTREAM_TLS = model.UpstreamTls()
_UPSTREAM = model.Upstream(address="")


class Upstream(Settings):
    address: UpstreamAddress = Field(description="`host:port`, `[v6]:port` or `unix:/path`.")
    weight: Integer = Field(
        _UPSTREAM.weight,
        ge=0,
        le=1000,
        description="Its share of the pool's requests, relative to the others; 0 takes none.",
    )

    @model_validator(mode="before")
    @classmethod
    def _address_alone(cls, value: object) -> object:
        return {"address": value} if isinstance(value, str) else value


def _or_text(field: JsonDict) -> None:
    """For editors only: `Upstream` itself takes an address alone."""
    field["items"] = {"anyOf": [{"type": "string"}, field["items"]]}


class Pool(Settings):
    version: str = Field(_POOL.version, description="What runs there, for people: shown, never interpreted.")
    upstreams: list[Upstream] = Field(
        [],
        json_schema_extra=_or_text,
        description="Its addresses, as text or as `{address, weight}`. May be empty until the first deploy.",
    )


class Health(Settings):
    kind: Literal["http", "tcp", "command"] = Field(
        _HEALTH.kind,  # type: ignore[arg-type] # the model's kind is any text
        description="A request, a connection, or a command that has to exit with 0.",
    )
    interval: Interval = Field(_HEALTH.interval_s, description="Time between two checks of an upstream.")
    timeout: Interval = Field(_HEALTH.timeout_s, description="When a check without an answer has failed.")
    healthy_after: Integer = Field(
        _HEALTH.healthy_after, ge=1, description="Passed checks in a row that make an upstream healthy."
    )
    unhealthy_after: Integer = Field(
        _HEALTH.unhealthy_after, ge=1, description="Failed checks in a row that make it unhealthy."
    )
    path: RequestTarget = Field(_HEALTH.path, description="`http` only: what to request.")
    method: Method = Field(_HEALTH.method, description="`http` only: the method of the request.")
    host: Authority | None = Field(
        _HEALTH.host, description="`http` only: the Host header; the upstream's address if left out."
    )
    headers: dict[Token, HeaderValue] = Field({}, description="`http` only: further headers of the request.")
    expect_status: list[Statuses] = Field(
        [_HEALTH.expect_status],
        min_length=1,
        description='`http` only: statuses that pass, as numbers or as ranges such as `"200-399"`.',
    )
    expect_body: Regex | None = Field(
        _HEALTH.expect_body, description="`http` only: regular expression that the body has to contain."
    )
    command: list[Argument] = Field(
        [],
        description="`command` only: program and arguments; `{address}`, `{host}` and `{port}` are filled in.",
    )


class Sticky(Settings):
    model_config = one_of("cookie", "header")

    cookie: Token | None = Field(_STICKY.cookie, description="Name of a cookie that bgproxy sets.")
    header: Token | None = Field(
        _STICKY.header, description="Name of a request header that tells clients apart."
    )
    ttl: Interval = Field(_STICKY.ttl_s, description="How long a client stays on its side.")


class PreviewHeader(Settings):
    model_config = one_of("value_env", "value_file")

    name: Token = Field(description="Name of the request header.")
    value_env: SecretFromEnv | None = Field(None, description="Environment variable with the secret value.")
    value_file: SecretFromFile | None = Field(
        None, description="File with the secret value; a relative path starts at the configuration file."
    )


class Preview(Settings):
    hosts: list[Host] = Field([], description="Hosts that always lead to the idle pool.")
    header: PreviewHeader | None = Field(
        None, description="A header that, with the right value, leads to the idle pool."
    )


class Drain(Settings):
    timeout: Duration = Field(
        _SERVICE.drain_timeout_s,
        description="How long upgraded connections (WebSockets) may go on in the pool that a switch has left.",
    )


class Timeouts(Settings):
    connect: Timeout = Field(_TIMEOUTS.connect_s, description="To connect to an upstream.")
    request_head: Timeout = Field(_TIMEOUTS.request_head_s, description="For a client to send a whole head.")
    request_body: Timeout = Field(
        _TIMEOUTS.request_body_s, description="Without progress in the request's body."
    )
    response_head: Timeout = Field(
        _TIMEOUTS.response_head_s, description="For the upstream to answer with a head."
    )
    idle: Timeout = Field(
        _TIMEOUTS.idle_s, description="For a kept-alive connection, or a response's body without progress."
    )
    total: Timeout = Field(
        _TIMEOUTS.total_s,
        description="For the whole request, from when its pool is chosen; a hold does not count.",
    )


class Retries(Settings):
    attempts: Integer = Field(
        _RETRIES.attempts, ge=0, le=10, description="How often a request that is safe to repeat is retried."
    )
    budget: Share = Field(_RETRIES.budget, description="Share of all requests that may be retries.")
    body: Size = Field(
        _RETRIES.body_bytes,
        description="Requests of up to this size, head included, are kept for another try.",
    )
    idempotency_key: Boolean = Field(
        _RETRIES.idempotency_key,
        description="Whether an Idempotency-Key header makes a request safe to repeat, whatever its method.",
    )


class Limits(Settings):
    request_body: Size | None = Field(
        None, description="Largest request body, with the sizes of its chunks; 413. Left out: no limit."
    )
    upstream_requests: Integer | None = Field(
        None,
        ge=1,
        description="Most requests in flight at one upstream; each worker has an equal share, of at least 1. "
        "Left out: no limit.",
    )
    queue: Integer = Field(
        _LIMITS.queue,
        ge=0,
        description="Most requests of a pool that wait, in each worker, while all its upstreams have "
        "`upstream_requests`; others get 503 at once.",
    )
    queue_timeout: Timeout = Field(
        _LIMITS.queue_timeout_s, description="How long a request waits there; 503."
    )


class Keepalive(Settings):
    connections: Integer = Field(
        _KEEPALIVE.connections, ge=0, description="Most idle connections kept to one upstream by one worker."
    )
    idle: Timeout = Field(
        _KEEPALIVE.idle_s,
        description="How long one is kept; below what the upstream keeps it, so that no request meets its end. "
        "An upstream's `Keep-Alive: timeout` counts if it is shorter.",
    )
    age: Timeout = Field(_KEEPALIVE.age_s, description="How old one may become.")


class UpstreamTls(Settings):
    verify: Boolean = Field(
        _UPSTREAM_TLS.verify, description="Whether the upstream's certificate is verified."
    )
    ca: FilePath | None = Field(
        None, description="File with the authorities to trust, in PEM; those of the system if left out."
    )
    server_name: ExactHost | None = Field(
        None, description="The name that is asked for (SNI) and verified; the upstream's own if left out."
    )
    cert: FilePath | None = Field(None, description="File with our own certificate and its chain, in PEM.")
    key: FilePath | None = Field(None, description="File with its key, in PEM.")


class Outlier(Settings):
    consecutive_failures: Integer = Field(
        _OUTLIER.consecutive_failures,
        ge=1,
        description="Failures in a row (5xx, no connection, no answer) that eject an upstream.",
    )
    ejection: Interval = Field(_OUTLIER.ejection_s, description="How long it gets no requests.")
    max_ejected: Share = Field(
        _OUTLIER.max_ejected,
        description="Share of a pool that may be ejected at once. The last upstream that is left never is.",
    )


class Mirror(Settings):
    share: Share = Field(description="Share of the requests that is copied.")
    timeout: Interval = Field(_MIRROR.timeout_s, description="How long the idle pool may take for an answer.")
    body: Size = Field(
        _MIRROR.body_bytes, description="Of larger response bodies only status and headers are compared."
    )
    headers: list[Token] = Field(list(_MIRROR.headers), description="Response headers that have to be equal.")
    ignore_json: list[JsonPath] = Field(
        [], description="Parts of JSON bodies that may differ, such as `$.time` or `$.items[*].id`."
    )


class ErrorPage(Settings):
    status: list[Statuses] = Field(
        min_length=1, description='Statuses that it is for, as numbers or as ranges such as `"500-599"`.'
    )
    file: PageFile = Field(
        description="Its text, of at most 64 KiB. `{status}`, `{title}`, `{detail}` and `{request_id}` are filled in."
    )
    content_type: HeaderValue = Field("text/html; charset=utf-8", description="What it is.")


class Headers(Settings):
    host: Authority | None = Field(
        None, description="The Host that upstreams are told; the client's if left out."
    )
    pool: Token | None = Field(
        None, description='A response header that tells pool and version, as `green;version="v1.1.0"`.'
    )


class Service(Settings):
    hosts: list[Host] = Field(
        [], description="Hosts it answers for, `*.example.com` too; the most exact wins. Empty: any host."
    )
    paths: list[Path] = Field(
        list(_SERVICE.paths), min_length=1, description="Path prefixes it answers for; the longest wins."
    )
    active: Name | None = Field(
        None,
        description="The pool that is active at the very first start; the first one if left out. "
        "Later the state store decides.",
    )
    pools: dict[Name, Pool] = Field(
        min_length=2, max_length=2, description="Exactly two, under names of your choice: `blue` and `green`."
    )
    balance: Annotated[model.Balance, Field(strict=False)] = Field(
        _POLICY.balance, description="How a pool's requests are spread over its upstreams."
    )
    hash_on: HashKey | None = Field(
        None,
        description="`balance: hash` only: what requests have to share to get the same upstream: "
        "`source` (the client's address), `path`, `header:NAME` or `cookie:NAME`; `source` if left out.",
    )
    health: Health = Field(Health(), description="How upstreams are proven healthy.")
    sticky: Sticky | None = Field(None, description="Keeps clients on the side that a canary gave them.")
    preview: Preview = Field(Preview(), description="Ways to reach the idle pool on purpose.")
    drain: Drain = Field(Drain(), description="What happens to the pool that a switch has left.")
    timeouts: Timeouts = Field(Timeouts(), description="How long anything may take.")
    retries: Retries = Field(
        Retries(),
        description="Further tries of a request that failed before its response began, where that does no harm.",
    )
    limits: Limits = Field(Limits(), description="How much its upstreams are asked to bear.")
    keepalive: Keepalive = Field(Keepalive(), description="Idle connections to upstreams.")
    headers: Headers = Field(Headers(), description="What is changed in heads that pass.")
    upstream_tls: UpstreamTls | None = Field(None, description="Speak TLS to upstreams.")
    send_proxy: Literal["none", "v1", "v2"] = Field(
        "none",
        description="The version of the PROXY protocol that tells upstreams the client. "
        "Each request has a connection of its own then.",
    )
    outlier: Outlier | None = Field(None, description="When traffic itself shows that an upstream fails.")
    slow_start: Duration = Field(
        _POLICY.slow_start_s,
        description="In this time an upstream that has become healthy is brought up to its weight.",
    )
    mirror: Mirror | None = Field(
        None,
        description="Copies safe requests (GET, HEAD, OPTIONS) to the idle pool and compares the answers.",
    )
    error_pages: list[ErrorPage] = Field(
        [], description="Pages of your own for the errors that bgproxy answers with; the first that fits."
    )
    when_unhealthy: Annotated[model.WhenUnhealthy, Field(strict=False)] = Field(
        _POLICY.when_unhealthy,
        description="What a request gets when no upstream of its pool is healthy: 503, any of them all the same, "
        "or the other pool.",
    )
