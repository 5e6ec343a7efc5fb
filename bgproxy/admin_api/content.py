"""The body of a call as it arrives: of a bounded size, in a bounded time."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from bgproxy.errors import ControlError, Invalid

ARRIVAL_S: Final = 30.0


class TooLarge(ControlError):
    status = 413
    title = "The body is too large"


class TooSlow(ControlError):
    status = 408
    title = "The body did not arrive in time"


async def read(request: web.Request, most_bytes: int) -> bytes:
    """Raises `TooLarge`, before anything is read if the length was announced, or `TooSlow`."""
    if (request.content_length or 0) > most_bytes:
        raise _too_large(most_bytes)
    content = bytearray()
    try:
        if request.content.is_eof():  # it came with the head, as nearly all do
            content += request.content.read_nowait()
            if len(content) > most_bytes:
                raise _too_large(most_bytes)
            return bytes(content)
        async with asyncio.timeout(ARRIVAL_S):
            async for piece in request.content.iter_any():
                content += piece
                if len(content) > most_bytes:
                    raise _too_large(most_bytes)
    except TimeoutError:
        raise TooSlow(f"it was not complete after {ARRIVAL_S:g} s: send it at once") from None
    except (web.RequestPayloadError, ConnectionError) as error:
        raise Invalid("the body broke off") from error
    return bytes(content)


# Private


def _too_large(most_bytes: int) -> TooLarge:
    return TooLarge(f"a body has at most {most_bytes} bytes: send less, or raise admin.body")
