"""What may be repeated, how often and after how long (tenacity), and the budget that keeps an outage from growing."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs
import tenacity

from yotta_async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConnectError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    TransportError,
    YottaError,
)
from yotta_async.support.clock import Clock

T = TypeVar("T")

# The API has no code for it, so its words must do.
_NO_CAPACITY = re.compile(
    r"capacity|insufficient|not enough|unavailable|no available|out of stock|sold out|resource", re.IGNORECASE
)


def _tries(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"RetryPolicy.{field.name} must be a whole number of at least 1")


def _amount(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if type(value) not in (int, float) or not 0 <= value < math.inf:  # type: ignore[operator]  # a number, by the first half
        raise ConfigurationError(f"RetryPolicy.{field.name} must be a finite number of at least 0")


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often a call is tried and how long is waited between tries. Seconds throughout.

    Only what is safe is ever repeated: a get or list after any failure that may pass; a create only when it was never
    heard, or refused with 429; a pause or resume after it was heard only once a get has shown that it had no effect;
    a delete after any failure that may pass.

    `max_attempts` bounds every call's tries (1: one request). At its default of 4 a pause or resume gets 3, and a
    delete, whose loss would cost money, 8; `change_attempts` and `delete_attempts` set these by themselves.

    The pause before try n+1 is drawn evenly from 0 to `backoff_base` · 2ⁿ⁻¹, at most `backoff_cap`; when the API sent
    Retry-After it is no shorter than that, plus up to `backoff_base`. A Retry-After above `max_retry_after` is not
    waited for: the error comes at once and carries it.

    `budget` is how many repeats a client has in hand; each takes one, and every success gives `budget_refill` back.
    Deletes do without. Raises ConfigurationError for a number that makes no sense.
    """

    max_attempts: int = attrs.field(default=4, validator=_tries)
    change_attempts: int | None = attrs.field(default=None, validator=attrs.validators.optional(_tries))
    delete_attempts: int | None = attrs.field(default=None, validator=attrs.validators.optional(_tries))
    backoff_base: float = attrs.field(default=0.25, validator=_amount)
    backoff_cap: float = attrs.field(default=20.0, validator=_amount)
    max_retry_after: float = attrs.field(default=120.0, validator=_amount)
    budget: float = attrs.field(default=100.0, validator=_amount)
    budget_refill: float = attrs.field(default=0.1, validator=_amount)

    @property
    def attempts_of_change(self) -> int:
        """How often a pause or resume is tried."""
        return min(self.max_attempts, 3) if self.change_attempts is None else self.change_attempts

    @property
    def attempts_of_delete(self) -> int:
        """How often a delete is tried."""
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


def is_for_lack_of_capacity(error: YottaError) -> bool:
    """Say whether a create that was refused may succeed for another GPU or elsewhere.

    A plain refusal that is about capacity by its words, or that is neither about the request, the key nor the rate.
    """
    if not isinstance(error, APIError) or isinstance(
        error, AuthenticationError | PermissionDeniedError | RateLimitError
    ):
        return False
    return not isinstance(error, BadRequestError) or _NO_CAPACITY.search(error.message) is not None


class Retries:
    """One client's repeats: a policy, the clock that the pauses follow, and the budget."""

    def __init__(self, policy: RetryPolicy, clock: Clock) -> None:
        self.policy = policy
        self._clock = clock
        self._budget = policy.budget
        # Full jitter.
        self._backoff = tenacity.wait_random_exponential(multiplier=policy.backoff_base, max=policy.backoff_cap)

    def left(self, deadline: float) -> float:
        """Return the seconds until a deadline, and a moment for a try that begins with none left."""
        return math.inf if deadline == math.inf else max(0.001, deadline - self._clock.time())

    async def run(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        attempts: int,
        on: Callable[[BaseException], bool] = is_transient,
        deadline: float = math.inf,
        budgeted: bool = True,
    ) -> T:
        """Try until it succeeds, `on` says no, the tries are used up, or the pause would pass `deadline`.

        tenacity is entered only after a first failure: around every call it costs more than all the rest of the client.
        """
        try:
            result = await attempt()
        except YottaError as error:
            first = error
        else:
            self.went_well()
            return result
        return await self.again(first, attempt, attempts=attempts, on=on, deadline=deadline, budgeted=budgeted)

    def went_well(self) -> None:
        """Give a success's part of the budget back."""
        if self._budget < self.policy.budget:
            self._budget = min(self.policy.budget, self._budget + self.policy.budget_refill)

    async def again(
        self,
        first: YottaError,
        attempt: Callable[[], Awaitable[T]],
        *,
        attempts: int,
        on: Callable[[BaseException], bool] = is_transient,
        deadline: float = math.inf,
        budgeted: bool = True,
    ) -> T:
        """Do what `run` does after a first try that failed with `first`."""
        if attempts == 1 or not on(first):
            raise first
        failures = iter([first])

        async def replayed() -> T:
            for failure in failures:
                raise failure
            return await attempt()

        def out_of_time_or_budget(state: tenacity.RetryCallState) -> bool:
            if self._clock.time() + state.upcoming_sleep >= deadline:
                return True
            error = state.outcome.exception() if state.outcome else None
            if _asked_for(error) > self.policy.max_retry_after:
                return True
            if not budgeted:
                return False
            if self._budget < 1:
                if error is not None:
                    error.add_note("Not repeated: this client's retry budget is used up; successes refill it.")
                return True
            self._budget -= 1
            return False

        retrying = tenacity.AsyncRetrying(
            sleep=self._clock.sleep,
            # Names what to retry: tenacity's `retry_if_not_…` would repeat a cancelled call.
            retry=tenacity.retry_if_exception(on),
            wait=self._pause,
            stop=lambda state: tenacity.stop_after_attempt(attempts)(state) or out_of_time_or_budget(state),
            reraise=True,
        )
        result: T = await retrying(replayed)
        self.went_well()
        return result

    def _pause(self, state: tenacity.RetryCallState) -> float:
        backoff = self._backoff(state)
        asked = _asked_for(state.outcome.exception() if state.outcome else None)
        if asked == 0:
            return backoff
        return max(backoff, asked) + random.uniform(0, self.policy.backoff_base)  # noqa: S311  # spreads load, hides nothing


def _asked_for(error: BaseException | None) -> float:
    """Return the seconds that the server asked to wait."""
    return (isinstance(error, APIError | ProtocolError) and error.retry_after) or 0.0
