"""Importing the client against importing the packages that it cannot do without.

CPU of a new interpreter, interleaved, medians of 21. `python -m benchmarks imports`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

from benchmarks.measure import Row, show

ROUNDS = 21
BASE = "import aiohttp, aiolimiter, attrs, cattrs, msgspec, tenacity"
OTHERS = {"yotta_async": "from yotta_async import YottaClient", "openai": "from openai import AsyncOpenAI"}


def cpu(statement: str, environment: dict[str, str]) -> float:
    """Return the CPU seconds of a statement."""
    code = f"import time; began = time.process_time(); {statement}; print(time.process_time() - began)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)


def main() -> list[Row]:
    """Compare."""
    ratios: dict[str, list[float]] = {name: [] for name in OTHERS}
    with tempfile.TemporaryDirectory() as compiled:
        # Compiled once, as by an installation, even with PYTHONDONTWRITEBYTECODE.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": compiled}
        for number in range(ROUNDS + 1):
            base = cpu(BASE, environment)
            for name, statement in OTHERS.items():
                ratio = cpu(statement, environment) / base
                if number:  # the first round compiles
                    ratios[name].append(ratio)
    return show(
        [
            Row("imports", "import", name, statistics.median(those), "x its core packages' CPU")
            for name, those in ratios.items()
        ]
    )
