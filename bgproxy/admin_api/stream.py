"""Events as server-sent events (HTML Living Standard, section 9.2), resumable by Last-Event-ID."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict
from typing import Final

import orjson
from aiohttp import web

from bgproxy.admin_api.desk import Desk
from bgproxy.admin_api.views import NUMBER
from bgproxy.observability.events import Event

# A comment now and then keeps proxies from closing the stream, and tells us when the reader is gone.
HEARTBEAT_S: Final = 15.0


async def get_events(desk: Desk, request: web.Request) -> web.StreamResponse:
    events = desk.board.events
    last = request.headers.get("Last-Event-ID", request.query.get("after", ""))
    after = int(last) if NUMBER.fullmatch(last) else None
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    if request.query.get("follow") == "false":
        for event in events.since(after or 0):
            await response.write(_encode(event))
        return response
    follower = events.follow(after)
    pending = asyncio.ensure_future(anext(follower))
    try:
        while True:
            done, _ = await asyncio.wait({pending}, timeout=HEARTBEAT_S)
            if not done:
                await response.write(b": still here\n\n")
                continue
            await response.write(_encode(pending.result()))
            pending = asyncio.ensure_future(anext(follower))
    except (StopAsyncIteration, ConnectionResetError):
        return response  # we close, or the reader has left
    finally:
        pending.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
            await pending
        await follower.aclose()


def _encode(event: Event) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.id, event.kind.encode(), orjson.dumps(asdict(event)))
