"""What the emulator's arguments must be."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import get_args

MOST_DOLLARS = 1e12
"""Money beyond this is a mistake."""


def check_arguments(host: object, port: object, api_key: object, seed: object, balance: object) -> None:
    """Raise ValueError for what is none."""
    if host != "localhost" and not _is_loopback(host):
        raise ValueError(f"the emulator listens on loopback addresses only, such as 127.0.0.1, not on {host!r}")
    if not isinstance(api_key, str) or not api_key.isascii() or not api_key.isprintable() or not api_key.strip():
        raise ValueError("the emulator's api_key must be ASCII text that can be printed, and not empty")
    if type(port) is not int or not 0 <= port <= 65535:
        raise ValueError("port must be a whole number between 0 and 65535")
    if type(seed) is not int:
        raise ValueError("seed must be a whole number")
    if balance is not None and not (type(balance) in (int, float) and 0 <= balance <= MOST_DOLLARS):  # type: ignore[operator]  # a number
        raise ValueError(
            f"balance must be a number of US dollars that is not negative, and at most {MOST_DOLLARS:g}, or None"
        )


def check_words(given: Mapping[str, tuple[object, object]]) -> None:
    """Raise ValueError for an argument that is none of the words of its Literal."""
    for name, (value, kind) in given.items():
        if value not in get_args(kind):
            raise ValueError(f"{name} must be {' or '.join(map(repr, get_args(kind)))}, not {value!r}")


def _is_loopback(host: object) -> bool:
    try:
        return isinstance(host, str) and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
