"""Authorities and certificates for tests, as the PEM files that an operator would have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from bgproxy.model import Certificate


class Authority:
    """`path` is the file that those have who trust it."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.directory = directory
        self.path = str(directory / f"{name}.pem")
        self._ca = trustme.CA(organization_name=f"bgproxy tests, {name}", key_type=trustme.KeyType.ECDSA)
        self._ca.cert_pem.write_to_path(self.path)

    def issues(self, *names: str, file: str | None = None, expired: bool = False) -> Certificate:
        """A certificate for these host names and addresses; `file` is the files' name, if not the first of them.

        Files that are there are replaced, the key after the certificate.
        """
        issued = self._ca.issue_cert(
            *names,
            key_type=trustme.KeyType.ECDSA,
            not_after=datetime.now(UTC) - timedelta(days=1) if expired else None,
        )
        stem = (file or names[0]).replace("*", "any").replace(":", "-")
        pair = Certificate(str(self.directory / f"{stem}.pem"), str(self.directory / f"{stem}.key"))
        Path(pair.cert).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        Path(pair.key).write_bytes(issued.private_key_pem.bytes())
        return pair
