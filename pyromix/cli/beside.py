"""Columns beside the items of latent classes: what classes depend on, and distal outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from pyromix.data.reading import RawTable, check_columns
from pyromix.data.relation.table import RelationTable
from pyromix.errors import QueryError

COVARIATES = "--covariates"

CovariateColumns = Annotated[
    list[str] | None,
    typer.Option(
        COVARIATES,
        metavar="COLUMN ...",
        help="Columns that the class depends on: age sex after DATA, or age,sex; repeatable.",
    ),
]
DistalColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--distal", metavar="COLUMN", help="Outcome to describe within each class; repeatable."
    ),
]
DistalMethod = Annotated[
    str, typer.Option("--distal-method", help="bch, ml, modal or proportional.")
]


def several(arguments: list[str]) -> list[str]:
    """Arguments with the flag before each of the names that follow ``--covariates``.

    Only where the table was named before: after the flag it could not be told from a name.

    Args:
        arguments: of the command line.
    """
    named_before = len(arguments) > 1 and (arguments[1] == "-" or arguments[1][:1] != "-")
    if arguments[:1] != ["lca"] or not named_before:
        return list(arguments)
    found: list[str] = []
    since: int | None = None
    for argument in arguments:
        if argument.startswith("-"):
            since = 0 if argument == COVARIATES else None
        elif since is not None:
            found += [COVARIATES] if since else []
            since += 1
        found.append(argument)
    return found


def named_columns(table: RawTable | RelationTable, given: Sequence[str] | None) -> list[str]:
    """Names of columns; a text that is none is taken apart at its commas.

    Raises:
        DataError: there is no such column.
    """
    names = [
        name
        for text in given or ()
        for name in ([text] if text in table.columns else text.split(","))
    ]
    check_columns(table, names)
    return names


def without(table: RawTable | RelationTable, names: Sequence[str]) -> RawTable | RelationTable:
    """The table without some columns."""
    if isinstance(table, RelationTable):
        return replace(table, columns=[name for name in table.columns if name not in names])
    return replace(table, frame=table.frame.drop(list(names))) if names else table


def check_apart(covariates: Sequence[str], distal: Sequence[str]) -> None:
    """Refuse outcomes where classes depend on covariates.

    Raises:
        QueryError: both are asked for.
    """
    if covariates and distal:
        raise QueryError(
            "--distal describes outcomes within classes that depend on nothing: leave out "
            f"{COVARIATES}, or describe {list(distal)} in a command of its own"
        )
