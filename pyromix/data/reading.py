"""Files and frames read into one kind of table, its cells not yet understood.

Imports pandas, and only inside functions.
"""

from __future__ import annotations

import lzma
import os
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
from narwhals.exceptions import DuplicateError

from pyromix.data.text import header
from pyromix.errors import DataError, FileError

if TYPE_CHECKING:
    import pandas as pd

ROWS_READ_AT_ONCE = 2**18
"""Rows that become categories, or state numbers, at a time."""

# What a damaged csv, plain or compressed, ends in; a zip file may name a method or a password that
# nobody knows, which are a NotImplementedError and a RuntimeError.
_CSV_ERRORS = (
    OSError,
    ValueError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)

COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
CSV, PARQUET, ARROW = (".csv", ".tsv"), (".parquet", ".pq"), (".arrow", ".feather", ".ipc")


@dataclass(frozen=True, eq=False)
class RawTable:
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


def read_frame(data: Any) -> RawTable:
    """Read a table, without asking yet what its cells mean.

    Args:
        data: pandas or polars DataFrame, Arrow table, a lazy frame that narwhals can collect, a
            path to csv (also tsv, also compressed), parquet or arrow (feather), an open binary
            file of csv, or a RawTable.

    Raises:
        FileError: the path is missing, unreadable, or not in the format it claims.
        DataError: not a table, without rows, or with two columns of one name.
    """
    if isinstance(data, RawTable):
        return data
    if isinstance(data, str | os.PathLike):
        table = _read_path(Path(data))
    elif hasattr(data, "read"):
        table = _read_csv(BytesIO(data.read()), ",", "the stream")
    else:
        table = RawTable(_eager(data))
    if not table.n_rows:
        raise DataError(
            f"expected a table with rows, found none (columns {table.columns[:12]}); check the "
            "filter or the file that it comes from"
        )
    return table


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


def _read_path(path: Path) -> RawTable:
    endings = [suffix.lower() for suffix in path.suffixes]
    if endings and endings[-1] in COMPRESSED:
        endings.pop()
    ending = endings[-1] if endings else ""
    if ending not in (*CSV, *PARQUET, *ARROW):
        raise FileError(
            f"expected a path that ends in one of {[*CSV, *PARQUET, *ARROW]}, found {str(path)!r}"
        )
    if not path.is_file():
        reason = "it is a folder" if path.is_dir() else "there is no such file"
        raise FileError(f"cannot read {str(path)!r}: {reason}; the working folder is {Path.cwd()}")
    if ending in CSV:
        return _read_csv(path, "\t" if ending == ".tsv" else ",", repr(str(path)))
    try:
        import pyarrow as pa
        from pyarrow import feather, parquet
    except ImportError as error:
        raise FileError(needs_pyarrow(path, error)) from None
    try:
        table = (parquet if ending in PARQUET else feather).read_table(path)
        # Offsets and indices of a damaged file point anywhere; nothing may follow them before.
        table.validate(full=True)
        return RawTable(_eager(table))
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise FileError(
            f"cannot read {str(path)!r} as {'parquet' if ending in PARQUET else 'arrow'}: {error}"
        ) from None


def _read_csv(file: Path | BytesIO, separator: str, shown: str) -> RawTable:
    """Read every column as a Categorical of texts: a byte or two per cell, no guess at types."""
    import pandas as pd

    options: dict[str, Any] = {"sep": separator, "keep_default_na": False, "encoding": "utf-8-sig"}
    try:
        head = pd.read_csv(file, header=None, nrows=1, dtype=str, **options)
    except pd.errors.EmptyDataError:
        raise DataError(f"expected a csv with a header line, found nothing in {shown}") from None
    except _CSV_ERRORS as error:
        raise FileError(f"cannot read {shown} as csv: {error}") from None
    names = header(head.iloc[0].tolist(), shown)
    if isinstance(file, BytesIO):
        file.seek(0)
    # chunks of texts become categories one by one; dtype="category" would read 007 as 7
    options |= {"header": 0, "names": names, "index_col": False, "dtype": object}
    options |= {"na_values": [""], "chunksize": ROWS_READ_AT_ONCE}
    parts: list[list[pd.Categorical]] = [[] for _ in names]
    try:
        with warnings.catch_warnings(), pd.read_csv(file, **options) as chunks:
            # pandas warns, and loses cells, where a row is longer than the header
            warnings.simplefilter("error", pd.errors.ParserWarning)
            for chunk in chunks:
                for part, name in zip(parts, names, strict=True):
                    part.append(pd.Categorical(chunk[name]))
    except (*_CSV_ERRORS, pd.errors.ParserWarning) as error:
        raise FileError(f"cannot read {shown} as csv: {error}") from None
    columns = {
        name: pd.api.types.union_categoricals(part) if part else pd.Categorical([])
        for name, part in zip(names, parts, strict=True)
    }
    return RawTable(_eager(pd.DataFrame(columns)), text=True)


def needs_pyarrow(path: Path, error: ImportError) -> str:
    """What to say of a file that pyarrow alone can read or write."""
    return (
        f"parquet and arrow files need pyarrow, which cannot be imported ({error}) for "
        f"{str(path)!r}; install pyarrow, or use csv"
    )
