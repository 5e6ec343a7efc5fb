"""A proxy that serves, and the processes that it consists of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cpu_time
from benchmarks.contenders import same_work
from benchmarks.contenders.bgproxy_yaml import BGPROXY
from benchmarks.contenders.nginx_conf import NGINX
from benchmarks.contenders.process import ContenderError, find, started, status, until
from benchmarks.contenders.program import AUTHORITY, Backend, Place, Program
from benchmarks.scenarios import HEALTH, SMALL, Setting
from bgproxy.demo.stage import free_ports


@dataclass(frozen=True, slots=True)
class Contender:
    """`pids` is its whole tree, `worker_pids` the part that handles requests.

    `cookies` are what clients have got that the setting makes sticky.
    """

    name: str
    workers: int
    port: int
    root: int
    pids: frozenset[int]
    worker_pids: frozenset[int]
    cookies: tuple[str, ...] = ()

    def check_whole(self) -> None:
        """A process that came or went would make the CPU time of the tree wrong."""
        now = cpu_time.tree(self.root)
        if now != self.pids:
            raise ContenderError(
                f"{self.name} had the processes {sorted(self.pids)} and now has {sorted(now)}: "
                "what died in between was not counted; run it again"
            )


@contextmanager
def contender(
    program: Program,
    behind: Backend,
    directory: Path,
    cores: set[int],
    *,
    workers: int = 1,
    setting: Setting = Setting.PLAIN,
) -> Iterator[Contender]:
    """Started, configured, and found to do the same work as the others."""
    directory.mkdir()
    port, admin = free_ports(2)
    place = Place(directory, port, admin, setting, behind, workers)
    name, *arguments = program.write(place)
    command = [_found(name, program), *arguments]
    authority = behind.certificates / AUTHORITY if setting is Setting.TLS else None
    path = HEALTH if setting is Setting.WEBSOCKET else SMALL
    with started(program.name, command, directory, cores, program.environment) as process:
        until(lambda: status(port, path, authority) == 200, process, directory)
        program.settle(place)
        cookies = same_work.check(program.name, place)
        if setting is Setting.ACCESS_LOG:
            until(lambda: same_work.is_logged(directory / program.log), process, directory)
        pids = frozenset(cpu_time.tree(process.pid))
        worker_pids = _workers(program, place, process.pid, pids)
        yield Contender(program.name, workers, port, process.pid, pids, worker_pids, cookies)


@contextmanager
def nginx(behind: Backend, directory: Path, cores: set[int], *, workers: int) -> Iterator[Contender]:
    with contender(NGINX, behind, directory, cores, workers=workers) as started_one:
        yield started_one


@contextmanager
def bgproxy(behind: Backend, directory: Path, cores: set[int], *, workers: int) -> Iterator[Contender]:
    with contender(BGPROXY, behind, directory, cores, workers=workers) as started_one:
        yield started_one


# Private


def _found(name: str, program: Program) -> str:
    path = find(name)
    if path is None:
        raise ContenderError(f"{name} is not installed: {program.how_to_get}")
    return path


def _workers(program: Program, place: Place, root: int, pids: frozenset[int]) -> frozenset[int]:
    if program.worker_pids is None:
        return pids - {root} or pids
    found = program.worker_pids(place)
    if not found < pids or len(found) != place.workers:
        raise ContenderError(
            f"{program.name} says that its workers are {sorted(found)}, and {place.workers} of its processes "
            f"{sorted(pids)} should be"
        )
    return found
