from __future__ import annotations

from math import inf
from pathlib import Path

from bgproxy import model
from bgproxy.config import document, schema
from bgproxy.config.build import build
from bgproxy.config.load import parse
from bgproxy.config.secrets import Secrets

TOKEN = "0123456789abcdef"

EVERYTHING = """
workers: 3
listeners:
  - {name: public, bind: "[::]:8080"}
  - {name: preview, bind: "unix:/run/preview.sock", preview: true}
admin:
  bind: 0.0.0.0:9900
  tokens: [{name: ci, role: operator, token_env: TOKEN}]
  hosts: [Proxy.example.com]
state: {backend: sqlite, path: state.db}
engine: {kind: embedded}
resolve_interval: 5s
shutdown: {timeout: 1m}
services:
  web:
    hosts: [App.example.com, "*.app.example.com"]
    paths: [/a, /b]
    active: green
    pools:
      blue: {version: v1, upstreams: ["Host:8000", {address: "10.0.0.2:8000", weight: 0}]}
      green: {}
    balance: round_robin
    health:
      interval: 5s
      timeout: 250ms
      healthy_after: 1
      unhealthy_after: 4
      path: /health?deep=1
      method: HEAD
      host: app.example.com:8000
      headers: {X-Probe: "yes"}
      expect_status: [206, "304-305", 304]
      expect_body: ok
    sticky: {header: X-User, ttl: 5m}
    preview: {hosts: [preview.example.com], header: {name: X-Preview, value_env: TOKEN}}
    drain: {timeout: 0s}
    timeouts: {connect: 2s, request_head: 3s, request_body: 4s, response_head: 5s, idle: 6s, total: never}
    retries: {attempts: 0, budget: 12.5%}
    when_unhealthy: other_pool
  cron:
    hosts: [cron.example.com]
    pools: {a: , b: }
    health: {kind: command, command: [check, "{address}"]}
groups: {all: [web, cron]}
"""


def test_every_setting_arrives_in_the_model() -> None:
    config = parse(EVERYTHING, source="f", base=Path("/etc/bgproxy"), environ={"TOKEN": TOKEN})
    web = model.Service(
        name="web",
        pools={
            "blue": model.Pool("v1", (model.Upstream("host:8000"), model.Upstream("10.0.0.2:8000", 0))),
            "green": model.Pool(),
        },
        active="green",
        hosts=("app.example.com", "*.app.example.com"),
        paths=("/a", "/b"),
        health=model.HealthCheck(
            kind="http",
            interval_s=5,
            timeout_s=0.25,
            healthy_after=1,
            unhealthy_after=4,
            path="/health?deep=1",
            method="HEAD",
            host="app.example.com:8000",
            headers=(("X-Probe", "yes"),),
            expect_status=(206, 304, 305),
            expect_body="ok",
        ),
        drain_timeout_s=0,
        policy=model.Policy(
            balance=model.Balance.ROUND_ROBIN,
            sticky=model.Sticky(header="X-User", ttl_s=300),
            preview=model.Preview(("preview.example.com",), "X-Preview", TOKEN),
            timeouts=model.Timeouts(2, 3, 4, 5, 6, inf),
            retries=model.Retries(0, 0.125),
            when_unhealthy=model.WhenUnhealthy.OTHER_POOL,
        ),
    )
    cron = model.Service(
        name="cron",
        pools={"a": model.Pool(), "b": model.Pool()},
        active="a",
        hosts=("cron.example.com",),
        health=model.HealthCheck(kind="command", command=("check", "{address}")),
    )
    assert config == model.Config(
        services={"web": web, "cron": cron},
        listeners=(
            model.Listener("public", "[::]:8080"),
            model.Listener("preview", "unix:/run/preview.sock", preview=True),
        ),
        admin=model.Admin(
            "0.0.0.0:9900", (model.Token("ci", model.Role.OPERATOR, TOKEN),), ("proxy.example.com",)
        ),
        workers=3,
        groups={"all": ("web", "cron")},
        state_backend="sqlite",
        state_path="/etc/bgproxy/state.db",
        resolve_interval_s=5,
        shutdown_timeout_s=60,
    )


WIRE = """
workers: 1
listeners:
  - name: public
    bind: 0.0.0.0:8443
    tls:
      certificates: [{cert: c.pem, key: k.pem}]
      min_version: "1.3"
      client_ca: ca.pem
      client_certificate: optional
      alpn: [h2, http/1.1]
    proxy_protocol: true
    limits: {request_line: 4KiB, header_block: 16KiB, header_count: 50, connections: 9, connections_per_client: 3}
    forwarding: {trusted: [10.0.0.0/8, unix], x_forwarded: false, forwarded: true, via: false, request_id: false, traceparent: true}
  - {name: mail, bind: 0.0.0.0:2525, protocol: tcp, service: smtp}
access_log: {path: a.log, format: combined, sample: 1%, always_status: 400, always_slower: 1s, except_paths: [/health]}
admin: {tls: {certificates: [{cert: c.pem, key: k.pem}]}, body: 2KiB, requests_per_second: 5}
services:
  web:
    pools: {blue: {}, green: {}}
    balance: hash
    hash_on: header:X-User
    retries: {body: 1MiB, idempotency_key: true}
    limits: {request_body: 10MiB, upstream_requests: 100, queue: 10, queue_timeout: 1s}
    keepalive: {connections: 7, idle: 2s, age: 1m}
    headers: {host: app:81, pool: X-Pool}
    upstream_tls: {verify: false, ca: ca.pem, server_name: app.internal, cert: c.pem, key: k.pem}
    send_proxy: v2
    outlier: {consecutive_failures: 3, ejection: 5s, max_ejected: 30%}
    slow_start: 20s
    mirror: {share: 10%, timeout: 1s, body: 1KiB, headers: [ETag], ignore_json: ["$.time", "$.items[*].id"]}
    error_pages: [{status: [503, "500-501"], file: page.html, content_type: text/html}]
  smtp:
    pools: {blue: {}, green: {}}
"""


def test_every_setting_of_the_wire_arrives_in_the_model(tmp_path: Path) -> None:
    for name in ("c.pem", "k.pem", "ca.pem"):
        (tmp_path / name).write_text("")
    (tmp_path / "page.html").write_text("<p>{detail}</p>")
    certificate = model.Certificate(str(tmp_path / "c.pem"), str(tmp_path / "k.pem"))
    ca = str(tmp_path / "ca.pem")
    config = build(read(WIRE, tmp_path), tmp_path)
    assert config.listeners == (
        model.Listener(
            "public",
            "0.0.0.0:8443",
            tls=model.ListenerTls((certificate,), "1.3", ("h2", "http/1.1"), ca, client_required=False),
            proxy_protocol=True,
            head=model.HeadLimits(4096, 16384, 50),
            connections=9,
            connections_per_client=3,
            forwarding=model.Forwarding(
                ("10.0.0.0/8", "unix"),
                x_forwarded=False,
                forwarded=True,
                via=False,
                request_id=False,
                traceparent=True,
            ),
        ),
        model.Listener("mail", "0.0.0.0:2525", protocol=model.Protocol.TCP, service="smtp"),
    )
    assert config.access_log == model.AccessLog(
        str(tmp_path / "a.log"), "combined", 0.01, 400, 1.0, ("/health",)
    )
    assert config.admin == model.Admin(
        tls=model.ListenerTls((certificate,)), body_bytes=2048, requests_per_s=5
    )
    assert config.services["web"].policy == model.Policy(
        balance=model.Balance.HASH,
        hash_on=model.HashOn("header", "X-User"),
        retries=model.Retries(body_bytes=1024 * 1024, idempotency_key=True),
        limits=model.Limits(10 * 1024 * 1024, 100, 10, 1.0),
        keepalive=model.Keepalive(7, 2.0, 60.0),
        headers=model.ServiceHeaders("app:81", "X-Pool"),
        upstream_tls=model.UpstreamTls(False, ca, "app.internal", certificate),
        send_proxy=2,
        outlier=model.Outlier(3, 5.0, 0.3),
        slow_start_s=20.0,
        mirror=model.Mirror(0.1, 1.0, 1024, ("etag",), ("$.time", "$.items[*].id")),
        error_pages=(model.ErrorPage((500, 501, 503), "text/html", "<p>{detail}</p>"),),
    )
    assert config.services["smtp"].protocol is model.Protocol.TCP


def read(text: str, base: Path) -> schema.File:
    return schema.File.model_validate(document.read(text, {}).data, context=Secrets({}, base))


def test_what_is_left_out_has_the_defaults_of_the_model() -> None:
    config = parse("services: {web: {pools: {blue: {}, green: {}}}}", source="f", base=Path("/"), environ={})
    service = model.Service("web", {"blue": model.Pool(), "green": model.Pool()}, "blue")
    listeners = (model.Listener("public", "0.0.0.0:8080"),)
    assert config == model.Config({"web": service}, listeners, workers=config.workers)
    assert 1 <= config.workers <= 32
