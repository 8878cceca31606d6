"""Pieces of SQL: names, values, kinds of columns. The dialect is DuckDB's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

NAME = "relation"
"""What a query calls the table that it is upon."""

KINDS = ("integer", "number", "boolean", "text", "other")
"""What a column holds: a number is one with a fraction, or wider than 64 bits."""

_INTEGERS = re.compile(r"U?(TINY|SMALL|BIG)?INT(EGER)?")
_NUMBERS = re.compile(r"FLOAT|REAL|DOUBLE|DECIMAL.*|U?HUGEINT|BIGNUM|VARINT")


def kind_of_duckdb(kind: str) -> str:
    """What a column of this type of DuckDB holds, see ``KINDS``."""
    if _INTEGERS.fullmatch(kind):
        return "integer"
    if _NUMBERS.fullmatch(kind):
        return "number"
    if kind == "BOOLEAN":
        return "boolean"
    return "text" if kind == "VARCHAR" or kind.startswith("ENUM") else "other"


def quoted_name(name: str) -> str:
    """A name of a column or table."""
    return '"' + name.replace('"', '""') + '"'


def quoted(text: str) -> str:
    """A text as a value."""
    return "'" + text.replace("'", "''") + "'"


def value(thing: Any) -> str:
    """A value of a cell, as Python holds it."""
    if isinstance(thing, bool):
        return "TRUE" if thing else "FALSE"
    if isinstance(thing, int):
        return str(thing)
    if isinstance(thing, float):
        return f"CAST({quoted(repr(thing))} AS DOUBLE)"
    for kind, name in ((datetime, "TIMESTAMP"), (date, "DATE"), (time, "TIME")):
        if isinstance(thing, kind):
            return f"CAST({quoted(str(thing))} AS {name})"
    return str(thing) if isinstance(thing, Decimal) else quoted(str(thing))


def named(columns: Mapping[str, str]) -> Iterator[str]:
    """Expressions under their names, as a SELECT lists them."""
    yield from (f"{sql} AS {name}" for name, sql in columns.items())
