"""What calls say and what they get, as models: they validate requests and write the OpenAPI document."""

from __future__ import annotations

from math import ceil
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bgproxy.config.quantities import parse_duration, parse_size
from bgproxy.model import Health, Maintenance, Match, Upstream
from bgproxy.switch.calls import HOLD_BYTES, HOLD_REQUESTS, HOLD_TIMEOUT_S, HoldLimits

MAX_HOLD_S = 300.0
MAX_RETRY_AFTER_S = 24 * 3600.0
MAX_HOLD_REQUESTS = 1_000_000
MAX_HOLD_BYTES = 16 * 1024**3


def _duration(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"{value} is no time: write one such as 5s")  # noqa: TRY004 - pydantic wants these
    return parse_duration(value) if isinstance(value, str) else value


def _size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


Seconds = Annotated[
    float, BeforeValidator(_duration, json_schema_input_type=str | float), Field(gt=0, le=MAX_HOLD_S)
]
RetryAfter = Annotated[
    float, BeforeValidator(_duration, json_schema_input_type=str | float), Field(gt=0, le=MAX_RETRY_AFTER_S)
]
Bytes = Annotated[
    int, BeforeValidator(_size, json_schema_input_type=str | int), Field(gt=0, le=MAX_HOLD_BYTES)
]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Change(Body):
    """What every change takes."""

    reason: str = Field("", max_length=1000, description="Why; kept in the history.")
    dry_run: bool = Field(default=False, description="Say what would happen and change nothing.")
    if_generation: int | None = Field(
        None, description="Refuse with 409 unless the state is at this generation."
    )


class ServiceChange(Change):
    service: str | None = Field(None, description="May be left out where there is one service only.")


class GroupChange(ServiceChange):
    group: str | None = Field(
        None, description="All services of this group as one act, instead of a service."
    )


class HoldBody(Body):
    timeout: Seconds = Field(HOLD_TIMEOUT_S, description="How long at most, such as 5s.")
    max_requests: int = Field(
        HOLD_REQUESTS,
        gt=0,
        le=MAX_HOLD_REQUESTS,
        description="Parked requests at most, in each worker.",
    )
    max_bytes: Bytes = Field(HOLD_BYTES, description="Bytes of parked requests at most, in each worker.")

    def limits(self) -> HoldLimits:
        return HoldLimits(self.timeout, self.max_requests, self.max_bytes)


def _hold(value: object) -> object:
    return (
        {"timeout": value} if isinstance(value, str | float | int) and not isinstance(value, bool) else value
    )


class RollbackRequest(GroupChange):
    force: bool = Field(default=False, description="Also to a pool that is not proven healthy; recorded.")
    hold: Annotated[HoldBody | None, BeforeValidator(_hold, json_schema_input_type=HoldBody | str | None)] = (
        Field(None, description="Park new requests until the old pool is empty, then switch.")
    )


class SwitchRequest(RollbackRequest):
    to: str | None = Field(None, description="The pool to switch to; the idle one if left out.")


class MatchBody(Body):
    header: str | None = Field(None, description="Name of a header; or one of the two below.")
    cookie: str | None = Field(None, description="Name of a cookie.")
    query: str | None = Field(None, description="Name of a query parameter.")
    value: str = Field(description="All requests with exactly this value go to the idle pool.")

    @model_validator(mode="after")
    def _one_kind(self) -> MatchBody:
        if sum(name is not None for name in (self.header, self.cookie, self.query)) != 1:
            raise ValueError("give exactly one of header, cookie and query, with a value")
        return self

    def match(self) -> Match:
        kind = "header" if self.header is not None else "cookie" if self.cookie is not None else "query"
        return Match(kind, str(getattr(self, kind)), self.value)


class CanaryRequest(ServiceChange):
    weight: int = Field(0, ge=0, le=100, description="Percent of the requests that go to the idle pool.")
    match: list[MatchBody] = Field(
        default_factory=list, max_length=32, description="And all requests that match one of these."
    )
    force: bool = Field(default=False, description="Also if the idle pool is not proven healthy; recorded.")


class HoldRequest(GroupChange, HoldBody):
    """Park new requests for a bounded time."""


class MaintenanceRequest(GroupChange):
    reason: str = Field("", max_length=1000, description="Why; kept in the history, and shown to clients.")
    retry_after: RetryAfter = Field(
        Maintenance().retry_after_s,
        description="When clients are told to come back, such as 10m; whole seconds.",
    )

    def maintenance(self) -> Maintenance:
        return Maintenance(ceil(self.retry_after), self.reason)


class UpstreamBody(Body):
    address: str = Field(description="host:port, [v6]:port or unix:/path.")
    weight: int = Field(1, ge=0, le=1000, description="Its share within the pool; 0 takes no traffic.")


def _upstream(value: object) -> object:
    return {"address": value} if isinstance(value, str) else value


class PoolRequest(Change):
    version: str | None = Field(None, max_length=200, description="Kept as it is if left out.")
    upstreams: list[
        Annotated[UpstreamBody, BeforeValidator(_upstream, json_schema_input_type=UpstreamBody | str)]
    ] = Field(max_length=4096, description="All of them; they get no traffic before a check has passed.")
    force: bool = Field(default=False, description="Also for a pool that has traffic; recorded.")

    def members(self) -> tuple[Upstream, ...]:
        return tuple(Upstream(each.address, each.weight) for each in self.upstreams)


class DrainRequest(Change):
    pool: str | None = Field(None, description="The idle pool, which it is if left out.")


# Answers


class Answer(BaseModel):
    model_config = ConfigDict(extra="allow")


class Moved(BaseModel):
    service: str
    from_: str = Field(alias="from")
    to: str


class Changed(Answer):
    """An answer to a change; with `dry_run` it says what would happen instead."""

    generation: int
    milliseconds: float | None = Field(
        None, description="From the call until it was in force and on the disk."
    )


class Switched(Changed):
    service: str | None = None
    from_: str | None = Field(None, alias="from")
    to: str | None = None
    services: list[Moved]
    sync_milliseconds: float | None = Field(None, description="Of them, to write and sync the new state.")
    held_milliseconds: float | None = Field(None, description="Of them, with new requests parked.")
    forced: bool | None = None
    dry_run: bool | None = None
    allowed: bool | None = Field(None, description="Of a dry run: whether it would be done.")
    refusal: str | None = Field(None, description="Of a dry run: why it would not be done.")


class UpstreamStatus(BaseModel):
    upstream: str
    address: str
    weight: int
    health: Health
    reason: str = Field(description="What the last check found.")
    since: float
    in_flight: int
    requests: int
    failures: int
    ejected: int = Field(description="Workers that send it nothing for now, because requests failed there.")
    ejections: int = Field(description="How often a worker did that.")


class PoolStatus(BaseModel):
    version: str
    role: Literal["active", "idle"]
    healthy: bool
    in_flight: int
    tunnels: int
    idle_connections: int = Field(description="Those to its upstreams that are kept for the next request.")
    requests: int
    responses: dict[str, int]
    latency_ms: dict[str, float | None]
    safe_to_stop: bool = Field(description="Stopping its upstreams now would disturb nobody.")
    upstreams: list[UpstreamStatus]


class MaintenanceStatus(BaseModel):
    retry_after: int = Field(description="Seconds.")
    reason: str


class ServiceStatus(BaseModel):
    service: str
    active: str
    idle: str
    previous: str | None
    generation: int
    canary: dict[str, Any] | None
    maintenance: MaintenanceStatus | None
    hold: dict[str, Any] | None
    drain: dict[str, Any] | None
    queued: int = Field(description="Requests that wait until an upstream has room.")
    proxy_errors: int = Field(description="Requests that bgproxy answered itself.")
    pools: dict[str, PoolStatus]


class WorkerStatus(BaseModel):
    pid: int
    block: int
    state: Literal["serving", "draining"]
    current: bool = Field(description="It obeys the newest snapshot that any worker obeys.")
    connections: int
    accepted: int
    parked: int


class Status(BaseModel):
    generation: int
    sequence: int
    version: str
    compiled: bool = Field(description="What runs, and every request goes through, is machine code.")
    supervisor_pid: int
    controller: dict[str, Any]
    listeners: list[dict[str, Any]]
    workers: list[WorkerStatus]
    services: list[ServiceStatus]


class Services(BaseModel):
    services: list[ServiceStatus]


class HistoryRow(BaseModel):
    id: int
    time: float
    generation_from: int
    generation_to: int
    action: str
    services: list[str]
    actor: str
    reason: str
    from_pool: str | None
    to_pool: str | None
    outcome: str
    duration_ms: float = Field(
        description="From the call until this row was written with the change: mostly that of a hold."
    )
    forced: bool
    detail: str


class History(BaseModel):
    history: list[HistoryRow]


class MirrorTotals(BaseModel):
    """Since the service exists. `mirrored` is all the others and what is under way."""

    mirrored: int
    same: int
    different: int
    failed: int = Field(description="The idle pool has not answered.")
    uncompared: int = Field(description="The active pool's answer, or its client, broke off.")
    left_out: int = Field(description="Not copied: nobody was healthy, or too many copies were under way.")
    bodies_left_out: int = Field(
        description="Compared without their bodies, which were too large or had no end."
    )


class MirrorLatency(BaseModel):
    """To the head of the response, of the last requests that both sides have answered."""

    samples: int
    active: dict[str, float | None]
    idle: dict[str, float | None]


class MirrorSide(BaseModel):
    pool: str
    version: str
    upstream: str
    status: int
    body_bytes: int
    latency_us: int


class HeaderDifference(BaseModel):
    """A value is null where the header is missing."""

    name: str
    active: str | None
    idle: str | None


class JsonDifference(BaseModel):
    """Of what kind the values are; the values themselves are never told."""

    path: str
    active: str
    idle: str


class MirrorDifference(BaseModel):
    time: float
    method: str
    path: str = Field(description="Without its query.")
    active: MirrorSide
    idle: MirrorSide
    differs: list[Literal["status", "headers", "body"]]
    body: Literal["same", "different", "too_large", "unfinished"]
    headers: list[HeaderDifference]
    json_: list[JsonDifference] = Field(alias="json", description="The first places that differ.")


class MirrorStatus(BaseModel):
    service: str
    active: str
    idle: str
    share: float | None = Field(description="Of the requests (0 to 1); null if the service has no mirror.")
    totals: MirrorTotals
    different: dict[str, int] = Field(description="By what differs; one request may be in several.")
    failed: dict[str, int] = Field(description="By kind.")
    latency_ms: MirrorLatency
    differences: list[MirrorDifference] = Field(description="The last ones, newest first.")


class Reloaded(BaseModel):
    generation: int
    changed: list[str]


class Upgrading(BaseModel):
    pid: int
    detail: str


class Liveness(BaseModel):
    status: Literal["ok"]


class Readiness(BaseModel):
    status: Literal["ready", "not ready"]
    reasons: list[str]


class Document(Answer):
    """OpenAPI 3.1."""

    openapi: str
    paths: dict[str, Any]


class Problem(Answer):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
