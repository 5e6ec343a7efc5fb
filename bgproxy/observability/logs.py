"""One line per thing that an operator may want to read later, on standard error."""

from __future__ import annotations

import logging


def configure_logging(level: int = logging.INFO) -> None:
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)-7s %(name)s[%(process)d] %(message)s", force=True
    )
