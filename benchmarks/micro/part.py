"""One micro-benchmark: a name, and what makes the call that is counted.

Whatever is prepared is prepared before the counting begins. A call has to cost the same each time, or the same in
every 100 calls, and must neither wait nor read a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Call = Callable[[], object]


class Part(NamedTuple):
    """`prepare` is called once, on a running event loop; what it returns is called again and again."""

    name: str
    prepare: Callable[[], Call]
