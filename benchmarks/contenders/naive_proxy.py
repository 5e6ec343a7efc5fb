"""A reverse proxy as it is written in an afternoon: aiohttp on both sides. The baseline, on purpose not tuned.

Run as a script, so that nothing of the benchmark is in its memory.
"""

from __future__ import annotations

import argparse
import ssl
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
POOL = web.AppKey("pool", aiohttp.ClientSession)
UPSTREAM = web.AppKey("upstream", str)


async def handle(request: web.Request) -> web.StreamResponse:
    headers = _without_hop_by_hop(request.headers)
    known = request.headers.get("X-Forwarded-For")
    headers["X-Forwarded-For"] = f"{known}, {request.remote}" if known else str(request.remote)
    headers["X-Forwarded-Proto"] = request.scheme
    async with request.app[POOL].request(
        request.method,
        f"http://{request.app[UPSTREAM]}{request.path_qs}",
        headers=headers,
        data=request.content if request.can_read_body else None,
        allow_redirects=False,
    ) as answer:
        response = web.StreamResponse(status=answer.status, headers=_without_hop_by_hop(answer.headers))
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


def build(upstream: str) -> web.Application:
    app = web.Application()
    app[UPSTREAM] = upstream
    app.cleanup_ctx.append(pool)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


async def pool(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        app[POOL] = session
        yield


def _without_hop_by_hop(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    copied = CIMultiDict(headers)
    for name in HOP_BY_HOP:
        copied.popall(name, None)
    return copied


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    given = parser.parse_args()
    context = None
    if given.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(given.certificate, given.key)
    web.run_app(
        build(given.upstream),
        host="127.0.0.1",
        port=given.port,
        ssl_context=context,
        access_log=None,
        print=None,
        backlog=4096,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
