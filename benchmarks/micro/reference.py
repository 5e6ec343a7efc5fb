"""What never changes and is counted with the rest: plain work of the kinds that requests are made of.

Nothing of bgproxy is here. What these calls cost depends on the build of Python and on the C library alone, so by
them a build is recognised. Never change them without recording everything anew.
"""

from __future__ import annotations

import re
from itertools import repeat
from typing import Final

from benchmarks.micro.part import Call, Part

_BLOCK: Final = b"Host: app.example.com\r\nAccept: text/html, */*\r\n"
# Without a repeated group: what one needs of the C library's heap is chance.
_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):([\t\x20-\x7e\x80-\xff]*+)\r\n").match


class _Cell:
    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value

    def step(self, value: int) -> int:
        self.value = value
        return self.get()

    def get(self) -> int:
        return self.value


# Private


def _arithmetic() -> Call:
    numbers = (1, 2, 3, 4, 5, 6, 7, 8) * 16

    def run() -> int:
        total = 0
        for number in numbers:
            if number & 3:
                total = (total + number) & 127
            else:
                total ^= number
        return total

    return run


def _calls() -> Call:
    cell = _Cell(1)

    def run() -> _Cell:
        for _ in repeat(None, 40):
            cell.step(7)
        return _Cell(2)

    return run


def _bytes() -> Call:
    line, block = b"GET /index.html", _BLOCK * 4

    def run() -> bytes:
        out = b""
        for _ in repeat(None, 8):
            out = line + b" HTTP/1.1\r\n" + block
            out = b"\r\n".join((out[5:40], out.lower(), line))
            out.find(b"\r\n\r\n")
            out.startswith(line)
        return out

    return run


def _copies() -> Call:
    """The one that shows which copying routine the C library has chosen."""
    piece = b"x" * 16 * 1024
    return lambda: piece + b"\r\n"


def _patterns() -> Call:
    def run() -> None:
        for _ in repeat(None, 8):
            _LINE(_BLOCK)

    return run


def _cells() -> Call:
    cells = memoryview(bytearray(8 * 16)).cast("Q")
    places = {_BLOCK: 3}

    def run() -> None:
        for _ in repeat(None, 20):
            cells[places[_BLOCK]] += 1

    return run


REFERENCES: Final = (
    Part("arithmetic", _arithmetic),
    Part("calls", _calls),
    Part("bytes", _bytes),
    Part("copies", _copies),
    Part("patterns", _patterns),
    Part("cells", _cells),
)
