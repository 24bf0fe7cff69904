"""When to poll: intervals, deadlines, early polls, and the API's wish for fewer requests. No I/O and no event loop.

All times are seconds of the client's clock.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable
from operator import itemgetter

# The last poll before a deadline starts so long before it, or a tenth of the wait if that is less.
_LAST_POLL_BEFORE_DEADLINE_S = 0.5
# A new subscription gets a poll of its own, but with many subscribers only after a while in which others may come.
_GATHER_S_PER_POD = 0.02
# The longest delay between polls while the API answers 429 without Retry-After.
_MAX_BACKOFF_S = 60.0
# However long the API asks to wait, it is polled again after this time.
_MAX_RETRY_AFTER_S = 300.0


def draw_jitter() -> float:
    """Return a factor that spreads the polls of clients that were started together."""
    return random.uniform(0.9, 1.1)  # noqa: S311  # spreads load, hides nothing


class PollSchedule:
    """When one client polls next. The shortest interval of all subscriptions counts."""

    def __init__(self, jitter: Callable[[], float] = draw_jitter) -> None:
        self._draw_jitter = jitter
        self._jitter = 1.0
        self._intervals: Counter[float] = Counter()
        self._deadlines: list[
            tuple[float, int, float]
        ] = []  # sorted: the deadline, the subscription's number, its begin
        self._early_poll_wanted = False
        self._last_regular_poll = -math.inf
        self._last_poll = -math.inf
        self._backoff = 0.0
        self.blocked_until = -math.inf

    def is_idle(self) -> bool:
        """Whether there is no subscription."""
        return not self._intervals

    @property
    def interval(self) -> float:
        """The shortest interval of all subscriptions, or 1 s without any."""
        return min(self._intervals, default=1.0)

    def add_interval(self, interval: float) -> None:
        """Note the interval of a new subscription."""
        self._intervals[interval] += 1

    def remove_interval(self, interval: float) -> None:
        """Forget the interval of a subscription that ended."""
        self._intervals[interval] -= 1
        if not self._intervals[interval]:
            del self._intervals[interval]

    def add_deadline(self, number: int, began: float, deadline: float) -> None:
        """Note when a subscription ends; infinity: never."""
        insort(self._deadlines, (deadline, number, began))

    def remove_deadline(self, number: int, deadline: float) -> None:
        """Forget the deadline of a subscription, if it was not popped."""
        index = bisect_left(self._deadlines, (deadline, number))
        if self._deadlines[index : index + 1] and self._deadlines[index][1] == number:
            del self._deadlines[index]

    def pop_expired(self, now: float) -> list[int]:
        """Return the numbers of the subscriptions whose deadline has passed, and forget their deadlines."""
        count = bisect_right(self._deadlines, now, key=itemgetter(0))
        expired = [number for _, number, _ in self._deadlines[:count]]
        del self._deadlines[:count]
        return expired

    def request_early_poll(self) -> None:
        """Note that a subscription waits for its first poll."""
        self._early_poll_wanted = True

    def next_poll(self, tracked_pods: int) -> float:
        """Return when the next poll is due, regular or early."""
        due = self._next_regular_poll(tracked_pods)
        if self._early_poll_wanted:
            due = min(due, self._next_early_poll(tracked_pods))
        return max(due, self.blocked_until)

    def next_wakeup(self, tracked_pods: int, *, is_polling: bool) -> float:
        """Return when something is to be done: the next deadline or, unless a poll is under way, the next poll."""
        deadline = self._deadlines[0][0] if self._deadlines else math.inf
        return deadline if is_polling else min(deadline, self.next_poll(tracked_pods))

    def begin_poll(self, now: float, tracked_pods: int) -> bool:
        """Note that a poll begins, and return whether it is a regular one, of all pods."""
        is_regular = now >= self._next_regular_poll(tracked_pods)
        self._last_poll = now
        self._jitter = self._draw_jitter()
        self._early_poll_wanted = False
        return is_regular

    def note_all_polled(self, began: float) -> None:
        """Note that the poll that began then asked for all pods; early polls of some do not put off the regular one."""
        self._last_regular_poll = began

    def note_success(self) -> None:
        """Note that the API answered."""
        self._backoff = 0.0

    def note_rate_limit(self, now: float, retry_after: float | None) -> None:
        """Delay polls by what the API asks, or ever longer while it answers 429 without saying how long to wait."""
        if retry_after is None:
            self._backoff = min(_MAX_BACKOFF_S, max(self.interval, self._backoff * 2))
        delay = self._backoff if retry_after is None else min(retry_after, _MAX_RETRY_AFTER_S)
        self.blocked_until = max(self.blocked_until, now + delay)

    def _next_regular_poll(self, tracked_pods: int) -> float:
        due = self._last_regular_poll + self.interval * self._jitter
        if self._deadlines:
            deadline, _, began = self._deadlines[0]
            last_poll = deadline - min(_LAST_POLL_BEFORE_DEADLINE_S, (deadline - began) / 10)
            if self._last_regular_poll < last_poll < due:
                due = max(last_poll, self._next_early_poll(tracked_pods))
        return due

    def _next_early_poll(self, tracked_pods: int) -> float:
        return self._last_poll + min(self.interval, _GATHER_S_PER_POD * tracked_pods)
