from pathlib import Path

from benchmarks import cpu_plot
from benchmarks.contenders import PROGRAMS
from tests.benchmarks.examples import a_result, a_round


def test_every_proxy_has_a_colour() -> None:
    assert cpu_plot.COLOURS.keys() | {"nginx"} == PROGRAMS.keys()


def test_a_picture_is_drawn_of_proxies_that_are_not_in_every_scenario(tmp_path: Path) -> None:
    found = [a_round(1, proxy) for proxy in ("nginx", "bgproxy", "naive")]
    found += [a_round(1, proxy, scenario="canary") for proxy in ("nginx", "bgproxy")]
    cpu_plot.draw(a_result(found), tmp_path / "cpu.png")
    assert (tmp_path / "cpu.png").read_bytes().startswith(b"\x89PNG")


def test_without_ratios_there_is_no_picture(tmp_path: Path) -> None:
    cpu_plot.draw(a_result([a_round()]), tmp_path / "cpu.png")
    assert not (tmp_path / "cpu.png").exists()
