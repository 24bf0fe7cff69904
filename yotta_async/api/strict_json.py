"""JSON as the API may send it, and no more: what has two readings is refused."""

from __future__ import annotations

import json
import math
from typing import Any


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object has a key twice")
    return made


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse)


def loads(body: bytes) -> Any:
    """Decode one JSON document in UTF-8.

    Raises ValueError, with a text that quotes none of the document, for anything else: a key that stands twice, NaN, an
    integer too long for Python to read, nesting deeper than Python recurses.
    """
    problem = "it is not JSON"
    try:
        return _decoder.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    except RecursionError:
        problem = "it is nested too deeply"
    except json.JSONDecodeError as error:
        problem = f"it is not JSON from byte {error.pos} on"
    except ValueError as error:
        # Python's own words for a number of too many digits, or ours from above.
        problem = str(error)
    # Outside the block, so that the parser's exception, which carries the document, is not the context of this one.
    raise ValueError(problem)


def dumps(value: object) -> bytes:
    """Encode as compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
