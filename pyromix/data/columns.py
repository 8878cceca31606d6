"""One column at a time: the states that its values are, and why a value is none."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from datetime import date, time, timedelta
from typing import Any

import numpy as np
from jaxtyping import Integer

from pyromix.data import text as texts
from pyromix.data.levels import Levels, plain
from pyromix.data.ranges import sorted_ranges
from pyromix.data.repairs import Repair
from pyromix.data.text import MISSING, UNKNOWN
from pyromix.errors import DataError
from pyromix.model.schema import near_matches

MAX_STATES = 1000
"""More distinct values than this in a column without declared states: it is not discrete."""


def observed(levels: Levels) -> tuple[Hashable, ...]:
    """States of a variable whose model declares none: those of its column.

    The list of a Categorical or an Enum as it stands, unused levels included; otherwise the sorted
    distinct values (False before True; texts that are ranges, such as ``<50`` and ``50-59``, by
    their ends; values of mixed types by their text). Whole floats, which is
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
        states = [plain(value) for value in levels.values]
    else:
        _check_not_time(name, seen)
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


def _check_not_time(name: str, seen: Sequence[Hashable]) -> None:
    """Refuse a column of points or spans of time.

    Raises:
        DataError: it is one.
    """
    for kinds, what, advice in (
        (("Period",), "periods of time", "text, data[{0!r}] = data[{0!r}].astype(str)"),
        ((timedelta,), "spans of time", "whole units in a few groups, as text or Categorical"),
        ((date, time), "points in time", "years, months or groups of them, as text or Categorical"),
    ):
        example = [
            v
            for v in seen
            if any(type(v).__name__ == k if isinstance(k, str) else isinstance(v, k) for k in kinds)
        ]
        if example:
            raise DataError(
                f"column {name!r} must be discrete, found {what} such as {example[0]}; make them "
                f"{advice.format(name)}, or leave the column out"
            )


def state_numbers(
    levels: Levels, states: Sequence[Hashable]
) -> tuple[Integer[np.ndarray, " levels"], list[Repair]]:
    """State number of every level, and what is to be said of cells that were read differently.

    A value is the state that Python holds equal to it, so 1, 1.0 and True are one state; that a
    column has another type than its states is reported. Text is never read as a number, nor a
    number as text (files without types apart, see ``text.match``). Where no state is written so, a
    text is the one that is written so but for the blanks around it.

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
        known = {**texts.without_blanks(states), **{state: i for i, state in enumerate(states)}}
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


def _whole(value: Hashable) -> Hashable:
    return int(value) if isinstance(value, float) else value


def _sorted(values: set[Hashable]) -> list[Hashable]:
    if (ranges := sorted_ranges(values)) is not None:
        return list(ranges)
    try:
        return sorted(values)  # type: ignore[type-var]
    except TypeError:
        return sorted(values, key=lambda v: (str(v), type(v).__name__))


def _kind(value: Any) -> str:
    value = plain(value)
    for kind, name in ((bool, "booleans"), (int, "integers"), (float, "floats"), (str, "text")):
        if isinstance(value, kind):
            return name
    return "objects"


def _type_repairs(
    name: str, read: list[tuple[Hashable, int, int]], states: Sequence[Hashable]
) -> list[Repair]:
    """What is to be said of values equal to a state of another type."""
    found: dict[tuple[str, str], list[str]] = {}
    for value, number, _ in read:
        kinds = (_kind(value), _kind(states[number]))
        if kinds[0] != kinds[1]:
            found.setdefault(kinds, []).append(f"{value!r} as {states[number]!r}")
    return [
        Repair(
            name,
            f"{{columns}} {{hold}} {given}, {{their}} states are {wanted}: read {{examples}}.",
            examples=tuple(pairs),
        )
        for (given, wanted), pairs in found.items()
    ]


def _text_repairs(
    name: str, read: list[tuple[Hashable, int, int]], states: Sequence[Hashable]
) -> list[Repair]:
    """What is to be said of texts read as another text's state, or as missing."""
    repairs = []
    for value, number, n in read:
        shown = repr(value).replace("{", "{{").replace("}", "}}")
        if number == MISSING and value != "":
            repairs.append(Repair(name, f"{{columns}}: {{cells}} {shown} read as missing.", n))
        elif number >= 0 and str(states[number]) != value:
            pattern = (
                "{columns} {hold} texts written otherwise than {their} states: read {examples}."
            )
            example = f"{value!r} as {states[number]!r}"
            repairs.append(Repair(name, pattern, examples=(example,)))
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
    kinds = {_kind(state) for state in states}
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
    return (
        f"{message}. Correct the cells, read them as missing (missing_values=[{value!r}]), or add "
        "the state (state_names)."
    )
