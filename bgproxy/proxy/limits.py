"""Bounds of what one connection or request may hold in a worker. Sizes are bytes, times are seconds."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024

# A head of up to this size is kept, in several forms, for as long as its client's connection lives: the next
# one is often the same.
MEMO_BYTES: Final = 4 * KIB
# Bytes of the next requests (pipelining) that are kept while one is being answered.
PIPELINE_BYTES: Final = 64 * KIB
# How long a client that was told "Connection: close" may go on sending before it is cut off: closing at
# once would make its kernel throw our answer away (RFC 9112 section 9.6).
LINGER_S: Final = 2.0
# How much sooner than an upstream says (Keep-Alive: timeout) its connection is left.
KEEP_ALIVE_MARGIN_S: Final = 1.0
# An upgraded connection has no deadline, so a peer that has vanished is found by TCP: asked after this time of
# silence, then at this interval, and given up after as many questions.
KEEPALIVE_IDLE_S: Final = 60
KEEPALIVE_INTERVAL_S: Final = 15
KEEPALIVE_PROBES: Final = 4
# How long a side may take to read what was written to it before its upgraded connection ended.
TUNNEL_FLUSH_S: Final = 30.0
# How often it is looked whether what a reset would take back has been sent.
UNSENT_LOOK_S: Final = 0.005
# Descriptors that are left for what is neither a client's nor an upstream's connection.
DESCRIPTORS_RESERVED: Final = 32
# Copies of requests to idle pools that a worker has under way at once; further ones are left out.
SHADOWS: Final = 64
# How often it is said that clients are turned away.
FULL_SAID_S: Final = 10.0
# Connections that wait in a listening socket until they are accepted. Whoever listens on it again says it again.
BACKLOG: Final = 4096
# How often the files of certificates for upstreams are looked at.
CERTIFICATES_S: Final = 1.0
# How often deadlines are looked at: the precision of every timeout.
SWEEP_S: Final = 0.1
