"""The demonstration's stage with TLS on the public listener, and an authority of its own.

It differs from the stage without TLS in nothing else, so that their results can be compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import trustme
import yaml

from bgproxy.demo.load import TLS_NAME
from bgproxy.demo.stage import Stage

AUTHORITY: Final = "authority.pem"
CERTIFICATE: Final = "certificate.pem"
KEY: Final = "key.pem"


class TlsStage(Stage):
    """`authority` is the file that clients have to trust."""

    def __init__(self) -> None:
        super().__init__()
        self.authority = self.directory / AUTHORITY
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        issued = authority.issue_cert(TLS_NAME, "127.0.0.1", key_type=trustme.KeyType.ECDSA)
        authority.cert_pem.write_to_path(self.authority)
        issued.cert_chain_pems[0].write_to_path(self.directory / CERTIFICATE)
        issued.private_key_pem.write_to_path(self.directory / KEY)
        self.load_options = ["--authority", str(self.authority)]

    # Private

    def _start(self, name: str, module: str, *arguments: str) -> None:
        if module == "bgproxy":
            secure(self.directory / "bgproxy.yaml")
        super()._start(name, module, *arguments)


def secure(path: Path) -> None:
    """Has the public listener of this configuration speak TLS."""
    config = yaml.safe_load(path.read_text())
    (public,) = (listener for listener in config["listeners"] if listener["name"] == "public")
    public["tls"] = {"certificates": [{"cert": CERTIFICATE, "key": KEY}]}
    path.write_text(yaml.safe_dump(config))
