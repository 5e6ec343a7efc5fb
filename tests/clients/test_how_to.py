"""What docs/how-to/tls.md shows, loaded with certificates that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bgproxy.config.load import parse
from bgproxy.errors import ConfigError
from bgproxy.model import Config
from tests.support.certificates import Authority

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "tls.md"
FRAGMENTS = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)

POOLS = {"blue": {"upstreams": ["10.0.0.1:8000"]}, "green": {"upstreams": ["10.0.1.1:8000"]}}


def load(fragment: str, directory: Path) -> Config:
    """The fragment in a configuration that has what it is a part of; its files are made in `directory`."""
    authority = Authority(directory)

    def make(match: re.Match[str]) -> str:
        kind, path = match[1], Path(match[2])
        if kind == "cert":
            pair = authority.issues(f"{path.stem}.example.com", file=path.stem)
            return f"cert: {pair.cert}"
        return f"{kind}: {authority.path if 'ca' in kind else directory / path.name}"

    part: dict[str, Any] = yaml.safe_load(re.sub(r"\b(cert|key|client_ca|ca): (/[^\s,}]+)", make, fragment))
    service = {
        "pools": POOLS,
        **({"upstream_tls": part.pop("upstream_tls")} if "upstream_tls" in part else {}),
    }
    text = yaml.safe_dump({**part, "services": {"web": service}})
    return parse(text, source=PAGE.name, base=directory, environ={"BGPROXY_OPS_TOKEN": "x" * 32})


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_every_fragment_is_a_configuration_that_speaks_tls(fragment: str, tmp_path: Path) -> None:
    config = load(fragment, tmp_path)
    speaks = [
        config.admin.tls,
        config.services["web"].policy.upstream_tls,
        *(listener.tls for listener in config.listeners),
    ]
    assert any(speaks)


def test_a_fragment_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="certificats"):
        load(FRAGMENTS[0].replace("certificates", "certificats"), tmp_path)
