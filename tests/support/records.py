"""Records of TLS 1.3 that no library would send, made with the keys of a connection that exists (RFC 8446)."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

APPLICATION_DATA = 23
HANDSHAKE = 22
# Section 4.6.3: a message of type 24 with one byte, by which the peer is asked for new keys, too.
UPDATE_REQUESTED = b"\x18\0\0\x01\x01"
UPDATE_NOT_REQUESTED = b"\x18\0\0\x01\0"


class Forger:
    """What the client of a connection sends next, from its first byte of application data on."""

    def __init__(self, key_log: Path) -> None:
        """`key_log` is what `SSLContext.keylog_filename` has written of TLS_AES_256_GCM_SHA384."""
        secrets = [line.split() for line in key_log.read_text().splitlines()]
        (secret,) = [line[2] for line in secrets if line[0] == "CLIENT_TRAFFIC_SECRET_0"]
        self._take(bytes.fromhex(secret))

    def record(self, data: bytes, kind: int = APPLICATION_DATA, padding_bytes: int = 0) -> bytes:
        """Section 5.2."""
        inner = data + bytes([kind]) + bytes(padding_bytes)
        head = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        nonce = int.from_bytes(self._iv, "big") ^ self._number
        self._number += 1
        return head + AESGCM(self._key).encrypt(nonce.to_bytes(12, "big"), inner, head)

    def key_update(self, message: bytes = UPDATE_NOT_REQUESTED) -> bytes:
        """Section 7.2: what comes behind it has other keys."""
        record = self.record(message, HANDSHAKE)
        self._take(self._expand(b"traffic upd", 48))
        return record

    # Private

    def _take(self, secret: bytes) -> None:
        self._secret = secret
        self._key = self._expand(b"key", 32)
        self._iv = self._expand(b"iv", 12)
        self._number = 0

    def _expand(self, label: bytes, size: int) -> bytes:
        """Section 7.1, HKDF-Expand-Label; no size here is more than one hash."""
        label = b"tls13 " + label
        info = size.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
        return hmac.digest(self._secret, info + b"\x01", hashlib.sha384)[:size]
