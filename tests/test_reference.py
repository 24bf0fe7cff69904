"""Every public name has a docstring in Google style, with its arguments, its attributes, its result and its errors."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator
from enum import Enum
from types import ModuleType
from typing import Any

import attrs
import msgspec
import pytest

import yotta_async

MODULES = (
    "yotta_async",
    "yotta_async.agents",
    "yotta_async.dask",
    "yotta_async.emulator",
    "yotta_async.pytest_plugin",
    "yotta_async.timeline",
)
# A class whose docstring has these words says how it is obtained instead of what its constructor takes.
NOT_CONSTRUCTED = "Not constructed directly"
# Its keys are the fields of a class, which documents them.
FIELDS_OF = {"yotta_async.PodFields": yotta_async.PodSpec}
NO_RESULT = (None, "None", "Iterator[None]")


def list_public_names(module: ModuleType) -> list[str]:
    """Return `__all__`, or for a module without it the functions and classes that it defines."""
    return getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and not name.startswith(("_", "pytest_"))
    ]


def find_gaps(module: ModuleType) -> Iterator[str]:
    """Yield what the docstrings of a module's public names lack."""
    documented_variables = find_entries(module, "Attributes")
    for name in list_public_names(module):
        value = getattr(module, name)
        full_name = f"{module.__name__}.{name}"
        if inspect.isclass(value):
            yield from find_gaps_of_class(full_name, value)
        elif inspect.isroutine(value):
            has_arguments = module.__name__ != "yotta_async.pytest_plugin"  # pytest gives fixtures theirs
            yield from find_gaps_of_function(full_name, value, has_arguments=has_arguments)
        elif name != "__version__" and name not in documented_variables:
            yield f"{full_name}: not in the attributes of the module"


def find_gaps_of_class(name: str, cls: type) -> Iterator[str]:
    yield from find_gaps_of_docstring(name, cls)
    bases = [base for base in cls.__mro__ if base.__module__.split(".")[0] == "yotta_async"]
    wanted = {*list_fields(cls), *(each for base in bases for each in list_instance_variables(base))}
    if has_constructor(cls) and NOT_CONSTRUCTED not in (cls.__doc__ or ""):
        wanted |= list_arguments(cls)
    for base in [*bases, FIELDS_OF.get(name, cls)]:
        wanted -= find_entries(base, "Attributes", "Args")
    yield from (f"{name}: {each} is not documented" for each in sorted(wanted))
    members = {each: value for base in reversed(bases) for each, value in vars(base).items() if is_public(each)}
    for each, value in members.items():
        if isinstance(value, property):
            yield from find_gaps_of_docstring(f"{name}.{each}", value.fget)
        elif inspect.isroutine(value):
            yield from find_gaps_of_function(f"{name}.{each}", getattr(cls, each))


def find_gaps_of_function(name: str, function: Any, *, has_arguments: bool = True) -> Iterator[str]:
    yield from find_gaps_of_docstring(name, function)
    if has_arguments:
        missing = list_arguments(function) - find_entries(function, "Args")
        yield from (f"{name}: argument {each} is not documented" for each in sorted(missing))
    has_result = inspect.signature(function).return_annotation not in NO_RESULT
    if has_result and not (read_section(function, "Returns") or read_section(function, "Yields")):
        yield f"{name}: no Returns"


def find_gaps_of_docstring(name: str, thing: Any) -> Iterator[str]:
    if not has_docstring(thing):
        yield f"{name}: no docstring"
    if not is_example_code(thing):
        yield f"{name}: the example is not code"
    missing = set() if inspect.isclass(thing) else list_raised(thing) - find_entries(thing, "Raises")
    yield from (f"{name}: {each} is not documented" for each in sorted(missing))


def is_public(name: str) -> bool:
    return not name.startswith("_") or name == "__call__"


def has_docstring(thing: Any) -> bool:
    """Return whether there is a docstring that somebody wrote; dataclasses and named tuples generate a signature."""
    docstring = thing.__doc__ or ""
    return bool(docstring.strip()) and not docstring.startswith(f"{getattr(thing, '__name__', '')}(")


def find_entries(thing: Any, *sections: str) -> set[str]:
    """Return the names that sections of a docstring describe, as in `timeout: seconds for …`."""
    found = set()
    for section in sections:
        for names in re.findall(r"^\**([\w., ]+): \S", read_section(thing, section), re.MULTILINE):
            found |= set(names.split(", "))
    return found


def read_section(thing: Any, name: str) -> str:
    """Return the text of a section of a docstring, such as "Args"; empty if there is none."""
    docstring = inspect.cleandoc(thing.__doc__ or "") + "\n"
    found = re.search(rf"^{name}:\n((?:    .*\n|\n)+)", docstring, re.MULTILINE)
    return textwrap.dedent(found[1]) if found else ""


def is_example_code(thing: Any) -> bool:
    """Return whether the example of a docstring, if it has one, is a block of code that compiles."""
    example = read_section(thing, "Example").strip()
    code = re.fullmatch(r"```python\n(.*)```", example, re.DOTALL)
    try:
        return bool(compile(code[1], "example", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)) if code else not example
    except SyntaxError:
        return False


def has_constructor(cls: type) -> bool:
    """Return whether users construct the class; errors, which they catch, have attributes instead."""
    is_protocol = getattr(cls, "_is_protocol", False)
    return not (is_protocol or typing.is_typeddict(cls) or issubclass(cls, Enum | BaseException))


def list_arguments(function: Any) -> set[str]:
    """Return the names of what a caller gives."""
    names = inspect.signature(function).parameters
    return {name for name in names if name != "self" and not name.startswith("_")}


def list_raised(function: Any) -> set[str]:
    """Return the names of the errors that the function's own lines raise."""
    tree = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function))))
    calls = [node.exc for node in tree if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    return {name for name in (ast.unparse(call.func) for call in calls) if name.endswith("Error")}


def list_fields(cls: type) -> list[str]:
    """Return the public fields of a class of attrs or msgspec, the keys of a TypedDict, the members of an Enum."""
    names: Any = getattr(cls, "__members__", {})
    if attrs.has(cls):
        names = [field.name for field in attrs.fields(cls)]
    elif issubclass(cls, msgspec.Struct):
        names = cls.__struct_fields__
    elif typing.is_typeddict(cls):
        names = cls.__annotations__
    return [name for name in names if not name.startswith("_")]


def list_instance_variables(cls: type) -> set[str]:
    """Return the public variables that a constructor sets and no docstring below the assignment describes."""
    if not inspect.isfunction(vars(cls).get("__init__")) or attrs.has(cls):
        return set()
    [function] = ast.parse(textwrap.dedent(inspect.getsource(vars(cls)["__init__"]))).body
    assert isinstance(function, ast.FunctionDef)
    found = set()
    for statement, following in zip(function.body, [*function.body[1:], None], strict=True):
        if isinstance(statement, ast.Assign | ast.AnnAssign) and not is_text(following):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            found |= {ast.unparse(target) for target in targets}
    return {name.removeprefix("self.") for name in found if re.fullmatch(r"self\.[a-z]\w*", name)}


def is_text(statement: ast.stmt | None) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_and_argument_is_documented(name: str) -> None:
    if name == "yotta_async.dask":
        pytest.importorskip("distributed", reason="needs the extra dask: pip install -e '.[test-all]'")
    assert list(find_gaps(importlib.import_module(name))) == []


class Undocumented:
    """A class.

    Attributes:
        size: Size in GB.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.price = 1.0

    def grow(self, by: int, until: int) -> int:
        """Grow.

        Args:
            by: Size in GB.
        """
        if by > until:
            raise ValueError("it is large already")
        return self.size + by

    def shrink(self) -> None: ...


def test_gaps_are_found() -> None:
    Undocumented.__module__ = "yotta_async"
    assert list(find_gaps_of_class("Undocumented", Undocumented)) == [
        "Undocumented: price is not documented",
        "Undocumented.grow: ValueError is not documented",
        "Undocumented.grow: argument until is not documented",
        "Undocumented.grow: no Returns",
        "Undocumented.shrink: no docstring",
    ]
