"""Handshakes that tell a peer who is refused why: with an alert (RFC 8446 section 6.2, RFC 5246 section 7.2.2).

OpenSSL writes the alert as the handshake fails, and event loops throw it away: they drop the connection when they
see the failure. So they do not see it. To them a refused handshake goes on, with a peer who has not sent enough
yet; they send the alert, and the peer ends it, or whose patience ends first. A failure without an alert they see.
Never lets a refused handshake succeed, and has no part in a connection once its handshake is over.
"""

from __future__ import annotations

import ssl
import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

Report = Callable[["sys.UnraisableHookArgs"], object]


class Handshake(ssl.SSLObject):
    """`on_refusal` is called once, before the alert is sent; what the peer sends from then on is dropped.

    `on_success` is called at the end of a handshake that did not fail, before anything else is read.
    """

    _sslobj: Any
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    on_refusal: Callable[[ssl.SSLError], None] | None = None
    on_success: Callable[[], None] | None = None
    _is_refused = False

    def do_handshake(self) -> None:
        if self._is_refused:
            self._await_end()
        if not self.incoming.pending:
            raise ssl.SSLWantReadError  # loops begin before the client does; OpenSSL would take longer to say so
        report = sys.unraisablehook
        sys.unraisablehook = partial(_report_all_but_names, report)
        try:
            self._sslobj.do_handshake()
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError as error:
            on_refusal, self.on_refusal = self.on_refusal, None
            if on_refusal is not None:
                on_refusal(error)
            if not self.outgoing.pending:
                raise
            self._is_refused = True
            self._await_end()
        finally:
            sys.unraisablehook = report
        if self.on_success is not None:
            self.on_success()
        self.on_refusal = self.on_success = None
        del self.incoming, self.outgoing

    def _await_end(self) -> None:
        self.incoming.read()
        raise ssl.SSLWantReadError from None


class HandshakeContext(ssl.SSLContext):
    """Contexts are shared and know no connections: `newest` is how one finds the handshake it has just begun."""

    sslobject_class = Handshake
    _newest: weakref.ref[Handshake] | None = None

    @property
    def newest(self) -> Handshake | None:
        """The handshake that began last; None if it is gone."""
        return None if self._newest is None else self._newest()

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - as event loops call it
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> Handshake:
        handshake = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(handshake, Handshake)  # noqa: S101 - it is of `sslobject_class`
        handshake.incoming, handshake.outgoing = incoming, outgoing
        # Loops keep these for the connection's life, so they may as well have what Python's only pass on to.
        inner = handshake._sslobj
        handshake.read, handshake.write, handshake.pending = inner.read, inner.write, inner.pending  # type: ignore[method-assign]
        self._newest = weakref.ref(handshake)
        return handshake


# Private


def _report_all_but_names(report: Report, unraisable: sys.UnraisableHookArgs) -> None:
    """A name (SNI) that is not ASCII is refused before we see it, and each time Python prints a traceback."""
    if not isinstance(unraisable.exc_value, UnicodeDecodeError):
        report(unraisable)
