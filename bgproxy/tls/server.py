"""The contexts of a listener: one for each certificate, chosen by the name that a client asks for (SNI).

Never touches a connection that exists.
"""

from __future__ import annotations

import ssl
from functools import partial
from typing import Final, NamedTuple

from bgproxy.model import Certificate, ListenerTls
from bgproxy.tls.handshake import HandshakeContext
from bgproxy.tls.pem import host_names, load_authorities, load_pair
from bgproxy.tls.reload import FromFiles

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class ServerContexts:
    """Raises `Unusable` if a file cannot be used.

    Who accepts with a `context` that was replaced presents the new certificates all the same. But session
    tickets live and die with it, so a listener accepts with the new one as soon as there is one: a client
    that the authorities of before have let in must not resume its session for ever.
    """

    def __init__(self, settings: ListenerTls) -> None:
        authorities = () if settings.client_ca is None else (settings.client_ca,)
        self._served = [
            FromFiles((pair.cert, pair.key, *authorities), partial(self._serve, settings, pair))
            for pair in settings.certificates
        ]
        self._by_name = self._index()

    @property
    def context(self) -> HandshakeContext:
        """What to accept with. Another one after `reload_changed` has reported its files."""
        return self._served[0].value.context

    def reload_changed(self) -> list[str]:
        """Looks at the files, reads what has changed, and returns their paths; broken ones are logged.

        Every certificate is reloaded on its own, so that a broken one does not keep the others from it.
        """
        changed = dict.fromkeys(path for served in self._served for path in served.refresh())
        if changed:
            self._by_name = self._index()
        return list(changed)

    # Private

    def _serve(self, settings: ListenerTls, pair: Certificate) -> _Served:
        context = _context(settings, pair)
        context.sni_callback = self._choose
        return _Served(context, host_names(pair))

    def _index(self) -> dict[str, ssl.SSLContext]:
        index: dict[str, ssl.SSLContext] = {}
        for served in self._served:
            for name in served.value.names:
                index.setdefault(name, served.value.context)
        return index

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        """OpenSSL asks in every handshake that is not a resumed one; `name` is None if the client has none."""
        connection.context = self._for(name) or self.context

    def _for(self, name: str | None) -> ssl.SSLContext | None:
        if not name:
            return None
        name = name.lower()
        # RFC 9525 section 6.3: a wildcard stands for exactly one label, the leftmost.
        return self._by_name.get(name) or self._by_name.get(f"*.{name.partition('.')[2]}")


# Private


class _Served(NamedTuple):
    context: HandshakeContext
    names: tuple[str, ...]


def _context(settings: ListenerTls, pair: Certificate) -> HandshakeContext:
    """Python's defaults are ours too: strong ciphers in the server's order, no compression."""
    context = HandshakeContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.min_version]
    context.num_tickets = 1  # a connection that is resumed brings the next one
    context.options |= ssl.OP_NO_RENEGOTIATION
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    load_pair(context, pair)
    if settings.client_ca is not None:
        load_authorities(context, settings.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if settings.client_required else ssl.CERT_OPTIONAL
    return context
