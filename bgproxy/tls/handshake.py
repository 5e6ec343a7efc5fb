"""Handshakes that tell a peer who is refused why: with an alert (RFC 8446 section 6.2, RFC 5246 section 7.2.2).

OpenSSL writes the alert as the handshake fails, and event loops throw it away: they drop the connection when they
see the failure. So they do not see it. To them a refused handshake goes on, with a peer who has not sent enough
yet; they send the alert, and the peer ends it, or whose patience ends first. A failure without an alert they see.
Never lets a refused handshake succeed, and has no part in a connection once its handshake is over.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

Report = Callable[["sys.UnraisableHookArgs"], object]


def step(connection: Any) -> None:
    """`do_handshake` of what is inside an `ssl.SSLObject`, without a traceback for names that are none."""
    report = sys.unraisablehook
    sys.unraisablehook = partial(_report_all_but_names, report)
    try:
        connection.do_handshake()
    finally:
        sys.unraisablehook = report


class Handshake(ssl.SSLObject):
    """What the peer sends once it is refused is dropped."""

    _sslobj: Any
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    _is_refused = False

    def do_handshake(self) -> None:
        if self._is_refused:
            self._await_end()
        if not self.incoming.pending:
            raise ssl.SSLWantReadError  # loops begin before the client does; OpenSSL would take longer to say so
        try:
            step(self._sslobj)
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError:
            if not self.outgoing.pending:
                raise
            self._is_refused = True
            self._await_end()
        del self.incoming, self.outgoing

    def _await_end(self) -> None:
        self.incoming.read()
        raise ssl.SSLWantReadError from None


class HandshakeContext(ssl.SSLContext):
    """For what an event loop accepts with."""

    sslobject_class = Handshake

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
        return handshake


# Private


def _report_all_but_names(report: Report, unraisable: sys.UnraisableHookArgs) -> None:
    """A name (SNI) that is not ASCII is refused before we see it, and each time Python prints a traceback."""
    if not isinstance(unraisable.exc_value, UnicodeDecodeError):
        report(unraisable)
