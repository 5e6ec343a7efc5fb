"""Certificates, keys and authorities as PEM files: loaded into contexts, or refused with the file and the reason.

Owns the words for what is wrong with such a file. Never asks a terminal for a passphrase, and never puts
anything that a file contains into an error.
"""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Final

from bgproxy.model import Certificate

# X509_V_FLAG_NO_CHECK_TIME of OpenSSL, for which Python has no name.
_NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)

_BEGIN: Final = b"-----BEGIN "
_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_KEY: Final = b"PRIVATE KEY-----"


class Unusable(OSError):
    """A file that cannot be used. An OSError, so that it ends an attempt to connect as others do."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.path = path
        self.reason = reason


def load_pair(context: ssl.SSLContext, pair: Certificate) -> None:
    """Has `context` present this certificate. Raises `Unusable`."""
    load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), pair.cert)  # tells which of the two is broken
    _require(pair.key, _KEY, "has no key: it needs a block that starts with -----BEGIN PRIVATE KEY-----")

    def no_passphrase() -> str:
        raise Unusable(pair.key, "has an encrypted key: decrypt it with `openssl pkey`, and protect the file")

    try:
        context.load_cert_chain(pair.cert, pair.key, password=no_passphrase)
    except ssl.SSLError as error:
        if error.reason in {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}:
            reason = f"has a key that does not belong to the certificate in {pair.cert}"
            raise Unusable(pair.key, reason) from None
        if error.reason in {"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"}:
            reason = f"has a certificate that is too weak ({explain(error)}): make a new one"
            raise Unusable(pair.cert, reason) from None
        raise Unusable(pair.key, f"has a key that cannot be read ({explain(error)})") from None


def load_authorities(context: ssl.SSLContext, path: str) -> None:
    """Has `context` trust these certificates. Raises `Unusable`."""
    _require(
        path, _CERTIFICATE, f"has no certificate: it needs a block that starts with {_CERTIFICATE.decode()}"
    )
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise Unusable(path, f"has a certificate that cannot be read ({explain(error)})") from None


def host_names(pair: Certificate) -> tuple[str, ...]:
    """The DNS names that the certificate is for, in lower case. Raises `Unusable`.

    Python parses a certificate for nobody but the peer of a connection who has verified it, so this is a
    handshake in memory with a client that trusts the certificate itself, at any time.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(server, pair)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    load_authorities(client, pair.cert)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    try:
        for end in (asking, serving, asking):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
        certificate = asking.getpeercert() or {}
    except ssl.SSLError as error:
        reason = f"has a certificate that no client would accept ({explain(error)})"
        raise Unusable(pair.cert, reason) from None
    names = certificate.get("subjectAltName", ())
    return tuple(str(name[1]).lower() for name in names if name[0] == "DNS")


def explain(error: ssl.SSLError) -> str:
    """What OpenSSL says, without its file names and line numbers."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    reason: str | None = getattr(error, "reason", None)  # only OpenSSL's own have one
    return reason.replace("_", " ").lower() if reason else error.strerror or type(error).__name__


# Private


def _require(path: str, mark: bytes, otherwise: str) -> None:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise Unusable(path, f"cannot be read: {error.strerror}") from None
    if _BEGIN not in content or mark not in content:
        raise Unusable(path, otherwise)
