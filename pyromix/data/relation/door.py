"""Whether data are a frame to be read, or a relation to be asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import narwhals.stable.v2 as nw

from pyromix.data.dialect import SNIFF, Dialect
from pyromix.data.foreign import eager
from pyromix.data.marks import marks_of
from pyromix.data.reading import RawTable, read_frame
from pyromix.data.relation.engines import engine_of
from pyromix.data.relation.paths import relation_of_path
from pyromix.data.relation.sql import NAME, quoted_name
from pyromix.data.relation.table import RelationTable
from pyromix.errors import DataError
from pyromix.model.memory import check_numbers


def read_table(
    data: Any, missing_values: Any = None, dialect: Dialect = SNIFF
) -> RawTable | RelationTable:
    """Read a frame, or look at a relation that stays where it is.

    Args:
        data: whatever ``read_frame`` accepts; a relation of DuckDB, a table of Ibis; a glob or a
            folder of Parquet or CSV files, or a file of these that is large.
        missing_values: values that stand for a missing cell, see ``marks_of``.
        dialect: how a file of texts is written; what it leaves open is sniffed.

    Raises:
        FileError: a path is missing, unreadable, or no file matches it.
        DataError: not a table, without rows, files that differ, or a library is not installed.
    """
    found = relation_of(data, dialect)
    if found is None:
        return read_frame(data, missing_values, dialect)
    marks = marks_of(missing_values)
    return replace(found, marks=marks) if marks else found


def relation_of(data: Any, dialect: Dialect = SNIFF) -> RelationTable | None:
    """A relation, or None where data are to be read into memory; see ``read_table``."""
    if isinstance(data, RelationTable):
        return data
    if isinstance(data, str | os.PathLike):
        return relation_of_path(data, dialect)
    engine = engine_of(data)
    return None if engine is None else RelationTable.of(engine)


def read_rows(
    data: Any, missing_values: Any = None, columns: Sequence[str] | None = None
) -> RawTable:
    """Read whatever ``read_table`` accepts row by row, a relation into memory too.

    Args:
        data: as in ``read_table``.
        missing_values: as in ``read_table``.
        columns: of a relation, those that are wanted; all of them when left out.

    Raises:
        FileError, DataError: as of ``read_table``; or a relation that is larger than memory
            allows.
    """
    table = read_table(data, missing_values)
    if isinstance(table, RawTable):
        return table
    names = table.columns if columns is None else columns
    check_numbers(
        f"{table.n_rows} rows of {table.where} with {len(names)} columns, one by one, in memory",
        table.n_rows * len(names),
        "pass a sample of the rows, only the columns that are asked about, or numbers cut into "
        "states",
        DataError,
    )
    listed = ", ".join(map(quoted_name, names))
    frame = eager(table.engine.answer(f"SELECT {listed} FROM {NAME}"))
    if table.text:
        frame = frame.with_columns(nw.all().cast(nw.Categorical))  # as a file's texts are read
    return RawTable(frame, table.text, table.marks, table.said, table.left_out)
