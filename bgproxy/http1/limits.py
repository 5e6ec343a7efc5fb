"""Every bound on what an HTTP/1 peer may make us keep or scan. Each has the status that names it.

Those of a request head are the operator's, see `bgproxy.model.HeadLimits`.
"""

from __future__ import annotations

from typing import Final

from bgproxy.model import KIB

HOST_BYTES: Final = 255  # 400; no DNS name is longer (RFC 1035), and routing looks behind every dot
RESPONSE_HEAD_BYTES: Final = 64 * KIB  # 502
CHUNK_LINE_BYTES: Final = 4 * KIB  # 400 or 502; size and extensions of one chunk
CHUNK_EXTENSIONS_BYTES: Final = 16 * KIB  # 400 or 502; of all chunks of a body: nobody needs them
TRAILER_BYTES: Final = 8 * KIB  # 400 or 502
INFORMATIONAL_RESPONSES: Final = 16  # 502; 1xx heads before the final one

# What a listener remembers of the requests that came to it. Full, each kind begins anew.
REMEMBERED_HEADS: Final = 512
REMEMBERED_BLOCKS: Final = 128
REMEMBERED_BYTES: Final = KIB  # of a head or a block; a longer one is read each time
