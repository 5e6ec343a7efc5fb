"""No token, right or wrong, and no other secret is ever told."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import orjson
import pytest

from bgproxy.model import Admin, Config, Policy, Preview, Role

from .server import SECRETS, TOKENS, serving

WRONG = "wrong-token-9876543210"
PREVIEW = "preview-secret-5555"


def with_preview(config: Config) -> Config:
    web = replace(config.services["web"], policy=Policy(preview=Preview(header="x-preview", secret=PREVIEW)))
    return replace(config, services={"web": web})


async def test_secrets_are_in_no_answer_log_event_or_history(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []
    with caplog.at_level(logging.DEBUG):
        async with serving(admin=Admin(tokens=TOKENS), change=with_preview) as api:
            wrong = {"Authorization": f"Bearer {WRONG}"}
            for method, path in (("POST", "/admin/switch"), ("GET", "/admin/status"), ("GET", "/metrics")):
                texts.append((await api.call(method, path, headers=wrong)).text)
                texts.append((await api.call(method, path, role=Role.VIEWER)).text)
                texts.append((await api.call(method, path, role=Role.ADMIN)).text)
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
    for secret in (*SECRETS.values(), WRONG, PREVIEW):
        assert secret not in told


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
