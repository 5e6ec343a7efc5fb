from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging
from bgproxy.observability.logs import configure_logging
configure_logging()
configure_logging()
logging.getLogger("bgproxy.test").debug("quiet")
logging.getLogger("bgproxy.test").warning("one %s", "line")
"""


def test_a_log_is_one_line_each_on_standard_error() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert " WARNING bgproxy.test[" in line
    assert line.endswith("] one line")
