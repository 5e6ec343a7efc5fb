"""Which of the two builds the tests have before them."""

from __future__ import annotations

from typing import Final

from bgproxy.http1 import head

# If so, what a module of it calls within the compiled part cannot be replaced by a test: see the marker `interpreted`.
COMPILED: Final = not head.__file__.endswith(".py")
