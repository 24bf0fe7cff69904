"""What a refusal means where the API has no code for it: a lack of capacity or of funds, or a misspelt GPU type."""

from __future__ import annotations

import re

from yotta_async.errors import BadRequestError, NotFoundError, YottaError
from yotta_async.models.gpu_names import suggest_gpu_type

_SHORTAGE = (
    r"insufficient|not enough|no enough|lack(?:s|ing)? of|shortage of|unavailable|not (?:currently )?available"
    r"|exhausted|none (?:available|free|left)|no (?:\w+ )?(?:available|free|idle|remaining)|out of|r[ua]n out"
)
_GOODS = r"capacity|gpus?|cards?|resources?|stock|inventory|machines?|nodes?|instances?|supply"
# A shortage and what is short stand in one sentence, in either order.
_CAPACITY = (
    rf"(?i)\b(?:{_SHORTAGE})\b[^.;]{{0,40}}\b(?:{_GOODS})\b|\b(?:{_GOODS})\b[^.;]{{0,40}}\b(?:{_SHORTAGE})\b"
    rf"|\bno (?:\w+ )?(?:{_GOODS})\b|\bsold[ -]out\b|\bfully (?:booked|rented|allocated|occupied)\b"
)
_FUNDS = r"(?i)\b(?:balance|funds?|credits?|payment|arrears|overdue|top[ -]?up|recharge)\b"
# What no other GPU and no waiting changes: limits of the account or the key, and mistakes in the request.
_OTHER_CAUSES = (
    r"(?i)\b(?:quotas?|limits?|permissions?|privileges?|parameters?|fields?|invalid|must|missing|required|specified"
    r"|unsupported|not supported)\b"
)


def names_lack_of_capacity(message: str) -> bool:
    """Return whether a create was refused because no such GPU is free. Source: none; the API has no code for it."""
    if not re.search(_CAPACITY, message):
        return False
    return not (names_lack_of_funds(message) or re.search(_OTHER_CAUSES, message))


def names_lack_of_funds(message: str) -> bool:
    """Return whether a refusal is about the account's balance. Source: none; the API has no code for it."""
    return bool(re.search(_FUNDS, message))


def suggest_type_of_refused_create(error: YottaError, gpu_type: str, version: str) -> None:
    """Name in the error's advice the GPU type that a misspelt one resembles.

    That a type is not known here is no reason to refuse it, as the vendor may add types at any time.
    """
    if not isinstance(error, BadRequestError | NotFoundError) or error.advice != type(error).advice:
        return  # it is about something else, as its own advice says
    similar = suggest_gpu_type(version, gpu_type)
    if similar is not None:
        error.advice = f"The GPU type {gpu_type[:128]!r} is not a known one: did you mean {similar}? {error.advice}"
