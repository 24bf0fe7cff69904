"""Tables of pods: fitted to a terminal, whole in a pipe, and live; what pods cost by their status."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from rich.console import Console

from yotta_async import ExposedPort, Pod, PodStatus
from yotta_async.cli import printing
from yotta_async.cli.live_table import LiveTable, Snapshot
from yotta_async.cli.pod_table import BELOW, LIST_COLUMNS, WIDE_COLUMNS, build_row, summarize
from yotta_async.cli.printing import (
    build_table,
    format_duration,
    format_gpus,
    format_usd,
    pluralize,
    print_table,
    strip_control,
)

POD_ID = "331864222263676928"
NAME = "train-with-a-name-that-is-long-enough-to-wrap"
ADDRESS = "pods.us-east-2.example.com:32000"
POD = Pod(
    id=POD_ID,
    pod_name=NAME,
    status=PodStatus.RUNNING,
    gpu_display_name="H100 80GB HBM3",
    gpu_count=8,
    region="us-east-2",
    single_card_price=2.5,
    container_volume_price=0.001,
    container_volume_in_gb=100,
    created_at=datetime.now(UTC) - timedelta(days=12, hours=5, minutes=30),
    expose=(ExposedPort(port=22, proxy_port=32000, host="pods.us-east-2.example.com"),),
)


def draw(columns: tuple[str, ...], width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(build_table(columns, [build_row(POD, columns)], width, below=BELOW), crop=False)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO
    return text.splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_ids_are_whole_and_nothing_is_lost_at_any_width(width: int) -> None:
    lines = draw(LIST_COLUMNS, width)
    assert sum(POD_ID in line for line in lines) == 1
    letters = "".join("".join(lines).split())
    for text in ("RUNNING", "12d5h", "us-east-2", "20.10"):
        assert text in letters
    # What wraps is in one column, with other columns between its lines.
    for text in (NAME, ADDRESS, "8xH100"):
        assert all(letters.count(character) >= text.count(character) for character in text)
    if width >= 60:
        assert all(len(line) <= width for line in lines)
    if width == 160:
        assert len(lines) == 2
        assert NAME in lines[1]
        assert ADDRESS in lines[1]


def test_narrow_terminal_has_the_address_below_the_name() -> None:
    lines = draw(LIST_COLUMNS, 80)
    assert "address" in lines[1]
    assert "address" not in lines[0]
    place = lines[1].index("address")
    assert lines[2][place:].startswith(NAME[:12])
    assert any(line[place:].startswith(ADDRESS[:12]) for line in lines[3:])


def test_wide_output_is_never_fitted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(printing, "is_terminal", lambda _: True)
    print_table(WIDE_COLUMNS, [build_row(POD, WIDE_COLUMNS)], fit=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert f"22={ADDRESS}" in lines[1]


def test_long_texts_wrap_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(printing, "is_terminal", lambda _: True)
    print_table(("id", "outcome"), [(POD_ID, "word " * 30)])
    text = capsys.readouterr().out
    assert text.count("word") == 30
    assert all(len(line) <= 60 for line in text.splitlines())


def test_table_in_a_pipe_is_a_line_for_each_pod(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(LIST_COLUMNS, [build_row(POD, LIST_COLUMNS)])
    assert NAME in capsys.readouterr().out.splitlines()[1]


def test_wide_characters_keep_columns_aligned_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "status"), [("学習", "RUNNING"), ("train", "RUNNING")])
    assert capsys.readouterr().out.splitlines() == ["name   status", "学習   RUNNING", "train  RUNNING"]


@pytest.mark.parametrize("width", [60, 80, 160])
def test_live_table_shows_counts_first_and_what_fits(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, height=12, force_terminal=True)
    rows = [(str(number), f"pod-{number}", "RUNNING", "5s", "1x L4", "us-east-1", "0.60", "") for number in range(39)]
    rows.insert(0, (POD_ID, *rows[0][1:]))
    columns = ("id", "name", "status", "for", "gpu", "region", "$/h", "address")
    with LiveTable(lambda: Snapshot(columns, rows, "40 RUNNING", 40, 40), console) as table:
        console.print(table.draw())
    text = console.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO
    assert text.index("40/40") < text.index("40 RUNNING, 32 more pods below") < text.index(POD_ID)
    assert "pod-6" in text
    assert "pod-7" not in text
    assert "us-east-1" in text


@pytest.mark.parametrize(
    ("status", "price"),
    [("RUNNING", "20.10"), ("PAUSING", "20.10"), ("PAUSED", "0.10"), ("TERMINATED", "0.00"), ("FAILED", "0.00")],
)
def test_price_is_that_of_the_status(status: str, price: str) -> None:
    assert build_row(attrs.evolve(POD, status=PodStatus(status)), ("$/h",)) == (price,)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"gpu_count": 8, "gpu_display_name": "H100", "gpu_type": "NVIDIA_H100_80GB_HBM3_80G"}, "8x H100"),
        ({"gpu_count": 1, "gpu_type": "NVIDIA_GeForce_RTX_5090_32G"}, "1x RTX 5090"),
        ({"gpu_count": 2, "gpu_type": "NVIDIA_L4_24G"}, "2x L4"),
        ({"gpu_display_name": "L4"}, "L4"),
        ({}, "?"),
    ],
)
def test_gpus_have_one_form(fields: dict[str, Any], text: str) -> None:
    assert format_gpus(Pod(id="7", **fields)) == text


def test_unknown_price_is_no_zero() -> None:
    unpriced = attrs.evolve(POD, container_volume_price=None)
    for status in (PodStatus.RUNNING, PodStatus.PAUSED):
        assert build_row(attrs.evolve(unpriced, status=status), ("$/h",)) == ("?",)
    assert summarize([POD, attrs.evolve(unpriced, id="2", status=PodStatus.PAUSED)], hidden=3) == (
        "2 pods: 1 PAUSED, 1 RUNNING. $20.10 an hour now, and 1 at an unknown price. 3 TERMINATED not shown: add --all."
    )
    assert (
        summarize([attrs.evolve(POD, status=PodStatus.INITIALIZE)])
        == "1 pod: 1 INITIALIZE. $0.00 an hour now, $20.10 more when all run."
    )
    assert summarize([]) == "0 pods."
    assert [format_usd(amount) for amount in (None, 0, 0.00001, 0.005, 0.126)] == [
        "?",
        "0.00",
        "<0.0001",
        "0.0050",
        "0.13",
    ]


def test_text() -> None:
    assert [format_duration(seconds) for seconds in (-1, 59.9, 60, 3725, 90_000)] == [
        "0s",
        "59s",
        "1m0s",
        "1h2m",
        "1d1h",
    ]
    assert (pluralize(1), pluralize(2), pluralize(0, "create")) == ("1 pod", "2 pods", "0 creates")
    assert strip_control("a\x1b[2J\nb") == "a?[2J?b"
