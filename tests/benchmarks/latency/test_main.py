import json
from pathlib import Path

import pytest

from benchmarks.latency.__main__ import main
from tests.benchmarks.latency.examples import a_result, rounds


@pytest.mark.parametrize(
    ("p99_us", "code"), [((300.0, 300.0, 300.0), 0), ((900.0, 900.0, 900.0), 1), ((300.0,), 1)]
)
def test_a_stored_result_is_rendered_anew_and_the_exit_code_is_its_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], p99_us: tuple[float, ...], code: int
) -> None:
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(a_result(rounds(*p99_us))))
    assert main(["--render", str(path)]) == code
    assert (tmp_path / "latency.md").read_text() in capsys.readouterr().out
    assert (tmp_path / "latency.png").exists()


def test_no_rounds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--rounds", "0"])
    assert "at least 1" in capsys.readouterr().err
