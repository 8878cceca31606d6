"""States that are ranges of numbers, such as ``<50``, ``50-59``, ``60+``: in their order."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable

_NUMBER = r"[+-]?(?:\d+(?:,\d{3})+|\d+)(?:\.\d+)?"
_PATTERNS = tuple(
    (re.compile(pattern.replace("N", f"({_NUMBER})"), re.IGNORECASE), ends)
    for pattern, ends in (
        (r"N", "at"),
        (r"N\s*(?:-|\u2013|\u2014|\.\.|to)\s*N", "both"),
        (r"[\[(]\s*N\s*[,;]\s*N\s*[\])]", "both"),
        (r"(?:<|under|below|less than)\s*N", "below"),
        (r"(?:<=|\u2264|up to|at most)\s*N", "at most"),
        (r"(?:>|over|above|more than)\s*N", "above"),
        (r"(?:>=|\u2265|at least)\s*N", "at least"),
        (r"N\s*(?:\+|or more|and over|and above|and older|plus)", "at least"),
        (r"N\s*(?:or less|and under|or fewer|and younger)", "at most"),
    )
)


def sorted_ranges(states: Iterable[Hashable]) -> list[str] | None:
    """Texts that are all ranges or numbers, by their lower ends, then by their upper ones.

    ``"9-12"`` comes after ``"5-8"``, and ``"<50"`` before ``"50-59"``, as no alphabet has them.

    Args:
        states: distinct values.

    Returns:
        The texts in order; None where one is no range, two are the same, or all are plain numbers.
    """
    places: dict[tuple[float, float], str] = {}
    n_states = n_ranges = 0
    for state in states:
        if not isinstance(state, str) or (place := _place(state)) is None:
            return None
        n_states += 1
        n_ranges += place[0] != place[1]
        places[place] = state
    if len(places) < n_states or not n_ranges:
        return None
    return [places[place] for place in sorted(places)]


def _place(text: str) -> tuple[float, float] | None:
    """Lower and upper end of a range; None where a text is none."""
    for pattern, ends in _PATTERNS:
        if found := pattern.fullmatch(text.strip()):
            numbers = [float(number.replace(",", "")) for number in found.groups()]
            low, high = numbers[0], numbers[-1]
            if ends in ("below", "at most"):
                return -math.inf, math.nextafter(high, -math.inf) if ends == "below" else high
            if ends in ("above", "at least"):
                return math.nextafter(low, math.inf) if ends == "above" else low, math.inf
            return (low, high) if low <= high else None
    return None
