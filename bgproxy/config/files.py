"""Files that the configuration names: found, read where their text is a setting, never kept open."""

from __future__ import annotations

from pathlib import Path
from typing import Final

PAGE_BYTES: Final = 64 * 1024


def existing_file(base: Path, path: str) -> str:
    """The whole path of a file that can be read. Raises ValueError."""
    whole = str(base / path)
    _head(whole, 0)
    return whole


def page(base: Path, path: str) -> str:
    """The text of a page for clients. Raises ValueError."""
    content = _head(str(base / path), PAGE_BYTES + 1)
    if len(content) > PAGE_BYTES:
        raise ValueError(f"names a file of more than {PAGE_BYTES} bytes: a page is sent with every error")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("names a file that is not UTF-8 text: save it as UTF-8") from None


# Private


def _head(path: str, size_bytes: int) -> bytes:
    if not path or "\0" in path:
        raise ValueError("takes the path of a file")
    try:
        with Path(path).open("rb") as file:
            return file.read(size_bytes)
    except OSError as error:
        raise ValueError(f"names a file that cannot be read: {error.strerror}") from None
