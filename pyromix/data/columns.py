"""One column at a time: its distinct values, the states they are, and why a value is none."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from jaxtyping import Bool, Float, Integer

from pyromix.data import text as texts
from pyromix.data.text import MISSING, UNKNOWN
from pyromix.errors import DataError
from pyromix.model.schema import near_matches

MAX_STATES = 1000
"""More distinct values than this in a column without declared states: it is not discrete."""

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
    """

    name: str
    values: tuple[Hashable, ...]
    codes: Integer[np.ndarray, " rows"]
    fixed: bool
    text: bool

    def counts(self) -> Integer[np.ndarray, " levels"]:
        """Number of rows that are missing, then of every value."""
        return np.bincount(self.codes, minlength=len(self.values) + 1)


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


def observed(levels: Levels) -> tuple[Hashable, ...]:
    """States of a variable whose model declares none: those of its column.

    The list of a Categorical or an Enum as it stands, unused levels included; otherwise the sorted
    distinct values (False before True; values of mixed types by their text). Whole floats, which is
    what pandas makes of an integer column with missing cells, are integers.

    Raises:
        DataError: the column is empty, constant, continuous, or a point in time.
    """
    name, counts = levels.name, levels.counts()
    seen = [value for value, n in zip(levels.values, counts[1:], strict=True) if n]
    if levels.text:
        seen = texts.infer([str(v) for v in seen if v not in texts.MISSING_TEXTS])
    if not seen:
        raise DataError(
            f"column {name!r} has no value: all {int(counts.sum())} cells are missing; leave the "
            "variable out, or fill the column"
        )
    if levels.fixed:
        states = [_plain(value) for value in levels.values]
    else:
        if example := [v for v in seen if isinstance(v, date | time | timedelta)]:
            raise DataError(
                f"column {name!r} must be discrete, found points in time such as {example[0]}; "
                "bin them, or make the column Categorical"
            )
        numbers = [v for v in seen if isinstance(v, float)]
        if broken := [v for v in numbers if not v.is_integer()]:
            raise DataError(
                f"column {name!r} must be discrete, found {len(seen)} distinct values with "
                f"fractions such as {broken[0]:.6g}; bin them (pandas.cut), make the column "
                "Categorical, or declare its states (state_names)"
            )
        states = _sorted({_whole(value) for value in seen})
    if len(states) > MAX_STATES:
        raise DataError(
            f"column {name!r} must be discrete, found {len(states)} distinct values, more than "
            f"{MAX_STATES}; bin them, or declare its states (state_names)"
        )
    if len(states) < 2:
        raise DataError(
            f"column {name!r} must have at least two states, found only {states[0]!r} in "
            f"{int(counts[1:].sum())} rows; a constant carries no information: leave the variable "
            "out, or declare its states (state_names)"
        )
    return tuple(states)


def state_numbers(
    levels: Levels, states: Sequence[Hashable]
) -> tuple[Integer[np.ndarray, " levels"], list[str]]:
    """State number of every level, and sentences about cells that were read differently.

    A value is the state that Python holds equal to it, so 1, 1.0 and True are one state; that a
    column has another type than its states is reported. Text is never read as a number, nor a
    number as text (files without types apart, see ``text.match``).

    Args:
        levels: the column.
        states: declared states.

    Returns:
        ``(len(values) + 1,)`` numbers, the first ``-1`` for missing cells, to be indexed by
        ``levels.codes``; and repairs.

    Raises:
        DataError: a value in some row is not among the states.
    """
    if levels.text:
        numbers = texts.match(levels.name, [str(v) for v in levels.values], states)
    else:
        known = {state: i for i, state in enumerate(states)}
        numbers = [known.get(value, UNKNOWN) for value in levels.values]
    lookup = np.array([MISSING, *numbers])
    if not levels.text and all(
        number != UNKNOWN and _kind(value) == _kind(states[number])
        for value, number in zip(levels.values, numbers, strict=True)
    ):
        return lookup, []
    read = [
        (value, number, int(n))
        for value, number, n in zip(levels.values, numbers, levels.counts()[1:], strict=True)
        if n
    ]
    if unknown := {value: n for value, number, n in read if number == UNKNOWN}:
        raise DataError(_unknown_values(levels, unknown, states))
    repairs = _text_repairs if levels.text else _type_repairs
    return lookup, repairs(levels.name, read, states)


def numbers_of(name: str, series: nw.Series[Any]) -> Float[np.ndarray, " rows"]:
    """A column as float64, NaN where a cell is missing.

    Raises:
        DataError: a cell is no number.
    """
    dtype = series.dtype
    try:
        if dtype in (nw.Categorical, nw.Enum):
            values, codes, _ = _category_levels(series)
            numbers = [np.nan if v == "" else float(v) for v in values]  # type: ignore[arg-type]
            return np.array([np.nan, *numbers])[codes]
        if dtype.is_numeric() or dtype == nw.Boolean:
            values, missing = _filled(series.cast(nw.Float64))
            return np.where(missing, np.nan, values)
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
            return tuple(_plain(v) for v in _few(name, distinct.tolist())), codes + 1
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
    return tuple(_plain(v) for v in _few(name, values)), _replaced(series, values)


def _category_levels(
    series: nw.Series[Any],
) -> tuple[tuple[Hashable, ...], np.ndarray, bool]:
    """Levels of a Categorical or Enum, and whether their order is the user's."""
    if series.implementation.is_pandas_like():
        native = series.to_native()
        codes = native.cat.codes.to_numpy()
        widened = codes.astype(np.promote_types(codes.dtype, np.int16)) + np.int8(1)
        return tuple(_plain(v) for v in native.cat.categories.tolist()), widened, True
    if series.dtype == nw.Enum:
        categories = list(series.dtype.categories)  # type: ignore[attr-defined]
        return tuple(categories), _replaced(series, categories), True
    categories = series.cat.get_categories().to_list()
    # polars shares one pool of categories among all columns: their order is nobody's choice
    fixed = not series.implementation.is_polars()
    return tuple(_plain(v) for v in categories), _replaced(series, categories), fixed


def _replaced(series: nw.Series[Any], values: list[Any]) -> np.ndarray:
    if not values:
        return np.zeros(len(series), dtype=np.int8)
    numbers = series.replace_strict(
        values, list(range(1, len(values) + 1)), default=0, return_dtype=nw.Int32
    )
    return numbers.to_numpy()


def _few(name: str, values: list[Any]) -> list[Any]:
    if len(values) > MAX_LEVELS:
        raise DataError(
            f"column {name!r} must be discrete, found {len(values)} distinct values such as "
            f"{values[0]!r} and {values[1]!r}; bin them or leave the column out"
        )
    return values


def _plain(value: Any) -> Any:
    """A numpy scalar as the Python object it stands for."""
    return value.item() if isinstance(value, np.generic) else value


def _whole(value: Hashable) -> Hashable:
    return int(value) if isinstance(value, float) else value


def _sorted(values: set[Hashable]) -> list[Hashable]:
    try:
        return sorted(values)  # type: ignore[type-var]
    except TypeError:
        return sorted(values, key=lambda v: (str(v), type(v).__name__))


def _kind(value: Any) -> str:
    value = _plain(value)
    for kind, name in ((bool, "booleans"), (int, "integers"), (float, "floats"), (str, "text")):
        if isinstance(value, kind):
            return name
    return "objects"


def _type_repairs(
    name: str, read: list[tuple[Hashable, int, int]], states: Sequence[Hashable]
) -> list[str]:
    """Sentences about values equal to a state of another type."""
    found: dict[tuple[str, str], list[str]] = {}
    for value, number, _ in read:
        kinds = (_kind(value), _kind(states[number]))
        if kinds[0] != kinds[1]:
            found.setdefault(kinds, []).append(f"{value!r} as {states[number]!r}")
    return [
        f"column {name!r} holds {given}, its states are {wanted}: read {', '.join(pairs[:4])}"
        f"{', ...' if len(pairs) > 4 else ''}."
        for (given, wanted), pairs in found.items()
    ]


def _text_repairs(
    name: str, read: list[tuple[Hashable, int, int]], states: Sequence[Hashable]
) -> list[str]:
    """Sentences about texts read as another text's state, or as missing."""
    repairs = []
    for value, number, n in read:
        if number == MISSING and value != "":
            repairs.append(f"column {name!r}: {n} cells {value!r} read as missing.")
        elif number >= 0 and str(states[number]) != value:
            repairs.append(
                f"column {name!r}: {n} cells {value!r} read as state {states[number]!r}."
            )
    return repairs


def _unknown_values(
    levels: Levels, unknown: dict[Hashable, int], states: Sequence[Hashable]
) -> str:
    """Message about values that are no states, with a guess at the reason."""
    name = levels.name
    shown = ", ".join(f"{value!r} ({n} rows)" for value, n in list(unknown.items())[:5])
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    plural = "values" if len(unknown) > 1 else "value"
    message = (
        f"column {name!r} has {plural} {shown}{more}, not among the declared states {list(states)}"
    )
    value = next(iter(unknown))
    known, kinds = set(states), {_kind(state) for state in states}
    if isinstance(value, str) and value.strip() in known:
        return f"{message}. Leading or trailing space? Strip it or add the state."
    if kinds == {"text"} and not isinstance(value, str):
        return (
            f"{message}. The states are text, the data are {_kind(value)}: pass "
            f"data[{name!r}].astype(str), or declare the states as {_kind(value)} (state_names)."
        )
    if "text" not in kinds and isinstance(value, str) and not levels.text:
        return (
            f"{message}. The data are text, the states are {' and '.join(sorted(kinds))}: convert "
            f"the column, or declare the states as text (state_names)."
        )
    if guess := near_matches(value, states):
        return f"{message}{guess}. Correct the cells or add the state."
    return f"{message}. Correct the cells, mark them missing, or add the state (state_names)."
