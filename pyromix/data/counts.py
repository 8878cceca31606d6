"""A table as distinct patterns with weights, and the moments that every estimator asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.codes import check_codes, check_states, collapse, locate, smallest_dtype
from pyromix.data.distinct import distinct_rows
from pyromix.data.frames import MISSING_RULES, check_schema, encode
from pyromix.data.intake_report import DataReport, warn_of_repairs
from pyromix.data.moments import MomentSource, check_request, check_same_variables, normalised
from pyromix.data.relation.counting import counted_rows
from pyromix.data.relation.door import read_table
from pyromix.data.relation.table import RelationTable
from pyromix.data.weights import COUNTS, check_weights_are
from pyromix.errors import DataError, NoModelError
from pyromix.model.arguments import device_of, numbers_as_tensor, one_of, shown
from pyromix.model.schema import Schema
from pyromix.model.spec import MixtureSpec

__all__ = ["Counts", "MomentSource"]

BLOCK = 2**20
"""Patterns handed out at a time: an estimator holds numbers for so many, not for the table."""


@dataclass(frozen=True, eq=False)
class Counts:
    """Distinct rows of a table and their weights: all that a likelihood needs to know of it.

    A table knows variables and states, no graph and no k: many models ask one table, see
    ``asking.asked``. A MixtureSpec in place of the schema is remembered as ``spec``.

    Attributes:
        schema: variables and states, in the order of the columns.
        rows: ``(m, n)`` distinct patterns of state numbers in the smallest integer type; missing
            cells are -1, and at least one cell of a row is not.
        weights: ``(m,)``, float64, positive.
        report: where they come from.
        counted_for: the model that was given in place of a schema; None where none was.

    Raises:
        DataError: a shape, dtype or device is wrong, a state is out of range, a weight is not
            positive.
    """

    schema: Schema
    rows: Int[Tensor, "patterns variables"]
    weights: Float[Tensor, " patterns"]
    report: DataReport
    counted_for: MixtureSpec | None = None

    def __post_init__(self) -> None:
        if isinstance(self.schema, MixtureSpec):
            object.__setattr__(self, "counted_for", self.schema)
            object.__setattr__(self, "schema", self.schema.schema)
        check_codes(self.schema, self.rows)
        if not isinstance(self.weights, Tensor):
            raise DataError(f"expected weights as a float64 tensor, found {shown(self.weights)}")
        if not self.rows.shape[0]:
            raise DataError("expected at least one row, found none")
        check_states(self.schema, self.rows)
        expected = (torch.float64, self.rows.device, self.rows.shape[:1])
        found = (self.weights.dtype, self.weights.device, self.weights.shape)
        if found != expected:
            raise DataError(
                "expected weights of dtype, device and shape {}, {}, {}, found {}, {}, {}".format(
                    *expected, *found
                )
            )
        if not bool((self.weights.isfinite() & (self.weights > 0)).all()):
            raise DataError(
                f"weights of patterns must be finite and positive, found least "
                f"{float(self.weights.min()):.3g}; Counts.from_codes leaves out zeros"
            )

    @staticmethod
    def from_frame(
        data: Any,
        spec: Schema,
        *,
        sample_weight: Any = None,
        weights_are: str = COUNTS,
        missing: str = "mar",
        missing_values: Any = None,
        device: torch.device | str | None = None,
    ) -> Counts:
        """Count the distinct rows of a table.

        Rows without any observed cell, or of weight zero, say nothing and are left out; the report
        says how many.

        Args:
            data: whatever ``relation.door.read_table`` accepts; columns in any order. Relations
                are counted where they are, by one GROUP BY.
            spec: variables and their declared states: a Schema or a MixtureSpec.
            sample_weight: a column name, or one weight per row.
            weights_are: ``"counts"``, weights are numbers of rows; ``"sampling"``, they say how
                much each row speaks for, and their scale says nothing.
            missing: ``"mar"`` keeps rows with missing cells, ``"drop"`` drops and reports them,
                ``"error"`` refuses.
            missing_values: values that stand for a missing cell, or a mapping from columns to
                such values; blanks are missing anyway.
            device: of the result; the CPU when left out.

        Raises:
            FileError: a path cannot be read.
            DataError: the table does not fit the spec, or a weight is unusable, or
                ``weights_are`` is set without weights.
            QueryError: ``weights_are`` is unknown.
        """
        check_weights_are(weights_are, sample_weight)
        device = None if device is None else device_of(device)
        table = read_table(data, missing_values)
        if isinstance(table, RelationTable):
            one_of("missing", missing, MISSING_RULES, DataError)
            check_schema(spec, table)
            found = counted_rows(table, spec, sample_weight, weights_are, missing)
        else:
            encoded = encode(table, spec, sample_weight=sample_weight, missing=missing, warn=False)
            weights = None if sample_weight is None else encoded.weights
            found = distinct_rows(spec, encoded.codes, weights, encoded.report, weights_are)
        counts = Counts(spec, *found)
        warn_of_repairs(counts.report)
        return counts if device is None else counts.to(device)

    @staticmethod
    def from_codes(
        spec: Schema,
        codes: Int[Tensor, "rows variables"],
        weights: Float[Tensor, " weights"] | None = None,
        weights_are: str = COUNTS,
    ) -> Counts:
        """Count the distinct rows of a table of state numbers.

        Rows without any observed cell, or of weight zero, are left out.

        Args:
            spec: variables and states: a Schema or a MixtureSpec.
            codes: ``(N, n)``, missing cells -1.
            weights: ``(N,)``; ones when left out.
            weights_are: as in ``from_frame``; what is doubtful is in the report.

        Raises:
            DataError: another number of variables, a state out of range, an unusable weight,
                ``weights_are`` is set without weights, or no row is left.
            QueryError: ``weights_are`` is unknown.
        """
        check_weights_are(weights_are, weights)
        check_codes(spec, codes)
        check_states(spec, codes)
        if weights is not None:
            weights = numbers_as_tensor("weights", weights, codes.device, DataError)
            if weights.shape != codes.shape[:1]:
                raise DataError(
                    f"expected one weight for each of {codes.shape[0]} rows, found "
                    f"{len(weights) if weights.ndim == 1 else shown(weights)}"
                )
            if not bool((weights.isfinite() & (weights >= 0)).all()):
                raise DataError(
                    "weights must be finite and not negative, found least "
                    f"{float(weights.min()):.3g} and "
                    f"{int((~weights.isfinite()).sum())} that are not finite"
                )
        report = DataReport(
            n_rows=codes.shape[0],
            n_variables=spec.n_variables,
            n_patterns=codes.shape[0],
        )
        codes = codes.to(smallest_dtype(spec))
        return Counts(spec, *distinct_rows(spec, codes, weights, report, weights_are))

    @property
    def spec(self) -> MixtureSpec:
        """The model it was counted for.

        Raises:
            NoModelError: it was counted for none.
        """
        if self.counted_for is None:
            raise NoModelError(
                "expected the model that this table was counted for, found variables and states "
                "alone; take table.schema, or pass a MixtureSpec to whatever asks for graph and k"
            )
        return self.counted_for

    # -- sizes -------------------------------------------------------------------------------

    @property
    def n_rows(self) -> float:
        """Total weight; the number of rows counted, when each has weight one."""
        return self._total_weight

    @cached_property
    def _total_weight(self) -> float:
        return float(self.weights.sum())

    @property
    def weight_of_a_row(self) -> float:
        """Weight that counts as one row, see ``DataReport.row_weight``."""
        return self.report.row_weight

    def in_rows(self) -> Counts:
        """Return the same counts with weights in rows, see ``weight_of_a_row``."""
        if self.weight_of_a_row == 1.0:
            return self
        return replace(
            self, weights=self.weights / self.weight_of_a_row, report=self.report.in_rows()
        )

    @property
    def exact(self) -> bool:
        """Never: a table is a sample."""
        return False

    @property
    def empty_weight(self) -> float:
        """Weight of the rows without any observed cell, which were left out."""
        return self.report.empty_weight

    @property
    def n_patterns(self) -> int:
        """Number of distinct rows."""
        return self.rows.shape[0]

    @cached_property
    def complete(self) -> bool:
        """Whether no cell is missing."""
        return not bool((self.rows < 0).any())

    @property
    def device(self) -> torch.device:
        """Device of rows and weights."""
        return self.rows.device

    # -- other counts ------------------------------------------------------------------------

    def to(self, device: torch.device | str) -> Counts:
        """Return the same counts on another device.

        Raises:
            QueryError: this machine has none of this name.
        """
        device = device_of(device)
        return replace(self, rows=self.rows.to(device), weights=self.weights.to(device))

    def with_spec(self, spec: Schema) -> Counts:
        """Return the same counts for another graph or number of sources over the same variables.

        Shares the rows where the variables have the same order. Where they have not, columns are
        copied into that of the spec; ``asking.asked`` asks without a copy.

        Raises:
            DataError: the variables or their states differ.
        """
        check_same_variables(self.schema, spec)
        order = [self.schema.vertex(name) for name in spec.variables]
        rows = self.rows if order == list(range(len(order))) else self.rows[:, order]
        return replace(self, schema=spec, rows=rows, counted_for=None)

    counts_on = with_spec

    def on(self, spec: Schema) -> Counts:
        """Return the counts of some of the variables, by name.

        Rows none of whose cells are observed are left out.

        Args:
            spec: over variables that are here, with the same states.

        Raises:
            DataError: a variable is not here, or its states differ, or no row is left.
        """
        if not isinstance(spec, Schema):
            raise DataError(f"expected a Schema or a MixtureSpec, found {shown(spec)}")
        here = {name: i for i, name in enumerate(self.schema.variables)}
        for name, states in zip(spec.variables, spec.states, strict=True):
            if name not in here or self.schema.states[here[name]] != states:
                raise DataError(
                    f"expected variables of {list(here)} with their states, found {name!r} with "
                    f"states {list(states)}"
                )
        columns = [here[name] for name in spec.variables]
        report = DataReport(
            n_rows=self.n_patterns,
            n_variables=spec.n_variables,
            n_patterns=self.n_patterns,
            row_weight=self.weight_of_a_row,
        )
        codes = self.rows[:, columns].to(smallest_dtype(spec))
        return Counts(spec, *distinct_rows(spec, codes, self.weights, report))

    def same_rows(self, other: Counts) -> bool:
        """Whether the distinct rows and their weights are the same."""
        return (
            self.rows.shape == other.rows.shape
            and bool((self.rows == other.rows.to(self.device)).all())
            and torch.equal(self.weights, other.weights.to(self.device))
        )

    def merge(self, other: Counts) -> Counts:
        """Return the counts of both tables taken together.

        Raises:
            DataError: the variables or their states differ.
        """
        if not isinstance(other, Counts):
            raise DataError(f"expected Counts, found {shown(other)}; Counts.from_frame makes them")
        other = other.with_spec(self.schema).to(self.device)
        rows, weights = collapse(
            torch.cat([self.rows, other.rows]),
            self.schema.cards,
            torch.cat([self.weights, other.weights]),
        )
        report = self.report.merged(other.report, len(rows))
        return replace(self, rows=rows, weights=weights, report=report)

    def expand(self) -> Int[Tensor, "rows variables"]:
        """Return every row as often as it was counted, ``(n_rows, n)``.

        Raises:
            DataError: a weight is not a whole number.
        """
        if not bool((self.weights == self.weights.round()).all()):
            raise DataError("rows can be repeated by whole weights only, found fractions")
        return self.rows.repeat_interleave(self.weights.to(torch.int64), 0)

    def blocks(
        self, variables: Sequence[int]
    ) -> Iterator[tuple[Int[Tensor, "b c"], Float[Tensor, " b"]]]:
        """The patterns of some variables and their weights, ``BLOCK`` at a time; see ``Rows``.

        Blocks of all variables in their order are slices of the rows, without a copy.
        """
        columns = list(variables)
        as_they_stand = columns == list(range(self.schema.n_variables))
        for start in range(0, self.n_patterns, BLOCK):
            rows, weights = self.rows[start : start + BLOCK], self.weights[start : start + BLOCK]
            yield (rows if as_they_stand else rows[:, columns]), weights

    # -- moments -----------------------------------------------------------------------------

    def table(
        self, variables: Sequence[int], given: Sequence[int], assignments: Int[Tensor, "r c"]
    ) -> Float[Tensor, " r *cards"]:
        """Empirical P(variables | given = assignment) for each of r assignments.

        Available cases: a row counts when none of the variables asked for, or conditioned on, is
        missing in it, whatever else is. Time m (c + variables) and a binary search of every row
        among the assignments.

        Args:
            variables: vertices, one axis each, in this order.
            given: vertices conditioned on, disjoint from ``variables``; perhaps none.
            assignments: ``(r, len(given))`` state numbers, perhaps repeated.

        Returns:
            ``(r, *card(variables))``, float64; zeros where no row has the assignment.

        Raises:
            DataError: unknown or repeated vertices, states out of range, or a table beyond memory.
        """
        assignments = check_request(self.schema, variables, given, assignments)
        cards = [self.schema.cards[v] for v in variables]
        rows, weights, place, group, n_groups = self._placed(variables, given, assignments)
        size = math.prod(cards)
        cell, strides = place * size, [math.prod(cards[i + 1 :]) for i in range(len(cards))]
        for column, stride in zip(variables, strides, strict=True):
            cell += rows[:, column].to(torch.int64) * stride
        sums = torch.zeros(n_groups * size, dtype=torch.float64, device=self.device)
        sums = sums.index_add_(0, cell, weights).reshape(n_groups, size)
        return normalised(sums)[group].reshape(-1, *cards)

    def mass(self, given: Sequence[int], assignments: Int[Tensor, "r c"]) -> Float[Tensor, " r"]:
        """Weight of the rows with each assignment; rows that lack a given cell do not count.

        Args:
            given: vertices; perhaps none.
            assignments: ``(r, len(given))`` state numbers.

        Raises:
            DataError: unknown or repeated vertices, or states out of range.
        """
        assignments = check_request(self.schema, (), given, assignments)
        _, weights, place, group, n_groups = self._placed((), given, assignments)
        sums = torch.zeros(n_groups, dtype=torch.float64, device=self.device)
        return sums.index_add_(0, place, weights)[group]

    def noise(self, given: Sequence[int], assignments: Int[Tensor, "r c"]) -> Float[Tensor, " r"]:
        """Number of rows behind each assignment: its mass, in rows (see ``weight_of_a_row``)."""
        return self.mass(given, assignments) / self.weight_of_a_row

    def _placed(
        self, variables: Sequence[int], given: Sequence[int], assignments: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
        """Rows complete where it matters and of a wanted assignment, and which one that is."""
        rows, weights = self.rows, self.weights
        if not self.complete:
            kept = (rows[:, [*given, *variables]] >= 0).all(1)
            rows, weights = rows[kept], weights[kept]
        place, group, n_groups = locate(
            rows[:, list(given)],
            assignments.to(self.device),
            [self.schema.cards[v] for v in given],
        )
        wanted = place >= 0
        if not bool(wanted.all()):
            rows, weights, place = rows[wanted], weights[wanted], place[wanted]
        return rows, weights, place, group, n_groups
