"""Tables at the border: files and frames in, state numbers inside, frames out.

The only module that imports pandas, and only inside functions.
"""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
import torch
from jaxtyping import Float, Int
from narwhals.exceptions import DuplicateError
from torch import Tensor

from pyromix.data.codes import smallest_dtype
from pyromix.data.columns import numbers_of, observed, read_levels, state_numbers
from pyromix.data.intake_report import DataReport, warn_of_repairs
from pyromix.data.text import header
from pyromix.data.weights import read_weights
from pyromix.errors import DataError, FileError
from pyromix.model.schema import Schema, near_matches
from pyromix.model.spec import MixtureSpec

if TYPE_CHECKING:
    import pandas as pd

MISSING_RULES = ("mar", "drop", "error")

_ROWS_PER_CHUNK = 2**18
_COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
_CSV, _PARQUET, _ARROW = (".csv", ".tsv"), (".parquet", ".pq"), (".arrow", ".feather", ".ipc")


@dataclass(frozen=True, eq=False)
class Table:
    """A table that has been read and not yet been understood.

    Attributes:
        frame: an eager narwhals frame.
        text: it comes from a file without types: every column is a Categorical of texts, and what
            ``"1"`` means is settled by the states of the model (see ``text.match``).
    """

    frame: nw.DataFrame[Any]
    text: bool = False

    @property
    def columns(self) -> list[Any]:
        """Names of the columns; pandas allows names that are no text."""
        return self.frame.columns

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.frame)


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


def read_frame(data: Any) -> Table:
    """Read a table, without asking yet what its cells mean.

    Args:
        data: pandas or polars DataFrame, Arrow table, a lazy frame that narwhals can collect, a
            path to csv (also tsv, also compressed), parquet or arrow (feather), an open binary
            file of csv, or a Table.

    Raises:
        FileError: the path is missing, unreadable, or not in the format it claims.
        DataError: not a table, without rows, or with two columns of one name.
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, str | os.PathLike):
        table = _read_path(Path(data))
    elif hasattr(data, "read"):
        table = _read_csv(BytesIO(data.read()), ",", "the stream")
    else:
        table = Table(_eager(data))
    if not table.n_rows:
        raise DataError(
            f"expected a table with rows, found none (columns {table.columns[:12]}); check the "
            "filter or the file that it comes from"
        )
    return table


def observed_states(table: Any, column: str) -> tuple[Hashable, ...]:
    """States of a variable whose model declares none: those of its column.

    The list of a Categorical or an Enum as it stands; otherwise the sorted distinct values, as
    Python objects (see ``columns.observed``).

    Args:
        table: whatever ``read_frame`` accepts.
        column: name of the variable.

    Raises:
        DataError: the column is missing, empty, constant or not discrete.
    """
    table = read_frame(table)
    _check_columns(table, [column])
    return observed(read_levels(column, table.frame[column], text=table.text))


def read_numbers(data: Any, names: Sequence[str]) -> list[Float[np.ndarray, " rows"]]:
    """Read columns as float64, NaN where a cell is missing.

    Raises:
        DataError: a column is missing or holds something else than numbers.
    """
    table = read_frame(data)
    _check_columns(table, names)
    return [numbers_of(name, table.frame[name]) for name in names]


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
    if missing not in MISSING_RULES:
        raise DataError(
            f"missing must be one of {list(MISSING_RULES)}, found {missing!r}"
            f"{near_matches(missing, MISSING_RULES)}"
        )
    table = read_frame(table)
    _check_columns(table, schema.variables)
    if isinstance(schema, MixtureSpec) and schema.source in table.columns:
        raise DataError(
            f"{schema.source!r} is unobserved in the model, found a column of that name in the "
            "data; drop the column, or give the latent variable another name"
        )
    weights = read_weights(table.frame, sample_weight, schema)
    codes = torch.empty(
        (schema.n_variables, table.n_rows), dtype=smallest_dtype(schema), device="cpu"
    )
    repairs: list[str] = []
    missing_cells: list[int] = []
    for v, name in enumerate(schema.variables):
        levels = read_levels(name, table.frame[name], text=table.text)
        numbers, said = state_numbers(levels, schema.states[v])
        column = codes[v].numpy()
        lookup = numbers.astype(column.dtype)
        for start in range(0, len(column), _ROWS_PER_CHUNK):
            rows = slice(start, start + _ROWS_PER_CHUNK)
            np.take(lookup, levels.codes[rows], out=column[rows], mode="clip")
        repairs += said
        missing_cells.append(int(torch.count_nonzero(codes[v] < 0)))
    kept = codes.T
    if missing != "mar" and any(missing_cells):
        gaps = {name: n for name, n in zip(schema.variables, missing_cells, strict=True) if n}
        if missing == "error":
            raise DataError(
                f"expected no missing cells (missing='error'), found {gaps} in "
                f"{table.n_rows} rows; pass missing='mar' to keep them or 'drop' to drop the rows"
            )
        complete = (codes >= 0).all(0)
        kept, weights = codes[:, complete].T, weights[complete]
        if not len(kept):
            raise DataError(
                f"no row is left: each of {table.n_rows} rows has a missing cell, {gaps}; pass "
                "missing='mar' to keep them"
            )
        repairs.append(
            f"{table.n_rows - len(kept)} of {table.n_rows} rows with a missing cell were dropped: "
            f"{gaps}."
        )
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


def to_pandas(columns: Mapping[Any, Sequence[Any] | np.ndarray]) -> pd.DataFrame:
    """Make a pandas DataFrame of columns of equal length."""
    import pandas as pd

    return pd.DataFrame(dict(columns))


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
    import pandas as pd

    if rows.shape[1] != spec.n_variables:
        raise DataError(f"expected rows of {spec.n_variables} variables, found {rows.shape[1]}")
    columns = {v: rows[:, v] for v in range(spec.n_variables)}
    if sources is not None:
        columns[-1] = sources

    def labelled(v: int, numbers: Tensor) -> pd.Categorical:
        # a tuple is one state, not a level of an index with several
        categories = pd.Index(list(spec.states_of(v)), tupleize_cols=False)
        return pd.Categorical.from_codes(numbers.cpu().numpy(), categories=categories)

    return pd.DataFrame({spec.name(v): labelled(v, numbers) for v, numbers in columns.items()})


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
        **{s: lambda p: frame.to_parquet(p, index=False) for s in _PARQUET},
        **{s: lambda p: frame.reset_index(drop=True).to_feather(p) for s in _ARROW},
    }
    if suffix not in writers:
        raise FileError(f"expected a path that ends in one of {list(writers)}, found {str(path)!r}")
    draft = path.with_name(f".{path.stem}-{os.getpid()}-{secrets.token_hex(4)}{suffix}")
    try:
        writers[suffix](draft)
        os.replace(draft, path)
    except ImportError as error:
        raise FileError(_needs_pyarrow(path, error)) from None
    except (OSError, TypeError, ValueError, NotImplementedError) as error:
        raise FileError(f"cannot write {str(path)!r}: {error}") from None
    finally:
        draft.unlink(missing_ok=True)


# -- in ----------------------------------------------------------------------------------------


def _eager(data: Any) -> nw.DataFrame[Any]:
    """Any frame that narwhals knows, collected."""
    try:
        frame = nw.from_native(data)
    except DuplicateError as error:
        raise DataError(
            f"column names must be distinct: {' '.join(str(error).split())}; rename or drop one"
        ) from None
    except TypeError:
        raise DataError(
            "expected a pandas or polars DataFrame, an Arrow table, or a path to csv, parquet or "
            f"arrow, found {type(data).__name__}; pandas.DataFrame(data) makes a frame of a "
            "dictionary or an array"
        ) from None
    return frame.collect() if isinstance(frame, nw.LazyFrame) else frame


def _read_path(path: Path) -> Table:
    endings = [suffix.lower() for suffix in path.suffixes]
    if endings and endings[-1] in _COMPRESSED:
        endings.pop()
    ending = endings[-1] if endings else ""
    if ending not in (*_CSV, *_PARQUET, *_ARROW):
        raise FileError(
            f"expected a path that ends in one of {[*_CSV, *_PARQUET, *_ARROW]}, found "
            f"{str(path)!r}"
        )
    if not path.is_file():
        reason = "it is a folder" if path.is_dir() else "there is no such file"
        raise FileError(f"cannot read {str(path)!r}: {reason}; the working folder is {Path.cwd()}")
    if ending in _CSV:
        return _read_csv(path, "\t" if ending == ".tsv" else ",", repr(str(path)))
    try:
        import pyarrow as pa
        from pyarrow import feather, parquet
    except ImportError as error:
        raise FileError(_needs_pyarrow(path, error)) from None
    try:
        if ending in _PARQUET:
            return Table(_eager(parquet.read_table(path)))
        return Table(_eager(feather.read_table(path)))
    except (OSError, pa.ArrowException) as error:
        raise FileError(
            f"cannot read {str(path)!r} as {'parquet' if ending in _PARQUET else 'arrow'}: {error}"
        ) from None


def _read_csv(file: Path | BytesIO, separator: str, shown: str) -> Table:
    """Read every column as a Categorical of texts: a byte or two per cell, no guess at types."""
    import pandas as pd

    options: dict[str, Any] = {"sep": separator, "keep_default_na": False, "encoding": "utf-8-sig"}
    try:
        head = pd.read_csv(file, header=None, nrows=1, dtype=str, **options)
    except pd.errors.EmptyDataError:
        raise DataError(f"expected a csv with a header line, found nothing in {shown}") from None
    except (OSError, ValueError, EOFError) as error:
        raise FileError(f"cannot read {shown} as csv: {error}") from None
    names = header(head.iloc[0].tolist(), shown)
    if isinstance(file, BytesIO):
        file.seek(0)
    # chunks of texts become categories one by one; dtype="category" would read 007 as 7
    options |= {"header": 0, "names": names, "index_col": False, "dtype": object}
    options |= {"na_values": [""], "chunksize": _ROWS_PER_CHUNK}
    parts: list[list[pd.Categorical]] = [[] for _ in names]
    try:
        with warnings.catch_warnings(), pd.read_csv(file, **options) as chunks:
            # pandas warns, and loses cells, where a row is longer than the header
            warnings.simplefilter("error", pd.errors.ParserWarning)
            for chunk in chunks:
                for part, name in zip(parts, names, strict=True):
                    part.append(pd.Categorical(chunk[name]))
    except (OSError, ValueError, EOFError, pd.errors.ParserWarning) as error:
        raise FileError(f"cannot read {shown} as csv: {error}") from None
    columns = {
        name: pd.api.types.union_categoricals(part) if part else pd.Categorical([])
        for name, part in zip(names, parts, strict=True)
    }
    return Table(_eager(pd.DataFrame(columns)), text=True)


def _needs_pyarrow(path: Path, error: ImportError) -> str:
    return (
        f"parquet and arrow files need pyarrow, which cannot be imported ({error}) for "
        f"{str(path)!r}; install pyarrow, or use csv"
    )


def _check_columns(table: Table, names: Sequence[str]) -> None:
    """Refuse a table that lacks a variable."""
    if absent := [name for name in names if name not in table.columns]:
        guesses = "; ".join(f"{name!r}{near_matches(name, table.columns)}" for name in absent[:5])
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        hint = (
            "name the columns with text, data.columns = data.columns.astype(str)"
            if any(not isinstance(name, str) for name in table.columns)
            else "rename the columns, or leave the variables out of the model"
        )
        raise DataError(
            f"expected a column for every variable, missing are {guesses}{more}; the columns are "
            f"{table.columns[:12]}{' ...' if len(table.columns) > 12 else ''}: {hint}"
        )
