"""What holds for all tests."""

import pytest
from hypothesis import settings

# Assertions in the helpers explain themselves as those of tests do.
pytest.register_assert_rewrite("tests.support")

# A busy machine is no failure.
settings.register_profile("bgproxy", deadline=None)
settings.load_profile("bgproxy")
