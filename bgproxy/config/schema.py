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
    Argument,
    Authority,
    BindAddress,
    Boolean,
    Duration,
    ExactHost,
    HeaderValue,
    Host,
    Integer,
    Interval,
    Method,
    Name,
    Path,
    Regex,
    RequestTarget,
    SecretFromEnv,
    SecretFromFile,
    Share,
    Statuses,
    Timeout,
    Token,
    UpstreamAddress,
    Workers,
    auto_workers,
)

TOKEN_CHARACTERS = 16

_ADMIN = model.Admin()
_CONFIG = model.Config(services={}, listeners=())
_HEALTH = model.HealthCheck()
_POOL = model.Pool()
_RETRIES = model.Retries()
_SERVICE = model.Service(name="", pools={}, active="")
_STICKY = model.Sticky()
_TIMEOUTS = model.Timeouts()
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


class Listener(Settings):
    name: Name = Field(description="Its name in logs and metrics.")
    bind: BindAddress = Field(description="Where it listens: `host:port`, `[v6]:port` or `unix:/path`.")
    preview: Boolean = Field(default=False, description="Whether its requests always go to the idle pool.")


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
    total: Timeout = Field(_TIMEOUTS.total_s, description="For the whole request, whatever it does.")


class Retries(Settings):
    attempts: Integer = Field(
        _RETRIES.attempts, ge=0, le=10, description="How often a request that is safe to repeat is retried."
    )
    budget: Share = Field(_RETRIES.budget, description="Share of all requests that may be retries.")


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
        _SERVICE.balance, description="How a pool's requests are spread over its upstreams."
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
    when_unhealthy: Annotated[model.WhenUnhealthy, Field(strict=False)] = Field(
        _SERVICE.when_unhealthy,
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
