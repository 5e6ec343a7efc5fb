"""Validated settings to `model.Config`. Nothing can be wrong any more, so nothing is checked here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bgproxy import model

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import SecretStr

    from bgproxy.config import schema


def build(file: schema.File, base: Path) -> model.Config:
    """`base` is the folder that relative paths start from."""
    return model.Config(
        services={name: _service(name, service) for name, service in file.services.items()},
        listeners=tuple(model.Listener(one.name, one.bind, one.preview) for one in file.listeners),
        admin=model.Admin(
            bind=file.admin.bind,
            tokens=tuple(
                model.Token(token.name, token.role, _secret(token.token_env, token.token_file))
                for token in file.admin.tokens
            ),
            hosts=tuple(file.admin.hosts),
        ),
        workers=file.workers,
        groups={name: tuple(members) for name, members in file.groups.items()},
        state_backend=file.state.backend,
        state_path=str(base / file.state.path),
        resolve_interval_s=file.resolve_interval,
        shutdown_timeout_s=file.shutdown.timeout,
    )


# Private


def _service(name: str, service: schema.Service) -> model.Service:
    timeouts = service.timeouts
    return model.Service(
        name=name,
        pools={
            pool_name: model.Pool(
                version=pool.version,
                upstreams=tuple(model.Upstream(one.address, one.weight) for one in pool.upstreams),
            )
            for pool_name, pool in service.pools.items()
        },
        active=service.active or next(iter(service.pools)),
        hosts=tuple(service.hosts),
        paths=tuple(service.paths),
        balance=service.balance,
        health=_health(service.health),
        sticky=_sticky(service.sticky),
        preview=_preview(service.preview),
        drain_timeout_s=service.drain.timeout,
        timeouts=model.Timeouts(
            connect_s=timeouts.connect,
            request_head_s=timeouts.request_head,
            request_body_s=timeouts.request_body,
            response_head_s=timeouts.response_head,
            idle_s=timeouts.idle,
            total_s=timeouts.total,
        ),
        retries=model.Retries(attempts=service.retries.attempts, budget=service.retries.budget),
        when_unhealthy=service.when_unhealthy,
    )


def _health(health: schema.Health) -> model.HealthCheck:
    return model.HealthCheck(
        kind=health.kind,
        interval_s=health.interval,
        timeout_s=health.timeout,
        healthy_after=health.healthy_after,
        unhealthy_after=health.unhealthy_after,
        path=health.path,
        method=health.method,
        host=health.host,
        headers=tuple(health.headers.items()),
        expect_status=tuple(sorted({status for item in health.expect_status for status in item})),
        expect_body=health.expect_body,
        command=tuple(health.command),
    )


def _sticky(sticky: schema.Sticky | None) -> model.Sticky | None:
    if sticky is None:
        return None
    return model.Sticky(cookie=sticky.cookie, header=sticky.header, ttl_s=sticky.ttl)


def _preview(preview: schema.Preview) -> model.Preview:
    header = preview.header
    if header is None:
        return model.Preview(hosts=tuple(preview.hosts))
    return model.Preview(
        hosts=tuple(preview.hosts),
        header=header.name,
        secret=_secret(header.value_env, header.value_file),
    )


def _secret(from_env: SecretStr | None, from_file: SecretStr | None) -> str:
    """Exactly one is there, as `relations` has checked."""
    return "".join(secret.get_secret_value() for secret in (from_env, from_file) if secret is not None)
