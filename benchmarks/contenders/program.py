"""What a proxy is to the benchmark: where it is put, how it is configured, what it cannot do. Starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.scenarios import SERVICES, UPSTREAMS, Setting, host

# Everybody who can check upstreams does so at this interval; of a thousand, less often.
HEALTH_S: Final = 2
HEALTH_OF_MANY_S: Final = 10
# Loopback addresses, so that a thousand upstreams can be one process.
_HOSTS_PER_NETWORK: Final = 250

CERTIFICATE: Final = "certificate.pem"
KEY: Final = "key.pem"
BOTH: Final = "certificate-and-key.pem"
AUTHORITY: Final = "authority.pem"
ACCESS_LOG: Final = "access.log"
SAID: Final = "log"  # what a program says on its standard outputs


@dataclass(frozen=True, slots=True)
class Backend:
    """One nginx, with two ports, because a blue-green proxy wants two pools; and a WebSocket echo.

    The files of a certificate for whoever speaks TLS lie in `certificates`.
    """

    blue: int
    green: int
    echo: int
    certificates: Path

    @property
    def many(self) -> list[str]:
        """A thousand addresses, all of them blue."""
        return many(self.blue)


@dataclass(frozen=True, slots=True)
class Place:
    """Everything that a configuration depends on."""

    directory: Path
    port: int
    admin: int  # a second port, for whoever wants one
    setting: Setting
    behind: Backend
    workers: int = 1

    @property
    def blue(self) -> list[str]:
        """The upstreams of the pool that takes the traffic; of each of the services, if there are many."""
        if self.setting is Setting.WEBSOCKET:
            return [f"127.0.0.1:{self.behind.echo}"]
        if self.setting is Setting.UPSTREAMS:
            return self.behind.many
        return [f"127.0.0.1:{self.behind.blue}"]

    @property
    def green(self) -> list[str]:
        return [f"127.0.0.1:{self.behind.green}"]

    @property
    def services(self) -> dict[str, str]:
        """The upstream of each host, where there are many services."""
        return {host(number): address for number, address in enumerate(self.behind.many[:SERVICES])}

    @property
    def health_s(self) -> int:
        return HEALTH_OF_MANY_S if self.setting in {Setting.UPSTREAMS, Setting.SERVICES} else HEALTH_S

    @property
    def scheme(self) -> str:
        return "https" if self.setting is Setting.TLS else "http"

    @property
    def certificate(self) -> Path:
        return self.behind.certificates / CERTIFICATE

    @property
    def key(self) -> Path:
        return self.behind.certificates / KEY

    @property
    def access_log(self) -> Path:
        return self.directory / ACCESS_LOG


def many(port: int) -> list[str]:
    """Addresses of one port; 127.0.0.1 is not among them, so that they can be bound besides it."""
    return [
        f"127.0.{1 + number // _HOSTS_PER_NETWORK}.{2 + number % _HOSTS_PER_NETWORK}:{port}"
        for number in range(UPSTREAMS)
    ]


def _nothing_more(place: Place) -> None:
    """Most programs are ready when they serve."""


@dataclass(frozen=True, slots=True)
class Program:
    """`write` puts the configuration into the place's directory and returns the command line.

    `settle` is called once it serves, for what cannot be configured. `cannot` has a reason for each setting.
    `worker_pids` tells which processes handle requests, if it is not all of them but the first. `log` is the file that the access log goes to, and `versioned` what `version` is of, if not the program.
    """

    name: str
    write: Callable[[Place], list[str]]
    version: tuple[str, ...]
    how_to_get: str
    environment: Mapping[str, str] = field(default_factory=dict)
    cannot: Mapping[Setting, str] = field(default_factory=dict)
    settle: Callable[[Place], None] = _nothing_more
    worker_pids: Callable[[Place], frozenset[int]] | None = None
    log: str = ACCESS_LOG
    versioned: str = ""
