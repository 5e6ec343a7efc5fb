import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml

from bgproxy.config.load import load
from bgproxy.demo.stage import PORTS, SIDES, Stage, StageError, Unreachable, free_ports, kill, undisturbed


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_both_apps_of_a_side_answer_when_they_were_started() -> None:
    with Stage() as stage:
        stage.start_apps("green")
        for name in ("green-1", "green-2"):
            assert stage.call_app(name, "/mend").status == 200
            assert stage.journal(name) == []
        with pytest.raises(Unreachable, match=r"POST http://127\.0\.0\.1:[0-9]+/mend got no answer: "):
            stage.call_app("blue-1", "/mend")


def test_nothing_outlives_the_stage_whatever_ends_it() -> None:
    stage = Stage()

    def fail() -> None:
        with stage:
            stage.start_apps("blue")
            pids.extend(process.pid for process in stage._processes.values())
            raise RuntimeError

    pids: list[int] = []
    with pytest.raises(RuntimeError):
        fail()
    assert len(pids) == 2
    assert not any(is_running(pid) for pid in pids)
    assert not stage.directory.exists()


def test_children_of_what_was_started_are_killed_too() -> None:
    forking = (
        "import os,time; os.fork() and os._exit(0); open('{}','w').write(str(os.getpid())); time.sleep(60)"
    )
    with Stage() as stage:
        path = stage.directory / "pid"
        process = subprocess.Popen([sys.executable, "-c", forking.format(path)], start_new_session=True)
        stage._processes["bgproxy"] = process
        process.wait()
        until = time.monotonic() + 5
        while not (path.exists() and path.read_text()):
            assert time.monotonic() < until
        orphan = os.pidfd_open(int(path.read_text()))
    with os.fdopen(orphan):
        assert select.select([orphan], [], [], 5)[0] == [orphan]


def test_a_stage_that_is_kept_leaves_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Stage() as stage:
        stage.keep = True
    assert stage.directory.parent == tmp_path
    assert stage.directory.exists()


def test_a_process_that_dies_is_told_with_its_last_words() -> None:
    with Stage() as stage:
        stage._start("blue-1", "bgproxy.demo.no_such_module")
        stage._processes["blue-1"].wait()
        with pytest.raises(StageError, match=r"blue-1 ended with exit code 1:\n.*no_such_module"):
            stage.check_alive()


def test_a_clean_end_is_no_death() -> None:
    with Stage() as stage:
        stage.start_apps("blue")
        stage.stop("blue-1", "blue-2")
        stage.check_alive()
        assert (
            stage._processes == {}
        )  # nothing is left to be killed, by an id that may be somebody else's by then


def test_the_configuration_of_the_demonstration_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    with Stage() as stage:
        monkeypatch.setattr(stage, "_start", lambda *arguments: None)
        stage.start_proxy()
        path = stage.directory / "bgproxy.yaml"
        config = load(path)
        text = yaml.safe_load(path.read_text())
    assert set(config.services["web"].pools) == set(SIDES)
    assert text["admin"]["bind"] == f"127.0.0.1:{stage.admin}"


def test_killing_takes_until_the_process_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    before = time.monotonic()
    crash = kill(process.pid)
    assert before <= crash.sent <= crash.gone <= time.monotonic()
    assert process.poll() == -signal.SIGKILL


def test_free_ports_are_different_and_out_of_the_way_of_outgoing_connections() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert set(ports) <= set(PORTS)


def test_an_interruption_waits_for_the_end_of_what_must_not_be_disturbed() -> None:
    done = []

    def work() -> None:
        with undisturbed():
            signal.raise_signal(signal.SIGINT)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
