"""The certificates, keys and authorities that a configuration names: loaded for a try, not only found.

What is wrong with a file is a problem of the setting that names it. Keeps nothing of what it has loaded.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bgproxy.model import Certificate
from bgproxy.tls.pem import Unusable, host_names, load_authorities, load_pair

if TYPE_CHECKING:
    from bgproxy.config.document import Location
    from bgproxy.config.listener import ListenerTls
    from bgproxy.config.relations import Finding
    from bgproxy.config.schema import File
    from bgproxy.config.service import UpstreamTls


def check(file: File) -> Iterator[Finding]:
    for index, listener in enumerate(file.listeners):
        if listener.tls is not None:
            yield from _listener(("listeners", index, "tls"), listener.tls)
    if file.admin.tls is not None:
        yield from _listener(("admin", "tls"), file.admin.tls)
    for name, service in file.services.items():
        if service.upstream_tls is not None:
            yield from _upstream(("services", name, "upstream_tls"), service.upstream_tls)


# Private


def _listener(location: Location, tls: ListenerTls) -> Iterator[Finding]:
    for index, each in enumerate(tls.certificates):
        place: Location = (*location, "certificates", index)
        pair = Certificate(each.cert, each.key)
        try:
            named = host_names(pair)
        except Unusable as error:
            yield _finding(place, pair, error)
        else:
            if index and not named:
                message = (
                    "names a certificate without host names (subjectAltName), which no client can ask for: "
                    "only the first one is for all others"
                )
                yield (*place, "cert"), message
    if tls.client_ca is not None:
        yield from _authorities((*location, "client_ca"), tls.client_ca)


def _upstream(location: Location, tls: UpstreamTls) -> Iterator[Finding]:
    if tls.ca is not None:
        yield from _authorities((*location, "ca"), tls.ca)
    if tls.cert is not None and tls.key is not None:
        pair = Certificate(tls.cert, tls.key)
        try:
            load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), pair)
        except Unusable as error:
            yield _finding(location, pair, error)


def _authorities(location: Location, path: str) -> Iterator[Finding]:
    try:
        load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), path)
    except Unusable as error:
        yield location, f"names a file that {error.reason}"


def _finding(location: Location, pair: Certificate, error: Unusable) -> Finding:
    return (*location, "cert" if error.path == pair.cert else "key"), f"names a file that {error.reason}"
