from pathlib import Path

from benchmarks.wire import proxies
from bgproxy.config.load import load

VALUES = {
    "port": 8080,
    "admin": 9900,
    "a": 8001,
    "b": 8002,
    "user": "",
    "connect": 1,
    "head": 2,
    "body": 2,
    "response": 2,
    "idle": 3,
    "line": 8192,
    "block": 32768,
    "count": 100,
}


def test_every_configuration_has_a_value_for_every_place(tmp_path: Path) -> None:
    for proxy in proxies.PROXIES:
        for template in proxy.files.values():
            text = template.format(directory=tmp_path, **VALUES)
            assert text.count("{") == text.count("}")


def test_the_configuration_that_bgproxy_is_judged_with_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "bgproxy.yaml"
    path.write_text(proxies.PROXIES[0].files["bgproxy.yaml"].format(directory=tmp_path, **VALUES))
    service = load(path).services["web"]
    assert len(service.pools["blue"].upstreams) == 2
