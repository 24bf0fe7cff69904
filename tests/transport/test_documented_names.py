"""The transport uses documented names of aiohttp and asyncio only, so that their next versions do not break it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import yotta_async

FILES = sorted(Path(yotta_async.__file__).parent.rglob("*.py"))
# How the hand-written HTTP of the past reached below aiohttp's sessions.
UNDOCUMENTED = re.compile(
    r"ClientRequest|set_response_params|connector\.connect|client_proto|ResponseHandler|max_size\b"
)
# An object's own are those of `self` and `cls`, and of the client in its alternative constructor.
OWN = ("self", "cls", "client")
# `os._exit`, a named tuple's `_replace`, an enumeration's `_value_`, what a base class hands down; and of Dask, whose
# clusters have no documented way to hear of lost workers, one method.
DOCUMENTED = re.compile(r"^os\._exit|\._replace$|^member\.|^super\(\)|^Cluster\._update_worker_status$")


@pytest.mark.parametrize("file", FILES, ids=lambda file: "/".join(file.parts[-2:]))
def test_no_private_name_of_another_object_is_used(file: Path) -> None:
    source = file.read_text()
    private = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and ast.unparse(node.value) not in OWN
    ]
    assert [name for name in private if not DOCUMENTED.search(name)] == []
    if "emulator" not in file.parts:
        assert UNDOCUMENTED.findall(source) == []
