from pathlib import Path

import pytest
import yaml

from benchmarks.contenders import ContenderError
from benchmarks.cutover import peers
from benchmarks.cutover.peers import PEERS
from benchmarks.cutover.place import Place
from bgproxy.config.load import load
from bgproxy.demo.stage import SIDES

APPS = {"blue": (8001, 8002), "green": (8003, 8004)}


def a_place(directory: Path) -> Place:
    return Place(directory, 8080, 9900, APPS)


def test_every_file_has_a_value_for_every_place_on_either_side(tmp_path: Path) -> None:
    place = a_place(tmp_path)
    for peer in PEERS:
        for name, template in peer.files.items():
            for side in SIDES:
                text = place.fill(template, side)
                assert text.count("{") == text.count("}")
                if name.endswith("yaml"):
                    assert yaml.safe_load(text)


def test_bgproxy_begins_with_blue_and_two_upstreams_on_each_side(tmp_path: Path) -> None:
    place = a_place(tmp_path)
    place.write("bgproxy.yaml", PEERS[0].files["bgproxy.yaml"], "blue")
    service = load(tmp_path / "bgproxy.yaml").services["web"]
    assert service.active == "blue"
    assert [len(pool.upstreams) for pool in service.pools.values()] == [2, 2]


@pytest.mark.parametrize("name", ["upstream.conf", "Caddyfile"])
def test_a_file_that_names_only_the_active_side_names_the_other_one_after_the_switch(
    tmp_path: Path, name: str
) -> None:
    (template,) = (peer.files[name] for peer in PEERS if name in peer.files)
    place = a_place(tmp_path)
    for side, (first, second) in APPS.items():
        place.write(name, template, side)
        text = (tmp_path / name).read_text()
        named = {port for ports in APPS.values() for port in ports if f"127.0.0.1:{port}" in text}
        assert named == {first, second}
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_weights_of_traefik_follow_the_active_side(tmp_path: Path) -> None:
    (template,) = (peer.files["routes.yaml"] for peer in PEERS if peer.name == "traefik")
    for side in SIDES:
        routes = yaml.safe_load(a_place(tmp_path).fill(template, side))
        weights = {
            each["name"]: each["weight"] for each in routes["http"]["services"]["web"]["weighted"]["services"]
        }
        assert {name for name, weight in weights.items() if weight} == {side}
        assert weights.keys() == SIDES.keys()


def test_a_program_that_is_missing_is_told_how_to_get() -> None:
    with pytest.raises(ContenderError, match="no-such-proxy is not installed: `make cutover`"):
        peers.find("no-such-proxy")
