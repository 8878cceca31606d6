"""How a relation is read: by one GROUP BY where its distinct rows fit, else as a stream."""

from __future__ import annotations

import os
import re
from typing import Any

from pyromix.data.counts import Counts
from pyromix.data.frames import check_schema
from pyromix.data.intake_report import warn_of_repairs
from pyromix.data.relation.counting import TooManyPatternsError, counted_rows
from pyromix.data.relation.digits import Packed
from pyromix.data.relation.patterns import Foreseen, foresee
from pyromix.data.relation.rows import RelationRows, rows_of
from pyromix.data.relation.table import RelationTable
from pyromix.data.relation.weighing import Weighing
from pyromix.data.weights import COUNTS
from pyromix.errors import QueryError
from pyromix.model.arguments import shown
from pyromix.model.schema import Schema

SAMPLE = 10**6
"""Rows that the number of patterns is foreseen from."""

SHARE = 0.25
"""Of the memory of the machine, what patterns may take where nobody says."""

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
         "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip


def memory_of(limit: Any) -> int:
    """Bytes that ``memory_limit`` names: a number, or a text such as ``"4GB"``.

    Raises:
        QueryError: it names none.
    """
    if limit is None:
        pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**21
        return int(SHARE * pages * 4096)
    text = limit if isinstance(limit, str) else ""
    if isinstance(limit, int | float) and not isinstance(limit, bool):
        text = repr(limit)
    found = re.fullmatch(r"\s*([0-9.]+(?:e[+]?[0-9]+)?)\s*([KMGT]?I?B)?\s*", text, re.IGNORECASE)
    if found is None or not float(found[1]) >= 1:
        raise QueryError(
            f"memory_limit must be a number of bytes or a text such as '4GB', found {shown(limit)}"
        )
    return int(float(found[1]) * UNITS[(found[2] or "").upper()])


def bytes_of_a_pattern(n_variables: int) -> int:
    """Memory that EM needs for a distinct row: its states, its weight, its index of cells."""
    return 10 * n_variables + 40


def read_relation(
    table: RelationTable,
    schema: Schema,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing: str = "mar",
    memory_limit: Any = None,
) -> tuple[Counts | RelationRows, str]:
    """Count the distinct rows of a relation, or say that they are to be streamed, and why.

    Args:
        table: the relation.
        schema: variables and states.
        sample_weight: name of a column of weights, or None.
        weights_are: ``"counts"`` or ``"sampling"``.
        missing: ``"mar"``, ``"drop"`` or ``"error"``.
        memory_limit: see ``memory_of``.

    Returns:
        Counts, and an empty text; or rows as a stream, and a sentence.

    Raises:
        DataError: as of ``Counts.from_frame``.
        QueryError: the limit is none.
    """
    check_schema(schema, table)
    most = memory_of(memory_limit) // bytes_of_a_pattern(schema.n_variables)
    foreseen: Foreseen | None = None
    if table.n_rows > most:
        packed = Packed.of(table, schema)
        weighing = Weighing.of(table, sample_weight, schema)
        rows = rows_of(table, packed, weighing, missing, weights_are)
        foreseen = foresee(rows.sampled_patterns(SAMPLE), table.n_rows)
        if foreseen.bound > most and foreseen.expected > most:
            warn_of_repairs(rows.report)
            return rows, _sentence(table.n_rows, most, f"about {foreseen.expected:.3g} distinct")
    try:
        counts = Counts(
            schema, *counted_rows(table, schema, sample_weight, weights_are, missing, most)
        )
    except TooManyPatternsError:
        packed = Packed.of(table, schema)
        weighing = Weighing.of(table, sample_weight, schema)
        rows = rows_of(table, packed, weighing, missing, weights_are)
        warn_of_repairs(rows.report)
        return rows, _sentence(table.n_rows, most, f"more than {most} distinct")
    warn_of_repairs(counts.report)
    return counts, ""


def _sentence(n_rows: int, most: int, found: str) -> str:
    return (
        f"The {n_rows} rows have {found} ones, more than the {most} that fit in the memory allowed "
        "(memory_limit): moments of all rows come from the engine, and EM reads the rows as a "
        "stream, pass by pass."
    )
