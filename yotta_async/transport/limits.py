"""The time limits of calls, all watched by one timer.

A timer for each call costs a tenth of the whole call, and nearly every one of them is cancelled before it fires. Here
one timer stands at the nearest limit; when it fires, the call that it stood for is long over, and it moves to the
nearest of those still on their way.
"""

from __future__ import annotations

import asyncio
import math


class Limits:
    """The limits of one event loop's calls, in seconds of the loop's clock."""

    def __init__(self) -> None:
        self.open: set[Limit] = set()
        self.next = math.inf  # when the timer fires
        self._timer: asyncio.TimerHandle | None = None

    def fire_at(self, when: float) -> None:
        """Set the timer to an earlier time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._fire)
        self.next = when

    def _fire(self) -> None:
        now = asyncio.get_running_loop().time()
        self._timer, self.next = None, math.inf
        pending = [limit for limit in self.open if not limit.expired]
        for limit in pending:
            if limit.when <= now:
                limit.expire()
        following = min((limit.when for limit in pending if not limit.expired), default=None)
        if following is not None:
            self.fire_at(following)

    def close(self) -> None:
        """Expire every limit now, and let go of the timer."""
        for limit in list(self.open):
            limit.expire()
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.next = None, math.inf


class Limit:
    """The current task's limit for what it does from now until `end()`: then it is cancelled."""

    __slots__ = ("_cancelling", "_limits", "_task", "expired", "when")

    def __init__(self, limits: Limits, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a call must be awaited in a task")
        self._limits = limits
        self._task = task
        self._cancelling = task.cancelling()
        self.expired = False
        self.when = when = loop.time() + seconds
        limits.open.add(self)
        if when < limits.next:
            limits.fire_at(when)

    def expire(self) -> None:
        """End the call now, if it is still on its way."""
        if self in self._limits.open and not self.expired:
            self.expired = True
            self._task.cancel()

    def end(self) -> bool:
        """Watch it no more; whether the task was cancelled because of it, and not by somebody else as well."""
        self._limits.open.discard(self)
        return self.expired and self._task.uncancel() <= self._cancelling
