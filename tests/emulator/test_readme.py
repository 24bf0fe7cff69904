"""Every Python block of the emulator's README runs on its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import yotta_async.emulator
from tests.conftest import PYTEST_OPTIONS
from yotta_async.emulator import Emulator

README = (Path(yotta_async.emulator.__file__).parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[f"block-{number}" for number in range(len(BLOCKS))])
def test_every_block_of_the_readme_runs(block: str, tmp_path: Path) -> None:
    (tmp_path / "test_block.py").write_text(block)
    options = ["-m", "pytest", "-q", "-c", os.devnull, *PYTEST_OPTIONS] if "def test_" in block else []
    with Emulator() as emulator:  # as in a reader's terminal
        variables = {"YOTTA_BASE_URL": emulator.url, "YOTTA_API_KEY": emulator.api_key}
        done = subprocess.run(
            [sys.executable, *options, "test_block.py"],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | variables,
            cwd=tmp_path,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stderr.splitlines() if "run their initializationCommand" not in line] == []
    expected = re.findall(r"print\(.*\)  # (\w+)", block)
    assert all(word in done.stdout for word in expected), done.stdout
