"""Values from JSON, held against the types that a dataclass declares for its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pyromix.errors import FileError
from pyromix.formats.words import shown

T = TypeVar("T")


def typed(kind: type[T], found: Any, where: str, /, **given: Any) -> T:
    """Return a dataclass from JSON fields; lists become the tuples that it declares.

    Args:
        kind: the dataclass.
        found: its fields by name; those with a default may be missing.
        where: what the fields are called in messages.
        given: fields that are no JSON, taken as they are.

    Raises:
        FileError: a field is missing, unknown, or of another type than declared.
    """
    if not isinstance(found, Mapping):
        raise FileError(f"expected {where} as fields by name, found {shown(found)}")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := [name for name in found if name not in known or name in given]:
        raise FileError(f"{where}: unknown fields {shown(unknown)}; they are {list(known)}")
    hints = _hints(kind)
    values = {name: checked(hints[name], value, f"{where}.{name}") for name, value in found.items()}
    values |= given
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise FileError(f"{where}: the field {name!r} is missing")
    return kind(**values)


def checked(hint: Any, found: Any, where: str) -> Any:
    """Return a JSON value as the type that is declared: text, truth, numbers, tuples of these.

    An integer is a float too, a truth is neither. Mappings, and ``Any``, are taken as they are.

    Raises:
        FileError: the value is of another type.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if found is None and NoneType in parts:
            return None
        [hint] = [part for part in parts if part is not NoneType]
        return checked(hint, found, where)
    if hint is Any:
        return found
    if origin is tuple:
        return _tuple(parts, found, where)
    if origin is not None or hint is Mapping:
        if not isinstance(found, origin or hint):
            raise FileError(f"expected {where} as fields by name, found {shown(found)}")
        return found
    if hint is float and type(found) is int and abs(found) <= 2**1000:
        return float(found)
    if type(found) is not hint:
        raise FileError(f"expected {where} of type {hint.__name__}, found {shown(found)}")
    return found


def _tuple(parts: tuple[Any, ...], found: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(found, list | tuple):
        raise FileError(f"expected {where} as a list, found {shown(found)}")
    if len(parts) == 2 and parts[1] is Ellipsis:
        return tuple(checked(parts[0], value, where) for value in found)
    if len(found) != len(parts):
        raise FileError(f"expected {where} of {len(parts)} values, found {shown(list(found))}")
    return tuple(checked(part, value, where) for part, value in zip(parts, found, strict=True))


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
