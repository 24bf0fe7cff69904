"""Everything that can be printed, logged or sent of an error, to look for secrets in it."""

from __future__ import annotations

import base64
import pickle
import traceback
from collections.abc import Awaitable, Iterator
from typing import Any, TypeVar

from rich.pretty import pretty_repr

E = TypeVar("E", bound=BaseException)


async def catch(kind: type[E], call: Awaitable[Any]) -> E:
    """Await what must fail with an error of this kind.

    `pytest.raises` would add the frame of a test, whose variables may hold secrets, to the traceback.
    """
    try:
        await call
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and, transitively, its causes, contexts and members."""
    pending: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while pending:
        current = pending.pop()
        if current is None or any(current is other for other in seen):
            continue
        seen.append(current)
        yield current
        pending += [current.__cause__, current.__context__]
        if isinstance(current, BaseExceptionGroup):
            pending += current.exceptions


def exposed_text(error: BaseException) -> str:
    """Return all that an error and its chain show: texts, reprs, attributes, pickles, and variables of their frames."""
    parts: list[str] = []
    for one in error_chain(error):
        report = traceback.TracebackException.from_exception(one, capture_locals=True)
        parts += report.format()
        parts += [str(one), repr(one), repr(one.args), repr(vars(one)), pretty_repr(one), str(pickle.dumps(one))]
    return "\n".join(parts)


def basic_auth(user: str, password: str) -> str:
    """Return the form in which Proxy-Authorization has a user and a password."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()
