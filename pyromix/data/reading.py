"""Files and frames read into one kind of table, its cells not yet understood.

Imports pandas, and only inside functions.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, runtime_checkable

import narwhals.stable.v2 as nw

from pyromix.data.dialect import (
    SNIFF,
    SNIFFED,
    Dialect,
    in_words,
    rows_of,
    sniffed,
    uses_decimal_commas,
)
from pyromix.data.foreign import eager
from pyromix.data.marks import NO_MARKS, Marks, marks_of
from pyromix.data.repairs import SHOWN, cells_named
from pyromix.data.text import MISSING_TEXTS, header
from pyromix.errors import DataError, FileError, PyromixError
from pyromix.model.arguments import path_of
from pyromix.model.schema import near_matches

if TYPE_CHECKING:
    import pandas as pd

ROWS_READ_AT_ONCE = 2**18
"""Rows that become categories, or state numbers, at a time."""

COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
CSV = (".csv", ".tsv", ".txt", ".dat", ".tab")
PARQUET, ARROW = (".parquet", ".pq"), (".arrow", ".feather", ".ipc")

MAGIC: dict[bytes, Callable[[IO[bytes]], AbstractContextManager[Any]]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
"""First bytes of packed files, and what unpacks them."""

UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
"""What a file that is not what it claims ends in; a zip file may name a method or a password that
nobody knows, which are a NotImplementedError and a RuntimeError."""


@dataclass(frozen=True, eq=False)
class RawTable:
    """A table that has been read and not yet been understood.

    Attributes:
        frame: an eager narwhals frame.
        text: it comes from a file without types: every column is a Categorical of texts, and what
            ``"1"`` means is settled by the states of the model (see ``text.match``).
        marks: values that stand for a missing cell.
        said: sentences on how it was read.
        left_out: columns that are no variables, though no model says so; ``said`` says why.
    """

    frame: nw.DataFrame[Any]
    text: bool = False
    marks: Marks = NO_MARKS
    said: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def columns(self) -> list[Any]:
        """Names of the columns; pandas allows names that are no text."""
        return self.frame.columns

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.frame)


def read_frame(data: Any, missing_values: Any = None, dialect: Dialect = SNIFF) -> RawTable:
    """Read a table, without asking yet what its cells mean.

    Args:
        data: a table of another library, see ``foreign.eager``, a path to csv (also tsv, txt, dat;
            also compressed), parquet or arrow (feather), an open file of csv, or a RawTable.
        missing_values: a value, or values, that stand for a missing cell, see ``marks_of``.
        dialect: how a file of texts is written; what it leaves open is sniffed.

    Raises:
        FileError: the path is missing, unreadable, or not in the format it claims.
        DataError: not a table, without rows, with two columns of one name, or a mark that is none.
    """
    marks = marks_of(missing_values)
    if isinstance(data, RawTable):
        return replace(data, marks=marks) if marks else data
    if isinstance(data, str | os.PathLike):
        table = _read_path(path_of(data), dialect)
    elif hasattr(data, "read"):
        content = data.read()
        if isinstance(content, str):
            content, dialect = content.encode(), replace(dialect, encoding="utf-8")
        table = _read_csv(BytesIO(content), dialect, ".csv")
    else:
        table = RawTable(eager(data))
    if not table.n_rows:
        raise DataError(
            f"expected a table with rows, found none (columns {table.columns[:12]}); check the "
            "filter or the file that it comes from"
        )
    return replace(table, marks=marks)


def _read_path(path: Path, dialect: Dialect) -> RawTable:
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
        return _read_csv(path, dialect, ending)
    if dialect != SNIFF:
        raise DataError(
            f"separator, encoding and decimal sign are those of text files; {str(path)!r} is none: "
            "leave them out"
        )
    try:
        import pyarrow as pa
        from pyarrow import feather, parquet
    except ImportError as error:
        raise FileError(needs_pyarrow(path, error)) from None
    try:
        table = (parquet if ending in PARQUET else feather).read_table(path)
        # Offsets and indices of a damaged file point anywhere; nothing may follow them before.
        table.validate(full=True)
        return RawTable(eager(table))
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise FileError(
            f"cannot read {str(path)!r} as {'parquet' if ending in PARQUET else 'arrow'}: {error}"
        ) from None


def _read_csv(file: Path | BytesIO, asked: Dialect, ending: str) -> RawTable:
    """Read a file of texts by the dialect that is asked for, or that its head looks like."""
    shown = repr(str(file)) if isinstance(file, Path) else "the stream"
    try:
        with uncompressed(file) as stream:
            head = stream.read(SNIFFED)
        found = sniffed(head, ending, asked)
        try:
            return _texts(file, found, asked, ending, shown)
        except UnicodeDecodeError:
            if asked.encoding or found.encoding == "cp1252":
                raise
        # no byte of the head said so
        found = replace(found, encoding="cp1252")
        return _texts(file, found, asked, ending, shown)
    except UNREADABLE as error:
        if isinstance(error, PyromixError):
            raise
        raise FileError(f"cannot read {shown} as csv: {error}") from None


def _texts(
    file: Path | BytesIO, dialect: Dialect, asked: Dialect, ending: str, shown: str
) -> RawTable:
    """Read every column as a Categorical of texts: a byte or two per cell, no guess at types."""
    import pandas as pd

    with uncompressed(file) as stream, _decoded(stream, dialect) as text:
        first = next(rows_of(text, dialect), None)
    if first is None:
        raise DataError(f"expected a csv with a header line, found nothing in {shown}")
    names = header([*first[1], *[""] * dialect.n_extra], shown)
    # chunks of texts become categories one by one; dtype="category" would read 007 as 7
    options: dict[str, Any] = {
        "sep": r"\s+" if dialect.separator == " " else dialect.separator,
        "skipinitialspace": dialect.blank_before_quote,
        "encoding": dialect.encoding,
        "keep_default_na": False,
        "na_values": [""],
        "header": 0,
        "names": names,
        "index_col": False,
        "dtype": object,
        "chunksize": ROWS_READ_AT_ONCE,
    }
    parts: list[list[pd.Categorical]] = [[] for _ in names]
    try:
        with (
            warnings.catch_warnings(),
            uncompressed(file) as stream,
            pd.read_csv(stream, **options) as chunks,
        ):
            # pandas warns, and loses cells, where a row is longer than the header
            warnings.simplefilter("error", pd.errors.ParserWarning)
            for chunk in chunks:
                for part, name in zip(parts, names, strict=True):
                    part.append(pd.Categorical(chunk[name]))
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise FileError(_too_long(file, dialect, len(names), shown) or str(error)) from None
    columns = {
        name: pd.api.types.union_categoricals(part) if part else pd.Categorical([])
        for name, part in zip(names, parts, strict=True)
    }
    said = list(_trailing(columns, first[1], dialect, shown))
    if dialect.decimal == "," or (not dialect.decimal and dialect.separator != ","):
        dialect = _with_points(columns, dialect)
    said = [*in_words(dialect, asked, ending, shown), *said]
    last = columns[list(columns)[-1]]
    said += _cut_in_the_last_cell(file, last, list(columns)[-1], shown)
    if bool((last.codes < 0).any()):
        said += _too_short(file, dialect, len(first[1]), shown)
    return RawTable(eager(pd.DataFrame(columns)), text=True, said=tuple(said))


@contextmanager
def uncompressed(file: Path | BytesIO) -> Iterator[IO[bytes]]:
    """The bytes of a file from its beginning, unpacked where its first bytes say it is packed."""
    with ExitStack() as stack:
        if isinstance(file, BytesIO):
            file.seek(0)
            stream: IO[bytes] = file
        else:
            stream = stack.enter_context(file.open("rb"))
        magic = stream.read(6)
        stream.seek(0)
        opener = next((o for start, o in MAGIC.items() if magic.startswith(start)), None)
        if opener is not None:
            stream = stack.enter_context(opener(stream))
        elif magic.startswith(b"PK\x03\x04"):
            archive = stack.enter_context(zipfile.ZipFile(stream))
            if len(members := archive.namelist()) != 1:
                raise FileError(
                    f"expected an archive of one file, found {len(members)}: {members[:5]}; "
                    "unpack it"
                )
            stream = stack.enter_context(archive.open(members[0]))
        elif isinstance(file, Path) and file.suffix.lower() in COMPRESSED:
            raise FileError(f"cannot read {str(file)!r}: its ending says packed, its content not")
        yield stream


@contextmanager
def _decoded(stream: IO[bytes], dialect: Dialect) -> Iterator[TextIOWrapper]:
    text = TextIOWrapper(stream, encoding=dialect.encoding, newline="")
    try:
        yield text
    finally:
        text.detach()  # the stream is somebody else's to close


def _trailing(
    columns: dict[str, pd.Categorical], names: list[str], dialect: Dialect, shown: str
) -> Iterator[str]:
    """Take out columns without name or value at the end: separators that end every line."""
    n_blank = dialect.n_extra
    while n_blank < len(columns) and not [*names, *[""] * dialect.n_extra][-1 - n_blank].strip():
        n_blank += 1
    taken = 0
    for name in list(columns)[::-1][:n_blank]:
        if len(columns) == 1 or any(str(text).strip() for text in columns[name].categories):
            break
        del columns[name]
        taken += 1
    if taken:
        yield (
            f"Lines of {shown} end with a separator: the empty column after "
            f"{list(columns)[-1]!r} was left out."
        )


def _with_points(columns: dict[str, pd.Categorical], dialect: Dialect) -> Dialect:
    """Write decimal commas as points, in columns that hold nothing else than numbers."""
    for name, cells in columns.items():
        texts = [str(text).strip() for text in cells.categories]
        if uses_decimal_commas([text for text in texts if text not in MISSING_TEXTS]):
            points = [str(text).replace(",", ".") for text in cells.categories]
            columns[name] = cells.rename_categories(points)
            dialect = replace(dialect, decimal=",")
    return dialect


def _too_short(file: Path | BytesIO, dialect: Dialect, n_names: int, shown: str) -> Iterator[str]:
    """Say which lines have fewer cells than the header: a file may be cut in its last row."""
    with uncompressed(file) as stream, _decoded(stream, dialect) as text:
        rows = [(line, len(row)) for line, row in rows_of(text, dialect) if len(row) < n_names]
    if rows:
        listed = ", ".join(f"line {line} has {width}" for line, width in rows[:SHOWN])
        more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        yield (
            f"{shown} has rows shorter than the header of {n_names} cells: {listed}{more}. Read as "
            f"missing: {cells_named(sum(n_names - width for _, width in rows))} at their ends."
        )


def _cut_in_the_last_cell(
    file: Path | BytesIO, cells: pd.Categorical, name: str, shown: str
) -> Iterator[str]:
    """Say that the last cell begins another one, stands nowhere else, and ends without a line."""
    seen = cells.value_counts().tolist()
    place = int(cells.codes[-1]) if len(cells) else -1
    if place < 0 or seen[place] > 1:
        return
    texts = [str(text).strip() for text in cells.categories]
    last = texts[place]
    longer = [t for t, n in zip(texts, seen, strict=False) if n > 1 and t.startswith(last)]
    if not last or not longer:
        return
    end = b""
    with uncompressed(file) as stream:
        while block := stream.read(SNIFFED):
            end = (end + block)[-2:]
    if not end.rstrip(b"\0").endswith((b"\n", b"\r")):
        yield (
            f"{shown} ends in the middle of a line, and its last cell, {last!r} of {name!r}, "
            f"stands in no other row and begins {longer[0]!r}: the file may be cut. If it is, "
            "leave the last row out."
        )


def _too_long(file: Path | BytesIO, dialect: Dialect, n_names: int, shown: str) -> str:
    """Say which line has more cells than the header; nothing where none has."""
    with uncompressed(file) as stream, _decoded(stream, dialect) as text:
        found = next(
            ((line, len(row)) for line, row in rows_of(text, dialect) if len(row) > n_names), None
        )
    if found is None:
        return ""
    return (
        f"cannot read {shown} as csv: expected {n_names} cells in a line, as in the header, found "
        f"{found[1]} in line {found[0]}; quote cells that hold the separator, and give every "
        "column, that of row names too, a name in the header"
    )


@runtime_checkable
class Columns(Protocol):
    """A table that knows the names of its columns."""

    @property
    def columns(self) -> list[Any]:
        """Names of the columns."""
        ...


def check_columns(table: Columns, names: Sequence[str]) -> None:
    """Refuse a table that lacks a variable.

    Raises:
        DataError: it lacks one.
    """
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


def needs_pyarrow(path: Path, error: ImportError) -> str:
    """What to say of a file that pyarrow alone can read or write."""
    return (
        f"parquet and arrow files need pyarrow, which cannot be imported ({error}) for "
        f"{str(path)!r}; install pyarrow, or use csv"
    )
