"""Flow control of a TLS connection on uvloop, made to keep what that of a plain one keeps.

Knows transports by what they can do, and nothing of what goes through them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

# Of what was written and is not sent; that of a plain connection, instead of 512 KiB.
WRITE_BUFFER_BYTES: Final = 64 * 1024


def bound(transport: asyncio.BaseTransport) -> None:
    """Call it as soon as the handshake is over, with the transport that has TLS.

    uvloop goes on reading from the socket while the protocol has paused, up to 256 KiB, and drops all that
    if the peer closes meanwhile: the end of a response that a slow client is still waiting for. With a
    limit of one byte it stops reading as soon as there is something to keep. (With 0 it stops for ever.)
    """
    secured = cast("Any", transport)  # typeshed does not know these
    secured.set_read_buffer_limits(high=1, low=0)
    secured.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
