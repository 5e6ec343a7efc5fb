import resource

import pytest

from benchmarks.memory import crowd


@pytest.mark.parametrize(("hard", "connections"), [(20_000, 9_800), (2_100, 850), (1 << 20, 10_000)])
def test_every_connection_needs_two_descriptors_of_a_worker(
    monkeypatch: pytest.MonkeyPatch, hard: int, connections: int
) -> None:
    raised = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert crowd.affordable_connections(10_000) == connections
    assert raised == [(hard, hard)]
