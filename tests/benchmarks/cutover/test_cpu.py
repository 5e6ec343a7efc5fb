import os
import subprocess
import sys

from benchmarks.cutover import cpu

BURN = "import time\nwhile time.process_time() < 0.1: pass\n"
# A child that burns and is waited for, then its parent says so and lives on.
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}]); print('done', flush=True); input()"


def test_what_a_dead_child_of_a_living_process_used_is_counted() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent:
        parent.stdout.readline()
        own_s = cpu.spent_s(parent.pid)
        parent.communicate("\n")
    assert own_s >= 0.1


def test_a_command_that_has_ended_is_counted() -> None:
    before = cpu.spent_s(os.getpid())
    subprocess.run([sys.executable, "-c", BURN], check=True)
    assert cpu.spent_s(os.getpid()) - before >= 0.1


def test_a_living_process_is_counted_finer_than_by_ticks() -> None:
    before = cpu.spent_s(os.getpid())
    while (after := cpu.spent_s(os.getpid())) == before:
        pass
    assert 0 < after - before < 0.01
