"""Retries: what may be retried, how often and after how long (tenacity), and a budget that bounds load."""

from __future__ import annotations

import logging
import math
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import attrs
import tenacity

from yotta_async.errors import (
    APIError,
    ConfigurationError,
    ConnectError,
    ProtocolError,
    RateLimitError,
    ServerError,
    TransportError,
    YottaError,
)
from yotta_async.support.clock import Clock

T = TypeVar("T")

logger = logging.getLogger("yotta_async")


def _check_attempts(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"RetryPolicy.{field.name} must be a whole number of at least 1")


def _check_amount(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if type(value) not in (int, float) or not 0 <= value < math.inf:  # type: ignore[operator]  # a number, by the first half
        raise ConfigurationError(f"RetryPolicy.{field.name} must be a finite number of at least 0")


def _check_hook(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not callable(value):
        raise ConfigurationError(f"RetryPolicy.{field.name} must be a function that takes a RetryEvent")


@attrs.frozen
class RetryEvent:
    """A retry that is about to happen, as `RetryPolicy.on_retry` gets it.

    Args:
        error: Why the last attempt failed; APIError and TransportError name the call in `.method` and `.path`.
        attempt: Which attempt failed; the first is 1.
        delay: Seconds until the next attempt.

    """

    error: YottaError
    attempt: int
    delay: float

    def __str__(self) -> str:
        return f"will retry in {self.delay:.2f} s (attempt {self.attempt} failed), because of {self.error}"


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often a call is tried, and how long the client waits between attempts.

    Only what is safe is ever retried: a get or list after any transient failure; a create only when nothing was sent
    or the API refused it with 429; a pause or resume that may have reached the server only once a get has shown that
    it had no effect; a delete after any transient failure.

    The delay after attempt n is drawn evenly from 0 to `backoff_base` · 2ⁿ⁻¹ (full jitter), at most `backoff_cap`.
    When the API sent Retry-After, the delay is at least that, plus up to `backoff_base`.

    Args:
        max_attempts: Bounds the attempts of every call (1: one request). At its default of 4, a pause or resume gets 3
            and a delete, whose loss would cost money, 8.
        change_attempts: Attempts of a pause or resume; None derives them from `max_attempts`.
        delete_attempts: Attempts of a delete; None derives them from `max_attempts`.
        backoff_base: Seconds. The longest delay after the first attempt; it doubles with each attempt.
        backoff_cap: Seconds. The longest delay after any attempt, if the API sends no Retry-After.
        max_retry_after: Seconds. A longer Retry-After is not waited for: the error is raised at once and carries it.
        budget: How many retries a client has in reserve; each takes one. Deletes do not use it.
        budget_refill: How much of the budget every successful call gives back.
        on_retry: Called with a RetryEvent before the client waits for a retry. What it raises ends the call.

    Raises:
        ConfigurationError: For a number that makes no sense.

    Example:
        ```python
        RetryPolicy(max_attempts=6, on_retry=lambda event: print(event))
        ```

    """

    max_attempts: int = attrs.field(default=4, validator=_check_attempts)
    change_attempts: int | None = attrs.field(default=None, validator=attrs.validators.optional(_check_attempts))
    delete_attempts: int | None = attrs.field(default=None, validator=attrs.validators.optional(_check_attempts))
    backoff_base: float = attrs.field(default=0.25, validator=_check_amount)
    backoff_cap: float = attrs.field(default=20.0, validator=_check_amount)
    max_retry_after: float = attrs.field(default=120.0, validator=_check_amount)
    budget: float = attrs.field(default=100.0, validator=_check_amount)
    budget_refill: float = attrs.field(default=0.1, validator=_check_amount)
    on_retry: Callable[[RetryEvent], object] | None = attrs.field(default=None, validator=_check_hook)

    @property
    def change_limit(self) -> int:
        """How many attempts a pause or resume has."""
        return min(self.max_attempts, 3) if self.change_attempts is None else self.change_attempts

    @property
    def delete_limit(self) -> int:
        """How many attempts a delete has."""
        if self.delete_attempts is not None:
            return self.delete_attempts
        return 8 if self.max_attempts == 4 else self.max_attempts


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later: any failure but a plain refusal."""
    if isinstance(error, ConnectError):
        return error.temporary
    if isinstance(error, APIError):
        return isinstance(error, RateLimitError | ServerError) or error.http_status == 408
    return isinstance(error, TransportError)


def is_known_unprocessed(error: BaseException) -> bool:
    """Whether the server cannot have acted: nothing was sent, or 429, which is taken as not acted on."""
    if isinstance(error, TransportError):
        return is_transient(error) and not error.request_sent
    return isinstance(error, RateLimitError)


def may_have_been_processed(error: BaseException) -> bool:
    """Whether the server may have acted although it did not say so."""
    if isinstance(error, APIError):
        return isinstance(error, ServerError) or error.http_status == 408
    return isinstance(error, TransportError) and error.request_sent


@attrs.define(eq=False)
class _Call:
    """The bounds of one call, as tenacity's hooks find them in the state of its attempts."""

    max_attempts: int
    is_retryable: Callable[[BaseException], bool]
    deadline: float
    uses_budget: bool


class Retrier:
    """Runs one client's calls through tenacity, by a policy, on the client's clock, with one retry budget for all."""

    def __init__(self, policy: RetryPolicy, clock: Clock) -> None:
        self.policy = policy
        self._clock = clock
        self._budget = policy.budget
        # Full jitter.
        self._backoff = tenacity.wait_random_exponential(multiplier=policy.backoff_base, max=policy.backoff_cap)
        self._retrying = tenacity.Retrying(
            retry=_is_retryable,
            wait=self._wait,
            stop=self._should_stop,
            before_sleep=self._before_sleep,
            reraise=True,
        )

    def seconds_left(self, deadline: float) -> float:
        """Return the seconds until a deadline, and a moment for an attempt that begins with none left."""
        return max(0.001, deadline - self._clock.time())

    async def run(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        max_attempts: int,
        is_retryable: Callable[[BaseException], bool] = is_transient,
        deadline: float = math.inf,
        uses_budget: bool = True,
    ) -> T:
        """Try until it succeeds, the error is not retryable, or there are no attempts, time or budget left.

        tenacity decides after each failure; a call that succeeds costs it nothing. Its AsyncRetrying keeps a record of
        every call and takes every hook for a coroutine, which costs a quarter of a whole call.
        """
        state: tenacity.RetryCallState | None = None
        while True:
            try:
                result = await attempt()
            except YottaError:
                if state is None:
                    self._retrying.begin()
                    call = _Call(max_attempts, is_retryable, deadline, uses_budget)
                    state = tenacity.RetryCallState(self._retrying, call, (), {})  # type: ignore[arg-type]  # read by the hooks below
                state.set_exception(sys.exc_info())  # type: ignore[arg-type]  # in an except block there is one
            else:
                self._budget = min(self.policy.budget, self._budget + self.policy.budget_refill)
                return result
            delay = cast("float", self._retrying.iter(state))  # or it raises the error
            state.prepare_for_next_attempt()
            await self._clock.sleep(delay)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        backoff = self._backoff(state)
        requested = _requested_wait(_error_of(state))
        if requested == 0:
            return backoff
        return max(backoff, requested) + random.uniform(0, self.policy.backoff_base)  # noqa: S311  # spreads load, hides nothing

    def _should_stop(self, state: tenacity.RetryCallState) -> bool:
        call, error = _call_of(state), _error_of(state)
        if state.attempt_number >= call.max_attempts or self._clock.time() + state.upcoming_sleep >= call.deadline:
            return True
        if _requested_wait(error) > self.policy.max_retry_after:
            return True
        if call.uses_budget and self._budget < 1:
            error.add_note("Not retried: the retry budget of this client is used up. Successful calls refill it.")
            return True
        return False

    def _before_sleep(self, state: tenacity.RetryCallState) -> None:
        if _call_of(state).uses_budget:
            self._budget -= 1
        event = RetryEvent(error=_error_of(state), attempt=state.attempt_number, delay=state.upcoming_sleep)
        logger.debug("%s", event)
        if self.policy.on_retry is not None:
            self.policy.on_retry(event)


def _call_of(state: tenacity.RetryCallState) -> _Call:
    return cast("_Call", state.fn)


def _is_retryable(state: tenacity.RetryCallState) -> bool:
    return _call_of(state).is_retryable(_error_of(state))


def _error_of(state: tenacity.RetryCallState) -> YottaError:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, YottaError)  # noqa: S101  # nothing else is retried
    return error


def _requested_wait(error: YottaError) -> float:
    """Return the seconds that the server asked to wait."""
    return (isinstance(error, APIError | ProtocolError) and error.retry_after) or 0.0
