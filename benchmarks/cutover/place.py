"""Where one proxy runs: its directory, its ports, the apps behind it, and its files, which may be rewritten as a whole.

It must never leave half a file to be read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bgproxy.demo.stage import SIDES, WORKERS


@dataclass(frozen=True, slots=True)
class Place:
    """`apps` are the two ports of each side."""

    directory: Path
    public: int
    admin: int
    apps: Mapping[str, tuple[int, int]]

    def fill(self, template: str, side: str) -> str:
        """The template with `side` as the active one."""
        return template.format(**self._values(side))

    def write(self, name: str, template: str, side: str) -> None:
        """Puts it in the file's place at once."""
        new = self.directory / f"{name}.new"
        new.write_text(self.fill(template, side))
        new.replace(self.directory / name)

    # Private

    def _values(self, side: str) -> dict[str, object]:
        sides = {
            f"{each}_{letter}": port
            for each in SIDES
            for letter, port in zip("ab", self.apps[each], strict=True)
        }
        active_a, active_b = self.apps[side]
        (idle,) = SIDES.keys() - {side}
        return {
            "directory": self.directory,
            "public": self.public,
            "admin": self.admin,
            "workers": WORKERS,
            # As root, nginx would hand over to a user who may not read our directory.
            "user": "user root;\n" if os.geteuid() == 0 else "",
            "active": side,
            "idle": idle,
            "active_a": active_a,
            "active_b": active_b,
            **sides,
        }
