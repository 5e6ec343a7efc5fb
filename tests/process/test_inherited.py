"""Sockets that a service manager has opened: for this test's own process, and for a real bgproxy."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bgproxy.process import inherited
from bgproxy.process.inherited import Inherited
from tests.support.running import PATIENCE_S, Running, spawned, write


def bound(
    address: Any = ("127.0.0.1", 0), family: int = socket.AF_INET, *, listens: bool = True
) -> socket.socket:
    """As systemd opens them: without SO_REUSEPORT."""
    sock = socket.socket(family)
    sock.bind(address)
    if listens:
        sock.listen(128)
    return sock


def place(sock: socket.socket) -> str:
    return f"127.0.0.1:{sock.getsockname()[1]}"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Puts sockets at descriptors one after the other, and describes them as systemd does."""
    fds: list[int] = []

    def open_for_us(*sockets: socket.socket, names: str = "", pid: int | None = None) -> dict[str, str]:
        base = max([sock.fileno() for sock in sockets], default=3) + 200
        monkeypatch.setattr(inherited, "FIRST_FD", base)
        for index, sock in enumerate(sockets):
            os.dup2(sock.fileno(), base + index)
            fds.append(base + index)
            sock.close()
        return {
            "PATH": "/bin",
            "LISTEN_PID": str(os.getpid() if pid is None else pid),
            "LISTEN_FDS": str(len(sockets)),
            "LISTEN_FDNAMES": names,
        }

    yield open_for_us
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


# --- what is ours ---------------------------------------------------------------------------------


def test_a_socket_is_taken_once_by_its_address_or_by_its_name(opened: Any) -> None:
    by_address, by_name = bound(), bound()
    address, name = place(by_address), by_name.getsockname()
    environment = opened(by_address, by_name, names="one:public")
    sockets = Inherited.from_environment(environment)
    assert environment == {"PATH": "/bin"}
    assert sockets.take("other", "127.0.0.1:1") == []
    (first,) = sockets.take("other", address)
    (second,) = sockets.take("public", "0.0.0.0:80")
    assert second.getsockname() == name
    assert not os.get_inheritable(first.fileno())
    assert sockets.take("other", address) == []
    sockets.refuse_rest()
    first.close()
    second.close()


def test_a_host_name_fits_the_address_that_it_has(opened: Any) -> None:
    sock = bound()
    port = sock.getsockname()[1]
    sockets = Inherited.from_environment(opened(sock))
    (taken,) = sockets.take("public", f"localhost:{port}")
    taken.close()


def test_a_listener_takes_all_sockets_of_its_name(opened: Any) -> None:
    sockets = Inherited.from_environment(opened(bound(), bound(), names="public:public"))
    taken = sockets.take("public", "0.0.0.0:80")
    assert len(taken) == 2
    for sock in taken:
        sock.close()


@pytest.mark.parametrize("environment", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_FDS": "1"}])
def test_what_is_meant_for_another_process_is_left_alone_and_not_passed_on(
    environment: dict[str, str],
) -> None:
    Inherited.from_environment(environment).refuse_rest()
    assert environment == {}


def test_a_socket_that_fits_nobody_is_an_error_that_says_what_to_do(opened: Any) -> None:
    sock = bound()
    address = place(sock)
    sockets = Inherited.from_environment(opened(sock, names="web"))
    with pytest.raises(
        OSError, match=f"'web' on {address} belongs to no listener: give a listener this `bind`"
    ):
        sockets.refuse_rest()
    sockets.take("web", "")[0].close()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: bound(listens=False), "does not listen for connections: use ListenStream="),
        (lambda: socket.socket(type=socket.SOCK_DGRAM), "does not listen for connections: use ListenStream="),
        (
            lambda: bound("\0abstract-bgproxy-test", socket.AF_UNIX),
            "neither TCP nor a unix socket with a path",
        ),
    ],
)
def test_a_descriptor_that_clients_cannot_come_through_is_an_error(
    opened: Any, make: Any, reason: str
) -> None:
    with pytest.raises(OSError, match=reason):
        Inherited.from_environment(opened(make()))


def test_a_descriptor_that_is_not_there_is_an_error(opened: Any) -> None:
    environment = {**opened(bound()), "LISTEN_FDS": "2"}
    with pytest.raises(OSError, match=r"descriptor \d+ cannot be used: Bad file descriptor"):
        Inherited.from_environment(environment)
    with pytest.raises(OSError, match="LISTEN_FDS is 'two'"):
        Inherited.from_environment({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "two"})


def test_the_admin_socket_is_known_by_its_address_and_never_open_to_everybody(
    opened: Any, tmp_path: Path
) -> None:
    path = tmp_path / "admin.sock"
    environment = opened(bound(), bound(str(path), socket.AF_UNIX), names="admin:admin")
    sockets = Inherited.from_environment(environment)
    assert sockets.take_admin("127.0.0.1:9900") is None
    path.chmod(0o660)
    taken = sockets.take_admin(f"unix:{path}")
    assert taken is not None
    path.chmod(0o666)
    with pytest.raises(OSError, match=r"is open to everybody \(mode 666\): set SocketMode=0660"):
        Inherited([("", taken)]).take_admin(f"unix:{path}")
    taken.close()
    sockets.take("admin", "")[0].close()


# --- bgproxy --------------------------------------------------------------------------------------


def config_of(directory: Path, **changes: Any) -> Path:
    """One service that nobody answers for: its 503 shows that bgproxy does."""
    pools = {name: {"upstreams": ["127.0.0.1:1"]} for name in ("blue", "green")}
    return write(directory, {"services": {"web": {"pools": pools, "health": {"kind": "tcp"}}}, **changes})


# Moves descriptors to where systemd has them, then becomes bgproxy.
LAUNCHER = """
import os, sys
fds, names, config = sys.argv[1:]
for target, fd in enumerate(fds.split(","), 3):
    os.dup2(int(fd), target)
    os.close(int(fd))
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(target - 2), LISTEN_FDNAMES=names)
os.execv(sys.executable, [sys.executable, "-m", "bgproxy", "run", "-c", config])
"""


@contextlib.asynccontextmanager
async def activated(config: Path, *sockets: socket.socket, names: str = "") -> AsyncIterator[Running]:
    """bgproxy with these sockets, of which the test keeps its copies, as systemd does."""
    spare = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 100) for sock in sockets]  # beyond those they go to
    fds = ",".join(map(str, spare))
    try:
        async with spawned(
            "-c", LAUNCHER, fds, names, str(config), config=config, pass_fds=(*spare,)
        ) as proxy:
            yield proxy
    finally:
        for fd in spare:
            os.close(fd)


async def answers(address: Any) -> bytes:
    """The first line of what is answered to a request."""
    if isinstance(address, str):
        reader, writer = await asyncio.open_unix_connection(address)
    else:
        reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        line = await reader.readline()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return line


async def test_bgproxy_serves_on_the_sockets_that_it_was_given(tmp_path: Path) -> None:
    """Those that wait in their queues since before it was started, first of all; with two workers."""
    path = str(tmp_path / "front.sock")
    with bound() as tcp, bound(path, socket.AF_UNIX) as unix, bound() as admin:
        listeners = [
            {"name": "public", "bind": place(tcp)},
            {"name": "local", "bind": "unix:/somewhere/else.sock"},
        ]
        config = config_of(tmp_path, listeners=listeners, admin={"bind": place(admin)})
        early = asyncio.ensure_future(answers(tcp.getsockname()))
        async with activated(config, tcp, unix, admin, names="x:local:y") as proxy:
            assert await early == b"HTTP/1.1 503 Service Unavailable\r\n"
            await proxy.until_logged("ready: ")
            assert proxy.addresses == {"public": place(tcp), "local": f"unix:{path}"}
            assert proxy.admin == place(admin)
            assert (await proxy.status())["workers"]
            for _ in range(4):
                assert b" 503 " in await answers(tcp.getsockname())
                assert b" 503 " in await answers(path)
            assert await proxy.stop() == 0
        assert Path(path).exists(), "its file is that of who opened it"


async def test_inherited_sockets_survive_reloads_and_upgrades(tmp_path: Path) -> None:
    path = str(tmp_path / "front.sock")
    with bound(path, socket.AF_UNIX) as unix, bound() as tcp:
        listeners = [{"name": "local", "bind": f"unix:{path}"}, {"name": "public", "bind": place(tcp)}]
        config = config_of(tmp_path, listeners=listeners)
        async with activated(config, unix, tcp) as proxy:
            await proxy.until_logged("ready: ")
            config_of(tmp_path, listeners=listeners, workers=1)
            assert (await proxy.call("POST", "/admin/reload"))[0] == 200
            assert b" 503 " in await answers(path)
            async with asyncio.timeout(PATIENCE_S):
                while len((await proxy.status())["workers"]) != 1:
                    await asyncio.sleep(0.02)
            proxy.process.send_signal(signal.SIGUSR2)
            taken = proxy.log.index(await proxy.until_logged("has taken over"))
            async with asyncio.timeout(PATIENCE_S):
                while not any("ready: " in line for line in proxy.log[taken:]):
                    await asyncio.sleep(0.02)
            assert b" 503 " in await answers(path)
            assert b" 503 " in await answers(tcp.getsockname())
            assert await proxy.stop() == 0
        assert Path(path).exists()


async def test_no_child_is_told_of_sockets_that_are_not_its(tmp_path: Path) -> None:
    told = tmp_path / "environment"
    pools = {name: {"upstreams": ["127.0.0.1:1"]} for name in ("blue", "green")}
    check = {
        "kind": "command",
        "interval": "100ms",
        "command": ["sh", "-c", f"env > {told}.$$; ls -l /proc/self/fd >> {told}.$$; mv {told}.$$ {told}"],
    }
    with bound() as tcp:
        config = write(
            tmp_path,
            {
                "listeners": [{"name": "public", "bind": place(tcp)}],
                "services": {"web": {"pools": pools, "health": check}},
            },
        )
        inode = os.fstat(tcp.fileno()).st_ino
        async with activated(config, tcp) as proxy:
            await proxy.until_logged("ready: ")
            await proxy.until_healthy("web", "blue")
    text = told.read_text()
    assert "PATH=" in text
    assert "LISTEN_" not in text
    assert "/proc/" in text
    assert f"socket:[{inode}]" not in text


async def test_a_socket_that_fits_no_listener_is_an_error_at_the_start(tmp_path: Path) -> None:
    with bound() as tcp:
        async with activated(config_of(tmp_path), tcp, names="front") as proxy:
            assert await proxy.exited() == 3
            await proxy.until_logged(f"the inherited socket 'front' on {place(tcp)} belongs to no listener")


@pytest.mark.parametrize("program", [found for found in (shutil.which("systemd-socket-activate"),) if found])
async def test_systemd_s_own_program_activates_it(tmp_path: Path, program: str) -> None:
    with bound() as probe:
        address, there = place(probe), probe.getsockname()
    config = config_of(tmp_path, listeners=[{"name": "public", "bind": "0.0.0.0:80"}])
    become = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
    listen = (program, f"--listen={address}", "--fdname=public")
    command = ("-c", become, *listen, sys.executable, "-m", "bgproxy", "run", "-c", str(config))
    async with spawned(*command, config=config) as proxy:
        await proxy.until_logged("Listening on")
        assert b" 503 " in await answers(there)
        await proxy.until_logged(f"ready: public on {address}")
