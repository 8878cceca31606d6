"""Covariates as numbers: a column each, and a column for every further state of a named one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from pyromix.data.cells import levels_of
from pyromix.data.columns import observed, state_numbers
from pyromix.data.levels import numbers_of
from pyromix.data.reading import RawTable, check_columns
from pyromix.errors import DataError
from pyromix.model.arguments import shown

INTERCEPT = "(intercept)"


@dataclass(frozen=True)
class Coding:
    """How one covariate becomes numbers.

    Attributes:
        name: of the column.
        states: of a covariate that has names for values, the first of them the reference; empty
            for one of numbers.
    """

    name: str
    states: tuple[Hashable, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the numbers: that of the column, or one for each state but the first."""
        return tuple(f"{self.name}={s}" for s in self.states[1:]) or (self.name,)

    def read(self, table: RawTable) -> Float[np.ndarray, "rows columns"]:
        """The numbers of every row, nan where the cell is missing.

        Raises:
            DataError: a value is no number, or none of the states.
        """
        if not self.states:
            return numbers_of(self.name, table.frame[self.name], table.marks)[:, None]
        levels = levels_of(table, self.name, self.states)
        numbers = state_numbers(levels, self.states)[0][levels.codes]
        dummies = np.eye(len(self.states))[numbers, 1:]
        dummies[numbers < 0] = np.nan
        return dummies


@dataclass(frozen=True)
class Covariates:
    """Several covariates, an intercept before them.

    Attributes:
        codings: one for each.
    """

    codings: tuple[Coding, ...]

    @staticmethod
    def of(
        table: RawTable,
        names: Sequence[str],
        declared: Mapping[str, Sequence[Hashable]],
    ) -> Covariates:
        """See how columns are to be read: numbers as numbers, all else by its states.

        Args:
            table: has the columns.
            names: of the covariates.
            declared: states of covariates that are to be read by name, numbers among them.

        Raises:
            DataError: a column is missing, or constant.
        """
        check_columns(table, names)
        return Covariates(tuple(_coding(table, name, declared.get(name)) for name in names))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the covariates."""
        return tuple(coding.name for coding in self.codings)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the numbers, the intercept first."""
        return (INTERCEPT, *(name for coding in self.codings for name in coding.columns))

    def read(self, table: RawTable) -> Float[np.ndarray, "rows columns"]:
        """The numbers of every row, nan where a cell is missing.

        Raises:
            DataError: a column is missing, or a value cannot be read.
        """
        check_columns(table, self.names)
        ones = np.ones((table.n_rows, 1))
        return np.concatenate([ones, *(coding.read(table) for coding in self.codings)], 1)


def _coding(table: RawTable, name: str, declared: Sequence[Hashable] | None) -> Coding:
    if declared is not None:
        states = tuple(declared)
        if not all(isinstance(s, Hashable) for s in states) or len({*states}) < max(len(states), 2):
            raise DataError(
                f"expected two or more distinct states for column {name!r}, found "
                f"{shown(list(states))}"
            )
        return Coding(name, states)
    if table.text or table.frame[name].dtype.is_numeric():
        try:
            numbers = numbers_of(name, table.frame[name], table.marks)
        except DataError:
            pass  # texts of a file, which are names
        else:
            if np.unique(numbers[~np.isnan(numbers)]).size < 2:
                raise DataError(
                    f"expected a covariate that varies, found one value in column {name!r}; leave "
                    "it out of the covariates"
                )
            return Coding(name)
    return Coding(name, observed(levels_of(table, name)))
