import resource

import pytest

from benchmarks.memory import crowd


@pytest.mark.parametrize(
    ("hard", "workers"),
    [(1 << 20, 1), (resource.RLIM_INFINITY, 1), (20_400, 1), (20_000, 2), (12_000, 2), (10_400, 3)],
)
def test_every_connection_needs_two_descriptors_of_a_worker(
    monkeypatch: pytest.MonkeyPatch, hard: int, workers: int
) -> None:
    raised = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert crowd.workers_for(10_000) == workers
    assert raised == ([] if hard == resource.RLIM_INFINITY else [(hard, hard)])


def test_clients_that_this_process_cannot_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    with pytest.raises(
        crowd.CrowdError, match=r"10,400 descriptors in one process, and the hard limit is 4,096"
    ):
        crowd.workers_for(10_000)
