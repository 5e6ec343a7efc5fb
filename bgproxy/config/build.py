"""Validated settings to `model.Config`. Nothing can be wrong any more, so nothing is checked here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bgproxy import model

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import SecretStr

    from bgproxy.config.listener import Listener, ListenerTls
    from bgproxy.config.schema import AccessLog, File
    from bgproxy.config.service import (
        ErrorPage,
        Health,
        Mirror,
        Outlier,
        Preview,
        Service,
        Sticky,
        UpstreamTls,
    )

STDOUT: Final = "stdout"
SEND_PROXY: Final = {"none": 0, "v1": 1, "v2": 2}


def build(file: File, base: Path) -> model.Config:
    """`base` is the folder that relative paths start from."""
    listeners = tuple(_listener(listener) for listener in file.listeners)
    tcp = {listener.service for listener in listeners if listener.protocol is model.Protocol.TCP}
    return model.Config(
        services={name: _service(name, service, tcp=name in tcp) for name, service in file.services.items()},
        listeners=listeners,
        admin=model.Admin(
            bind=file.admin.bind,
            tokens=tuple(
                model.Token(token.name, token.role, _secret(token.token_env, token.token_file))
                for token in file.admin.tokens
            ),
            hosts=tuple(file.admin.hosts),
            tls=_listener_tls(file.admin.tls),
            body_bytes=file.admin.body,
            requests_per_s=file.admin.requests_per_second,
        ),
        workers=file.workers,
        groups={name: tuple(members) for name, members in file.groups.items()},
        state_backend=file.state.backend,
        state_path=str(base / file.state.path),
        resolve_interval_s=file.resolve_interval,
        shutdown_timeout_s=file.shutdown.timeout,
        access_log=_access_log(file.access_log, base),
    )


# Private


def _listener(listener: Listener) -> model.Listener:
    limits, forwarding = listener.limits, listener.forwarding
    return model.Listener(
        name=listener.name,
        bind=listener.bind,
        preview=listener.preview,
        protocol=listener.protocol,
        service=listener.service,
        tls=_listener_tls(listener.tls),
        proxy_protocol=listener.proxy_protocol,
        head=model.HeadLimits(
            request_line_bytes=limits.request_line,
            header_block_bytes=limits.header_block,
            header_count=limits.header_count,
        ),
        connections=limits.connections,
        connections_per_client=limits.connections_per_client,
        forwarding=model.Forwarding(
            trusted=tuple(forwarding.trusted),
            x_forwarded=forwarding.x_forwarded,
            forwarded=forwarding.forwarded,
            via=forwarding.via,
            request_id=forwarding.request_id,
            traceparent=forwarding.traceparent,
        ),
    )


def _listener_tls(tls: ListenerTls | None) -> model.ListenerTls | None:
    if tls is None:
        return None
    return model.ListenerTls(
        certificates=tuple(model.Certificate(each.cert, each.key) for each in tls.certificates),
        min_version=tls.min_version,
        alpn=tuple(tls.alpn),
        client_ca=tls.client_ca,
        client_required=tls.client_certificate == "required",
    )


def _access_log(log: AccessLog | None, base: Path) -> model.AccessLog | None:
    if log is None:
        return None
    return model.AccessLog(
        path=log.path if log.path == STDOUT else str(base / log.path),
        format=log.format,
        sample=log.sample,
        always_status=log.always_status,
        always_slower_s=log.always_slower,
        except_paths=tuple(log.except_paths),
    )


def _service(name: str, service: Service, *, tcp: bool) -> model.Service:
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
        protocol=model.Protocol.TCP if tcp else model.Protocol.HTTP,
        hosts=tuple(service.hosts),
        paths=tuple(service.paths),
        health=_health(service.health),
        drain_timeout_s=service.drain.timeout,
        policy=_policy(service),
    )


def _policy(service: Service) -> model.Policy:
    timeouts, retries, limits, keepalive = (
        service.timeouts,
        service.retries,
        service.limits,
        service.keepalive,
    )
    return model.Policy(
        balance=service.balance,
        hash_on=model.HashOn(*(service.hash_on or "source").split(":", 1)),
        when_unhealthy=service.when_unhealthy,
        sticky=_sticky(service.sticky),
        preview=_preview(service.preview),
        timeouts=model.Timeouts(
            connect_s=timeouts.connect,
            request_head_s=timeouts.request_head,
            request_body_s=timeouts.request_body,
            response_head_s=timeouts.response_head,
            idle_s=timeouts.idle,
            total_s=timeouts.total,
        ),
        retries=model.Retries(
            attempts=retries.attempts,
            budget=retries.budget,
            body_bytes=retries.body,
            idempotency_key=retries.idempotency_key,
        ),
        limits=model.Limits(
            request_body_bytes=limits.request_body,
            upstream_requests=limits.upstream_requests,
            queue=limits.queue,
            queue_timeout_s=limits.queue_timeout,
        ),
        keepalive=model.Keepalive(
            connections=keepalive.connections, idle_s=keepalive.idle, age_s=keepalive.age
        ),
        headers=model.ServiceHeaders(host=service.headers.host, pool=service.headers.pool),
        upstream_tls=_upstream_tls(service.upstream_tls),
        send_proxy=SEND_PROXY[service.send_proxy],
        outlier=_outlier(service.outlier),
        slow_start_s=service.slow_start,
        mirror=_mirror(service.mirror),
        error_pages=tuple(_error_page(page) for page in service.error_pages),
    )


def _upstream_tls(tls: UpstreamTls | None) -> model.UpstreamTls | None:
    if tls is None:
        return None
    certificate = None if tls.cert is None or tls.key is None else model.Certificate(tls.cert, tls.key)
    return model.UpstreamTls(tls.verify, tls.ca, tls.server_name, certificate)


def _outlier(outlier: Outlier | None) -> model.Outlier | None:
    if outlier is None:
        return None
    return model.Outlier(outlier.consecutive_failures, outlier.ejection, outlier.max_ejected)


def _mirror(mirror: Mirror | None) -> model.Mirror | None:
    if mirror is None:
        return None
    return model.Mirror(
        share=mirror.share,
        timeout_s=mirror.timeout,
        body_bytes=mirror.body,
        headers=tuple(name.lower() for name in mirror.headers),
        ignore_json=tuple(mirror.ignore_json),
    )


def _error_page(page: ErrorPage) -> model.ErrorPage:
    return model.ErrorPage(_statuses(page.status), page.content_type, page.file)


def _statuses(items: list[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sorted({status for item in items for status in item}))


def _health(health: Health) -> model.HealthCheck:
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
        expect_status=_statuses(health.expect_status),
        expect_body=health.expect_body,
        command=tuple(health.command),
    )


def _sticky(sticky: Sticky | None) -> model.Sticky | None:
    if sticky is None:
        return None
    return model.Sticky(cookie=sticky.cookie, header=sticky.header, ttl_s=sticky.ttl)


def _preview(preview: Preview) -> model.Preview:
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
