"""bgproxy, configured as large as asked, and its books. Whatever happens, nothing of it outlives its context."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from benchmarks import cpu_time
from benchmarks.contenders.process import client, started, status, until
from benchmarks.growth.upstream import addresses
from benchmarks.scenarios import HEALTH, SMALL, host
from bgproxy.demo.stage import free_ports

# Probed once, when it starts: what probing costs is measured by itself.
ONCE: Final = "1h"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """`upstreams` are those of each service's active pool; services have one each if there are many."""

    upstreams: int = 1
    services: int = 1
    workers: int = 1
    probe_interval: str = ONCE


class Books(NamedTuple):
    """At one moment: requests that the workers have counted, and the CPU time that the kernel has booked on them."""

    at_s: float
    requests: int
    cpu_s: float
    user_s: float


@dataclass(frozen=True, slots=True)
class Site:
    """A bgproxy that serves, all of its upstreams known to be healthy."""

    port: int
    admin: int
    pids: frozenset[int]
    controller_pid: int
    worker_pids: frozenset[int]

    def books(self) -> Books:
        """Both ends of a round are read in the same way, so that what lies between the two readings cancels."""
        told = told_by(self.admin)
        return Books(time.monotonic(), requests_of(told), cpu_s(self.worker_pids), user_s(self.worker_pids))

    def connections(self) -> int:
        """Of clients, at all workers."""
        return sum(worker["connections"] for worker in told_by(self.admin)["workers"])


def config(size: Size, directory: Path, *, port: int, admin: int, upstream: int) -> Json:
    """bgproxy as it is shipped, but for the interval of the probes."""
    several = size.services > 1
    given = addresses(upstream, size.services if several else size.upstreams)
    return {
        "workers": size.workers,
        "listeners": [{"name": "public", "bind": f"127.0.0.1:{port}"}],
        "admin": {"bind": f"127.0.0.1:{admin}"},
        "state": {"backend": "sqlite", "path": str(directory / "state.db")},
        "services": {
            f"s{number}": {
                **({"hosts": [host(number)]} if several else {}),
                "active": "blue",
                "pools": {
                    "blue": {"upstreams": [given[number]] if several else given},
                    "green": {"upstreams": []},
                },
                "health": {
                    "path": HEALTH,
                    "interval": size.probe_interval,
                    "timeout": "1s",
                    "healthy_after": 1,
                },
            }
            for number in range(size.services)
        },
    }


@contextmanager
def site(size: Size, directory: Path, cores: set[int], *, upstream: int) -> Iterator[Site]:
    directory.mkdir()
    port, admin = free_ports(2)
    path = directory / "bgproxy.yaml"
    asked = config(size, directory, port=port, admin=admin, upstream=upstream)
    path.write_text(yaml.safe_dump(asked, sort_keys=False))
    command = [sys.executable, "-m", "bgproxy", "run", "-c", str(path)]
    with started("bgproxy", command, directory, cores) as process:
        _settle(process, directory, port, admin)
        told = told_by(admin)
        yield Site(
            port=port,
            admin=admin,
            pids=frozenset(cpu_time.tree(process.pid)),
            controller_pid=told["controller"]["pid"],
            worker_pids=frozenset(worker["pid"] for worker in told["workers"]),
        )


def told_by(admin: int) -> Json:
    """What bgproxy says of itself."""
    with client(admin) as connection:
        # By its own name: the admin API refuses others.
        connection.request("GET", "/admin/status")
        told: Json = json.loads(connection.getresponse().read())
    return told


def requests_of(told: Json) -> int:
    return sum(_pools(told, lambda pool: pool["requests"]))


def is_healthy(told: Json) -> bool:
    """All upstreams are, not only as many as it takes to serve."""
    return all(_pools(told, lambda pool: all(each["health"] == "healthy" for each in pool["upstreams"])))


def cpu_s(pids: Iterable[int]) -> float:
    """As clock_getcpuclockid(3) has it: to the nanosecond, where /proc counts in steps of 10 ms."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def user_s(pids: Iterable[int]) -> float:
    """The part of it outside the kernel, in steps of 10 ms."""
    stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(fields[11]) for fields in stats) * cpu_time.TICK_S


# Private


def _pools(told: Json, figure: Callable[[Json], int]) -> Iterator[int]:
    return (figure(pool) for service in told["services"] for pool in service["pools"].values())


def _settle(process: subprocess.Popen[bytes], directory: Path, port: int, admin: int) -> None:
    until(lambda: status(admin, "/readyz") == 200, process, directory)
    until(lambda: is_healthy(told_by(admin)), process, directory)
    until(lambda: status(port, SMALL) == 200, process, directory)
