"""Fetches secrets from where the file says they are: an environment variable or a file.

Never puts a secret, or text that might be one in the wrong place, into an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SECRET_BYTES = 4096
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# RFC 9110 section 5.5 allows more in a field's value; ASCII is what every client can send unchanged.
_SENDABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """`base` is the folder that relative paths start from."""

    environ: Mapping[str, str]
    base: Path

    def from_env(self, name: str) -> str:
        if not _VARIABLE_NAME.fullmatch(name):
            raise ValueError("takes the name of an environment variable, not the secret itself")
        if name not in self.environ:
            raise ValueError(f"names the environment variable {name}, which is not set")
        return _sendable(self.environ[name])

    def from_file(self, path: str) -> str:
        if not path or "\0" in path:
            raise ValueError("takes the path of a file")
        try:
            with (self.base / path).open("rb") as file:
                content = file.read(_SECRET_BYTES + 1)
        except OSError as error:
            raise ValueError(f"names a file that cannot be read: {error.strerror}") from None
        except ValueError:  # the path has characters that no file name can have
            raise ValueError("takes the path of a file") from None
        if len(content) > _SECRET_BYTES:
            raise ValueError(f"names a file of more than {_SECRET_BYTES} bytes, which is no secret")
        return _sendable(content.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r"))


# Private


def _sendable(secret: str) -> str:
    if not _SENDABLE.fullmatch(secret):
        raise ValueError(
            "leads to a secret that no header can carry: use one line of visible ASCII characters"
        )
    return secret
