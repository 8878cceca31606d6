"""Tables as other libraries hold them: frames, or batches of Arrow that are read one by one.

No library is asked for: what an object can do says what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import narwhals.stable.v2 as nw
from narwhals.exceptions import DuplicateError

from pyromix.errors import DataError

ROWS_OF_A_BATCH = 2**16
"""Rows that are asked for at a time where there is a choice."""


def eager(data: Any) -> nw.DataFrame[Any]:
    """Return a table as an eager frame.

    Args:
        data: pandas or polars DataFrame, Arrow table, a lazy frame that narwhals can collect; an
            Arrow batch, reader, dataset or scanner, or whatever hands over Arrow batches; a
            Hugging Face Dataset, streamed or not.

    Raises:
        DataError: none of these, or two columns of one name.
    """
    try:
        frame = nw.from_native(_native(data))
    except DuplicateError as error:
        raise DataError(
            f"column names must be distinct: {' '.join(str(error).split())}; rename or drop one"
        ) from None
    except TypeError:
        raise DataError(
            "expected a pandas or polars DataFrame, an Arrow table or batches, or a path to csv, "
            f"parquet or arrow, found {type(data).__name__}{_hint(data)}"
        ) from None
    return frame.collect() if isinstance(frame, nw.LazyFrame) else frame


def _native(data: Any) -> Any:
    """What narwhals knows, of what it does not know."""
    if isinstance(data, type) or nw.dependencies.is_into_dataframe(data):
        return data
    if callable(getattr(data, "with_format", None)) and callable(getattr(data, "iter", None)):
        return _hugging_face(data)
    if hasattr(data, "scanner"):  # a dataset of pyarrow
        data = data.scanner()
    if hasattr(data, "to_reader") and hasattr(data, "projected_schema"):  # its scanner
        data = data.to_reader()
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        return _arrow(data)
    return data


def _arrow(data: Any) -> Any:
    """Whatever hands over Arrow batches, as one table; itself where they are no batches of one."""
    import pyarrow as pa

    try:
        return pa.table(data)
    except (pa.ArrowException, TypeError, ValueError):
        return data


def _hugging_face(data: Any) -> Any:
    """A Hugging Face Dataset as one Arrow table, class labels as their names."""
    import pyarrow as pa

    features = getattr(data, "features", None) or {}
    names = {n: f.names for n, f in features.items() if getattr(f, "names", None)}
    batches = list(data.with_format("arrow").iter(batch_size=ROWS_OF_A_BATCH))
    if not batches:
        return pa.table({name: [] for name in features})
    table = pa.concat_tables(batches)
    for name, labels in names.items():
        # a label of -1 is one that nobody gave
        numbers = table[name].to_pandas().where(lambda n: n >= 0)
        codes = pa.array(numbers, type=pa.int32(), from_pandas=True)
        column = pa.DictionaryArray.from_arrays(codes, pa.array(labels))
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def _hint(data: Any) -> str:
    """What to write instead, where an object says what it is."""
    if isinstance(data, type):
        return f", the class; make one of it, {data.__name__}(...)"
    if isinstance(data, Mapping):
        tables = [key for key, part in data.items() if hasattr(part, "column_names")]
        if tables:
            return f" of tables; pass one of them, data[{tables[0]!r}]"
        return "; pandas.DataFrame(data) makes a frame of a dictionary of columns"
    if hasattr(data, "to_frame"):
        return "; data.to_frame() makes a frame of it"
    if hasattr(data, "__array__"):
        return "; pandas.DataFrame(data, columns=[...]) makes a frame of an array, and names it"
    if isinstance(data, list | tuple | Iterator):
        return "; pandas.DataFrame(list(data)) makes a frame of a list of rows"
    return ""
