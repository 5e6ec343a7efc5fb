"""The admin API as one synchronous client: a call is one connection, one answer, or one `Failure`.

Never repeats a call: a switch that was carried out, but whose answer was lost, must not be made twice.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from bgproxy.cli import sse
from bgproxy.cli.failure import Unreachable, from_problem, unknown
from bgproxy.cli.target import Identity, Target
from bgproxy.errors import one_of
from bgproxy.tls.pem import Unusable, explain, load_authorities, load_pair

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0
STREAM_SILENCE_S = 60.0  # the admin API sends a comment every 15 s
ANSWER_BYTES = 64 * 1024**2
EVENT_LINE_BYTES = 1024**2

_FIRST = "0"
_BROKE = "Whether a change was made is in `bgproxy history`."
_UNTRUSTED = "Name the authority of its certificate with --ca or BGPROXY_CA."
_ABSENT = "Is bgproxy running? --admin or BGPROXY_ADMIN says where its admin API is."


class Client:
    def __init__(self, target: Target, token: str | None = None, identity: Identity | None = None) -> None:
        self.target = target
        self._identity = identity or Identity()
        self._headers = {"Accept": "application/json, text/event-stream"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, *, timeout_s: float = ANSWER_TIMEOUT_S, **query: object) -> dict[str, Any]:
        asked = urlencode({name: value for name, value in query.items() if value is not None})
        return self._call("GET", f"{path}?{asked}" if asked else path, None, timeout_s)

    def status(self, service: str | None = None) -> dict[str, Any]:
        """Of everything, or with no other service than this one."""
        status = self.get("/admin/status")
        if service is None:
            return status
        found = [one for one in status["services"] if one["service"] == service]
        if not found:
            known = one_of("service", (one["service"] for one in status["services"]))
            raise unknown(f"there is no service {service!r}: {known}")
        return {**status, "services": found}

    def send(
        self, method: str, path: str, body: dict[str, Any], *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> dict[str, Any]:
        """A change. Members of `body` that are None are left out."""
        said = {name: value for name, value in body.items() if value is not None}
        return self._call(method, path, said, timeout_s)

    def events(self, *, follow: bool, after: str | None = None) -> Iterator[sse.Event]:
        """Those that are kept since `after`; with `follow` also those to come, until the connection ends."""
        headers = {"Last-Event-ID": after or _FIRST}
        path = "/admin/events" if follow else "/admin/events?follow=false"
        timeout_s = STREAM_SILENCE_S if follow else ANSWER_TIMEOUT_S
        with self._answer("GET", path, None, timeout_s, headers) as response:
            yield from sse.parse(_lines(response))

    # Private

    def _call(self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> dict[str, Any]:
        with self._answer(method, path, body, timeout_s, {}) as response:
            answer = _json(response.read(ANSWER_BYTES))
        if answer is None:
            raise self._not_bgproxy(response)
        return answer

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        timeout_s: float,
        headers: dict[str, str],
    ) -> Iterator[http.client.HTTPResponse]:
        try:
            connection = self._connection()
        except Unusable as error:
            raise self._unreachable(error, "") from None
        connection.timeout = min(CONNECT_TIMEOUT_S, timeout_s)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise self._unreachable(error, _ABSENT) from None
            connection.sock.settimeout(timeout_s)
            try:
                content = None if body is None else json.dumps(body).encode()
                kind = {} if body is None else {"Content-Type": "application/json"}
                connection.request(method, path, content, {**self._headers, **kind, **headers})
                response = connection.getresponse()
                if response.status >= 300:
                    problem = _json(response.read(ANSWER_BYTES))
                    if problem is None:
                        raise self._not_bgproxy(response)
                    raise from_problem({"status": response.status, **problem})
                yield response
            except (OSError, http.client.HTTPException) as error:
                hint = _BROKE if body is not None else ""
                raise self._unreachable(error, hint) from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.target.path is not None:
            return _UnixConnection(self.target.path)
        if self.target.tls:
            context = _context(self._identity)
            return http.client.HTTPSConnection(self.target.host, self.target.port, context=context)
        return http.client.HTTPConnection(self.target.host, self.target.port)

    def _unreachable(self, error: Exception, hint: str) -> Unreachable:
        if isinstance(error, ssl.SSLCertVerificationError):
            reason, hint = f"its certificate is refused: {explain(error)}", _UNTRUSTED
        elif isinstance(error, ssl.SSLError):
            reason = f"TLS failed: {explain(error)}"
        elif isinstance(error, TimeoutError):
            reason = "no answer in time"
        elif isinstance(error, http.client.HTTPException | ConnectionResetError | BrokenPipeError):
            reason = "the connection ended before the answer was complete"
        else:
            reason = getattr(error, "strerror", None) or str(error)
        return Unreachable.at(self.target, reason, hint)

    def _not_bgproxy(self, response: http.client.HTTPResponse) -> Unreachable:
        got = f"{response.status} with {response.getheader('Content-Type', 'no content type')}"
        reason = f"it answered {got} instead of JSON: this is not a bgproxy admin API"
        return Unreachable.at(self.target, reason, _ABSENT)


# Private


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _context(identity: Identity) -> ssl.SSLContext:
    context = ssl.create_default_context() if identity.ca is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if identity.ca is not None:
        load_authorities(context, identity.ca)
    if identity.certificate is not None:
        load_pair(context, identity.certificate)
    return context


def _json(content: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(content)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while line := response.readline(EVENT_LINE_BYTES):
        yield line
