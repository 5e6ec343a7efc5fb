"""An admin API that says what a test told it to say, on a real socket."""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

Answer = tuple[int, Any]
"""A status, and either JSON, the bytes of something else, or None: the connection ends without an answer."""


@dataclass
class Call:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Admin:
    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)  # by "METHOD /path", without the query
    calls: list[Call] = field(default_factory=list)

    def says(self, call: str, answer: Any, status: int = 200) -> None:
        self.answers[call] = (status, answer)

    def refuses(self, call: str, status: int, title: str, detail: str, **extra: Any) -> None:
        problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        self.says(call, {**problem, **extra}, status)

    @property
    def last(self) -> Call:
        return self.calls[-1]


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(
        f"id: {event['id']}\nevent: {event['kind']}\ndata: {json.dumps(event)}\n\n".encode()
        for event in events
    )


@contextmanager
def serving(
    admin: Admin, socket_path: Path | None = None, port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[Admin]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            pass

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            said = json.loads(body) if body else None
            admin.calls.append(Call(self.command, self.path, dict(self.headers.items()), said))
            status, answer = admin.answers.get(f"{self.command} {path}", (404, {"title": "no such call"}))
            if answer is None:
                return
            raw = isinstance(answer, bytes)
            content = answer if raw else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream" if raw else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - http.server looks for these names

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    class UnixServer(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    server: socketserver.BaseServer
    if socket_path is not None:
        server = UnixServer(str(socket_path), Handler)
        admin.url = f"unix:{socket_path}"
    else:
        server = Server(("127.0.0.1", port), Handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        admin.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield admin
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
