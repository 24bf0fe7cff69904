"""Tables for notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def build_html_table(caption: str, headers: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return an HTML table. Everything in it is escaped."""
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    title = f'<caption style="text-align: left">{escape(caption)}</caption>'
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
