"""Tables at the border: frames in, state numbers inside, frames and files out.

Beside ``reading`` the only module that imports pandas, and only inside functions.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.bins import in_intervals
from pyromix.data.cells import levels_of
from pyromix.data.codes import smallest_dtype
from pyromix.data.columns import state_numbers
from pyromix.data.gaps import dropped, gaps_refused, no_complete_row
from pyromix.data.intake_report import DataReport, warn_of_repairs
from pyromix.data.levels import numbers_of
from pyromix.data.reading import (
    ARROW,
    PARQUET,
    ROWS_READ_AT_ONCE,
    RawTable,
    check_columns,
    needs_pyarrow,
    read_frame,
)
from pyromix.data.relation.table import RelationTable
from pyromix.data.repairs import Repair, sentences
from pyromix.data.weights import read_weights
from pyromix.errors import DataError, FileError
from pyromix.model.arguments import one_of, shown
from pyromix.model.schema import Schema
from pyromix.model.spec import MixtureSpec

if TYPE_CHECKING:
    import pandas as pd

MISSING_RULES = ("mar", "drop", "error")


class Encoded(NamedTuple):
    """Rows as state numbers.

    Attributes:
        codes: ``(N, n)`` of the smallest integer type, missing cells -1, on the CPU; the memory
            order is column by column.
        weights: ``(N,)`` float64, ones without weights.
        report: what was left out and what was read differently.
    """

    codes: Int[Tensor, "rows variables"]
    weights: Float[Tensor, " rows"]
    report: DataReport


def read_numbers(data: Any, names: Sequence[str]) -> list[Float[np.ndarray, " rows"]]:
    """Read columns as float64, NaN where a cell is missing.

    Raises:
        DataError: a column is missing or holds something else than numbers.
    """
    table = read_frame(data)
    check_columns(table, names)
    return [numbers_of(name, table.frame[name], table.marks) for name in names]


def labels_of(table: RawTable) -> pd.Index | None:
    """Labels of the rows, the index of a pandas frame; None where rows have numbers only."""
    return nw.maybe_get_index(table.frame)


def check_schema(schema: Any, table: RawTable | RelationTable) -> None:
    """Refuse a table that lacks a variable, or has a column called as the source.

    Raises:
        DataError: it does, or the schema is none.
    """
    if not isinstance(schema, Schema):
        binned = "; its binned is one" if hasattr(schema, "binned") else ""
        raise DataError(f"expected a Schema or a MixtureSpec, found {shown(schema)}{binned}")
    check_columns(table, schema.variables)
    if isinstance(schema, MixtureSpec) and schema.source in table.columns:
        raise DataError(
            f"{schema.source!r} is unobserved in the model, found a column of that name in the "
            "data; drop the column, or give the latent variable another name"
        )


def encode(
    table: Any,
    schema: Schema,
    *,
    sample_weight: Any = None,
    missing: str = "mar",
    warn: bool = True,
) -> Encoded:
    """Turn the rows of a table into state numbers, one column at a time.

    Args:
        table: whatever ``read_frame`` accepts; columns in any order.
        schema: variables and their declared states; a MixtureSpec is one.
        sample_weight: a column name, or one weight per row.
        missing: ``"mar"`` keeps every row, ``"drop"`` leaves out and reports rows with a missing
            cell, ``"error"`` refuses them.
        warn: say in a DataRepairWarning what the report says.

    Raises:
        DataError: a column is missing, a value is no state, a weight is unusable, the source is a
            column, no row is left, or the rule for missing cells is unknown.
    """
    one_of("missing", missing, MISSING_RULES, DataError)
    table = read_frame(table)
    check_schema(schema, table)
    table = in_intervals(table, schema)
    weights = read_weights(table.frame, sample_weight, schema, labels_of(table))
    codes = torch.empty(
        (schema.n_variables, table.n_rows), dtype=smallest_dtype(schema), device="cpu"
    )
    read: list[Repair] = []
    missing_cells: list[int] = []
    for v, name in enumerate(schema.variables):
        levels = levels_of(table, name, schema.states[v])
        numbers, said = state_numbers(levels, schema.states[v])
        column = codes[v].numpy()
        lookup = numbers.astype(column.dtype)
        for start in range(0, len(column), ROWS_READ_AT_ONCE):
            rows = slice(start, start + ROWS_READ_AT_ONCE)
            np.take(lookup, levels.codes[rows], out=column[rows], mode="clip")
        read += [*levels.repairs, *said]
        missing_cells.append(int(torch.count_nonzero(codes[v] < 0)))
    repairs = [*table.said, *sentences(read)]
    kept = codes.T
    if missing != "mar" and any(missing_cells):
        gaps = {name: n for name, n in zip(schema.variables, missing_cells, strict=True) if n}
        if missing == "error":
            raise gaps_refused(gaps, table.n_rows)
        complete = (codes >= 0).all(0)
        kept, weights = codes[:, complete].T, weights[complete]
        if not len(kept):
            raise no_complete_row(gaps, table.n_rows)
        repairs.append(dropped(table.n_rows - len(kept), gaps, table.n_rows))
        missing_cells = []
    used = {*schema.variables, *([sample_weight] if isinstance(sample_weight, str) else [])}
    report = DataReport(
        n_rows=table.n_rows,
        n_variables=schema.n_variables,
        n_patterns=len(kept),
        n_missing_cells=sum(missing_cells),
        n_dropped_rows=table.n_rows - len(kept),
        total_weight=float(weights.sum()),
        unused=tuple(str(name) for name in table.columns if name not in used),
        repairs=tuple(repairs),
    )
    if warn:
        warn_of_repairs(report)
    return Encoded(kept, weights, report)


# -- out ---------------------------------------------------------------------------------------


def to_pandas(
    columns: Mapping[Any, Sequence[Any] | np.ndarray | pd.Categorical],
    index: pd.Index | None = None,
) -> pd.DataFrame:
    """Make a pandas DataFrame of columns of equal length.

    Args:
        columns: by name.
        index: labels of the rows; numbers when left out.
    """
    import pandas as pd

    return pd.DataFrame(dict(columns), index=index)


def decode(
    spec: MixtureSpec,
    rows: Int[Tensor, "rows variables"],
    sources: Int[Tensor, " rows"] | None = None,
) -> pd.DataFrame:
    """Write state numbers as a DataFrame of state names.

    Every column is Categorical with all states of the spec in their order, so that reading the
    frame again gives the same states; -1 is a missing cell.

    Args:
        spec: the structure that knows the names.
        rows: ``(m, n)`` state numbers.
        sources: ``(m,)`` numbers of the source; makes a last column of its name.

    Raises:
        DataError: another number of variables.
    """
    if rows.shape[1] != spec.n_variables:
        raise DataError(f"expected rows of {spec.n_variables} variables, found {rows.shape[1]}")
    columns = {v: rows[:, v] for v in range(spec.n_variables)}
    if sources is not None:
        columns[-1] = sources

    return to_pandas(
        {spec.name(v): labelled(numbers, spec.states_of(v)) for v, numbers in columns.items()}
    )


def labelled(numbers: Int[Tensor, " rows"], states: Sequence[Hashable]) -> pd.Categorical:
    """State numbers, -1 where missing, as a column of state names."""
    import pandas as pd

    # a tuple is one state, not a level of an index with several
    categories = pd.Index(list(states), tupleize_cols=False)
    return pd.Categorical.from_codes(numbers.cpu().numpy(), categories=categories)


def write_frame(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a DataFrame to a csv, parquet or arrow file, whole or not at all.

    Args:
        frame: the table; its index is not written.
        path: the ending decides the format.

    Raises:
        FileError: an unknown ending, a missing folder, or a disk that refuses.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    writers: dict[str, Callable[[Path], object]] = {
        ".csv": lambda p: frame.to_csv(p, index=False),
        ".tsv": lambda p: frame.to_csv(p, index=False, sep="\t"),
        **{s: lambda p: frame.to_parquet(p, index=False) for s in PARQUET},
        **{s: lambda p: frame.reset_index(drop=True).to_feather(p) for s in ARROW},
    }
    if suffix not in writers:
        raise FileError(f"expected a path that ends in one of {list(writers)}, found {str(path)!r}")
    draft = path.with_name(f".{path.stem}-{os.getpid()}-{secrets.token_hex(4)}{suffix}")
    try:
        writers[suffix](draft)
        os.replace(draft, path)
    except ImportError as error:
        raise FileError(needs_pyarrow(path, error)) from None
    except (OSError, TypeError, ValueError, NotImplementedError) as error:
        raise FileError(f"cannot write {str(path)!r}: {error}") from None
    finally:
        draft.unlink(missing_ok=True)
