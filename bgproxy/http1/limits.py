"""Every bound on what an HTTP/1 peer may make us keep or scan. Each has the status that names it."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024

REQUEST_LINE_BYTES: Final = 8 * KIB  # 414
HEADER_BLOCK_BYTES: Final = 32 * KIB  # 431; with the request line, what a client can make us buffer
HEADER_COUNT: Final = 100  # 431
HOST_BYTES: Final = 255  # 400; no DNS name is longer (RFC 1035), and routing looks behind every dot
RESPONSE_HEAD_BYTES: Final = 64 * KIB  # 502
CHUNK_LINE_BYTES: Final = 4 * KIB  # 400 or 502; size and extensions of one chunk
TRAILER_BYTES: Final = 8 * KIB  # 400 or 502
INFORMATIONAL_RESPONSES: Final = 16  # 502; 1xx heads before the final one
