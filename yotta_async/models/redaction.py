"""Redaction of models: a field that is marked SECRET is masked wherever its model is shown.

The mark is the field's own metadata, so no field is named a second time: `repr`, rich's repr and tracebacks, redacted
copies and the values that error messages must not repeat all follow from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Self

import attrs

from yotta_async.support.html import build_html_table

SECRET: Final = {"secret": True}
"""Metadata of an attrs field whose value is never shown."""

UNDOCUMENTED: Final = {"undocumented": True}
"""Metadata of an attrs field that holds what no version of ours knows: only its names are shown."""


class RedactedText(str):
    """The text that stands for a secret in a redacted copy. Its type survives pickling, and tells it from a value."""

    __slots__ = ()


class Redactable:
    """A model that masks its secret fields. An empty secret is shown as empty."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> Iterator[tuple[str, Any]]:
        """Yield the fields that have a value, as they may be shown; rich calls this for reprs and for tracebacks."""
        for field in _fields_of(self):
            value = getattr(self, field.name, None)  # a repr must not fail on an object that is half initialized
            if value is None or value in ((), {}):
                continue
            if field.metadata.get("secret"):
                value = _mask(value)
            elif field.metadata.get("undocumented"):
                value = dict.fromkeys(value, ...)
            elif isinstance(value, str):
                value = str(value)  # of an enumeration's member too
            yield field.name, value

    def _repr_html_(self) -> str:
        rows = (
            (name, repr(value) if isinstance(value, tuple | dict) else str(value))
            for name, value in self.__rich_repr__()
        )
        return build_html_table(type(self).__name__, (), rows)

    def redacted(self) -> Self:
        """Copy without secrets, fit for an error or a log.

        Returns:
            A copy with its secrets masked and its undocumented fields left out.
        """
        changes: dict[str, Any] = {}
        for field in _fields_of(self):
            value = getattr(self, field.name)
            if field.metadata.get("secret"):
                changes[field.name] = _mask(value)
            elif field.metadata.get("undocumented"):
                changes[field.name] = {}
            elif isinstance(value, tuple) and any(isinstance(part, Redactable) for part in value):
                changes[field.name] = tuple(part.redacted() for part in value)
        return attrs.evolve(self, **changes)  # type: ignore[misc]  # every subclass is an attrs class


def secret_texts(model: Redactable) -> Iterator[str]:
    """Yield the secrets that a model holds, those of its parts included."""
    for field in _fields_of(model):
        value = getattr(model, field.name)
        if field.metadata.get("secret"):
            if value:
                yield value
        elif isinstance(value, tuple):
            for part in value:
                if isinstance(part, Redactable):
                    yield from secret_texts(part)


def is_redacted(model: Redactable) -> bool:
    """Say whether a secret of the model, or of one of its parts, was masked by `redacted()`."""
    return any(isinstance(text, RedactedText) for text in secret_texts(model))


def _mask(value: Any) -> Any:
    return RedactedText("***") if value else value


def _fields_of(model: Redactable) -> tuple[attrs.Attribute[Any], ...]:
    return attrs.fields(type(model))  # type: ignore[arg-type,no-any-return]  # every subclass is an attrs class
