from __future__ import annotations

from bgproxy import __version__, build
from tests.support.build import COMPILED


def test_a_build_is_a_version_and_says_if_it_is_compiled() -> None:
    assert build.COMPILED is COMPILED
    assert (f"{__version__} (compiled)" if COMPILED else __version__) == build.BUILD
