"""What a protocol is told of a connection with TLS, what its peer gets, and how much of it is kept."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import weakref
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bgproxy.model import ListenerTls
from bgproxy.proxy.secured import READ_BYTES, RECORD_BYTES, SILENT_BYTES
from bgproxy.tls.server import ServerContexts
from tests.proxy.doors import Door
from tests.support.certificates import Authority
from tests.support.records import UPDATE_REQUESTED, Forger
from tests.tls.ends import PATIENCE_S, End

SIZE_BYTES = 100_000
MIB = 1024 * 1024
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


class Near(End):
    """The protocol: writes down what it is told, and how much at once."""

    def __init__(self, *, stays: bool = False) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.writable = asyncio.Event()
        self.writable.set()
        self._stays = stays

    def data_received(self, data: bytes) -> None:
        self.sizes.append(len(data))
        super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override] # it says what becomes of the connection
        super().eof_received()
        self._news.set()
        return self._stays

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    async def hears(self, word: str) -> None:
        await self._until(lambda: word in self.told)


class Far:
    """The client: TLS in memory on a socket of its own, so that a test decides what is sent, and when."""

    def __init__(self, context: ssl.SSLContext, sock: socket.socket) -> None:
        self.socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="app")

    async def shakes_hands(self) -> None:
        await self._does(self.tls.do_handshake)

    async def finishes(self) -> bytes:
        """Its Finished, which is not sent yet."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flushes()
                self._incoming.write(await self.gets_raw())
            else:
                return self._outgoing.read()

    async def gets_record(self) -> None:
        """What has nothing in it for who uses TLS."""
        self._incoming.write(await self.gets_raw())
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.read(1)

    def has_ticket(self) -> bool:
        session = self.tls.session
        return session is not None and session.has_ticket

    def encrypted(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self._outgoing.read()

    def end(self) -> bytes:
        """Its close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._outgoing.read()

    async def sends(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def gets(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = await self._does(partial(self.tls.read, size - len(data)))
            assert part, f"ended after {len(data)} of {size} bytes"
            data += part
        return bytes(data)

    async def gets_end(self) -> None:
        """A close_notify."""
        with contextlib.suppress(ssl.SSLZeroReturnError):
            assert await self._does(lambda: self.tls.read(1)) == b""

    async def gets_raw(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.get_running_loop().sock_recv(self.socket, 65536)

    def closes(self) -> None:
        self.socket.close()

    def aborts(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    async def _does(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flushes()
                if data := await self.gets_raw():
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                await self._flushes()
                return result

    async def _flushes(self) -> None:
        await self.sends(self._outgoing.read())


class Site:
    """Accepts as the proxy does."""

    def __init__(self, authority: Authority) -> None:
        self.context = ServerContexts(ListenerTls((authority.issues("app"),))).context
        self.client = ssl.create_default_context(cafile=authority.path)
        self.client.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # which some builds of Python set
        self.doors: list[Door] = []
        self.near: asyncio.Queue[Near] = asyncio.Queue()
        self.stays = False
        self.port = 0
        self._far: list[Far] = []

    async def knocks(self) -> Far:
        """A client that has said nothing yet."""
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setblocking(False)
        far = Far(self.client, sock)
        self._far.append(far)
        return far

    async def meets(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[Near, Far]:
        self.client.minimum_version = self.client.maximum_version = version
        far = await self.knocks()
        await far.shakes_hands()
        if version is ssl.TLSVersion.TLSv1_3:
            await far.gets_record()  # or a close would be a reset
        return await self.near.get(), far

    def accept(self) -> Door:
        self.doors.append(Door(self.context, self._protocol))
        return self.doors[-1]

    def leave(self) -> None:
        for far in self._far:
            far.closes()

    def _protocol(self) -> Near:
        near = Near(stays=self.stays)
        self.near.put_nowait(near)
        return near


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(Authority(tmp_path))
    server = await asyncio.get_running_loop().create_server(site.accept, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    yield site
    site.leave()
    server.close()
    for door in site.doors:
        door.plain.abort()
        await asyncio.sleep(0.001)


# --- what comes -----------------------------------------------------------------------------------


@VERSIONS
async def test_bytes_come_and_go_however_they_are_cut(site: Site, version: ssl.TLSVersion) -> None:
    near, far = await site.meets(version)
    for size in (1, 20_000, SIZE_BYTES, 5):
        await far.sends(far.encrypted(b"x" * size))
        await near.gets(b"x" * size)
        near.transport.write(b"y" * size)
        assert await far.gets(size) == b"y" * size
    for byte in far.encrypted(b"byte by byte"):
        await far.sends(bytes([byte]))
        await asyncio.sleep(0)
    await near.gets(b"byte by byte")


async def test_much_that_comes_at_once_is_told_in_portions(site: Site) -> None:
    near, far = await site.meets()
    body = bytes(range(256)) * 16384
    sending = asyncio.create_task(far.sends(far.encrypted(body)))
    await near.gets(body)
    await sending
    assert max(near.sizes) <= READ_BYTES + RECORD_BYTES


async def test_a_handshake_may_come_byte_by_byte(site: Site) -> None:
    far = await site.knocks()
    loop = asyncio.get_running_loop()

    async def drips(data: bytes) -> None:
        for byte in data:
            await loop.sock_sendall(far.socket, bytes([byte]))
            await asyncio.sleep(0)

    far.sends = drips  # type: ignore[method-assign]
    await far.shakes_hands()
    await drips(far.encrypted(b"hello"))
    await (await site.near.get()).gets(b"hello")


async def test_another_protocol_takes_over_in_the_middle_of_what_comes(site: Site) -> None:
    near, far = await site.meets()
    other = Near()
    told: list[bytes] = []

    def takes_over(data: bytes) -> None:
        told.append(data)
        near.transport.set_protocol(other)

    near.data_received = takes_over  # type: ignore[method-assign]
    await far.sends(far.encrypted(b"x" * SIZE_BYTES))
    await other._until(lambda: bool(told) and len(other.received) == SIZE_BYTES - len(told[0]))
    assert len(told) == 1


# --- ends -----------------------------------------------------------------------------------------


async def test_an_end_that_was_announced_is_told_apart_from_one_that_was_not(site: Site) -> None:
    """RFC 9112 section 9.8: without a close_notify, a response that ends with its connection is incomplete."""
    near, far = await site.meets()
    await far.sends(far.encrypted(b"whole") + far.end())
    far.closes()
    assert await near.ends() is None
    assert (bytes(near.received), near.told) == (b"whole", ["close_notify", "lost"])

    near, far = await site.meets()
    await far.sends(far.encrypted(b"part"))
    far.closes()
    assert await near.ends() is None
    assert (bytes(near.received), near.told) == (b"part", ["lost"])


async def test_an_end_in_the_middle_of_a_record_is_none_that_was_announced(site: Site) -> None:
    near, far = await site.meets()
    await far.sends(far.encrypted(b"whole") + far.encrypted(b"part")[:-1])
    far.closes()
    await near.ends()
    assert (bytes(near.received), near.told) == (b"whole", ["lost"])


@VERSIONS
async def test_who_has_said_its_end_is_still_answered(site: Site, version: ssl.TLSVersion) -> None:
    """RFC 8446 section 6.1: a close_notify ends one direction; here TCP's own end comes behind it."""
    site.stays = True
    near, far = await site.meets(version)
    await far.sends(far.encrypted(b"question") + far.end())
    far.socket.shutdown(socket.SHUT_WR)
    await near.hears("close_notify")
    await near.gets(b"question")
    near.transport.write(b"z" * SIZE_BYTES)
    near.transport.close()
    assert await far.gets(SIZE_BYTES) == b"z" * SIZE_BYTES
    await far.gets_end()
    assert await far.gets_raw() == b""
    await near.ends()


@VERSIONS
async def test_who_hears_our_end_may_go_on(site: Site, version: ssl.TLSVersion) -> None:
    near, far = await site.meets(version)
    assert near.transport.can_write_eof()
    near.transport.write(b"all of it")
    near.transport.write_eof()
    near.transport.write_eof()
    near.transport.write(b"too late")
    assert await far.gets(9) == b"all of it"
    await far.gets_end()
    await far.sends(far.encrypted(b"more"))
    await near.gets(b"more")
    await far.sends(far.end())
    await near.ends()
    assert near.told == ["close_notify", "lost"]


async def test_what_comes_behind_the_end_is_no_part_of_it(site: Site) -> None:
    """RFC 8446 section 6.1: data received after a closure alert is ignored."""
    site.stays = True
    near, far = await site.meets()
    more = [far.encrypted(b"1"), far.end(), b"\x17\x03\x03\0\x20" + bytes(32)]
    await far.sends(b"".join(more))
    await near.hears("close_notify")
    await far.sends(more[2] * 1000)
    near.transport.write(b"answer")
    assert await far.gets(6) == b"answer"
    assert bytes(near.received) == b"1"


@pytest.mark.parametrize("announced", [True, False])
async def test_a_paused_connection_loses_nothing_when_its_peer_closes(site: Site, announced: bool) -> None:
    near, far = await site.meets()
    near.transport.pause_reading()
    await far.sends(far.encrypted(b"x" * SIZE_BYTES) + (far.end() if announced else b""))
    far.closes()
    for _ in range(100):
        await asyncio.sleep(0)
    assert (bytes(near.received), near.told) == (b"", [])
    near.transport.resume_reading()
    await near.gets(b"x" * SIZE_BYTES)
    await near.ends()
    assert near.told == (["close_notify", "lost"] if announced else ["lost"])


@pytest.mark.parametrize("announced", [True, False])
async def test_who_pauses_in_the_middle_gets_the_rest_and_then_the_end(site: Site, announced: bool) -> None:
    near, far = await site.meets()
    tell = near.data_received

    def pauses(data: bytes) -> None:
        tell(data)
        near.transport.pause_reading()
        asyncio.get_running_loop().call_later(0.001, near.transport.resume_reading)

    near.data_received = pauses  # type: ignore[method-assign]
    await far.sends(far.encrypted(b"x" * SIZE_BYTES) + (far.end() if announced else b""))
    far.closes()
    await near.gets(b"x" * SIZE_BYTES)
    await near.ends()
    assert near.told == (["close_notify", "lost"] if announced else ["lost"])


# --- what is written ------------------------------------------------------------------------------


async def test_a_slow_reader_gets_all_and_little_of_it_waits(site: Site) -> None:
    near, far = await site.meets()
    piece, count = bytes(range(256)) * 256, 800
    waiting = 0

    async def writes() -> None:
        nonlocal waiting
        for _ in range(count):
            await near.writable.wait()
            near.transport.write(piece)
            waiting = max(waiting, near.transport.get_write_buffer_size())
        near.transport.close()

    writing = asyncio.create_task(writes())
    for _ in range(count):
        assert await far.gets(len(piece)) == piece
    await writing
    await far.gets_end()
    await near.ends()
    assert 0 < waiting < 3 * len(piece)


async def test_a_close_comes_behind_what_was_written(site: Site) -> None:
    near, far = await site.meets()
    near.transport.write(b"z" * 4 * MIB)
    near.transport.close()
    near.transport.write(b"too late")
    assert near.transport.is_closing()
    assert await far.gets(4 * MIB) == b"z" * 4 * MIB
    await far.gets_end()
    assert await far.gets_raw() == b""


@pytest.mark.parametrize("how", ["abort", "close_abruptly"])
async def test_an_abort_is_no_end(site: Site, how: str) -> None:
    near, far = await site.meets()
    near.transport.write(b"part")
    getattr(near.transport, how)()
    assert await far.gets(4) == b"part"
    with pytest.raises(ssl.SSLError, match=r"(?i)eof"):  # not every Python has a class for it
        await far.gets(1)
    await near.ends()


async def test_a_ticket_comes_at_once_to_a_client_that_has_sent_nothing_yet(site: Site) -> None:
    """With Nagle's algorithm, its first bytes wait until its Finished is acknowledged, which else takes 40 ms."""
    far = await site.knocks()
    await far.shakes_hands()
    assert not far.has_ticket()
    await far.gets_record()
    assert far.has_ticket()


async def test_a_ticket_comes_with_the_answer_to_what_came_with_the_end_of_the_handshake(site: Site) -> None:
    far = await site.knocks()
    finished = await far.finishes()
    await far.sends(finished + far.encrypted(b"hello?"))
    near = await site.near.get()
    await near.gets(b"hello?")
    with pytest.raises(BlockingIOError):
        far.socket.recv(1, socket.MSG_PEEK)
    near.transport.write(b"hello")
    assert await far.gets(5) == b"hello"
    assert far.has_ticket()


# --- peers that mean no good ----------------------------------------------------------------------


@pytest.fixture
def key_log(site: Site, tmp_path: Path) -> Path:
    site.client.keylog_filename = str(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.mark.parametrize("message", [{}, {"message": UPDATE_REQUESTED}], ids=["ours", "both"])
async def test_who_changes_keys_and_says_nothing_is_left(site: Site, key_log: Path, message: Any) -> None:
    """RFC 8446 section 4.6.3 has no limit; each costs more than the bytes that it takes."""
    near, far = await site.meets()
    forger = Forger(key_log)
    updates = b"".join(forger.key_update(**message) for _ in range(5000))
    with contextlib.suppress(OSError):
        await far.sends(updates)
    error = await near.ends()
    assert "nothing but what TLS has to say" in str(error)


async def test_who_changes_keys_now_and_then_is_served(site: Site, key_log: Path) -> None:
    near, far = await site.meets()
    forger = Forger(key_log)
    for _ in range(2 * SILENT_BYTES // 27):
        await far.sends(forger.key_update() + forger.record(b"x", padding_bytes=100))
    await near.gets(b"x" * (2 * SILENT_BYTES // 27))


async def test_who_has_us_work_for_little_lets_others_have_their_turn(site: Site, key_log: Path) -> None:
    near, far = await site.meets()
    forger = Forger(key_log)
    updates = [forger.key_update() if number % 100 else forger.record(b"x") for number in range(20_000)]
    turns = 0

    async def another() -> None:
        nonlocal turns
        while len(near.received) < 200:
            await asyncio.sleep(0)
            turns += 1

    await asyncio.gather(far.sends(b"".join(updates)), another())
    assert turns > 6


async def test_what_is_no_record_ends_with_an_alert(site: Site) -> None:
    near, far = await site.meets()
    await far.sends(far.encrypted(b"whole") + b"\x17\x03\x03\0\x20" + bytes(32))
    with pytest.raises(ssl.SSLError, match=r"(?i)alert bad record mac"):
        await far.gets(1)
    assert isinstance(await near.ends(), ssl.SSLError)
    assert (bytes(near.received), near.told) == (b"whole", ["lost"])


@pytest.mark.parametrize("end", [Far.closes, Far.aborts])
@pytest.mark.parametrize("sent", [1, 200])
async def test_who_leaves_in_the_middle_of_the_handshake_is_forgotten(
    site: Site, end: Callable[[Far], None], sent: int
) -> None:
    far = await site.knocks()
    with pytest.raises(ssl.SSLWantReadError):
        far.tls.do_handshake()
    await far.sends(far._outgoing.read()[:sent])
    end(far)
    async with asyncio.timeout(PATIENCE_S):
        while not site.doors:
            await asyncio.sleep(0)
        await site.doors[0].lost
    assert site.near.empty()


async def test_what_comes_behind_a_refusal_is_dropped(site: Site) -> None:
    far = await site.knocks()
    await far.sends(b"\x16\x03\x03\x00\x04\xff\xff\xff\xff")
    assert (await far.gets_raw())[:1] == b"\x15"
    with pytest.raises(ssl.SSLWantReadError):
        far.tls.do_handshake()
    await far.sends(far._outgoing.read() * 100)
    far.closes()
    async with asyncio.timeout(PATIENCE_S):
        await site.doors[0].lost
    assert site.doors[0].refusals == [("UNEXPECTED_MESSAGE", True)]


# --- what is left ---------------------------------------------------------------------------------


async def test_a_connection_that_has_ended_is_freed_without_the_collector(site: Site) -> None:
    near, far = await site.meets()
    there = weakref.ref(near.tls)
    gc.disable()
    try:
        await far.sends(far.end())
        await near.ends()
        site.doors.clear()
        del near
        await asyncio.sleep(0)
        assert there() is None
    finally:
        gc.enable()
