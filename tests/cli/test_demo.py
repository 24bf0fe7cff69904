"""`yotta-async demo`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import run_process

pytestmark = pytest.mark.slow  # it shows real time passing


def test_demo_takes_forty_pods_through_their_life(tmp_path: Path) -> None:
    done = run_process("demo", "--timeline", str(tmp_path / "demo.svg"))
    assert done.returncode == 0, done.stderr
    for text in (
        "40 of 40 ran",
        "0 left",
        "41, of which one failed",
        "not made twice",
        "429",
        "replaced by",
        "the waits went on",
    ):
        assert text in done.stdout, text
    names = set(re.findall(r"outcome +\d+ +RUNNING +(demo-\d\d)$", done.stderr, re.MULTILINE))
    assert len(names) == 40
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    picture = (tmp_path / "demo.svg").read_text()
    assert picture.count('class="pod"') == 41
    for status in ("INITIALIZE", "RUNNING", "PAUSED", "TERMINATED", "FAILED"):
        assert status in picture


def test_demo_for_programs_is_json_alone(tmp_path: Path) -> None:
    done = run_process("demo", "-o", "json", "--timeline", str(tmp_path / "demo.svg"))
    result = json.loads(done.stdout)
    assert (result["succeeded"], result["made"], result["left"], len(result["survived"])) == (40, 41, 0, 4)
