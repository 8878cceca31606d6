"""One column at a time: its distinct values, and which of them each row has."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from jaxtyping import Bool, Float, Integer

from pyromix.data.marks import NO_MARKS, Marks
from pyromix.data.repairs import Repair
from pyromix.errors import DataError

MAX_LEVELS = 2**16
"""More distinct values than this are not looked at one by one."""


@dataclass(frozen=True, eq=False)
class Levels:
    """A column as distinct values and numbers.

    Attributes:
        name: of the column.
        values: distinct values, some of them perhaps in no row.
        codes: per row 0 where the cell is missing, ``j + 1`` where it is ``values[j]``.
        fixed: the values are a list of states that came with the column (Categorical, Enum).
        text: the values are texts of a file without types.
        repairs: cells that were read differently.
        repeats: number of rows that each of these stands for; None where each is one.
    """

    name: str
    values: tuple[Hashable, ...]
    codes: Integer[np.ndarray, " rows"]
    fixed: bool
    text: bool
    repairs: tuple[Repair, ...] = ()
    repeats: Integer[np.ndarray, " rows"] | None = None

    def counts(self) -> Integer[np.ndarray, " levels"]:
        """Number of rows that are missing, then of every value."""
        found = np.bincount(self.codes, self.repeats, minlength=len(self.values) + 1)
        return found.astype(np.int64, copy=False)


def read_levels(name: str, series: nw.Series[Any], *, text: bool) -> Levels:
    """Find the distinct values of a column and which of them each row has.

    None, NaN and the missing values of pandas are missing, in every type of column.

    Args:
        name: of the column.
        series: the column, one cell or more.
        text: the column holds the texts of a file without types.

    Raises:
        DataError: the cells are lists or the like, or distinct in most rows.
    """
    dtype = series.dtype
    if dtype in (nw.Categorical, nw.Enum):
        values, codes, fixed = _category_levels(series)
        return Levels(name, values, codes, fixed=fixed and not text, text=text)
    if dtype.is_nested():
        raise DataError(
            f"column {name!r} must hold one state per row, found cells of type {dtype}; "
            "make a column of each part"
        )
    if dtype.is_integer() or dtype == nw.Boolean:
        values, codes = _integer_levels(name, *_filled(series))
    elif dtype.is_float():
        values, codes = _float_levels(name, series.to_numpy())
    else:
        values, codes = _label_levels(name, series)
    return Levels(name, values, codes, fixed=False, text=text)


def numbers_of(
    name: str, series: nw.Series[Any], marks: Marks = NO_MARKS
) -> Float[np.ndarray, " rows"]:
    """A column as float64, NaN where a cell is missing, blank or a mark.

    Raises:
        DataError: a cell is no number.
    """
    dtype = series.dtype
    try:
        if dtype in (nw.Categorical, nw.Enum):
            values, codes, _ = _category_levels(series)
            gap = [str(v).strip() == "" or marks.hit(name, v) for v in values]
            numbers = [np.nan if g else float(v) for v, g in zip(values, gap, strict=True)]  # type: ignore[arg-type]
            return np.array([np.nan, *numbers])[codes]
        if dtype.is_numeric() or dtype == nw.Boolean:
            values, missing = _filled(series.cast(nw.Float64))
            numbers = np.where(missing, np.nan, values)
            if marks:
                hits = [v for v in np.unique(numbers).tolist() if marks.hit(name, v)]
                numbers[np.isin(numbers, hits)] = np.nan
            return numbers
        if dtype == nw.Object:
            return np.array(series.to_list(), dtype=np.float64)
        raise ValueError(f"type {dtype}")
    except (TypeError, ValueError) as error:
        raise DataError(
            f"column {name!r} must hold numbers, found {error}; convert it, e.g. "
            f"data[{name!r}].astype(float)"
        ) from None


def _filled(
    series: nw.Series[Any],
) -> tuple[np.ndarray, Bool[np.ndarray, " rows"]]:
    """Numbers of a column with something harmless in its missing cells, and where those are."""
    if not series.null_count():
        return series.to_numpy(), np.zeros(len(series), dtype=bool)
    missing = series.is_null().to_numpy().astype(bool)
    fill = False if series.dtype == nw.Boolean else 0
    return series.fill_null(fill).to_numpy(), missing


def _integer_levels(
    name: str, values: np.ndarray, missing: Bool[np.ndarray, " rows"]
) -> tuple[tuple[Hashable, ...], np.ndarray]:
    if values.dtype == bool:
        codes, levels = values + np.int8(1), (False, True)
    else:
        low, high = values.min(), values.max()
        if int(high) - int(low) < MAX_LEVELS:
            # the difference is right modulo 2^32, whatever the type of the values
            codes = np.subtract(values, low, dtype=np.int32, casting="unsafe")
            codes += 1
            levels = tuple(range(int(low), int(high) + 1))
        else:
            distinct, codes = np.unique(values, return_inverse=True)
            levels, codes = tuple(_few(name, distinct.tolist())), codes + 1
    codes[missing] = 0
    return levels, codes


def _float_levels(name: str, values: np.ndarray) -> tuple[tuple[Hashable, ...], np.ndarray]:
    missing = np.isnan(values)
    filled = np.where(missing, 0, values)
    if (np.abs(filled) < 2**53).all() and (filled == np.floor(filled)).all():
        levels, codes = _integer_levels(name, filled.astype(np.int64), missing)
        return tuple(float(v) for v in levels), codes  # type: ignore[arg-type]
    distinct, codes = np.unique(filled, return_inverse=True)
    codes += 1
    codes[missing] = 0
    return tuple(_few(name, distinct.tolist())), codes


def _label_levels(name: str, series: nw.Series[Any]) -> tuple[tuple[Hashable, ...], np.ndarray]:
    """Levels of text, and of whatever a column of Python objects holds."""
    if series.implementation.is_pyarrow() and "view" in str(series.to_native().type):
        # Arrow cannot look up string views, which polars writes
        series = series.cast(nw.String)
    try:
        if series.implementation.is_pandas_like():
            codes, distinct = series.to_native().factorize()
            return tuple(plain(v) for v in _few(name, distinct.tolist())), codes + 1
        if series.dtype == nw.Object:
            raise TypeError("Python objects are not compared")
        distinct = series.unique()
    except TypeError as error:
        raise DataError(
            f"column {name!r} must hold one hashable state per row, found cells of type "
            f"{series.dtype}: {error}; convert it to text or Categorical"
        ) from None
    gaps = distinct.is_null().to_list()
    values = [v for v, gap in zip(distinct.to_list(), gaps, strict=True) if not gap]
    return tuple(plain(v) for v in _few(name, values)), _replaced(series, values)


def _category_levels(
    series: nw.Series[Any],
) -> tuple[tuple[Hashable, ...], np.ndarray, bool]:
    """Levels of a Categorical or Enum, and whether their order is the user's."""
    if series.implementation.is_pandas_like():
        native = series.to_native()
        codes = native.cat.codes.to_numpy()
        widened = codes.astype(np.promote_types(codes.dtype, np.int16)) + np.int8(1)
        return tuple(plain(v) for v in native.cat.categories.tolist()), widened, True
    if series.dtype == nw.Enum:
        categories = list(series.dtype.categories)  # type: ignore[attr-defined]
        return tuple(categories), _replaced(series, categories), True
    categories = series.cat.get_categories().to_list()
    # polars shares one pool of categories among all columns: their order is nobody's choice
    fixed = not series.implementation.is_polars()
    return tuple(plain(v) for v in categories), _replaced(series, categories), fixed


def _replaced(series: nw.Series[Any], values: list[Any]) -> np.ndarray:
    if not values:
        return np.zeros(len(series), dtype=np.int8)
    numbers = series.replace_strict(
        values, list(range(1, len(values) + 1)), default=0, return_dtype=nw.Int32
    )
    return numbers.to_numpy()


class TooManyValuesError(DataError):
    """A column has more distinct values than are looked at one by one."""


def _few(name: str, values: list[Any]) -> list[Any]:
    if len(values) > MAX_LEVELS:
        raise TooManyValuesError(
            f"column {name!r} must be discrete, found {len(values)} distinct values such as "
            f"{values[0]!r} and {values[1]!r}; bin them or leave the column out"
        )
    return values


def interval_as_text(value: Any) -> Any:
    """An interval of pandas, which no file can hold, as its text; anything else as it is."""
    kind = type(value)
    return str(value) if kind.__name__ == "Interval" and "pandas" in kind.__module__ else value


def plain(value: Any) -> Any:
    """A numpy scalar as the Python object it stands for; an interval of pandas as its text."""
    value = interval_as_text(value)
    return value.item() if isinstance(value, np.generic) else value
