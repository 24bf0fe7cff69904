"""What the headers of a response say to a client: how long to wait, and under which id to ask."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# The names under which gateways and clouds send the id of a request, the most common first.
_REQUEST_ID_HEADERS = (
    "X-Request-Id",
    "Request-Id",
    "X-Correlation-Id",
    "X-Amzn-RequestId",
    "X-Amz-Request-Id",
    "X-Trace-Id",
    "CF-Ray",
)
_MAX_REQUEST_ID_LENGTH = 128


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that Retry-After asks to wait, given as seconds or as an HTTP date; None without one."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def read_request_id(headers: Mapping[str, str]) -> str | None:
    """Return the id that the server gave to the request, or None."""
    for name in _REQUEST_ID_HEADERS:
        value = headers.get(name, "").strip()
        if value and value.isprintable():
            return value[:_MAX_REQUEST_ID_LENGTH]
    return None
