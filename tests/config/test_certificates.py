from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bgproxy.config.load import parse
from bgproxy.errors import ConfigError
from bgproxy.model import Config
from tests.support.certificates import Authority

LISTENER = """\
listeners:
  - name: secure
    bind: "127.0.0.1:8443"
    tls:
      certificates:
        - {cert: a.example.pem, key: a.example.key}
        - {cert: b.example.pem, key: b.example.key}
      client_ca: ca.pem
admin:
  tls:
    certificates: [{cert: a.example.pem, key: a.example.key}]
services:
  web:
    pools: {blue: {}, green: {}}
    upstream_tls:
      {ca: ca.pem, cert: b.example.pem, key: b.example.key}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    authority = Authority(tmp_path)
    authority.issues("a.example")
    authority.issues("b.example")
    return tmp_path


def parsed(folder: Path, text: str = LISTENER) -> Config:
    return parse(text, source="f", base=folder, environ={})


def problems(folder: Path, text: str = LISTENER) -> list[tuple[int | None, str, str]]:
    with pytest.raises(ConfigError) as caught:
        parsed(folder, text)
    return [(problem.line, problem.path, problem.message) for problem in caught.value.problems]


def test_files_that_can_be_loaded_are_no_problem(folder: Path) -> None:
    config = parsed(folder)
    assert config.listeners[0].tls is not None
    assert config.listeners[0].tls.certificates[1].cert == str(folder / "b.example.pem")


def test_a_key_of_another_certificate_is_found_wherever_it_is_used(folder: Path) -> None:
    (folder / "b.example.key").write_text((folder / "a.example.key").read_text())
    said = f"names a file that has a key that does not belong to the certificate in {folder}/b.example.pem"
    assert problems(folder) == [
        (7, "listeners[0].tls.certificates[1].key", said),
        (16, "services.web.upstream_tls.key", said),
    ]


def test_what_is_no_certificate_is_found_wherever_it_is_used(folder: Path) -> None:
    (folder / "ca.pem").write_text("nothing")
    (folder / "a.example.pem").write_text("-----BEGIN CERTIFICATE-----\nhalf")
    found = problems(folder)
    assert [(line, path) for line, path, _ in found] == [
        (6, "listeners[0].tls.certificates[0].cert"),
        (8, "listeners[0].tls.client_ca"),
        (11, "admin.tls.certificates[0].cert"),
        (16, "services.web.upstream_tls.ca"),
    ]
    assert found[0][2].startswith("names a file that has a certificate that cannot be read")
    assert found[1][2].startswith("names a file that has no certificate: it needs a block that starts with")


def test_a_certificate_that_nobody_can_ask_for_is_of_no_use(folder: Path) -> None:
    Authority(folder).issues("10.0.0.1", file="b.example")
    [(line, path, said)] = problems(folder)
    assert (line, path) == (7, "listeners[0].tls.certificates[1].cert")
    assert said.startswith(
        "names a certificate without host names (subjectAltName), which no client can ask for"
    )


def test_files_are_looked_at_when_all_else_is_right(folder: Path) -> None:
    """What cannot be found or read at all is told with everything else that is wrong."""
    data = yaml.safe_load(LISTENER)
    data["listeners"][0]["tls"]["client_ca"] = "gone.pem"
    data["workers"] = 0
    (folder / "a.example.pem").write_text("nothing")
    paths = [path for _, path, _ in problems(folder, yaml.safe_dump(data))]
    assert sorted(paths) == ["listeners[0].tls.client_ca", "workers"]
