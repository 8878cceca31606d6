"""Choices that rounding cannot turn: what differs by less than a tolerance is equal.

Sums and decompositions come out a few units in the last place apart on other processors, other
numbers of threads, other versions of LAPACK. The largest of two numbers that are equal but for
that is another one there. So whoever chooses says from which difference on it counts, and the
first of equals is taken: candidates stand in an order that means something, such as that of
vertices, of states, or of starts.

Numbers are grouped by the gaps between neighbours, not by rounding each: a rounded number has an
edge of its own, on either side of which equals may fall.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

ROUNDING = 1e-9
"""Relative difference from which numbers of well-conditioned sums differ by more than rounding."""


def first_largest(
    values: Iterable[float], within: float = 0.0, *, relative: float = ROUNDING
) -> int:
    """Place of the first value that no other exceeds by more than the tolerance.

    Args:
        values: at least one; nan is less than everything.
        within: difference up to which values are equal.
        relative: the same, in multiples of the larger value; both tolerances add.

    Raises:
        ValueError: there is no value.
    """
    numbers = [-math.inf if math.isnan(value) else float(value) for value in values]
    top = max(numbers)
    return next(i for i, value in enumerate(numbers) if _equal(value, top, within, relative))


def first_smallest(
    values: Iterable[float], within: float = 0.0, *, relative: float = ROUNDING
) -> int:
    """Place of the first value that exceeds no other by more than the tolerance.

    Args:
        values: at least one; nan is more than everything.
        within: as for ``first_largest``.
        relative: as for ``first_largest``.

    Raises:
        ValueError: there is no value.
    """
    return first_largest((-value for value in values), within, relative=relative)


def ordered(
    keys: Sequence[Sequence[float]], within: float = 0.0, *, relative: float = ROUNDING
) -> list[int]:
    """Places of keys in ascending order, the first number that differs decides.

    Numbers are equal when a chain of neighbours in between, none farther from the next than the
    tolerance, connects them; keys that are equal throughout stay in the order given.

    Args:
        keys: of one length; no nan.
        within: as for ``first_largest``.
        relative: as for ``first_largest``.
    """
    groups = [list(range(len(keys)))]
    for column in range(len(keys[0]) if keys else 0):
        if len(groups) == len(keys):
            break
        groups = [
            part
            for group in groups
            for part in _parted([keys[i][column] for i in group], group, within, relative)
        ]
    return [i for group in groups for i in group]


def ranks(values: Sequence[float], within: float = 0.0, *, relative: float = ROUNDING) -> list[int]:
    """Number of every value among the distinct ones, the smallest 0; equals as in ``ordered``.

    Args:
        values: no nan.
        within: as for ``first_largest``.
        relative: as for ``first_largest``.
    """
    found = [0] * len(values)
    parts = _parted(list(values), list(range(len(values))), within, relative)
    for number, part in enumerate(parts):
        for i in part:
            found[i] = number
    return found


def _parted(
    values: Sequence[float], places: Sequence[int], within: float, relative: float
) -> list[list[int]]:
    """Places by ascending value, in groups of equals; within a group as they came."""
    if len(places) < 2:
        return [list(places)] * bool(places)
    order = sorted(range(len(values)), key=values.__getitem__)
    parts = [[order[0]]]
    for one, other in itertools.pairwise(order):
        if _equal(values[one], values[other], within, relative):
            parts[-1].append(other)
        else:
            parts.append([other])
    return [[places[i] for i in sorted(part)] for part in parts]


def _equal(lower: float, upper: float, within: float, relative: float) -> bool:
    """Whether two numbers are equal but for the tolerance; infinities equal themselves only."""
    if lower == upper:
        return True
    if math.isinf(lower) or math.isinf(upper):
        return False
    return upper - lower <= within + relative * max(abs(lower), abs(upper))
