"""Where a pod carries the client token of its create: in a variable of its environment, or in its name.

The variable decides where the API shows a pod's environment. API v2 documents none, and requires a name: there the
client draws one that carries the token, unless the caller gives one. A server may also show an empty environment in
place of a hidden one, or variables with their values masked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Protocol

CLIENT_TOKEN_VARIABLE = "YOTTA_CLIENT_TOKEN"  # noqa: S105  # the name of a variable; its value is no secret either
_NAME_PREFIX = "yotta-async-"
_TOKEN_BYTES = 16
_SHOWN_VALUE = re.compile(r"\w")  # null, empty text and a mask, such as asterisks, show nothing
_DRAWN_NAME = re.compile(f"{_NAME_PREFIX}([0-9a-f]{{{2 * _TOKEN_BYTES}}})")


class Variable(Protocol):
    """A variable in the environment of a pod."""

    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def value(self) -> str | None: ...  # noqa: D102


def draw_token() -> str:
    """Return a new token."""
    return os.urandom(_TOKEN_BYTES).hex()


def build_pod_name(token: str | None) -> str:
    """Return the name of a pod that the caller gave none. Without a token it is a random one, which carries none."""
    return _NAME_PREFIX + (os.urandom(4).hex() if token is None else token)


def read_token_in_name(name: str | None) -> str | None:
    """Return the token that a pod's name carries, or None."""
    found = None if name is None else _DRAWN_NAME.fullmatch(name)
    return None if found is None else found[1]


def read_tokens(variables: Sequence[Variable], name: str | None) -> list[str]:
    """Return the tokens that a pod shows, in most cases one or none: in its environment, or else in its name."""
    values = [each.value for each in variables if each.key == CLIENT_TOKEN_VARIABLE]
    tokens = [value for value in values if value is not None and _SHOWN_VALUE.search(value)]
    if not tokens and (values or not variables):
        token = read_token_in_name(name)
        return [] if token is None else [token]
    return tokens


def hides_token_variable(variables: Sequence[Variable]) -> bool:
    """Return whether a pod may have a token in its environment that is not shown: it shows none, or masks the value."""
    values = [each.value or "" for each in variables if each.key == CLIENT_TOKEN_VARIABLE]
    return not any(map(_SHOWN_VALUE.search, values)) if values else not variables
