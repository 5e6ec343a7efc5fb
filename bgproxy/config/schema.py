"""The configuration file as a whole: what may stand at its top, and the settings that are there only once.

The parts are in `listener`, `admin` and `service`, the defaults in `model`; what relates two settings is
in `relations`. Nothing here reads a file, and nothing outside of this package sees these classes.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from bgproxy import model
from bgproxy.config.admin import Admin
from bgproxy.config.listener import Listener
from bgproxy.config.service import Service
from bgproxy.config.settings import Settings
from bgproxy.config.values import Duration, Integer, Name, Path, Share, Timeout, Workers, auto_workers

_ACCESS_LOG = model.AccessLog()
_CONFIG = model.Config(services={}, listeners=())


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
