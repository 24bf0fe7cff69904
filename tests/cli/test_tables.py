"""Tables: fitted to a terminal, whole in a pipe, and the live table of a command at work."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from yotta_async.cli import printing
from yotta_async.cli.live_table import LiveTable, Snapshot
from yotta_async.cli.printing import POD_COLUMNS, format_duration, pluralize, print_table, strip_control

POD_ID = "331864222263676928"
ROW = (POD_ID, "train-with-a-name-that-is-long-enough-to-be-cut", "INITIALIZE", "8x H100 80GB HBM3", "us-east-2",
       "21.50", "12h30m")  # fmt: skip


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_table_on_a_terminal_never_cuts_an_id(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(printing, "is_terminal", lambda _: True)
    print_table(POD_COLUMNS, [ROW])
    lines = capsys.readouterr().out.splitlines()
    assert POD_ID in lines[1]
    assert (ROW[1] in lines[1]) == (columns == 160)
    assert all(len(line) <= columns for line in lines)


def test_last_column_wraps_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(printing, "is_terminal", lambda _: True)
    print_table(("id", "outcome"), [(POD_ID, "word " * 30)])
    text = capsys.readouterr().out
    assert text.count("word") == 30
    assert all(len(line) <= 60 for line in text.splitlines())


def test_table_in_a_pipe_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(POD_COLUMNS, [ROW])
    assert ROW[1] in capsys.readouterr().out


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_live_table_shows_what_fits(columns: int) -> None:
    console = Console(file=io.StringIO(), width=columns, height=12, force_terminal=True)
    rows = [(f"pod-{number}", "RUNNING", "5s", "0.60", "1x L4", "us-east-1", "") for number in range(39)]
    rows.insert(0, (POD_ID, *rows[0][1:]))
    with LiveTable(lambda: Snapshot(rows, "40 RUNNING", 40, 40), console) as table:
        console.print(table._draw())
    text = console.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO
    assert POD_ID in text
    assert "pod-5" in text
    assert "pod-6" not in text
    assert ("region" in text) == (columns >= 80)
    assert "33 more" in text
    assert "40/40" in text


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
