"""What became of each of many pods."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Self, TypeAlias

import attrs

from yotta_async.creation.creator import CreateUnknownError
from yotta_async.errors import InvalidRequestError, YottaError
from yotta_async.models.pod import Pod
from yotta_async.models.spec import PodSpec
from yotta_async.polling.wait_errors import PodGoneError
from yotta_async.support.html import build_html_table

_SHOWN_ERRORS = 3


class RolledBackError(PodGoneError):
    """The pod did not fail: it was deleted, or not created, because too many others of its fan-out failed."""


@attrs.frozen
class FanOutItem:
    """What became of one pod.

    Attributes:
        spec: what was asked for, secrets included; None for a pod that existed before.
        pod_id: the pod's id, or None when there is none.
        pod: the pod as it was last seen.
        error: None when the pod is as it was wanted.
        attempts: how many pods were asked for, fallbacks included.
        errors: what went wrong with each of them, the last one included.
        index: its place in the order given, from 0.

    """

    spec: PodSpec | None = None
    pod_id: str | None = None
    pod: Pod | None = None
    error: Exception | None = None
    attempts: int = 1
    errors: tuple[Exception, ...] = ()
    index: int = 0

    def redacted(self) -> FanOutItem:
        """Copy without secrets.

        Returns:
            A copy whose spec and pod are redacted.

        """
        return attrs.evolve(self, spec=self.spec and self.spec.redacted(), pod=self.pod and self.pod.redacted())


OnEvent: TypeAlias = Callable[[FanOutItem], Awaitable[object] | object]
"""Called with an item when something about it is known; it may be a coroutine function."""


@attrs.frozen
class FanOutReport:
    """What became of each pod, in the order given; `len(report)` and `for item in report` are those of `items`.

    Every item is in exactly one of `succeeded`, `failed`, `unknown` and `rolled_back`.

    Attributes:
        items: an item for each pod.

    Example:
        ```python
        report = await yotta.pods.create_many(specs)
        retry = await yotta.pods.create_many(item.spec for item in report.failed)
        ```

    """

    items: tuple[FanOutItem, ...]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[FanOutItem]:
        return iter(self.items)

    @property
    def succeeded(self) -> tuple[FanOutItem, ...]:
        """The items that are as they were wanted."""
        return tuple(item for item in self.items if item.error is None)

    @property
    def unknown(self) -> tuple[FanOutItem, ...]:
        """The items of which it is not known whether there is a pod."""
        return tuple(item for item in self.items if isinstance(item.error, CreateUnknownError))

    @property
    def rolled_back(self) -> tuple[FanOutItem, ...]:
        """The items that did not fail: they were deleted, or not created, because too many others failed."""
        return tuple(item for item in self.items if isinstance(item.error, RolledBackError))

    @property
    def failed(self) -> tuple[FanOutItem, ...]:
        """The items that failed by themselves."""
        apart = CreateUnknownError | RolledBackError
        return tuple(item for item in self.items if item.error is not None and not isinstance(item.error, apart))

    def raise_for_failures(self) -> None:
        """Raise an error unless every item succeeded.

        Raises:
            FanOutError: with this report as its `report`.

        """
        if len(self.succeeded) < len(self.items):
            raise self.error()

    def error(self, why: str = "") -> FanOutError:
        """Make the error that carries this report.

        Args:
            why: a text before the counts in the error's message.

        Returns:
            The error; it is not raised.

        """
        return FanOutError(why + self._summarize(), report=self)

    def redacted(self) -> FanOutReport:
        """Copy without secrets, fit for a log or another process.

        Returns:
            A copy whose specs and pods are redacted.

        """
        return FanOutReport(tuple(item.redacted() for item in self.items))

    def _repr_html_(self) -> str:
        headers = ("pod", "name", "status", "attempts", "error")
        return build_html_table(self._count(), headers, map(_cells_of, self.items))

    def _count(self) -> str:
        counts = f"{len(self.succeeded)} succeeded, {len(self.failed)} failed, {len(self.unknown)} unknown"
        if self.rolled_back:
            counts += f", {len(self.rolled_back)} rolled back"
        return f"of {len(self.items)} pods {counts}"

    def _summarize(self) -> str:
        causes = [*self.failed, *self.unknown, *self.rolled_back]
        shown = [f"{item.pod_id}: {type(item.error).__name__}: {item.error}" for item in causes[:_SHOWN_ERRORS]]
        more = f" … and {len(causes) - len(shown)} more" if len(causes) > len(shown) else ""
        return f"{self._count()}: {' | '.join(shown)}{more}"


class FanOutError(YottaError):
    """Too few of many pods are as they were wanted.

    Attributes:
        report: what became of each, with the specs as they were given. A pickled error has redacted copies of them,
            from which no pod can be created.

    """

    def __init__(self, message: str = "", *, report: FanOutReport | None = None) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:
        report = None if self.report is None else self.report.redacted()
        return (type(self), self.args, {**self.__dict__, "report": report})

    def __copy__(self) -> Self:
        made = type(self)(*self.args)
        made.__dict__.update(self.__dict__)
        return made

    def __deepcopy__(self, _: object) -> Self:
        return self.__copy__()  # a report is immutable


def _cells_of(item: FanOutItem) -> tuple[str, ...]:
    name = item.pod.pod_name if item.pod else item.spec and item.spec.pod_name
    return (
        item.pod_id or "",
        name or "",
        str(item.pod.status or "?") if item.pod else "",
        str(item.attempts),
        "" if item.error is None else f"{type(item.error).__name__}: {item.error}",
    )


def check_hook(on_event: OnEvent | None) -> OnEvent | None:
    """Return `on_event`. Raises InvalidRequestError when it is no function."""
    if on_event is not None and not callable(on_event):
        raise InvalidRequestError(f"on_event must be a function, not {type(on_event).__name__}")
    return on_event


async def call_hook(on_event: OnEvent | None, item: FanOutItem) -> None:
    """Call `on_event`, if there is one, and wait for it when it is a coroutine function."""
    if on_event is not None:
        result = on_event(item)
        if inspect.isawaitable(result):
            await result
