"""Sums of prices, in which one that is unknown makes the sum unknown: unknown is not zero."""

from __future__ import annotations

from collections.abc import Iterable

from yotta_async.models.pod import Pod


def sum_prices(prices: Iterable[float | None]) -> float | None:
    """Return the sum, or None when any price is None."""
    total = 0.0
    for price in prices:
        if price is None:
            return None
        total += price
    return total


def total_hourly_price(pods: Iterable[Pod]) -> float | None:
    """Add up what pods cost while they are RUNNING.

    Args:
        pods: The pods.

    Returns:
        USD per hour; None when the price of any pod is unknown.

    Example:
        ```python
        print(total_hourly_price(await yotta.pods.list(statuses=["RUNNING"])))
        ```
    """
    return sum_prices(pod.hourly_price for pod in pods)
