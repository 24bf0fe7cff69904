"""Errors of the tools: a text for a model to read, which says what happened and what to do next."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import yotta_async as ya

P = ParamSpec("P")
R = TypeVar("R")

_REPEAT = "This may be temporary. Before you repeat a change, call pod_list to see whether it took effect."
# What to do next, the most specific class first.
_ADVICE: list[tuple[type[ya.YottaError], str]] = [
    (ya.NotFoundError, "Call pod_list to see which pods exist."),
    (
        ya.InvalidStateError,
        "Call pod_get to see its status: only a RUNNING pod can be paused, only a PAUSED one resumed.",
    ),
    (ya.AuthenticationError, "Tell the user that the API key was not accepted: no argument can change that."),
    (ya.PermissionDeniedError, "Tell the user that this API key may not do that: no argument can change that."),
    (ya.RateLimitError, "Wait a minute before the next call."),
    (ya.InvalidRequestError, "Nothing was sent. Correct that argument and call again."),
    (ya.CapacityError, "Call gpu_list for another gpu_type or region, or wait some minutes and call again."),
    (ya.BadRequestError, "Correct that argument and call again."),
    (ya.ServerError, _REPEAT),
    (ya.SpendLimitError, "Delete a pod or ask for less, or ask the user for a higher limit or a table of prices."),
    (
        ya.PodFailedError,
        "Delete it with pod_delete and create another pod, with another gpu_type or region if need be.",
    ),
    (ya.PodGoneError, "There is no such pod: call pod_list to see which pods exist."),
    (ya.ConfigurationError, "Tell the user: this is about the configuration, and no argument can change it."),
    (ya.TransportError, _REPEAT),
]


class ToolFailedError(ya.YottaError):
    """A tool did not do what it was called for.

    The message is for a model: it says what happened and what to do next, and has no secret in it.
    """


def explain_error(error: ya.YottaError) -> ToolFailedError:
    """Return the error with advice for a model."""
    if isinstance(error, ToolFailedError):
        return error
    if isinstance(error, ya.CreateOutcomeUnknownError):
        way = f"pod_resolve with client_token={error.client_token!r}" if error.client_token else "pod_list"
        return ToolFailedError(
            "It is unknown whether the pod was created; if it was, it costs money. Do not create it again yet: call "
            f"{way} until it shows the pod or a few minutes have passed."
        )
    text = str(error).strip()
    advice = next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")
    end = "" if text.endswith((".", "!", "?")) or not advice else "."
    return ToolFailedError(f"{text}{end} {advice}".strip())


def explain_errors(tool: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Decorate a tool so that it raises ToolFailedError in place of every other error of the library."""

    @functools.wraps(tool)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await tool(*args, **kwargs)
        except ya.YottaError as error:
            explained = explain_error(error)
        # The arguments may hold values of environment variables, and a traceback can show the variables of a frame.
        del args, kwargs
        raise explained

    return call
