from collections import deque

import pytest

from benchmarks.wire import __main__ as wire
from benchmarks.wire.case import GET, Case, Send
from benchmarks.wire.judge import forwarded, refused
from benchmarks.wire.lane import Lane
from bgproxy.demo.stage import free_ports

CASE = Case("a case", "9112 1", (Send(GET),), refused())


async def test_a_proxy_that_takes_no_connections_is_wrong_and_the_run_goes_on() -> None:
    faults: dict[str, dict[str, str]] = {"group": {}}
    async with Lane.opened() as lane:
        (lane.proxy_port,) = free_ports(1)
        await wire._run(lane, deque([("group", CASE)]), faults)
    assert "takes no connections" in faults["group"]["a case"]


async def test_only_what_is_wrong_is_noted() -> None:
    faults: dict[str, dict[str, str]] = {"group": {}}
    right = Case("another", "9112 1", (Send(GET),), forwarded())
    async with Lane.opened() as lane:
        lane.proxy_port = lane.ports["a"]  # nobody in between: the upstream itself answers
        await wire._run(lane, deque([("group", CASE), ("group", right)]), faults)
    assert faults["group"].keys() == {"a case"}


def test_a_program_that_is_missing_is_said_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert wire.main(["--proxy", "envoy"]) == 2
    assert "envoy is not installed" in capsys.readouterr().err
