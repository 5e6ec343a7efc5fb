"""Which bgproxy this is: its version, and whether what every request goes through is compiled.

Found out when this is imported, which the supervisor does before it forks. So in a process that serves it is what serves, whatever is
on disk by then.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from bgproxy import __version__


def _is_compiled() -> bool:
    module = find_spec("bgproxy.http1.head")
    return module is not None and module.origin is not None and not module.origin.endswith(".py")


COMPILED: Final = _is_compiled()
BUILD: Final = f"{__version__} (compiled)" if COMPILED else __version__
