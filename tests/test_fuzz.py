"""A small run of `benchmarks.fuzz`: cut responses, faults, idle connections that end, cancels, early responses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fuzz import ATTACKS, attack

pytestmark = pytest.mark.slow
COUNTS = {"cuts": 400, "faults": 150, "keepalive": 300, "cancels": 250, "early": 40}


@pytest.mark.parametrize("name", ATTACKS)
async def test_attack_over_http_finds_no_violation(name: str) -> None:
    fuzz = await attack(name, seed=7, count=COUNTS[name])
    assert fuzz.violations == []
    assert fuzz.counts["calls"] >= COUNTS[name]


def test_attacks_over_tls_find_no_violation() -> None:
    """In a process of its own, as SSL_CERT_FILE is read when aiohttp is imported."""
    command = [sys.executable, "-m", "benchmarks.fuzz", "--tls", "--seed", "7", "--count", "60"]
    root = Path(__file__).parent.parent
    run = subprocess.run(command, cwd=root, env=dict(os.environ), capture_output=True, text=True, timeout=50)
    assert run.returncode == 0, run.stdout + run.stderr
    assert [line.partition(" over TLS ")[0] for line in run.stdout.splitlines()] == list(ATTACKS)
