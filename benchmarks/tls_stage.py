"""The demonstration's stage with TLS on the public listener, and an authority of its own.

It differs from the stage without TLS in nothing else, so that their results can be compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import trustme
import yaml

from benchmarks.tls_load import HOST
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
        issued = authority.issue_cert(HOST, "127.0.0.1", key_type=trustme.KeyType.ECDSA)
        authority.cert_pem.write_to_path(self.authority)
        issued.cert_chain_pems[0].write_to_path(self.directory / CERTIFICATE)
        issued.private_key_pem.write_to_path(self.directory / KEY)

    def start_load(
        self, name: str, port: int, *, clients: int, think_s: float, preview: bool = False
    ) -> Path:
        if preview:
            return super().start_load(name, port, clients=clients, think_s=think_s, preview=True)
        results = self.directory / f"{name}.results"
        self._start(
            name,
            *("benchmarks.tls_load", "--port", str(port), "--authority", str(self.authority)),
            *("--results", str(results), "--clients", str(clients), "--think-s", str(think_s)),
        )
        return results

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
