import json
from pathlib import Path

import pytest

from benchmarks.growth.__main__ import main
from tests.benchmarks.growth.examples import a_result, steps


@pytest.mark.parametrize(("cpu_us", "code"), [(10.5, 0), (12.0, 1)])
def test_a_stored_result_is_rendered_anew_and_the_exit_code_is_its_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cpu_us: float, code: int
) -> None:
    path = tmp_path / "growth.json"
    path.write_text(json.dumps(a_result(steps("upstreams", (1, 10.0), (1000, cpu_us)))))
    assert main(["--render", str(path)]) == code
    assert (tmp_path / "growth.md").read_text() in capsys.readouterr().out
    assert (tmp_path / "growth.png").exists()


@pytest.mark.parametrize("arguments", [["--seconds", "0"], ["--part", "clouds"]])
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
