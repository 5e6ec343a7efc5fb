"""What the load generator asks for, as data. Nothing here measures or starts anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SMALL: Final = "/small"
LARGE: Final = "/large"
LARGE_BUFFERED: Final = "/large-buffered"  # the same response, where nginx has buffers for all of it
SMALL_BODY: Final = '{"status":"ok","service":"bench","items":[1,2,3,4,5,6,7,8,9]}'
LARGE_BYTES: Final = 64 * 1024
POST_BYTES: Final = 4 * 1024

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

_POST: Final = f"""\
wrk.method = "POST"
wrk.body = string.rep("x", {POST_BYTES})
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
    """`script` is Lua for wrk; `connections` are kept alive unless a header says otherwise."""

    name: str
    about: str
    path: str = SMALL
    connections: int = 64
    headers: tuple[str, ...] = ()
    script: str = ""


KEEP_ALIVE: Final = Scenario("small", "small GET, kept-alive connections")
# For the question whether workers scale: the load shares the cores, so the proxy has to be what is slow.
PROXY_BOUND: Final = Scenario("chunks", "POST in 2000 chunks of a byte", script=_CHUNKS)
SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        KEEP_ALIVE,
        Scenario("headers", "small GET with the 16 headers of a browser", headers=BROWSER_HEADERS),
        Scenario("post", "POST with a body of 4 KiB", script=_POST),
        Scenario("large", "GET, response of 64 KiB (nginx: default buffers)", path=LARGE),
        Scenario("buffered", "GET, response of 64 KiB (nginx: buffers for all of it)", path=LARGE_BUFFERED),
        Scenario("connections", "small GET on 1000 kept-alive connections", connections=1000),
        Scenario("connect", "small GET, a new connection for each", headers=("Connection: close",)),
    )
}
