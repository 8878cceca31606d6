"""A column of weights in an engine: checked by one query, and summed in others."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyromix.data.relation.sql import NAME, quoted_name, value
from pyromix.data.relation.table import RelationTable
from pyromix.data.weights import LARGEST_ROUNDED, WHOLE, check_weight_column
from pyromix.errors import DataError
from pyromix.model.arguments import shown
from pyromix.model.schema import Schema


@dataclass(frozen=True)
class Weighing:
    """What is known of the weights of rows.

    Attributes:
        name: of their column; empty where every row weighs one.
        zeros: some are zero.
        fractions: some are no whole numbers.
        unit: weight that counts as one row.
    """

    name: str = ""
    zeros: bool = False
    fractions: bool = False
    unit: float = 1.0

    @staticmethod
    def of(table: RelationTable, sample_weight: Any, schema: Schema) -> Weighing:
        """Check a column of weights.

        Args:
            table: has the column.
            sample_weight: its name; None for none.
            schema: the variables, none of which can be the weight.

        Raises:
            DataError: no name of a column, a variable, no numbers, or missing, infinite or
                negative weights, or nothing but zeros.
        """
        if sample_weight is None:
            return ONES
        if not isinstance(sample_weight, str):
            raise DataError(
                f"sample_weight must be the name of a column of {table.where}, whose rows have no "
                f"order, found {shown(sample_weight)}; add the weights as a column"
            )
        check_weight_column(sample_weight, schema, table.columns)
        weighing = Weighing(sample_weight)
        weight = weighing.sql(table.engine.kinds)
        # NaN is above every number
        tests = {
            "missing": f"{weight} IS NULL",
            "NaN or infinite": f"{weight} > {value(sys.float_info.max)}",
            "negative": f"{weight} < 0",
            "zero": f"{weight} = 0",
            "fractional": fractional(weight),
        }
        sums = ", ".join(f"{ones(test)} AS n{i}" for i, test in enumerate(tests.values()))
        found = table.engine.answer(f"SELECT {sums} FROM {NAME}").to_pylist()[0]
        counts = {what: int(found[f"n{i}"] or 0) for i, what in enumerate(tests)}
        for what in ("missing", "NaN or infinite", "negative"):
            if counts[what]:
                raise DataError(
                    f"sample_weight must be finite and not negative, found {counts[what]} {what} "
                    f"weights in column {sample_weight!r}; a row to be left out has weight 0"
                )
        if counts["zero"] == table.n_rows:
            raise DataError(
                f"sample_weight must have a positive sum, found {table.n_rows} zeros; check the "
                "column"
            )
        return Weighing(sample_weight, bool(counts["zero"]), bool(counts["fractional"]))

    def sql(self, kinds: Mapping[str, str]) -> str:
        """The weight of every row, a float.

        Args:
            kinds: what each column holds, see ``sql.KINDS``.

        Raises:
            DataError: the column holds something else than numbers.
        """
        if kinds[self.name] == "other":
            raise DataError(f"column {self.name!r} must hold numbers; cast it in a query")
        column = quoted_name(self.name)
        if kinds[self.name] == "text":
            column = f"NULLIF(TRIM({column}), '')"
        weight = f"CAST({column} AS DOUBLE)"
        return weight if self.unit == 1.0 else f"({weight} / {value(self.unit)})"


ONES = Weighing()
"""Every row weighs one."""


def fractional(weight: str) -> str:
    """Whether a weight is no whole number, nor one that rounding took from it."""
    slack = f"{value(WHOLE)} * LEAST({weight}, {value(LARGEST_ROUNDED)})"
    return f"ABS({weight} - ROUND({weight})) > {slack}"


def ones(test: str) -> str:
    """The number of rows for which a test holds."""
    return f"SUM(CASE WHEN {test} THEN 1 ELSE 0 END)"
