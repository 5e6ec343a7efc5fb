from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bgproxy.cli.client import Client
from bgproxy.cli.failure import Unreachable
from bgproxy.cli.main import program
from bgproxy.cli.target import Identity, parse_target
from bgproxy.model import ListenerTls
from bgproxy.tls.server import ServerContexts
from tests.support.certificates import Authority

from . import examples
from .admin import Admin, serving


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def answering() -> Admin:
    admin = Admin()
    admin.says("GET /admin/status", examples.status())
    return admin


def test_an_admin_api_of_an_authority_that_is_named_is_trusted(authority: Authority) -> None:
    context = ServerContexts(ListenerTls((authority.issues("127.0.0.1"),))).context
    with serving(answering(), tls=context) as admin:
        assert Client(parse_target(admin.url), identity=Identity(authority.path)).status()["generation"] == 2


def test_one_that_is_not_trusted_is_said_with_what_to_name(authority: Authority) -> None:
    context = ServerContexts(ListenerTls((authority.issues("127.0.0.1"),))).context
    with serving(answering(), tls=context) as admin:
        with pytest.raises(Unreachable) as caught:
            Client(parse_target(admin.url)).status()
    assert caught.value.format_message().splitlines() == [
        "Failed: The admin API does not answer",
        f"  {admin.url}: its certificate is refused: unable to get local issuer certificate",
        "Name the authority of its certificate with --ca or BGPROXY_CA.",
    ]
    assert admin.calls == []


def test_a_certificate_for_another_name_is_refused(authority: Authority) -> None:
    context = ServerContexts(ListenerTls((authority.issues("admin.example"),))).context
    with serving(answering(), tls=context) as admin:
        with pytest.raises(Unreachable, match="IP address mismatch"):
            Client(parse_target(admin.url), identity=Identity(authority.path)).status()


def test_https_to_a_port_without_tls_is_said(authority: Authority) -> None:
    with serving(answering()) as admin:
        url = admin.url.replace("http:", "https:")
        with pytest.raises(Unreachable, match=r"TLS failed: |before the answer was complete"):
            Client(parse_target(url), identity=Identity(authority.path)).status()


def test_a_file_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.pem")
    with pytest.raises(Unreachable, match=r"gone\.pem cannot be read: No such file"):
        Client(parse_target("https://127.0.0.1:1"), identity=Identity(gone)).status()


@pytest.mark.parametrize("place", ["options", "options after the command", "variables"])
def test_a_certificate_is_shown_to_an_admin_api_that_wants_one(authority: Authority, place: str) -> None:
    settings = ListenerTls((authority.issues("127.0.0.1"),), client_ca=authority.path)
    ours = authority.issues("operator")
    options = ["--ca", authority.path, "--cert", ours.cert, "--key", ours.key]
    variables = {"BGPROXY_CA": authority.path, "BGPROXY_CERT": ours.cert, "BGPROXY_KEY": ours.key}
    arguments = {
        "options": [*options, "status", "-o", "json"],
        "options after the command": ["status", "-o", "json", *options],
        "variables": ["status", "-o", "json"],
    }[place]
    with serving(answering(), tls=ServerContexts(settings).context) as admin:
        environ = {"BGPROXY_ADMIN": admin.url, **(variables if place == "variables" else {})}
        result = CliRunner().invoke(program, arguments, env=environ)
        assert (result.exit_code, len(admin.calls)) == (0, 1), result.output
        stranger = CliRunner().invoke(
            program, ["--ca", authority.path, "status"], env={"BGPROXY_ADMIN": admin.url}
        )
        assert (stranger.exit_code, len(admin.calls)) == (3, 1)


def test_a_certificate_without_its_key_is_bad_usage(authority: Authority) -> None:
    result = CliRunner().invoke(
        program, ["--admin", "https://127.0.0.1:1", "--cert", authority.path, "status"]
    )
    assert result.exit_code == 2
    assert "--cert and --key go together" in result.output
