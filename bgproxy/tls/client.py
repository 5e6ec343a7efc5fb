"""The contexts of connections to upstreams, shared by all services whose settings are equal.

Never connects.
"""

from __future__ import annotations

import ssl
from dataclasses import replace
from functools import partial
from typing import Final

from bgproxy.model import UpstreamTls
from bgproxy.tls.pem import load_authorities, load_pair
from bgproxy.tls.reload import FromFiles

HTTP_ALPN: Final = ("http/1.1",)


class ClientContexts:
    """One for a process: a context with the system's authorities takes about a megabyte."""

    def __init__(self) -> None:
        self._known: dict[tuple[UpstreamTls, tuple[str, ...]], FromFiles[ssl.SSLContext]] = {}

    def context(self, settings: UpstreamTls, alpn: tuple[str, ...] = HTTP_ALPN) -> ssl.SSLContext:
        """Always the same one, until its files change. Raises `Unusable`, an OSError."""
        key = (replace(settings, server_name=None), alpn)  # which is no part of a context
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = FromFiles(_paths(settings), partial(_context, settings, alpn))
        return known.value

    def reload_changed(self) -> list[str]:
        """Looks at the files, reads what has changed, and returns their paths; broken ones are logged."""
        return list(dict.fromkeys(path for known in self._known.values() for path in known.refresh()))


def server_name(settings: UpstreamTls, upstream: str) -> str:
    """What the certificate has to be for. Names are asked for (SNI); of an address OpenSSL knows not to.

    `upstream` is its name as configured, with the port.
    """
    if settings.server_name is not None:
        return settings.server_name
    if upstream.startswith("unix:"):
        return "localhost"
    return upstream.rpartition(":")[0].strip("[]")


# Private


def _context(settings: UpstreamTls, alpn: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        # An authority below the root may be trusted for itself.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        load_authorities(context, settings.ca)
    if settings.certificate is not None:
        load_pair(context, settings.certificate)
    return context


def _paths(settings: UpstreamTls) -> tuple[str, ...]:
    own = settings.certificate
    authorities = settings.ca or ssl.get_default_verify_paths().cafile
    paths = (authorities if settings.verify else None, own and own.cert, own and own.key)
    return tuple(path for path in paths if path)
