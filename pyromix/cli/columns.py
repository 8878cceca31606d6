"""Flags that say what columns mean: ``--bins``, ``--states``, ``--kind``, ``--discretize``."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Annotated, Any

import typer

from pyromix.data.bins import binned, intervals
from pyromix.data.reading import RawTable
from pyromix.data.relation.door import read_rows
from pyromix.data.relation.table import RelationTable
from pyromix.errors import QueryError
from pyromix.model.schema import near_matches

Bins = Annotated[
    list[str] | None,
    typer.Option("--bins", metavar="COLUMN=EDGES", help="age=50,60,70: intervals; repeatable."),
]
States = Annotated[
    list[str] | None,
    typer.Option("--states", metavar="COLUMN=STATES", help="Y=no,yes: in this order; repeatable."),
]

Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="COLUMN=KIND",
        help="age=real, positive, hurdle, count, student-t or categorical; repeatable.",
    ),
]
Discretize = Annotated[
    list[str] | None,
    typer.Option(
        "--discretize",
        metavar="COLUMN=HOW",
        help="age=40,60 or age=quantile:4: numbers as states; repeatable.",
    ),
]


def kinds_told(texts: Sequence[str] | None) -> dict[str, str]:
    """What columns are, from texts ``COLUMN=KIND``; no kind has the sign between in its name.

    Raises:
        QueryError: a text is not of this form, or a column is told of twice.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        name, sign, kind = text.rpartition("=")
        if not sign or not name:
            raise QueryError(f"--kind expects COLUMN=KIND, such as age=real, found {text!r}")
        if name in found:
            raise QueryError(f"--kind tells of {name!r} twice")
        found[name] = kind.strip()
    return found


def numbers_told(
    table: RawTable | RelationTable, kinds: Sequence[str] | None, discretize: Sequence[str] | None
) -> dict[str, Any]:
    """``kinds`` and ``discretize`` of ``fit``.

    Args:
        table: as it was read.
        kinds: texts ``COLUMN=KIND``.
        discretize: texts ``COLUMN=quantile:N`` or ``COLUMN=EDGE,EDGE``.

    Raises:
        QueryError: a text is not of this form, or a column is told of twice.
    """
    cut: dict[str, Any] = {}
    for name, parts in _parted(table, discretize, "--discretize").items():
        if len(parts) == 1 and parts[0].startswith("quantile"):
            cut[name] = parts[0]
        else:
            cut[name] = [_number(name, part, "--discretize") for part in parts]
    return {
        "kinds": kinds_told(kinds) or None,
        "discretize": cut or None,
    }


def as_told(
    table: RawTable | RelationTable, bins: Sequence[str] | None, states: Sequence[str] | None
) -> tuple[RawTable | RelationTable, dict[str, tuple[Hashable, ...]]]:
    """Bin columns and read the states that are told.

    Args:
        table: as it was read.
        bins: texts ``COLUMN=EDGE,EDGE``.
        states: texts ``COLUMN=STATE,STATE``.

    Returns:
        The table, and the states of the columns that were told of.

    Raises:
        QueryError: a text is not of this form, or a column is told of twice.
        DataError: a column cannot be binned.
    """
    edges = {
        name: [_number(name, part) for part in parts]
        for name, parts in _parted(table, bins, "--bins").items()
    }
    told = _parted(table, states, "--states")
    if both := sorted(edges.keys() & told.keys()):
        raise QueryError(f"--bins and --states both tell of {both}; bins have states of their own")
    found: dict[str, tuple[str, ...]] = {}
    if isinstance(table, RelationTable) and all(
        name in table.columns and table.is_numeric(name) for name in edges
    ):
        # Its engine reads numbers as the intervals that are their states.
        found = {name: intervals(name, cut) for name, cut in edges.items()}
    elif edges:
        table, found = binned(read_rows(table), edges)
    return table, {**found, **{name: tuple(parts) for name, parts in told.items()}}


def _parted(
    table: RawTable | RelationTable, texts: Sequence[str] | None, flag: str
) -> dict[str, list[str]]:
    """Columns with what is said of them; names of columns may hold the sign between."""
    found: dict[str, list[str]] = {}
    for text in texts or ():
        parts = text.split("=")
        heads = ["=".join(parts[:i]) for i in range(1, len(parts))]
        if not heads:
            raise QueryError(f"{flag} expects COLUMN=VALUE,VALUE, found {text!r}")
        known = [head for head in heads if head in table.columns]
        if not known:
            raise QueryError(
                f"{flag}: unknown column {heads[0]!r}{near_matches(heads[0], table.columns)}; the "
                f"columns are {table.columns[:12]}"
            )
        if known[0] in found:
            raise QueryError(f"{flag} tells of {known[0]!r} twice")
        found[known[0]] = [part.strip() for part in text[len(known[0]) + 1 :].split(",")]
    return found


def _number(name: str, text: str, flag: str = "--bins") -> float:
    try:
        return float(text)
    except ValueError:
        raise QueryError(f"{flag}: expected numbers for {name!r}, found {text!r}") from None
