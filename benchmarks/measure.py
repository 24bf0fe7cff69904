"""What a benchmark reports, and how it is shown."""

from __future__ import annotations

import attrs


@attrs.frozen
class Row:
    """One figure: which benchmark and case, of which client, and in what."""

    benchmark: str
    case: str
    client: str
    value: float
    unit: str


def show(rows: list[Row]) -> list[Row]:
    """Print the rows, and return them."""
    for row in rows:
        print(f"{row.benchmark:<8}{row.case:<28}{row.client:<24}{row.value:>10,.3g} {row.unit}", flush=True)
    return rows
