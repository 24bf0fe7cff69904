"""The figures as tables in `benchmarks/README.md`: `python -m benchmarks.tables` writes them from `results.json`."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.measure import Row

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- figures: python -m benchmarks.tables -->", "<!-- end of figures -->"
TITLES = {
    "single": "One pod: `pods.get`",
    "lists": "Lists: `pods.list`",
    "poller": "Waiting",
    "fan_out": "Creating: 10,000 creates by `create_many` and by 32 hand-written workers",
    "imports": "Import",
}


def build_tables(document: dict[str, object], rows: list[Row]) -> str:
    """Return one table for each benchmark and unit."""
    note = f" **{document['note']}**" if "note" in document else ""
    lines = [f"Measured on {document['date']}: {document['machine']}.{note}", ""]
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        lines += [f"### {TITLES.get(benchmark, benchmark)}", ""]
        of_benchmark = [row for row in rows if row.benchmark == benchmark]
        for unit in dict.fromkeys(row.unit for row in of_benchmark):
            lines += [*_build_table(unit, [row for row in of_benchmark if row.unit == unit]), ""]
    return "\n".join(lines)


def _build_table(unit: str, rows: list[Row]) -> list[str]:
    clients = list(dict.fromkeys(row.client for row in rows))
    values = {(row.case, row.client): f"{row.value:,.3g}" if row.value < 1_000 else f"{row.value:,.0f}" for row in rows}
    return [
        f"| {unit} | {' | '.join(clients)} |",
        "|---" * (len(clients) + 1) + "|",
        *(
            f"| {case} | {' | '.join(values.get((case, client), '') for client in clients)} |"
            for case in dict.fromkeys(row.case for row in rows)
        ),
    ]


def insert_tables(text: str, tables: str) -> str:
    """Return the text with the tables between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables}\n{END}{after}"


def main() -> None:
    """Write the tables into the README."""
    document = json.loads((FOLDER / "results.json").read_text())
    readme = FOLDER / "README.md"
    tables = build_tables(document, [Row(**row) for row in document["rows"]])
    readme.write_text(insert_tables(readme.read_text(), tables))


if __name__ == "__main__":
    main()
