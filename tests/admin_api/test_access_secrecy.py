"""No token, right or wrong, and no other secret is ever told."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest

from bgproxy.admin_api import app
from bgproxy.model import (
    Admin,
    Certificate,
    Config,
    ErrorPage,
    Listener,
    ListenerTls,
    Policy,
    Preview,
    Role,
    UpstreamTls,
)

from .server import SECRETS, TOKENS, serving

WRONG = "wrong-token-9876543210"
PREVIEW = "preview-secret-5555"
PAGE = "page-with-an-inner-host-7777"
KEY_TEXT = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"


def with_secrets(folder: Path) -> Callable[[Config], Config]:
    """A service and a listener with all that must not be told: only paths of keys may be, never what is there."""
    certificate = Certificate(str(folder / "cert.pem"), str(folder / "key.pem"))
    for path in (certificate.cert, certificate.key):  # also by mistake, as the certificate
        Path(path).write_text(f"-----BEGIN PRIVATE KEY-----\n{KEY_TEXT}\n-----END PRIVATE KEY-----\n")
    policy = Policy(
        preview=Preview(header="x-preview", secret=PREVIEW),
        error_pages=(ErrorPage((503,), "text/html", f"<p>{PAGE}</p>"),),
        upstream_tls=UpstreamTls(certificate=certificate),
    )

    def change(config: Config) -> Config:
        web = replace(config.services["web"], policy=policy)
        listener = Listener("secure", "0.0.0.0:443", tls=ListenerTls((certificate,)))
        return replace(config, services={"web": web}, listeners=(listener,))

    return change


async def test_secrets_are_in_no_answer_log_event_or_history(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    texts: list[str] = []
    with caplog.at_level(logging.DEBUG):
        async with serving(admin=Admin(tokens=TOKENS), change=with_secrets(tmp_path)) as api:
            wrong = {"Authorization": f"Bearer {WRONG}"}
            for method, path in (("POST", "/admin/switch"), ("GET", "/admin/status"), ("GET", "/metrics")):
                texts.append((await api.call(method, path, headers=wrong)).text)
                texts.append((await api.call(method, path, role=Role.VIEWER)).text)
                texts.append((await api.call(method, path, role=Role.ADMIN)).text)
            texts.append((await api.call("PUT", "/admin/maintenance", role=Role.OPERATOR)).text)
            texts.append((await api.call("DELETE", "/admin/maintenance", role=Role.OPERATOR)).text)
            texts.append((await api.call("POST", "/admin/switch", data=b"{", role=Role.OPERATOR)).text)
            long = io.BytesIO(b"x" * (Admin().body_bytes + 1))
            texts.append((await api.call("POST", "/admin/switch", data=long, role=Role.OPERATOR)).text)
            await api.stage.fail("web/blue/0")
            texts.append((await api.call("POST", "/admin/rollback", role=Role.OPERATOR)).text)
            texts.append((await api.call("POST", "/admin/reload", role=Role.ADMIN)).text)
            texts.append((await api.call("GET", "/admin/history", role=Role.ADMIN)).text)
            texts.append((await api.call("GET", "/admin/openapi.json", role=Role.ADMIN)).text)
            monkeypatch.setattr(api.stage.engine, "traffic", None)  # a defect, with its traceback
            texts.append((await api.call("GET", "/admin/status", role=Role.ADMIN)).text)
            texts += [repr(each) for each in await api.stage.store.history()]
            texts += [orjson.dumps(each).decode() for each in api.stage.events.since(0)]
            texts.append(repr(api.desk.board.config))
    assert "Traceback" in caplog.text
    told = "\n".join([*texts, caplog.text])
    assert "the-admin" in told
    for secret in (*SECRETS.values(), WRONG, PREVIEW, KEY_TEXT):
        assert secret not in told
    # A page is no secret, but it may be long: only the configuration has it.
    assert all(PAGE not in text for text in [*texts[:-1], caplog.text])


async def test_who_is_over_the_limit_is_not_told_whether_the_token_was_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    async with serving(admin=Admin(tokens=TOKENS, requests_per_s=1.0)) as api:
        wrong = {"Authorization": f"Bearer {WRONG}"}
        await api.call("GET", "/admin/status", headers=wrong)
        answers = [
            await api.call("GET", "/admin/status", headers=wrong),
            await api.call("GET", "/admin/status", role=Role.ADMIN),
        ]
        assert [each.status for each in answers] == [429, 429]
        assert answers[0].json == answers[1].json


async def test_the_reason_of_a_maintenance_is_where_it_is_said_to_be_and_nowhere_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the history, in the status and with the clients; not in the log, the events or the metrics."""
    reason = "back at nine, 4242"
    with caplog.at_level(logging.DEBUG):
        async with serving() as api:
            await api.call("PUT", "/admin/maintenance", {"reason": reason})
            assert reason in (await api.call("GET", "/admin/history")).text
            assert reason in (await api.call("GET", "/admin/status")).text
            assert reason not in (await api.call("GET", "/metrics")).text
            assert reason not in (await api.call("GET", "/admin/events?follow=false")).text
    assert reason not in caplog.text


async def test_a_request_that_cannot_be_parsed_is_not_quoted_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Such as one with a token from a file with a control character in it."""
    async with serving(admin=Admin(tokens=TOKENS)) as api:
        host, _, port = api.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        token = SECRETS[Role.ADMIN].encode()
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + b"\x01\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.0 400 ")
        writer.close()
    assert "Error handling request" in caplog.text
    assert SECRETS[Role.ADMIN] not in caplog.text
