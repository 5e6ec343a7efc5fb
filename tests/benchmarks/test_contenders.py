from pathlib import Path

import pytest

import benchmarks
from benchmarks import contenders, cpu_time
from benchmarks.contenders import Contender, ContenderError
from bgproxy.config.load import load


def test_the_configuration_that_bgproxy_is_measured_with_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "bgproxy.yaml"
    path.write_text(
        contenders._BGPROXY.format(
            workers=2, port=8080, admin=9900, blue=8001, green=8002, directory=tmp_path
        )
    )
    config = load(path)
    assert config.workers == 2
    assert config.services["web"].health.path == "/health"


def test_the_configuration_for_locust_is_valid_and_names_the_versions() -> None:
    config = load(Path(benchmarks.__path__[0]) / "locust.yaml")
    assert {name: pool.version for name, pool in config.services["web"].pools.items()} == {
        "blue": "v1",
        "green": "v2",
    }


def test_a_process_that_was_replaced_makes_a_round_worthless(monkeypatch: pytest.MonkeyPatch) -> None:
    contender = Contender("bgproxy", 1, 8080, 10, frozenset({10, 11, 12}), frozenset({12}))
    monkeypatch.setattr(cpu_time, "tree", lambda root: {10, 11, 12})
    contender.check_whole()
    monkeypatch.setattr(cpu_time, "tree", lambda root: {10, 11, 13})
    with pytest.raises(ContenderError, match=r"\[10, 11, 12\] and now has \[10, 11, 13\]"):
        contender.check_whole()
