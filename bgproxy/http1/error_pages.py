"""An operator's own pages for the errors that bgproxy answers with: templates with four words to fill in."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable

import orjson

from bgproxy.model import ErrorPage

# A client may have made a request id up, and nobody knows how to escape it in a script.
_UNUSUAL = re.compile(r"[^A-Za-z0-9 .,:=+/-]")
_WORD = re.compile(r"\{(status|title|detail|request_id)\}")


class ErrorPages:
    """The first page that is for a status stands for it; for clients that want JSON, the first that is JSON."""

    def __init__(self, pages: Iterable[ErrorPage]) -> None:
        self._pages: dict[int, ErrorPage] = {}
        self._json_pages: dict[int, ErrorPage] = {}
        for page in pages:
            for status in page.statuses:
                self._pages.setdefault(status, page)
                if _is_json(page.content_type):
                    self._json_pages.setdefault(status, page)

    def render(
        self, status: int, title: str, detail: str, request_id: str, *, json: bool
    ) -> tuple[str, str] | None:
        """Content type and body; None if there is no page. A client that wants JSON gets no other page."""
        page = (self._json_pages if json else self._pages).get(status)
        if page is None:
            return None
        escape = _escape_for(page.content_type)
        words = {"status": str(status), "title": title, "detail": detail, "request_id": request_id}
        # In one pass: what is filled in is not looked at again, whatever it looks like.
        return page.content_type, _WORD.sub(lambda word: escape(words[word[1]]), page.body)


# Private


def _is_json(content_type: str) -> bool:
    return "json" in content_type.lower()


def _escape_for(content_type: str) -> Callable[[str], str]:
    if _is_json(content_type):
        return lambda text: orjson.dumps(text).decode()[1:-1]
    if "html" in content_type.lower() or "xml" in content_type.lower():
        return html.escape
    if "text/plain" in content_type.lower():
        return str
    return lambda text: _UNUSUAL.sub("", text)
