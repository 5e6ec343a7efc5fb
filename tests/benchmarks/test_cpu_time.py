import os
import subprocess
import sys

import pytest

from benchmarks import cpu_time
from benchmarks.cpu_time import TICK_S

STAT = (
    "4242 (nginx: (a) b) S 17 4242 4242 0 -1 4194624 300 0 0 0 150 250 9000 9000 20 0 1 0 12345 "
    "10000000 500 18446744073709551615\n"
)
FORKING = """\
import os, sys
if os.fork():
    sys.stdin.read()
    os.wait()
else:
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


def test_user_and_system_time_count_and_those_of_dead_children_do_not() -> None:
    assert cpu_time.parse_stat(STAT) == pytest.approx(400 * TICK_S)


def test_a_name_with_brackets_and_blanks_does_not_move_the_fields() -> None:
    assert cpu_time.parse_parent(STAT) == 17


def test_a_cores_time_is_what_programs_and_the_host_took() -> None:
    text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 8 8 8 8 8 8 8 8 0 0\ncpu1 1 20 300 4000 5 6 7 5000 0 0\n"
    assert cpu_time.parse_core(text, 1) == pytest.approx(5321 * TICK_S)
    with pytest.raises(ValueError, match="no line for cpu2"):
        cpu_time.parse_core(text, 2)


def test_a_tree_has_the_children_of_children() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        grandchild = int(process.stdout.readline())
        assert cpu_time.tree(process.pid) == {process.pid, grandchild}
        assert {process.pid, grandchild} < cpu_time.tree(os.getpid())


def test_a_process_that_is_gone_is_not_counted_as_idle() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with pytest.raises(FileNotFoundError):
        cpu_time.cpu_s([process.pid])


def test_work_is_booked_on_the_process_that_does_it() -> None:
    before = cpu_time.cpu_s([os.getpid()])
    while cpu_time.cpu_s([os.getpid()]) == before:
        sum(range(10_000))
