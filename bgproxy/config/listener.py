"""The settings of a listener: where requests come in, and what they meet there.

Owns their words and meanings. Opens nothing: that is the business of the supervisor.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bgproxy import model
from bgproxy.config.settings import Settings
from bgproxy.config.values import AlpnName, BindAddress, Boolean, FilePath, Integer, Name, Network, Size

_FORWARDING = model.Forwarding()
_HEAD = model.HeadLimits()


class Certificate(Settings):
    cert: FilePath = Field(description="File with the certificate and its chain, in PEM.")
    key: FilePath = Field(description="File with its key, in PEM.")


class ListenerTls(Settings):
    certificates: list[Certificate] = Field(
        min_length=1,
        description="Chosen by the name that the client asks for (SNI); the first one is for all others. "
        "Read again when they change.",
    )
    min_version: Literal["1.2", "1.3"] = Field("1.2", description="The oldest version of TLS that is spoken.")
    client_ca: FilePath | None = Field(
        None, description="File with the authorities that clients need a certificate of, in PEM."
    )
    client_certificate: Literal["required", "optional"] = Field(
        "required", description="With `client_ca` only: whether clients without a certificate are let in."
    )
    alpn: list[AlpnName] = Field(
        ["http/1.1"],
        description="Protocols offered to the client; `tcp` listeners may offer others, such as h2.",
    )


class ListenerLimits(Settings):
    request_line: Size = Field(_HEAD.request_line_bytes, description="Longest request line; 414.")
    header_block: Size = Field(_HEAD.header_block_bytes, description="Largest header block; 431.")
    header_count: Integer = Field(_HEAD.header_count, ge=1, description="Most header fields; 431.")
    connections: Integer | None = Field(
        None, ge=1, description="Most connections at once; 503. Left out: what the descriptors allow."
    )
    connections_per_client: Integer | None = Field(
        None, ge=1, description="Most connections at once from one address; 503. Left out: no limit."
    )


class Forwarding(Settings):
    trusted: list[Network] = Field(
        [],
        description="Networks, such as `10.0.0.0/8`, of proxies whose X-Forwarded-* and Forwarded are believed and "
        "added to; those of others are replaced. `unix`: peers on a unix socket.",
    )
    x_forwarded: Boolean = Field(
        _FORWARDING.x_forwarded, description="Send X-Forwarded-For, -Proto, -Host and -Port."
    )
    forwarded: Boolean = Field(_FORWARDING.forwarded, description="Send Forwarded (RFC 7239).")
    via: Boolean = Field(_FORWARDING.via, description="Send Via, as RFC 9110 wants of a proxy.")
    request_id: Boolean = Field(_FORWARDING.request_id, description="Send X-Request-Id, made or kept.")
    traceparent: Boolean = Field(
        _FORWARDING.traceparent,
        description="Start a trace (W3C Trace Context) for requests that are in none. What comes is passed on anyway.",
    )


class Listener(Settings):
    name: Name = Field(description="Its name in logs and metrics.")
    bind: BindAddress = Field(description="Where it listens: `host:port`, `[v6]:port` or `unix:/path`.")
    preview: Boolean = Field(default=False, description="Whether its requests always go to the idle pool.")
    protocol: Annotated[model.Protocol, Field(strict=False)] = Field(
        model.Protocol.HTTP, description="`tcp` passes on bytes, whatever they mean: gRPC, SMTP, PostgreSQL."
    )
    service: Name | None = Field(None, description="`tcp` only: the service that its connections go to.")
    tls: ListenerTls | None = Field(None, description="Speak TLS on this listener.")
    proxy_protocol: Boolean = Field(
        default=False,
        description="Every connection begins with a PROXY header (version 1 or 2), which tells the client. "
        "Only for listeners that nobody but that proxy can reach.",
    )
    limits: ListenerLimits = Field(ListenerLimits(), description="What clients may ask of it.")
    forwarding: Forwarding = Field(
        Forwarding(), description="What upstreams are told about clients, and who is believed about it."
    )
