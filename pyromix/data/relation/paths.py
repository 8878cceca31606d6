"""Files as a relation: globs, folders, and single files that are better not read into memory."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyromix.data.dialect import SNIFF, SNIFFED, Dialect, in_words, rows_of, sniffed
from pyromix.data.reading import COMPRESSED, CSV, PARQUET, uncompressed
from pyromix.data.relation.engines import engine_of_query
from pyromix.data.relation.sql import quoted
from pyromix.data.relation.table import RelationTable
from pyromix.data.text import header
from pyromix.errors import DataError, FileError

if TYPE_CHECKING:
    import pyarrow as pa

LARGE = {"parquet": 2**28, "csv": 2**30}
"""Bytes of a file from which its engine reads it: Parquet is packed, and a cell of text is not."""

KINDS = {**dict.fromkeys(PARQUET, "parquet"), **dict.fromkeys(CSV, "csv")}


def relation_of_path(path: str | os.PathLike[str], asked: Dialect = SNIFF) -> RelationTable | None:
    """A glob, a folder of Parquet or CSV files, or a large file, as a relation; None for others.

    Args:
        path: perhaps with ``*``, ``?``, ``[..]`` or ``**``.
        asked: how files of texts are written; what it leaves open is sniffed.

    Raises:
        FileError: a glob or folder without such files, files of two kinds, or unreadable ones.
        DataError: files differ in the names or kinds of their columns, or DuckDB is not installed.
    """
    text = os.fspath(path)
    files = _files(text)
    if files is None:
        return None
    kinds = {_kind(file) for file in files}
    if len(kinds) > 1:
        raise FileError(
            f"expected files of one kind, found {sorted(map(str, kinds))} in {text!r}; name one "
            "kind, e.g. by *.parquet"
        )
    (kind,) = kinds
    return _parquet(files, text) if kind == "parquet" else _csv(files, text, asked)


def _files(text: str) -> list[Path] | None:
    """The files that a path means; None where that is one file to be read into memory."""
    path = Path(text)
    if path.is_file():
        size = LARGE.get(_kind(path) or "")
        large = size is not None and path.stat().st_size >= size
        return [path] if large and find_spec("duckdb") else None
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.is_file() and _kind(p)]
        return found or None
    if not glob.has_magic(text):
        return None
    found = sorted(Path(p) for p in glob.glob(text, recursive=True) if Path(p).is_file())
    if not found:
        raise FileError(
            f"expected files that match {text!r}, found none; the working folder is {Path.cwd()}"
        )
    if strange := [str(p) for p in found if not _kind(p)]:
        raise FileError(
            f"expected files that end in one of {list(KINDS)}, found {strange[:3]} among those "
            f"that match {text!r}"
        )
    return found


def _kind(path: Path) -> str | None:
    endings = [suffix.lower() for suffix in path.suffixes]
    if endings and endings[-1] in COMPRESSED:
        endings.pop()
    return KINDS.get(endings[-1]) if endings else None


# -- parquet -------------------------------------------------------------------------------------


def _parquet(files: Sequence[Path], text: str) -> RelationTable:
    import pyarrow as pa
    from pyarrow import parquet

    first: pa.Schema | None = None
    for file in files:
        try:
            schema = parquet.read_schema(file)
        except (OSError, pa.ArrowException) as error:
            raise FileError(f"cannot read {str(file)!r} as parquet: {error}") from None
        if first is None:
            first = schema
        _check_alike(str(files[0]), first, str(file), schema)
    enums = _categories(files[0], first) if first is not None else {}
    engine = engine_of_query(f"SELECT * FROM read_parquet({_listed(files)}, union_by_name = true)")
    return RelationTable.of(engine, where=text, enums=enums)


def _check_alike(one: str, expected: pa.Schema, other: str, found: pa.Schema) -> None:
    """Refuse two files whose columns have other names or kinds.

    Raises:
        DataError: names the first column that differs.
    """
    if missing := [n for n in expected.names if n not in found.names]:
        raise DataError(f"expected the columns of {one!r} in every file, {other!r} lacks {missing}")
    if more := [n for n in found.names if n not in expected.names]:
        raise DataError(f"expected the columns of {one!r} in every file, {other!r} has {more} too")
    for name in expected.names:
        here, there = expected.field(name).type, found.field(name).type
        if _kind_of(here) != _kind_of(there):
            raise DataError(
                f"column {name!r} must have one type in all files, found {here} in {one!r} and "
                f"{there} in {other!r}; write the files alike, or cast the column in a query"
            )


def _kind_of(kind: pa.DataType) -> str:
    """What a type holds, whatever its width: whole numbers and floats are both numbers."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_integer(kind) or types.is_floating(kind):
        return "number"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    return str(kind)


def _categories(file: Path, schema: pa.Schema) -> dict[str, tuple[Any, ...]]:
    """Lists of states that columns of a file came with: those of a Categorical or an Enum."""
    from pyarrow import parquet, types

    names = [field.name for field in schema if types.is_dictionary(field.type)]
    if not names:
        return {}
    opened = parquet.ParquetFile(file)
    if not opened.metadata.num_row_groups:
        return {}
    table = opened.read_row_group(0, columns=names)
    lists: dict[str, tuple[Any, ...]] = {}
    for name in names:
        column = table.column(name).unify_dictionaries()
        if column.num_chunks:
            lists[name] = tuple(column.chunk(0).dictionary.to_pylist())
    return lists


# -- texts ---------------------------------------------------------------------------------------


def _csv(files: Sequence[Path], text: str, asked: Dialect) -> RelationTable:
    """Files of texts, whose cells stay texts until the states of a model say what they mean."""
    ending = next(s for s in reversed([s.lower() for s in files[0].suffixes]) if s in CSV)
    dialect, names = _head(files[0], ending, asked)
    for file in files[1:]:
        other, found = _head(file, ending, asked)
        if found != names or other.separator != dialect.separator:
            raise DataError(
                f"expected the header of {str(files[0])!r} in every file, {names[:12]}, found "
                f"{found[:12]} in {str(file)!r}"
            )
    columns = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in names)
    engine = engine_of_query(
        f"SELECT * FROM read_csv({_listed(files)}, auto_detect = false, header = true, "
        f"delim = {quoted(dialect.separator)}, quote = '\"', escape = '\"', nullstr = '', "
        f"columns = {{{columns}}})"
    )
    said = in_words(dialect, asked, ending, repr(text))
    return replace(
        RelationTable.of(engine, where=text),
        text=True,
        said=tuple(said),
        decimal_commas=dialect.decimal == "," or (not asked.decimal and dialect.separator != ","),
    )


def _head(file: Path, ending: str, asked: Dialect) -> tuple[Dialect, list[str]]:
    """How a file of texts is written, and the names in its header."""
    try:
        with uncompressed(file) as stream:
            head = stream.read(SNIFFED)
    except OSError as error:
        raise FileError(f"cannot read {str(file)!r} as csv: {error}") from None
    dialect = sniffed(head, ending, asked)
    if dialect.encoding not in ("utf-8", "utf-8-sig") or dialect.separator == " ":
        raise FileError(
            f"expected UTF-8 with one sign between cells in {str(file)!r}, which is too large for "
            f"memory or one of several; found {dialect.encoding} and {dialect.separator!r}; write "
            "it as UTF-8 with commas, or as parquet"
        )
    first = next(_rows(head.decode(dialect.encoding, "replace"), dialect), None)
    if first is None:
        raise DataError(f"expected a csv with a header line, found nothing in {str(file)!r}")
    return dialect, header(first, repr(str(file)))


def _rows(text: str, dialect: Dialect) -> Iterator[list[str]]:
    yield from (row for _, row in rows_of(text.splitlines(keepends=True), dialect))


def _listed(files: Sequence[Path]) -> str:
    return f"[{', '.join(quoted(str(file)) for file in files)}]"
