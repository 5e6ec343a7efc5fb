"""A set of workers that serve together and are replaced together."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from bgproxy.process.child import Child


@dataclass(slots=True)
class Place:
    """One worker's place: its number, its block in the shared memory, and who sits there now."""

    index: int
    block: int
    child: Child | None = None
    deaths: int = 0  # young ones in a row
    gone: bool = False  # ended and not to be replaced


class Crew:
    """`retired` once a successor serves: nobody is restarted any more."""

    def __init__(self, blocks: Sequence[int]) -> None:
        self.places = [Place(index, block) for index, block in enumerate(blocks)]
        self.retired = False

    def is_ready(self) -> bool:
        return all(place.child is not None and place.child.ready for place in self.places)

    def is_gone(self) -> bool:
        return all(place.gone for place in self.places)

    def tell(self, message: str) -> None:
        for place in self.places:
            if place.child is not None:
                place.child.tell(message)

    def retire(self) -> None:
        """Accept no more, serve what is connected for as long as it takes."""
        self._end()
        self.tell("retire")

    def kill(self) -> None:
        self._end()
        for place in self.places:
            if place.child is not None:
                place.child.signal(signal.SIGKILL)

    # Private

    def _end(self) -> None:
        self.retired = True
        for place in self.places:
            place.gone = place.child is None  # whoever was to be restarted there is not
