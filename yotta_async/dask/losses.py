"""How often lost workers are replaced, and after how long."""

from __future__ import annotations

import asyncio
from collections import deque

_WINDOW_SECONDS = 600.0
_LEAST = 4
_OF_THOSE_THAT_CAME = 5
_LONGEST_PAUSE = 30.0


class Losses:
    """The workers that were lost, and how many of them are replaced.

    `most` in a row while none comes, and five times as many in any ten minutes otherwise: what has come may go by its
    user's wish, as with `client.restart()`.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._times: deque[float] = deque()
        self._in_a_row = 0

    def pause(self, wanted: int) -> float | None:
        """Note one more, of a cluster of so many; return after how many seconds to replace it, None: not at all.

        At once at first; as long as none joins, each round twice as late as the one before.
        """
        self._times.append(asyncio.get_running_loop().time())
        self._in_a_row += 1
        if self.are_too_many(wanted):
            return None
        # What is lost together is replaced together.
        rounds = (self._in_a_row - 1) // max(1, wanted)
        return min(_LONGEST_PAUSE, float(2 ** (rounds - 1))) if rounds else 0.0

    def are_too_many(self, wanted: int) -> bool:
        """Whether more were lost than are replaced."""
        now = asyncio.get_running_loop().time()
        while self._times and self._times[0] < now - _WINDOW_SECONDS:
            self._times.popleft()
        most = max(_LEAST, 2 * wanted) if self._most is None else self._most
        return self._in_a_row > most or len(self._times) > _OF_THOSE_THAT_CAME * most

    def joined(self) -> None:
        """Note that a worker has come."""
        self._in_a_row = 0

    def forget(self) -> None:
        """Begin anew, as somebody asks for workers again."""
        self._times.clear()
        self._in_a_row = 0
