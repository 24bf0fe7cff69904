"""Where a pod carries the client token of its create: in a variable of its environment, or in its name.

The variable decides where the API shows a pod's environment. API v2 documents none, and requires a name: there the
client draws one that carries the token, unless the caller gives one.
"""

from __future__ import annotations

import os
import re

CLIENT_TOKEN_VARIABLE = "YOTTA_CLIENT_TOKEN"  # noqa: S105  # the name of a variable; its value is no secret either
_NAME_PREFIX = "yotta-async-"
_TOKEN_BYTES = 16
_DRAWN_NAME = re.compile(f"{_NAME_PREFIX}([0-9a-f]{{{2 * _TOKEN_BYTES}}})")


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
