"""A table as distinct patterns with weights, and the moments that every estimator asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.codes import check_states, collapse, locate, smallest_dtype
from pyromix.data.frames import encode, read_frame
from pyromix.data.intake_report import DataReport, warn_of_repairs
from pyromix.data.moments import check_request, check_same_variables, normalised
from pyromix.errors import DataError
from pyromix.model.spec import MixtureSpec


@runtime_checkable
class MomentSource(Protocol):
    """What estimators from moments ask of data: tables given assignments, and their masses.

    ``Counts`` answers from a sample, ``Population`` exactly.
    """

    @property
    def spec(self) -> MixtureSpec:
        """Structure and states."""
        ...

    @property
    def n_rows(self) -> float:
        """Total weight behind the answers; infinite when they are exact."""
        ...

    def table(
        self, variables: Sequence[int], given: Sequence[int], assignments: Int[Tensor, "r c"]
    ) -> Float[Tensor, " r *cards"]:
        """P(variables | given = assignment) for each of r assignments.

        Args:
            variables: vertices, one axis each, in this order.
            given: vertices conditioned on, disjoint from ``variables``; perhaps none.
            assignments: ``(r, len(given))`` state numbers, perhaps repeated.

        Returns:
            ``(r, *card(variables))``, float64; zeros where the assignment has no mass.

        Raises:
            DataError: unknown or repeated vertices, states out of range, or a table beyond memory.
        """
        ...

    def mass(self, given: Sequence[int], assignments: Int[Tensor, "r c"]) -> Float[Tensor, " r"]:
        """Weight of the rows with each assignment (``Counts``), or its probability.

        Args:
            given: vertices; perhaps none.
            assignments: ``(r, len(given))`` state numbers.

        Raises:
            DataError: unknown or repeated vertices, or states out of range.
        """
        ...


@dataclass(frozen=True, eq=False)
class Counts:
    """Distinct rows of a table and their weights: all that a likelihood needs to know of it.

    Attributes:
        spec: variables and states.
        rows: ``(m, n)`` distinct patterns of state numbers in the smallest integer type; missing
            cells are -1, and at least one cell of a row is not.
        weights: ``(m,)``, float64, positive.
        report: where they come from.

    Raises:
        DataError: a shape, dtype or device is wrong, a state is out of range, a weight is not
            positive.
    """

    spec: MixtureSpec
    rows: Int[Tensor, "patterns variables"]
    weights: Float[Tensor, " patterns"]
    report: DataReport

    def __post_init__(self) -> None:
        if not self.rows.shape[0]:
            raise DataError("expected at least one row, found none")
        check_states(self.spec, self.rows)
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
        spec: MixtureSpec,
        *,
        sample_weight: Any = None,
        missing: str = "mar",
        device: torch.device | str | None = None,
    ) -> Counts:
        """Count the distinct rows of a table.

        Rows without any observed cell, or of weight zero, say nothing and are left out; the report
        says how many.

        Args:
            data: whatever ``frames.read_frame`` accepts; columns in any order.
            spec: variables and their declared states.
            sample_weight: a column name, or one weight per row.
            missing: ``"mar"`` keeps rows with missing cells, ``"drop"`` drops and reports them,
                ``"error"`` refuses.
            device: of the result; the CPU when left out.

        Raises:
            FileError: a path cannot be read.
            DataError: the table does not fit the spec, or a weight is unusable.
        """
        encoded = encode(
            read_frame(data), spec, sample_weight=sample_weight, missing=missing, warn=False
        )
        weights = None if sample_weight is None else encoded.weights
        counts = _collapsed(spec, encoded.codes, weights, encoded.report)
        warn_of_repairs(counts.report)
        return counts if device is None else counts.to(device)

    @staticmethod
    def from_codes(
        spec: MixtureSpec,
        codes: Int[Tensor, "rows variables"],
        weights: Float[Tensor, " weights"] | None = None,
    ) -> Counts:
        """Count the distinct rows of a table of state numbers.

        Rows without any observed cell, or of weight zero, are left out.

        Args:
            spec: variables and states.
            codes: ``(N, n)``, missing cells -1.
            weights: ``(N,)``; ones when left out.

        Raises:
            DataError: another number of variables, a state out of range, an unusable weight, or
                no row is left.
        """
        check_states(spec, codes)
        if weights is not None:
            weights = weights.to(torch.float64)
            if weights.shape[0] != codes.shape[0]:
                raise DataError(
                    f"expected one weight for each of {codes.shape[0]} rows, found "
                    f"{weights.shape[0]}"
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
        return _collapsed(spec, codes.to(smallest_dtype(spec)), weights, report)

    # -- sizes -------------------------------------------------------------------------------

    @property
    def n_rows(self) -> float:
        """Total weight; the number of rows counted, when each has weight one."""
        return self._total_weight

    @cached_property
    def _total_weight(self) -> float:
        return float(self.weights.sum())

    @property
    def unit(self) -> float:
        """Weight that counts as one row, see ``DataReport.row_weight``."""
        return self.report.row_weight

    def in_rows(self) -> Counts:
        """Return the same counts with weights in rows, see ``unit``."""
        if self.unit == 1.0:
            return self
        return replace(self, weights=self.weights / self.unit, report=self.report.in_rows())

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
        """Return the same counts on another device."""
        return replace(self, rows=self.rows.to(device), weights=self.weights.to(device))

    def with_spec(self, spec: MixtureSpec) -> Counts:
        """Return the same counts for another graph or number of sources over the same variables.

        Raises:
            DataError: the variables or their states differ.
        """
        check_same_variables(self.spec, spec)
        order = [self.spec.variables.index(name) for name in spec.variables]
        if order == list(range(len(order))):
            return replace(self, spec=spec)
        return replace(self, spec=spec, rows=self.rows[:, order])

    def on(self, spec: MixtureSpec) -> Counts:
        """Return the counts of some of the variables, by name.

        Rows none of whose cells are observed are left out.

        Args:
            spec: over variables that are here, with the same states.

        Raises:
            DataError: a variable is not here, or its states differ, or no row is left.
        """
        here = {name: i for i, name in enumerate(self.spec.variables)}
        for name, states in zip(spec.variables, spec.states, strict=True):
            if name not in here or self.spec.states[here[name]] != states:
                raise DataError(
                    f"expected variables of {list(here)} with their states, found {name!r} with "
                    f"states {list(states)}"
                )
        columns = [here[name] for name in spec.variables]
        found = Counts.from_codes(spec, self.rows[:, columns], self.weights)
        return replace(found, report=replace(found.report, row_weight=self.unit))

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
        other = other.with_spec(self.spec).to(self.device)
        rows, weights = collapse(
            torch.cat([self.rows, other.rows]),
            self.spec.cards,
            torch.cat([self.weights, other.weights]),
        )
        return Counts(self.spec, rows, weights, self.report.merged(other.report, len(rows)))

    def expand(self) -> Int[Tensor, "rows variables"]:
        """Return every row as often as it was counted, ``(n_rows, n)``.

        Raises:
            DataError: a weight is not a whole number.
        """
        if not bool((self.weights == self.weights.round()).all()):
            raise DataError("rows can be repeated by whole weights only, found fractions")
        return self.rows.repeat_interleave(self.weights.to(torch.int64), 0)

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
        assignments = check_request(self.spec, variables, given, assignments)
        cards = [self.spec.cards[v] for v in variables]
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
        assignments = check_request(self.spec, (), given, assignments)
        _, weights, place, group, n_groups = self._placed((), given, assignments)
        sums = torch.zeros(n_groups, dtype=torch.float64, device=self.device)
        return sums.index_add_(0, place, weights)[group]

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
            [self.spec.cards[v] for v in given],
        )
        wanted = place >= 0
        return rows[wanted], weights[wanted], place[wanted], group, n_groups


def _collapsed(
    spec: MixtureSpec, codes: Tensor, weights: Tensor | None, report: DataReport
) -> Counts:
    """Leave out rows that say nothing, and count the others."""
    # column by column: sums over the whole table would first make it eight times larger
    seen = torch.zeros(codes.shape[0], dtype=torch.bool, device=codes.device)
    for column in codes.unbind(1):
        seen |= column >= 0
    empty = codes.shape[0] - int(torch.count_nonzero(seen))
    empty_weight = float(empty) if weights is None else float(weights[~seen].sum())
    if weights is not None:
        positive = weights > 0
        zeros = int(torch.count_nonzero(seen & ~positive))
        report = replace(report, n_zero_weight_rows=zeros)
        seen &= positive
    if not bool(seen.all()):
        codes = codes[seen]
        weights = None if weights is None else weights[seen]
    if empty:
        sentence = f"{empty} of {report.n_rows} rows have no observed cell and were left out."
        report = replace(report, repairs=(*report.repairs, sentence))
        report = replace(
            report, n_dropped_rows=report.n_dropped_rows + empty, empty_weight=empty_weight
        )
    if not codes.shape[0]:
        raise DataError(
            f"no row is left: of {report.n_rows} rows {report.n_dropped_rows} lack cells and "
            f"{report.n_zero_weight_rows} have weight zero"
        )
    if weights is not None and not bool((weights == weights.round()).all()):
        report = replace(report, row_weight=float(weights.square().sum() / weights.sum()))
    n_missing = sum(int(torch.count_nonzero(column < 0)) for column in codes.unbind(1))
    rows, sums = collapse(codes, spec.cards, weights)
    report = replace(
        report,
        n_patterns=len(rows),
        n_missing_cells=n_missing,
        total_weight=float(sums.sum()),
    )
    return Counts(spec, rows, sums, report)
