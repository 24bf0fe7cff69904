"""The command `gpus`, and fallbacks to what it shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.conftest import FAST, POD, Run
from yotta_async.emulator import Emulator

CAPACITY: dict[str, Any] = {"NVIDIA_L4_24G": {"eu-west-1": 4}, "NVIDIA_T4_16G": 0}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(timings=FAST, capacity=CAPACITY) as emulator:
        yield emulator


def test_table_of_gpu_types(run: Run) -> None:
    run("pods", "create", "--image", "ubuntu:24.04", "--gpu-type", "NVIDIA_A10_24G")
    done = run("gpus")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["gpu", "type", "name", "GB", "$/h", "available", "in"]
    assert next(line for line in lines if "_L4_" in line).split() == ["NVIDIA_L4_24G", "L4", "24", "?", "eu-west-1"]
    assert next(line for line in lines if "_T4_" in line).split() == ["NVIDIA_T4_16G", "T4", "16", "?"]
    assert next(line for line in lines if "_A10_" in line).split()[3] == "0.48"
    assert f"{len(lines) - 1} GPU types, {len(lines) - 2} of them available somewhere." in done.stderr
    assert run("gpus", "list").stdout == done.stdout


def test_json_of_gpu_types_in_a_region(run: Run) -> None:
    offers = json.loads(run("gpus", "list", "--region", "us-west-1", "-o", "json").stdout)
    assert offers[0] == {
        "gpu_type": "NVIDIA_L4_24G",
        "display_name": "L4",
        "vram_in_gb": 24,
        "hourly_price": None,
        "regions": [{"name": "us-west-1", "is_available": False}],
    }
    assert json.loads(run("gpus", "--region", "us-west-1", "list", "-o", "json").stdout) == offers
    lines = run("gpus", "--region", "us-west-1", "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == offers


def test_a_region_without_gpu_types(run: Run) -> None:
    assert json.loads(run("gpus", "--region", "nowhere", "-o", "json").stdout) == []
    assert "0 GPU types, 0 of them available in nowhere." in run("gpus", "--region", "nowhere").stderr
    assert "region" in run("gpus", "--region", "", code=2).stderr
    assert "list" in run("gpus", "show", code=2).stderr


def test_fallback_to_what_is_available(run: Run) -> None:
    words = ("pods", "create", *POD, "--region", "us-west-1", "--wait", "-o", "json")
    pod = json.loads(run(*words, "--fallback", "available").stdout)
    assert (pod["gpu_type"], pod["region"]) == ("NVIDIA_L4_24G", "eu-west-1")
    assert "available" in run(*words, "--fallback", "available", "--fallback", "region=eu-west-1", code=2).stderr
