"""Values that stand for a missing cell, as the user names them: ``missing_values=``."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from pyromix.data.text import parse
from pyromix.errors import DataError
from pyromix.model.arguments import numbers_as_tensor

EVERYWHERE = frozenset[tuple[bool, Hashable]]()


@dataclass(frozen=True)
class Marks:
    """Which values are missing cells, beside None, NaN and blanks.

    Attributes:
        everywhere: of every column, as ``_keys`` writes them.
        of_column: further ones of single columns.
    """

    everywhere: frozenset[tuple[bool, Hashable]] = EVERYWHERE
    of_column: Mapping[Any, frozenset[tuple[bool, Hashable]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.everywhere or self.of_column)

    def hit(self, column: Any, value: Any) -> bool:
        """Whether a value of a column is a mark: equal to one, or written like one."""
        marks = self.everywhere | self.of_column.get(column, EVERYWHERE)
        return bool(marks) and not marks.isdisjoint(_keys(value))

    def numbers(self, column: Any) -> list[float]:
        """The marks of a column that are numbers, in order."""
        marks = self.everywhere | self.of_column.get(column, EVERYWHERE)
        return sorted(float(v) for truth, v in marks if isinstance(v, int | float) and not truth)


NO_MARKS = Marks()


def marks_of(missing_values: Any) -> Marks:
    """Read ``missing_values``.

    Args:
        missing_values: a value, a list of values, or a mapping from columns to either; None for
            none. A text and the number that it spells are one mark.

    Raises:
        DataError: a mark can be no cell.
    """
    if missing_values is None:
        return NO_MARKS
    if isinstance(missing_values, Marks):
        return missing_values
    if isinstance(missing_values, Mapping):
        return Marks(of_column={name: _marks(values) for name, values in missing_values.items()})
    return Marks(_marks(missing_values))


def _marks(values: Any) -> frozenset[tuple[bool, Hashable]]:
    single = isinstance(values, str | bytes) or not isinstance(values, Iterable)
    if isinstance(values, Tensor):
        values = numbers_as_tensor("missing_values", values, "cpu", DataError)
    if isinstance(values, np.ndarray | Tensor):
        values, single = values.tolist(), not values.ndim
    listed = [values] if single else list(values)
    if wrong := [value for value in listed if not isinstance(value, Hashable)]:
        raise DataError(
            f"missing_values must be values that cells can have, found {wrong[0]!r}; e.g. "
            "missing_values=['?', -9], or missing_values={'A': [-9]} for single columns"
        )
    return frozenset(key for value in listed for key in _keys(value))


def _keys(value: Any) -> set[tuple[bool, Hashable]]:
    """What a value is compared by: itself, its text, and what that text spells.

    That it is a boolean is part of it, since Python holds True and 1 equal.
    """
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()  # a numpy scalar
    if isinstance(value, str):
        text = value.strip()
        return {(isinstance(spelt, bool), spelt) for spelt in (text, parse(text))}
    return {(isinstance(value, bool), value)}
