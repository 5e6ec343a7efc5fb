from __future__ import annotations

from math import inf
from pathlib import Path

from bgproxy import model
from bgproxy.config.load import parse

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
        balance=model.Balance.ROUND_ROBIN,
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
        sticky=model.Sticky(header="X-User", ttl_s=300),
        preview=model.Preview(("preview.example.com",), "X-Preview", TOKEN),
        drain_timeout_s=0,
        timeouts=model.Timeouts(2, 3, 4, 5, 6, inf),
        retries=model.Retries(0, 0.125),
        when_unhealthy=model.WhenUnhealthy.OTHER_POOL,
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


def test_what_is_left_out_has_the_defaults_of_the_model() -> None:
    config = parse("services: {web: {pools: {blue: {}, green: {}}}}", source="f", base=Path("/"), environ={})
    service = model.Service("web", {"blue": model.Pool(), "green": model.Pool()}, "blue")
    listeners = (model.Listener("public", "0.0.0.0:8080"),)
    assert config == model.Config({"web": service}, listeners, workers=config.workers)
    assert 1 <= config.workers <= 32
