"""What looks odd in a column: states that look like codes, and columns that look like no variable.

Nothing here changes a cell. A column whose states were declared is above suspicion.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from pyromix.data.levels import Levels
from pyromix.data.repairs import cells_named, columns_named
from pyromix.data.text import MISSING_TEXTS, parse

COUNT_NAMES = frozenset(
    {"count", "counts", "n", "freq", "freqs", "frequency", "weight", "weights", "wt", "wgt"}
)
"""Names of columns that are likely to be weights, in small letters."""

ROW_NAMES = frozenset(
    {"id", "ids", "_id", "index", "idx", "row", "row_id", "rowid", "rowname", "rownames"}
    | {"row_names", "row_number", "uuid", "guid", "key", "case_id", "caseid", "subject_id"}
)
"""Names of columns that are likely to number rows, in small letters."""

UNNAMED = re.compile(r"(unnamed: ?\d+(_level_\d+)?|__index_level_\d+__)?")
"""Names that a reader gives to columns without any."""

MARK_TEXTS = frozenset({"?", "??", ".", "..", "-", "--", "---", "*", "#", "\N{EN DASH}"})
"""Texts that nobody takes for an answer."""

NOT_AVAILABLE = frozenset(text.casefold() for text in MISSING_TEXTS - {"", "None"}) | {
    "n.a.", "n.a", "missing", "#value!", "#div/0!", "#ref!", "nat", "nil"
}  # fmt: skip
"""Texts that say a value is not there, in small letters; "none" can be an answer, "None" hardly."""

MANY_NUMBERS = 30
"""More distinct numbers than this in a column are spoken of: each is a state of its own."""

FEW_VALUES = 12
"""No more distinct values than this are ever about as many as rows."""

ROWS_PER_VALUE = 3
"""With fewer rows than this for each distinct value, a column has about as many values as rows."""

FAR = 10
"""A number this many times the span of the others away from them is far out of their run."""


class Oddity(NamedTuple):
    """A state that looks like something else.

    Attributes:
        column: its variable.
        what: the sentence's middle, the same for all columns of which it is true.
        state: the state; the mark that the sentence is about.
        n_cells: cells that hold it.
    """

    column: str
    what: str
    state: Hashable
    n_cells: int


def odd_states(levels: Levels, states: Sequence[Hashable]) -> list[Oddity]:
    """States that look like codes for a missing cell.

    Texts such as ``?`` or ``n/a``; numbers apart from the others that are written as codes are
    (-9, 99), or lie far out of their run.

    Args:
        levels: the column.
        states: read off it.
    """
    counts = _cells(levels)
    numbers = {state: parse(state) if isinstance(state, str) else state for state in states}
    integers = [v for v in numbers.values() if isinstance(v, int) and not isinstance(v, bool)]
    texts = [state for state, v in numbers.items() if isinstance(v, str)]
    odd: list[Hashable] = [text for text in texts if _looks_missing(str(text))]
    if len(texts) == len(odd):  # the others are numbers
        codes = set(lone_codes(integers))
        odd += [state for state, v in numbers.items() if isinstance(v, int) and v in codes]
    return [
        Oddity(str(levels.name), "looks like a code for a missing cell", state, counts[str(state)])
        for state in odd
        if counts[str(state)]
    ]


def lone_codes(values: Iterable[int]) -> list[int]:
    """Numbers of a column that lie apart from the others, as codes for missing cells do.

    Those at either end, apart from the rest by more than the steps within it, which are negative
    or made of the digits 7, 8, 9; and single ones far out of the run. Of at least three numbers.

    Args:
        values: distinct whole numbers.
    """
    rest = sorted(set(values))
    if len(rest) < 3 or rest == sorted(-v for v in rest):
        return []
    found: list[int] = []
    for end in (-1, 0):
        if run := _apart(rest, end):
            found += run
            rest = [v for v in rest if v not in run]
    return sorted(found)


def alike(states: Sequence[Hashable]) -> list[list[str]]:
    """Groups of states that differ by case or blanks only."""
    groups: dict[str, list[str]] = {}
    for state in states:
        if isinstance(state, str):
            groups.setdefault("".join(state.casefold().split()), []).append(state)
    return [group for group in groups.values() if len(group) > 1]


def suspicions(columns: Mapping[str, tuple[Levels, Sequence[Hashable]]]) -> list[str]:
    """Sentences on columns whose states were read off the table.

    Args:
        columns: per variable its column, and its states.
    """
    odd: dict[Hashable, list[Oddity]] = {}
    for levels, states in columns.values():
        for oddity in odd_states(levels, states):
            odd.setdefault((type(oddity.state), oddity.state), []).append(oddity)
    said = []
    for group in odd.values():
        mark = group[0].state
        cells = cells_named(sum(oddity.n_cells for oddity in group))
        said.append(
            f"{mark!r} in {cells} of {columns_named(oddity.column for oddity in group)} "
            f"{group[0].what}, and was taken as a state; missing_values=[{mark!r}] reads it as "
            "missing."
        )
    for name, (levels, states) in columns.items():
        counts = _cells(levels)
        for group in alike(states):
            listed = " and ".join(f"{state!r} ({cells_named(counts[state])})" for state in group)
            said.append(
                f"states {listed} of column {name!r} differ by case or blanks only, and were taken "
                "as different states; write them alike if they are one."
            )
    for name, (levels, states) in columns.items():
        if not levels.fixed and len(states) > MANY_NUMBERS and _whole(states):
            said.append(
                f"column {name!r} has {len(states)} distinct numbers, from {states[0]} to "
                f"{states[-1]}, and each was taken as a state of its own; group them if it is a "
                "quantity."
            )
    return said


def no_variable(levels: Levels, *, weighted: bool) -> str:
    """Why a column that no model names is hardly a variable; empty where it may be one.

    Args:
        levels: the column.
        weighted: rows have weights, so that each may stand for many.
    """
    counts = levels.counts()
    n_rows, n_values = int(counts[1:].sum()), int((counts[1:] > 0).sum())
    name = str(levels.name).strip().casefold()
    if not n_values:
        return "it has no value"
    if n_values == 1:
        return "it is constant"
    numeric = all(
        not isinstance(parse(v) if isinstance(v, str) else v, str)
        for v, n in zip(levels.values, counts[1:], strict=True)
        if n
    )
    if name in COUNT_NAMES and numeric and n_values > 2:
        return (
            "it is called like a count of rows; if it says how many units a row stands for, pass "
            f"sample_weight={levels.name!r}"
        )
    if UNNAMED.fullmatch(name) and n_values > 2:
        return "it has no name, as row numbers have none"
    if name in ROW_NAMES and n_values > 2:
        return "it is called like a name of rows"
    if n_values > FEW_VALUES and n_rows < (1 if weighted else ROWS_PER_VALUE) * n_values + weighted:
        return f"it has about as many values as rows, {n_values} in {n_rows}"
    return ""


def _looks_missing(text: str) -> bool:
    text = text.strip()
    return not text or text in MARK_TEXTS or text == "None" or text.casefold() in NOT_AVAILABLE


def _cells(levels: Levels) -> Counter[str]:
    """Cells per state, by its text: 1.0 and 1 are one state."""
    cells: Counter[str] = Counter()
    for value, n in zip(levels.values, levels.counts()[1:].tolist(), strict=True):
        cells[str(int(value) if isinstance(value, float) and value.is_integer() else value)] += n
    return cells


def _apart(rest: list[int], end: int) -> list[int]:
    """Numbers at one end, 0 or -1, that lie apart from the others and look like codes."""
    ordered = rest[::-1] if end else rest
    for size in range(min(len(ordered) - 2, 4), 0, -1):
        run, others = ordered[:size], sorted(ordered[size:])
        gap = abs(run[-1] - others[end])
        steps = sorted(b - a for a, b in pairwise(others))
        lone = size == 1 and gap > FAR * (others[-1] - others[0])
        coded = all(_like_code(v, others) for v in run) and gap > steps[len(steps) // 2]
        if lone or coded:
            return run
    return []


def _like_code(value: int, others: Sequence[int]) -> bool:
    """Whether a number is written as codes are: -9, 99, 888, 97; not among negative others."""
    if value < 0:
        return others[0] >= 0
    return re.fullmatch(r"9*[789]|8+|7+", str(value)) is not None


def _whole(states: Sequence[Hashable]) -> bool:
    return all(isinstance(state, int) and not isinstance(state, bool) for state in states)
