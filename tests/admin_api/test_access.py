from __future__ import annotations

import hmac

import pytest
from multidict import CIMultiDict

from bgproxy.admin_api import access
from bgproxy.admin_api.access import Forbidden, Unauthenticated
from bgproxy.model import Admin, Role, Token

from .server import SECRETS, TOKENS

ADMIN = Admin(bind="proxy.test:9900", hosts=("ops.example.com",))
GUARDED = Admin(tokens=TOKENS)


def headers(**values: str) -> CIMultiDict[str]:
    return CIMultiDict({name.replace("_", "-"): value for name, value in values.items()})


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost.:9900", "localhost"),
        ("127.0.0.1:9900", "127.0.0.1"),
        ("[::1]:9900", "::1"),
        ("[::1]", "::1"),
        ("[::1", "::1"),
        ("", ""),
        (":80", ""),
        ("a.b:80:90", "a.b"),
    ],
)
def test_the_name_in_a_host_header(host: str, name: str) -> None:
    assert access.host_name(host) == name


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        ("localhost:9900", None, True),
        ("127.0.0.1:9900", None, True),
        ("10.1.2.3", None, True),
        ("[::1]:9900", None, True),
        ("proxy.test:9900", None, True),
        ("PROXY.test", None, True),
        ("ops.example.com", None, True),
        ("evil.example.com", None, False),
        ("localhost.evil.example.com", None, False),
        ("127.0.0.1.evil.example.com:9900", None, False),
        ("ops.example.com.evil", None, False),
        ("localhost:9900", "http://localhost:9900", True),
        ("localhost:9900", "http://localhost:3000", False),
        ("localhost:9900", "http://evil.example.com", False),
        ("localhost:9900", "null", False),
        ("localhost:9900", "", False),
        ("localhost:9900", "http://evil.example.com/localhost:9900", False),
        ("evil.example.com", "http://evil.example.com", False),
        ("ops.example.com", "https://ops.example.com", True),
    ],
)
def test_foreign_hosts_and_origins_are_refused(host: str, origin: str | None, allowed: bool) -> None:
    sent = headers(Host=host) if origin is None else headers(Host=host, Origin=origin)
    if allowed:
        access.check_host(ADMIN, sent)
    else:
        with pytest.raises(Forbidden):
            access.check_host(ADMIN, sent)


def test_an_api_on_a_unix_socket_is_localhost() -> None:
    admin = Admin(bind="unix:/run/bgproxy.sock")
    access.check_host(admin, headers(Host="localhost"))
    with pytest.raises(Forbidden, match=r"admin\.hosts"):
        access.check_host(admin, headers(Host="bgproxy"))


def test_without_tokens_everybody_who_can_connect_is_admin() -> None:
    caller = access.authenticate(Admin(), headers(), "127.0.0.1")
    assert (caller.name, caller.role) == ("anonymous (127.0.0.1)", Role.ADMIN)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER  {} "])
def test_a_token_stands_for_its_name_and_role(role: Role, form: str) -> None:
    sent = headers(Authorization=form.format(SECRETS[role]))
    caller = access.authenticate(GUARDED, sent, "peer")
    assert (caller.name, caller.role) == (f"the-{role}", role)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        SECRETS[Role.ADMIN],
        f"Basic {SECRETS[Role.ADMIN]}",
        f"Bearer {SECRETS[Role.ADMIN]}x",
        f"Bearer {SECRETS[Role.ADMIN][:-1]}",
        f"Bearer {SECRETS[Role.ADMIN].upper()}",
        "Bearer \udcff",
        "Bearer ü",
    ],
)
def test_what_is_no_token_is_refused(authorization: str | None) -> None:
    sent = headers() if authorization is None else headers(Authorization=authorization)
    with pytest.raises(Unauthenticated) as refused:
        access.authenticate(GUARDED, sent, "peer")
    assert "secret" not in refused.value.detail


def test_all_tokens_are_compared_in_constant_time_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    real = hmac.compare_digest

    def spy(a: bytes, b: bytes) -> bool:
        compared.append(a)
        return real(a, b)

    monkeypatch.setattr("bgproxy.admin_api.access.hmac.compare_digest", spy)
    for token in TOKENS:
        compared.clear()
        access.authenticate(GUARDED, headers(Authorization=f"Bearer {token.secret}"), "peer")
        assert compared == [each.secret.encode() for each in TOKENS]


def test_a_secret_may_have_any_characters() -> None:
    admin = Admin(tokens=(Token("x", Role.VIEWER, "pässwörd"),))
    assert access.authenticate(admin, headers(Authorization="Bearer pässwörd"), "peer").name == "x"


@pytest.mark.parametrize("mine", Role)
@pytest.mark.parametrize("needed", Role)
def test_each_role_includes_the_ones_before_it(mine: Role, needed: Role) -> None:
    order = [Role.VIEWER, Role.OPERATOR, Role.ADMIN]
    caller = access.Caller("somebody", mine)
    if order.index(mine) >= order.index(needed):
        access.require(caller, needed)
    else:
        with pytest.raises(Forbidden, match=f"somebody is {mine}; this call needs {needed}"):
            access.require(caller, needed)
