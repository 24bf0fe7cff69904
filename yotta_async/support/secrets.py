"""Keeps keys, tokens and environment values out of reprs, messages and tracebacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class Secret(Generic[S]):
    """A value that no repr shows. Do not keep the result of `reveal()` in a variable: a traceback can show it."""

    __slots__ = ("_value",)

    _value: S

    def __init__(self, value: S) -> None:
        self._value = value

    def reveal(self) -> S:
        """Return the value itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"


def redact(text: str, secrets: Iterable[Secret[str]]) -> str:
    """Replace every secret in a text: as it is, in JSON, or in a repr of either.

    Secrets of fewer than four characters stay: masking every "1" would hide the message and protect nothing.
    """
    forms = {form for secret in secrets for form in _forms(secret.reveal())}
    # The longest first: one secret may be part of another.
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= 4:
            text = text.replace(form, "***")
    return text


def _forms(value: str) -> set[str]:
    plain = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    shown = {form.replace("\\", "\\\\") for form in plain}
    return plain | shown | {form.replace("'", "\\'") for form in shown}


def strip_traceback_frames(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that its exceptions have no frames below it.

    A traceback can be printed with the local variables of each frame, and the frames that build a request or parse a
    response hold environment values and tokens in plain text. The arguments are dropped for the same reason.
    """

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  # whatever it is, a mapping of the caller's may have raised it
            problem = error.with_traceback(None)
        del args, kwargs
        # The context is a parser's or a converter's own exception, which quotes the document.
        problem.__context__ = None
        raise problem

    return guarded
