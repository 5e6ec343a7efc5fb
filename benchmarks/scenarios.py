"""What the load generators ask for, as data. Nothing here measures or starts anything."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

# What the backend answers to.
SMALL: Final = "/small"
KIB: Final = "/1k"
LARGE: Final = "/large"
LARGE_BUFFERED: Final = "/large-buffered"  # the same response, where nginx has memory for it
MIB: Final = "/1m"
MIB_BUFFERED: Final = "/1m-buffered"
CHUNKED: Final = "/chunked"
UPLOAD: Final = "/upload"  # answers when it has read the whole body
UPLOAD_STREAMED: Final = "/upload-streamed"  # the same, where nginx does not wait for all of it
TOLD: Final = "/told"  # what the proxy has told the backend
HEALTH: Final = "/health"

SMALL_BODY: Final = '{"status":"ok","service":"bench","items":[1,2,3,4,5,6,7,8,9]}'
KIB_BYTES: Final = 1024
LARGE_BYTES: Final = 64 * 1024
MIB_BYTES: Final = 1024 * 1024
CHUNKED_BYTES: Final = 16 * 1024
CHUNK_BYTES: Final = 4 * 1024
POST_BYTES: Final = 4 * 1024

CANARY_PERCENT: Final = 10
UPSTREAMS: Final = 1000
SERVICES: Final = 200


class Setting(StrEnum):
    """How a proxy has to be configured; each needs an instance of its own."""

    PLAIN = "plain"
    TLS = "tls"
    WEBSOCKET = "websocket"
    CANARY = "canary"
    STICKY = "sticky"
    ACCESS_LOG = "access log"
    UPSTREAMS = "upstreams"
    SERVICES = "services"


def host(service: int) -> str:
    """What clients call a service. Proxies with one service answer to any name."""
    return f"s{service:03d}.bench.test"


# What a browser sends for a page of a site that it has been to; Host makes it sixteen.
BROWSER_HEADERS: Final = (
    "Connection: keep-alive",
    "Cache-Control: max-age=0",
    'sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24"',
    "sec-ch-ua-mobile: ?0",
    'sec-ch-ua-platform: "Linux"',
    "Upgrade-Insecure-Requests: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Dest: document",
    "Referer: https://shop.example.com/catalogue?page=2",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
    "Cookie: session=6f1d9c0b7a5e4f3288d1c2b3a4958677; theme=dark; consent=necessary",
)
CLOSE: Final = ("Connection: close",)


def _post(body_bytes: int) -> str:
    return f"""\
wrk.method = "POST"
wrk.body = string.rep("x", {body_bytes})
wrk.headers["Content-Type"] = "application/octet-stream"
"""


# Two thousand chunks of one byte: cheap to send and to answer, and work for whoever follows the framing.
_CHUNKS: Final = r"""
local message = "POST /small HTTP/1.1\r\nHost: bench\r\nTransfer-Encoding: chunked\r\n\r\n"
  .. string.rep("1\r\nx\r\n", 2000) .. "0\r\n\r\n"
request = function() return message end
"""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`script` is Lua for wrk; `connections` are kept alive unless a header says otherwise.

    `rotates` is a header that differs from request to request: `Host` goes round the services, `Cookie` round
    what the proxy itself has set.
    """

    name: str
    about: str
    path: str = SMALL
    connections: int = 64
    headers: tuple[str, ...] = ()
    script: str = ""
    setting: Setting = Setting.PLAIN
    rotates: str = ""


KEEP_ALIVE: Final = Scenario("small", "small GET, kept-alive connections")
# For the question whether workers scale: the load shares the cores, so the proxy has to be what is slow.
PROXY_BOUND: Final = Scenario("chunks", "POST in 2000 chunks of a byte", script=_CHUNKS)
SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        KEEP_ALIVE,
        Scenario("headers", "small GET with the 16 headers of a browser", headers=BROWSER_HEADERS),
        Scenario("1k", "GET, response of 1 KiB", path=KIB),
        Scenario("large", "GET, response of 64 KiB (nginx: default buffers)", path=LARGE),
        Scenario("buffered", "GET, response of 64 KiB (nginx: buffers for all of it)", path=LARGE_BUFFERED),
        Scenario("1m", "GET, response of 1 MiB (nginx: default buffers)", path=MIB),
        Scenario("1m-buffered", "GET, response of 1 MiB (nginx: without temporary files)", path=MIB_BUFFERED),
        Scenario("chunked", "GET, response of 16 KiB in chunks", path=CHUNKED),
        Scenario("post", "POST with a body of 4 KiB", script=_post(POST_BYTES)),
        Scenario("post-1m", "POST with a body of 1 MiB (nginx: default)", UPLOAD, script=_post(MIB_BYTES)),
        Scenario(
            "post-1m-streamed",
            "POST with a body of 1 MiB (nginx: request buffering off)",
            UPLOAD_STREAMED,
            script=_post(MIB_BYTES),
        ),
        Scenario("connections", "small GET on 1000 kept-alive connections", connections=1000),
        Scenario("connect", "small GET, a new connection for each", headers=CLOSE),
        Scenario("tls", "small GET, TLS, kept-alive connections", setting=Setting.TLS),
        Scenario(
            "tls-connect", "small GET, TLS, a new connection for each", headers=CLOSE, setting=Setting.TLS
        ),
        Scenario("websocket", "WebSocket echo, for each message there and back", setting=Setting.WEBSOCKET),
        Scenario("canary", "small GET, a canary of 10 %", setting=Setting.CANARY),
        Scenario(
            "sticky",
            "small GET with the cookie of a sticky canary of 10 %",
            setting=Setting.STICKY,
            rotates="Cookie",
        ),
        Scenario("access-log", "small GET, access log in JSON to a file", setting=Setting.ACCESS_LOG),
        Scenario("upstreams", f"small GET, {UPSTREAMS} upstreams", setting=Setting.UPSTREAMS),
        Scenario(
            "services",
            f"small GET, {SERVICES} services, each in turn",
            setting=Setting.SERVICES,
            rotates="Host",
        ),
    )
}
