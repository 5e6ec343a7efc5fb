import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from bgproxy.demo import story as story_module
from bgproxy.demo.display import Display
from bgproxy.demo.ledger import Kind, Outcome, Request
from bgproxy.demo.stage import Answer, Stage, StageError
from bgproxy.demo.story import Story


class Scripted(Stage):
    """A stage without processes, whose admin API answers as told."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.journals: dict[str, list[str]] = {}

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        sent = time.monotonic()
        return Answer(*self.answers.pop(0), sent, time.monotonic())

    def journal(self, name: str) -> list[str]:
        return self.journals.get(name, [])


@pytest.fixture
def stage() -> Iterator[Scripted]:
    with Scripted() as stage:
        yield stage


@pytest.fixture
def story(stage: Scripted) -> Story:
    return Story(stage, Display(Console(file=StringIO())))


def requests(v1: int, v2: int) -> list[Request]:
    """Requests between 1.0 and 2.0 that were answered by so many of either side."""
    versions = ["v1"] * v1 + ["v2"] * v2
    return [
        Request(f"r{number}", "GET", "/", 1.2, 1.3, Outcome.ANSWERED, 200, version, f"{version}-1")
        for number, version in enumerate(versions)
    ]


@pytest.mark.parametrize(
    ("v2", "journal", "right"),
    [(100, 100, True), (105, 105, True), (111, 111, False), (0, 0, False), (100, 99, False)],
)
def test_a_share_is_right_if_clients_and_apps_count_what_was_asked_for(
    stage: Scripted, story: Story, v2: int, journal: int, *, right: bool
) -> None:
    stage.journals["green-1"] = [f"GET / r{1000 - v2 + number}" for number in range(journal)]
    story._ledger.add(requests(1000 - v2, v2))
    story._judge_share(0.1, 1.0, 2.0)
    assert (story._surprises == []) is right


def test_a_switch_that_should_have_been_refused_and_was_not_is_a_surprise(story: Story) -> None:
    story._refused(Answer(409, {"title": "no", "upstreams": []}, 0.0, 0.0))
    assert story._surprises == []
    story._refused(Answer(200, {}, 0.0, 0.0))
    assert len(story._surprises) == 1


def test_a_change_is_in_the_books_with_the_times_of_its_call(stage: Scripted, story: Story) -> None:
    stage.answers = [(200, {})]
    answer = story._change(Kind.SWITCH, {"v2"}, "POST", "/admin/switch")
    assert story._ledger.changes == [(Kind.SWITCH, answer.sent, answer.acked, frozenset({"v2"}))]


def test_a_change_that_is_refused_ends_the_story(stage: Scripted, story: Story) -> None:
    stage.answers = [(409, {"detail": "not now"})]
    with pytest.raises(StageError, match=r"POST /admin/switch was refused with 409: .*not now"):
        story._change(Kind.SWITCH, {"v2"}, "POST", "/admin/switch")
    assert story._ledger.changes == []


def test_waiting_for_what_does_not_happen_ends_the_story(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story_module, "WAIT_S", 0.0)
    with pytest.raises(StageError, match="waited 0 s for rain, in vain"):
        story._until(lambda: False, "rain")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_at_any_time_it_leaves_no_process_behind(number: signal.Signals) -> None:
    """The apps are there, and it waits for something that never comes, as a person presses ^C."""
    program = """if True:
        import sys, time
        from bgproxy.demo import story

        def play(self):
            self._stage.start_apps("blue")
            print(*(process.pid for process in self._stage._processes.values()), flush=True)
            time.sleep(60)

        story.Story.play = play
        sys.exit(story.run())
    """
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        process.send_signal(number)
        assert "Interrupted" in process.stdout.read()
    assert process.wait() == 130
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
