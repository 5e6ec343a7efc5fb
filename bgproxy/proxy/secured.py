"""TLS between a socket's transport and a protocol: to the one it is a protocol, to the other a transport.

It has no task, no timer and no deadline: who shakes hands is watched by whoever made it. It keeps nothing but
what a paused reader has not taken, and never looks at what goes through.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from bgproxy.proxy.limits import KIB
from bgproxy.proxy.portions import PORTION_BYTES, read_in_portions
from bgproxy.tls.handshake import step

if TYPE_CHECKING:
    from bgproxy.proxy.portions import Reader

# RFC 8446 section 5.1: of what one record carries. OpenSSL keeps room for what it is given to write at once as long
# as the connection lives, so it is given a record at once, and is relieved of it before the next one.
RECORD_BYTES: Final = 16 * KIB
# Of what is decrypted at once, for the same reason; half a portion. Less costs time: most end in the middle of a record.
READ_BYTES: Final = 40 * KIB
# Of what comes in a row without a byte for the protocol: a whole record that comes in parts (RFC 8446 section 5.2),
# and some tickets. What is more is a peer who has us change keys for nothing.
SILENT_BYTES: Final = 24 * KIB

# What is done with what comes.
_SHAKES_HANDS: Final = 0
_IS_OPEN: Final = 1
_HAS_ENDED: Final = 2  # it is dropped


class Guard(Protocol):
    """Who hears how the handshake ends. It has `set_protocol` to call in `secured`."""

    def secured(self, transport: Secured) -> None: ...

    def refused(self, error: ssl.SSLError, *, told: bool) -> None:
        """It has failed, and what comes is dropped. If the peer was `told`, in an alert, that needs time."""

    def connection_lost(self, exc: Exception | None) -> None: ...


class Secured:
    """An `asyncio.Protocol` and an `asyncio.Transport` but for the bases, which nothing that is compiled may have.

    What was written is encrypted and handed down at once, so whatever waits to be sent waits below.
    """

    __slots__ = (
        "_app",
        "_below",
        "_closing",
        "_cut_due",
        "_end_due",
        "_end_said",
        "_error",
        "_guard",
        "_held",
        "_incoming",
        "_loop",
        "_object",
        "_outgoing",
        "_paused",
        "_pending",
        "_phase",
        "_read",
        "_server_side",
        "_silent_bytes",
        "_ticket_waits",
        "_tls",
        "_write",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        below: asyncio.Transport,
        context: ssl.SSLContext,
        guard: Guard,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
    ) -> None:
        self._loop = loop
        self._below = below
        self._guard: Guard | None = guard  # until the handshake is over
        self._app: Reader | None = None  # from then on
        self._server_side = server_side
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        # Not the context's own method: those of listeners have one for event loops.
        self._object = ssl.SSLContext.wrap_bio(
            context, self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self._tls: Any = cast("Any", self._object)._sslobj
        self._read: Callable[[int], bytes] = self._tls.read
        self._write: Callable[[bytes | bytearray | memoryview], int] = self._tls.write
        self._pending: Callable[[], int] = self._tls.pending
        self._phase = _SHAKES_HANDS
        self._silent_bytes = 0
        self._ticket_waits = False
        # of what is read
        self._paused = False
        self._held = b""  # encrypted
        self._end_due = False  # the peer has said its end, and the protocol has paused
        self._cut_due = False  # the same without a word
        # of what is written
        self._end_said = False
        self._closing = False
        self._error: Exception | None = None

    def begin(self, data: bytes = b"") -> None:
        """Takes the transport over; `data` was read from it already."""
        self._below.set_protocol(cast("asyncio.Protocol", self))
        if self._server_side:
            self.data_received(data)
        else:
            self._step()

    # asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        size = len(data)
        if not size or self._closing or self._end_said or self._app is None:
            return
        self._ticket_waits = False
        try:
            if size <= RECORD_BYTES:
                self._write(data)
                self._below.write(self._outgoing.read())
            else:
                view, records = memoryview(data), []
                for start in range(0, size, RECORD_BYTES):
                    self._write(view[start : start + RECORD_BYTES])
                    records.append(self._outgoing.read())
                self._below.writelines(records)
        except ssl.SSLError as error:
            self._fail(error)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """RFC 8446 section 6.1: a close_notify ends one direction. TCP's own end comes with `close`.

        Many peers take that for an abort of what they have not read yet: all with Python's or uvloop's TLS.
        """
        if not self._closing:
            self._say_end()

    def close(self) -> None:
        """Ends behind what was written. RFC 8446 section 6.1: there is no need to wait for the peer's close_notify."""
        if not self._closing:
            self._say_end()
        self.close_abruptly()

    def close_abruptly(self) -> None:
        """Ends behind what was written, but without a close_notify: the peer sees that something is missing."""
        self._closing = True
        self._held = b""
        self._below.close()

    def abort(self) -> None:
        self._closing = True
        self._held = b""
        self._below.abort()

    def is_closing(self) -> bool:
        return self._closing or self._below.is_closing()

    def pause_reading(self) -> None:
        self._paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        if not self._paused:
            return
        self._paused = False
        if self._held or self._end_due or self._cut_due:
            self._loop.call_soon(self._go_on)
        else:
            self._below.resume_reading()

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def get_write_buffer_size(self) -> int:
        return self._below.get_write_buffer_size()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._app = cast("Reader", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol | None:
        return cast("asyncio.BaseProtocol | None", self._app)

    def get_extra_info(self, name: str, default: object = None) -> Any:
        if name == "ssl_object":
            return self._object
        return self._below.get_extra_info(name, default)

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        if len(data) > PORTION_BYTES:
            read_in_portions(self._below, self)
        if self._phase == _SHAKES_HANDS:
            data = self._shake_hands(data)
        if self._paused or self._held:
            self._held += data
            self._below.pause_reading()
        else:
            self._take(data)

    def eof_received(self) -> bool:
        """RFC 8446 section 6.1: without a close_notify before it, it may be that something was cut off."""
        if self._guard is not None:
            return False
        if self._phase == _HAS_ENDED:
            return not self._closing
        if self._paused or self._held:
            self._cut_due = True
            return True
        self.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._phase = _HAS_ENDED
        self._held = b""
        app, self._app = self._app, None
        guard, self._guard = self._guard, None
        if app is not None:
            app.connection_lost(self._error or exc)
        elif guard is not None:
            guard.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._app is not None:
            self._app.pause_writing()

    def resume_writing(self) -> None:
        if self._app is not None:
            self._app.resume_writing()

    # Private: what comes

    def _shake_hands(self, data: bytes) -> bytes:
        """Returns what came behind the handshake, if that is over."""
        start = 0
        while self._phase == _SHAKES_HANDS and start < len(data):
            self._incoming.write(data[start : start + RECORD_BYTES])
            start += RECORD_BYTES
            self._step()
        if self._phase != _IS_OPEN:
            return b""
        rest = self._incoming.read() + data[start:]
        if self._ticket_waits and not rest:
            # At once: it acknowledges the peer's Finished, for which a peer with Nagle's algorithm waits with its first bytes.
            self._ticket_waits = False
            self._flush()
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.secured(self)
        return rest

    def _step(self) -> None:
        try:
            step(self._tls)
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._refuse(error)
        else:
            self._phase = _IS_OPEN
            # RFC 8446 section 4.6.1: a ticket may come at any time. Where a request is here already, it goes with the answer.
            self._ticket_waits = self._server_side and self._object.version() == "TLSv1.3"
            if not self._ticket_waits:
                self._flush()

    def _refuse(self, error: ssl.SSLError) -> None:
        self._phase = _HAS_ENDED
        told = self._outgoing.pending > 0
        self._flush()
        if self._guard is not None:
            self._guard.refused(error, told=told)

    def _take(self, data: bytes) -> None:
        """Decrypts it and tells the protocol, piece by piece, until that pauses, or others should have their turn."""
        size = len(data)
        if size <= READ_BYTES:
            if size and self._phase == _IS_OPEN:
                self._decrypt(data)
            return
        start = overhead = 0
        while start < size and self._phase == _IS_OPEN and not self._closing:
            if self._paused:
                self._held = data[start:]
                return
            if overhead > SILENT_BYTES:
                self._held = data[start:]
                self._below.pause_reading()
                self._loop.call_soon(self._go_on)
                return
            piece = data[start : start + READ_BYTES]
            overhead += len(piece) - self._decrypt(piece)
            start += READ_BYTES

    def _decrypt(self, data: bytes) -> int:
        """Returns how much the protocol was told. By then nothing is left in OpenSSL, whose shutdown would drop it."""
        incoming, read, pending = self._incoming, self._read, self._pending
        incoming.write(data)
        parts: list[bytes] = []
        ended = False
        fault: Exception | None = None
        try:
            part = read(
                min(len(data), RECORD_BYTES)
            )  # mostly a short record, and not to make room for a long one
            while part:
                parts.append(part)
                if not incoming.pending and not pending():
                    break
                part = read(RECORD_BYTES)
            ended = not part
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        except ssl.SSLError as error:
            fault = error
        plain = parts[0] if len(parts) == 1 else b"".join(parts)
        if plain:
            self._silent_bytes = 0
        else:
            self._silent_bytes += len(data)
            if self._silent_bytes > SILENT_BYTES:
                fault = ConnectionAbortedError("the peer sends nothing but what TLS has to say to itself")
        if not self._ticket_waits and self._outgoing.pending:
            self._flush()
        if ended or fault is not None:
            self._phase = _HAS_ENDED
        app = self._app
        if plain and app is not None:
            app.data_received(plain)
        if fault is not None:
            self._fail(fault)
        elif ended and self._paused:
            self._end_due = True
        elif ended:
            self._tell_end()
        return len(plain)

    def _tell_end(self) -> None:
        self._end_due = False
        app = self._app
        if app is not None and not self._closing and not app.eof_received():
            self.close()

    def _go_on(self) -> None:
        """There is something for the protocol that was kept, and it reads again."""
        if self._has_stopped():
            return
        held, self._held = self._held, b""
        self._take(held)
        if self._has_stopped() or self._held:
            return
        if self._end_due:
            self._tell_end()
        if self._cut_due:
            self.abort()
        else:
            self._below.resume_reading()

    def _has_stopped(self) -> bool:
        return self._paused or self._closing

    # Private: what is sent

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and not self._end_said and not self._closing:
            self._below.write(data)

    def _say_end(self) -> None:
        if self._app is None or self._end_said:
            return
        with contextlib.suppress(
            ssl.SSLError
        ):  # the peer has not said its own end, or there has been an error
            self._tls.shutdown()
        self._flush()
        self._end_said = True

    def _fail(self, error: Exception) -> None:
        """What was wrong is said in an alert, to whoever reads it at once."""
        if self._closing:
            return
        self._phase = _HAS_ENDED
        self._error = error
        self._flush()
        if self._below.get_write_buffer_size():
            self.abort()
        else:
            self.close_abruptly()
