"""Cells of files without types (csv): which state, or which Python value, a text stands for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from pyromix.errors import DataError

MISSING = -1
"""State number of a missing cell."""

UNKNOWN = -2
"""State number of a value that is no state."""

MISSING_TEXTS = frozenset(
    {"", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-nan", "NULL", "null", "None"}
)
"""Texts that stand for a missing cell, unless one of them is a declared state."""

_BOOLEANS = {text: text[0] in "tT" for word in ("True", "False") for text in (
    word, word.lower(), word.upper()
)}  # fmt: skip
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")

LONGEST_NUMBER = 1000
"""Characters from which a text spells no number: nobody's state, and Python refuses to read it."""


def parse(text: str) -> bool | int | float | str:
    """The boolean, integer or float a text spells; the text itself where it spells none.

    A leading zero makes a text, not a number: ``"007"`` is a label.
    """
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if len(text) > LONGEST_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and not re.match(r"[+-]?0[0-9]", text):
        return float(text)
    return text


def infer(texts: Iterable[str]) -> list[Hashable]:
    """Values of one column from its distinct texts, all of one type.

    Booleans if all are booleans, numbers if all are numbers, else the texts as they stand.
    """
    texts = list(texts)
    values = [parse(text) for text in texts]
    if all(isinstance(value, bool) for value in values):
        return list(values)
    if any(isinstance(value, bool | str) for value in values):
        return list(texts)
    return list(values)


def match(name: str, texts: Sequence[str], states: Sequence[Hashable]) -> list[int]:
    """State numbers of the distinct texts of a column.

    A text is the state that is written like it, else the one state of equal value
    (``"1.0"`` and 1), else missing if it is one of ``MISSING_TEXTS``, else the state that is
    written like it but for the blanks around it.

    Args:
        name: of the column, for messages.
        texts: distinct cells.
        states: the declared states.

    Returns:
        Per text a state number, ``MISSING`` or ``UNKNOWN``.

    Raises:
        DataError: two states are written alike, so that the file cannot tell them apart.
    """
    written: dict[str, int] = {}
    for i, state in enumerate(states):
        if (text := str(state)) in written:
            other = states[written[text]]
            raise DataError(
                f"column {name!r} comes from a file of texts, which cannot tell the states "
                f"{other!r} and {state!r} apart; rename one, or pass a data frame"
            )
        written[text] = i
    valued: dict[Hashable, list[int]] = {}
    for text, i in written.items():
        valued.setdefault(parse(text), []).append(i)

    bare = without_blanks(list(written))

    def number(text: str) -> int:
        if text in written:
            return written[text]
        if len(equal := valued.get(parse(text), [])) == 1:
            return equal[0]
        return MISSING if text in MISSING_TEXTS else bare.get(text, UNKNOWN)

    return [number(text) for text in texts]


def without_blanks(states: Sequence[Hashable]) -> dict[Hashable, int]:
    """Numbers of the states that blanks surround, by their text without; of no two that agree."""
    bare: dict[Hashable, list[int]] = {}
    for i, state in enumerate(states):
        if isinstance(state, str) and state.strip():
            bare.setdefault(state.strip(), []).append(i)
    return {text: numbers[0] for text, numbers in bare.items() if len(numbers) == 1}


def header(names: Sequence[str], shown: str) -> list[str]:
    """Column names of a file of texts, without the blanks around them.

    Raises:
        DataError: two are alike; pandas would change one.
    """
    names = [name.strip() or f"Unnamed: {i}" for i, name in enumerate(names)]
    if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
        listed = f"{repeated[:5]}{' and more' if len(repeated) > 5 else ''}"
        raise DataError(
            f"column names must be distinct, found {listed} more than once in {shown}; rename "
            "or drop one"
        )
    return names
