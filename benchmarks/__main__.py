"""`python -m benchmarks`: run all, and write the figures, a chart, and tables; `python -m benchmarks NAME`: run one."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import attrs

from benchmarks import tables
from benchmarks.chart import draw
from benchmarks.measure import Row

NAMES = ("single", "lists", "poller", "fan_out", "imports")


def main() -> None:
    """Run what is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="without .json and .svg")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    rows: list[Row] = []
    for name in arguments.names or NAMES:
        rows += importlib.import_module(f"benchmarks.{name}").main()
    if not arguments.names:
        machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        run = {"date": datetime.now(UTC).date().isoformat(), "machine": machine}
        arguments.output.with_suffix(".json").write_text(
            json.dumps(run | {"rows": [attrs.asdict(row) for row in rows]}, indent=1) + "\n"
        )
        draw(rows, arguments.output.with_suffix(".svg"), f"{run['date']}, {machine}")
        tables.main()


main()
