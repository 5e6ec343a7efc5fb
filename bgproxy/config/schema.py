"""The settings, as the file has them: names, types, meanings. The defaults are those of `model`.

Owns the words of the configuration file. What relates two settings is in `relations`; nothing here
reads a file, and nothing outside of this package sees these classes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic.config import JsonDict

from bgproxy import model
from bgproxy.config.values import (
    AlpnName,
    Argument,
    Authority,
    BindAddress,
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
    Network,
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
    Workers,
    auto_workers,
)

TOKEN_CHARACTERS = 16

_ACCESS_LOG = model.AccessLog()
_ADMIN = model.Admin()
_CONFIG = model.Config(services={}, listeners=())
_FORWARDING = model.Forwarding()
_HEAD = model.HeadLimits()
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


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: object) -> object:
        """`health:` with every line below it commented out is null in YAML."""
        return {} if value is None else value


def _one_of(*names: str) -> ConfigDict:
    """For editors only: `relations` says the same in words."""
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in names]})


# --- where requests come in -----------------------------------------------------------------------------


class Certificate(Settings):
    cert: FilePath = Field(description="File with the certificate and its chain, in PEM.")
    key: FilePath = Field(description="File with its key, in PEM.")


class ListenerTls(Settings):
    certificates: list[Certificate] = Field(
        min_length=1,
        description="Chosen by the name that the client asks for (SNI); the first one is for all others. "
        "Read again when they change.",
    )
    min_version: Literal["1.2", "1.3"] = Field("1.2", description="The oldest version of TLS that is spoken.")
    client_ca: FilePath | None = Field(
        None, description="File with the authorities that clients need a certificate of, in PEM."
    )
    client_certificate: Literal["required", "optional"] = Field(
        "required", description="With `client_ca` only: whether clients without a certificate are let in."
    )
    alpn: list[AlpnName] = Field(
        ["http/1.1"],
        description="Protocols offered to the client; `tcp` listeners may offer others, such as h2.",
    )


class ListenerLimits(Settings):
    request_line: Size = Field(_HEAD.request_line_bytes, description="Longest request line; 414.")
    header_block: Size = Field(_HEAD.header_block_bytes, description="Largest header block; 431.")
    header_count: Integer = Field(_HEAD.header_count, ge=1, description="Most header fields; 431.")
    connections: Integer | None = Field(
        None, ge=1, description="Most connections at once; 503. Left out: what the descriptors allow."
    )
    connections_per_client: Integer | None = Field(
        None, ge=1, description="Most connections at once from one address; 503. Left out: no limit."
    )


class Forwarding(Settings):
    trusted: list[Network] = Field(
        [],
        description="Networks, such as `10.0.0.0/8`, of proxies whose X-Forwarded-* and Forwarded are believed and "
        "added to; those of others are replaced. `unix`: peers on a unix socket.",
    )
    x_forwarded: Boolean = Field(
        _FORWARDING.x_forwarded, description="Send X-Forwarded-For, -Proto, -Host and -Port."
    )
    forwarded: Boolean = Field(_FORWARDING.forwarded, description="Send Forwarded (RFC 7239).")
    via: Boolean = Field(_FORWARDING.via, description="Send Via, as RFC 9110 wants of a proxy.")
    request_id: Boolean = Field(_FORWARDING.request_id, description="Send X-Request-Id, made or kept.")
    traceparent: Boolean = Field(
        _FORWARDING.traceparent,
        description="Start a trace (W3C Trace Context) for requests that are in none. What comes is passed on anyway.",
    )


class Listener(Settings):
    name: Name = Field(description="Its name in logs and metrics.")
    bind: BindAddress = Field(description="Where it listens: `host:port`, `[v6]:port` or `unix:/path`.")
    preview: Boolean = Field(default=False, description="Whether its requests always go to the idle pool.")
    protocol: Annotated[model.Protocol, Field(strict=False)] = Field(
        model.Protocol.HTTP, description="`tcp` passes on bytes, whatever they mean: gRPC, SMTP, PostgreSQL."
    )
    service: Name | None = Field(None, description="`tcp` only: the service that its connections go to.")
    tls: ListenerTls | None = Field(None, description="Speak TLS on this listener.")
    proxy_protocol: Boolean = Field(
        default=False,
        description="Every connection begins with a PROXY header (version 1 or 2), which tells the client. "
        "Only for listeners that nobody but that proxy can reach.",
    )
    limits: ListenerLimits = Field(ListenerLimits(), description="What clients may ask of it.")
    forwarding: Forwarding = Field(
        Forwarding(), description="What upstreams are told about clients, and who is believed about it."
    )


class AdminToken(Settings):
    model_config = _one_of("token_env", "token_file")

    name: Name = Field(description="Who this is, in the history.")
    role: Annotated[model.Role, Field(strict=False)] = Field(
        description="What it may do: `viewer` reads, `operator` also moves traffic, `admin` does everything."
    )
    token_env: SecretFromEnv | None = Field(
        None, description=f"Environment variable with the token, of at least {TOKEN_CHARACTERS} characters."
    )
    token_file: SecretFromFile | None = Field(
        None, description="File with the token; a relative path starts at the configuration file."
    )

    @field_validator("token_env", "token_file")
    @classmethod
    def _is_long(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value()) < TOKEN_CHARACTERS:
            raise ValueError(
                f"leads to a token of less than {TOKEN_CHARACTERS} characters, which can be guessed: "
                "make one with `openssl rand -hex 32`"
            )
        return secret


class Admin(Settings):
    bind: BindAddress = Field(
        _ADMIN.bind, description="Where the admin API listens. Without tokens, loopback or `unix:/path` only."
    )
    tokens: list[AdminToken] = Field([], description="Who may call the admin API.")
    hosts: list[ExactHost] = Field(
        [], description="Names under which it may be called, besides loopback and the bound address."
    )
    tls: ListenerTls | None = Field(None, description="Speak TLS on the admin listener.")
    body: Size = Field(_ADMIN.body_bytes, description="Largest body of a call; 413.")
    requests_per_second: Integer = Field(
        int(_ADMIN.requests_per_s),
        ge=1,
        description="Most calls from one address, with a burst of twice as many; 429.",
    )


# --- a service and its pools ----------------------------------------------------------------------------


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
    model_config = _one_of("cookie", "header")

    cookie: Token | None = Field(_STICKY.cookie, description="Name of a cookie that bgproxy sets.")
    header: Token | None = Field(
        _STICKY.header, description="Name of a request header that tells clients apart."
    )
    ttl: Interval = Field(_STICKY.ttl_s, description="How long a client stays on its side.")


class PreviewHeader(Settings):
    model_config = _one_of("value_env", "value_file")

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


# --- the whole file -------------------------------------------------------------------------------------


class State(Settings):
    backend: Literal["sqlite", "memory"] = Field(
        _CONFIG.state_backend,  # type: ignore[arg-type] # the model's backend is any text
        description="Who remembers what is active. `memory` forgets with the process.",
    )
    path: str = Field(
        _CONFIG.state_path,
        min_length=1,
        description="`sqlite` only: its file; a relative path starts at the configuration file.",
    )


class Engine(Settings):
    kind: Literal["embedded"] = Field("embedded", description="Who moves the traffic: bgproxy itself.")


class AccessLog(Settings):
    path: str = Field(
        _ACCESS_LOG.path,
        min_length=1,
        description="Its file, opened again on SIGUSR1; or `stdout`. A relative path starts at the configuration file.",
    )
    format: Literal["json", "combined"] = Field(
        _ACCESS_LOG.format,  # type: ignore[arg-type] # the model's format is any text
        description="A JSON object, or Apache's combined format.",
    )
    sample: Share = Field(_ACCESS_LOG.sample, description="Share of the requests that is written.")
    always_status: Integer | None = Field(
        _ACCESS_LOG.always_status,
        ge=100,
        le=600,
        description="Requests with this status or a higher one, or without an answer, are always written.",
    )
    always_slower: Timeout | None = Field(None, description="Requests that took longer are always written.")
    except_paths: list[Path] = Field(
        [], description="Path prefixes that are never written, such as `/health`."
    )


class Shutdown(Settings):
    timeout: Duration = Field(
        _CONFIG.shutdown_timeout_s, description="How long requests in flight may go on after SIGTERM."
    )


class File(Settings):
    """The configuration of bgproxy."""

    workers: Workers = Field(
        default_factory=auto_workers,
        description="Processes that carry traffic; `auto` is one for each core.",
    )
    listeners: list[Listener] = Field(
        [Listener(name="public", bind="0.0.0.0:8080")], min_length=1, description="Where requests come in."
    )
    admin: Admin = Field(Admin(), description="Where and by whom bgproxy is told what to do.")
    state: State = Field(State(), description="Where changes survive a crash.")
    engine: Engine = Field(Engine(), description="What moves the traffic.")
    resolve_interval: Timeout = Field(
        _CONFIG.resolve_interval_s, description="How often the names of upstreams are looked up again."
    )
    shutdown: Shutdown = Field(Shutdown(), description="How bgproxy stops.")
    access_log: AccessLog | None = Field(None, description="One line for each request.")
    services: dict[Name, Service] = Field(min_length=1, description="What is switched, by name.")
    groups: dict[Name, list[Name]] = Field(
        {}, description="Services that switch and roll back as one act, by the group's name."
    )


def settings_at(location: tuple[str | int, ...]) -> type[BaseModel]:
    """The class of the mapping at `location`, or of the nearest one around it."""
    current: type[BaseModel] = File
    parts = iter(location)
    for part in parts:
        known = current.model_fields.get(part) if isinstance(part, str) else None
        inner = None if known is None else _settings_in(known.annotation)
        if known is None or inner is None:
            break
        if getattr(known.annotation, "__origin__", None) in {dict, list} and next(parts, None) is None:
            break  # the collection itself, whose keys are names or numbers
        current = inner
    return current


# Private


def _settings_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_settings_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((settings for settings in found if settings is not None), None)
