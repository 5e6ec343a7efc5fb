"""All cases by theme, in the order of the report."""

from __future__ import annotations

from typing import Final

from benchmarks.wire.case import Case
from benchmarks.wire.cases import (
    chunks,
    connections,
    faults,
    fidelity,
    headers,
    length,
    limits,
    request_heads,
    responses,
    streams,
    targets,
    websocket,
)

GROUPS: Final[dict[str, tuple[Case, ...]]] = {
    "framing": length.CASES,
    "chunks": chunks.CASES,
    "heads": request_heads.CASES,
    "targets and Host": targets.CASES,
    "responses": responses.CASES,
    "fidelity": fidelity.CASES,
    "connections": connections.CASES,
    "streams": streams.CASES,
    "headers": headers.CASES,
    "limits": limits.CASES,
    "faults": faults.CASES,
    "upgrade": websocket.CASES,
}
