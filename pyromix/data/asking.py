"""One model's questions to data: many graphs are asked of one table, without copying it.

A table numbers its variables in its own order, a graph in a topological one. ``asked`` stands
between them: vertex numbers are translated with each request for moments, and columns block by
block where rows are handed out. What the data can do is kept: an ``AskedRows`` hands out rows, an
``Asked`` does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.codes import check_states, collapse, smallest_dtype
from pyromix.data.counts import Counts
from pyromix.data.distinct import distinct_rows
from pyromix.data.intake_report import DataReport
from pyromix.data.moments import (
    MAX_JOINT_CELLS,
    MomentSource,
    Rows,
    check_request,
    check_same_variables,
    schema_of,
)
from pyromix.errors import DataError, NoModelError
from pyromix.model.schema import Schema
from pyromix.model.spec import MixtureSpec


@runtime_checkable
class Countable(Protocol):
    """What can be had as patterns in memory, by a way of its own."""

    def counts_on(self, spec: MixtureSpec) -> Counts:
        """The patterns, columns in the order of a spec, perhaps counted for another.

        Raises:
            DataError: the variables or their states differ, or there are too many patterns.
        """
        ...


@dataclass(frozen=True, eq=False)
class Asked:
    """Moments with the vertex numbers of whoever asks; satisfies ``moments.Moments``.

    Attributes:
        data: answers, by its own numbers.
        asker: what numbers the vertices here: a spec, or a schema.
        places: per vertex of the asker that of the data.
    """

    data: MomentSource
    asker: Schema
    places: tuple[int, ...] = field(repr=False)

    @property
    def schema(self) -> Schema:
        """Variables and states in the order of the asker."""
        return self.asker.schema

    @property
    def spec(self) -> MixtureSpec:
        """The model that asks.

        Raises:
            NoModelError: a schema asks.
        """
        if not isinstance(self.asker, MixtureSpec):
            raise NoModelError(
                "expected a graph and a number of sources, found data that know variables and "
                "states alone; pass the MixtureSpec that shall be asked"
            )
        return self.asker

    @property
    def n_rows(self) -> float:
        """Total weight behind the answers; infinite when they are exact."""
        return self.data.n_rows

    @property
    def exact(self) -> bool:
        """Whether answers have no sampling noise."""
        return bool(getattr(self.data, "exact", math.isinf(self.data.n_rows)))

    def table(
        self, variables: Sequence[int], given: Sequence[int], assignments: Int[Tensor, "r c"]
    ) -> Float[Tensor, " r *cards"]:
        """P(variables | given = assignment) for each of r assignments; see ``MomentSource``.

        Raises:
            DataError: unknown or repeated vertices, states out of range, or a table beyond memory.
        """
        there, known = self._there(variables, given)
        return self.data.table(there, known, assignments)

    def mass(self, given: Sequence[int], assignments: Int[Tensor, "r c"]) -> Float[Tensor, " r"]:
        """Weight or probability of each assignment; see ``MomentSource``.

        Raises:
            DataError: unknown or repeated vertices, or states out of range.
        """
        return self.data.mass(self._there((), given)[1], assignments)

    def noise(self, given: Sequence[int], assignments: Int[Tensor, "r c"]) -> Float[Tensor, " r"]:
        """Number of rows whose sampling noise the answers given each assignment have.

        What the data say of it; else the mass, or infinity where answers are exact.

        Raises:
            DataError: unknown or repeated vertices, or states out of range.
        """
        own = getattr(self.data, "noise", None)
        if own is not None:
            return own(self._there((), given)[1], assignments)
        mass = self.mass(given, assignments)
        return torch.full_like(mass, math.inf) if self.exact else mass

    @property
    def listable(self) -> bool:
        """Whether rows can be had, be it as the cells of a joint table that is small enough."""
        return self.exact and self.schema.n_cells <= MAX_JOINT_CELLS

    def listed(self) -> Rows:
        """Rows in the order of the asker: the data's own, or the cells of an exact joint table.

        Raises:
            DataError: the data answer moments only, see ``listable``.
        """
        return self.as_counts()

    def as_counts(self) -> Counts:
        """Return the patterns in memory, columns in the order of the asker.

        Shares the storage of Counts in that order; weights of cells are probabilities.

        Raises:
            DataError: the data answer moments only, and no exact joint table is small enough.
        """
        if isinstance(self.data, Countable) and isinstance(self.asker, MixtureSpec):
            return self.data.counts_on(self.asker)
        if not self.listable:
            size = f"a joint table of {self.schema.n_cells:,} cells" if self.exact else "no rows"
            raise DataError(
                "expected rows, or an exact joint table of at most "
                f"{MAX_JOINT_CELLS:,} cells, found a {type(self.data).__name__} that answers "
                f"moments only, with {size}; take "
                'method="moments", or pass the table itself'
            )
        nothing = torch.zeros(1, 0, dtype=torch.int64, device="cpu")
        joint = self.table(range(self.schema.n_variables), (), nothing)
        return cells_as_counts(self.asker, joint.flatten())

    def _there(
        self, variables: Sequence[int], given: Sequence[int]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The numbers that the data know these vertices by.

        Raises:
            DataError: unknown or repeated ones; the data would call them otherwise.
        """
        involved = {*variables, *given}
        known = all(0 <= v < len(self.places) for v in involved)
        if not known or len(involved) < len(variables) + len(given):
            nothing = torch.zeros(0, len(given), dtype=torch.int64, device="cpu")
            check_request(self.asker, variables, given, nothing)
        return tuple(self.places[v] for v in variables), tuple(self.places[v] for v in given)


@dataclass(frozen=True, eq=False)
class AskedRows(Asked):
    """Moments and rows with the vertex numbers of whoever asks; satisfies ``moments.Rows`` too."""

    @property
    def rows(self) -> Rows:
        """The data by their other capability."""
        return cast(Rows, self.data)

    @property
    def n_patterns(self) -> int:
        """Number of rows that are handed out, over all blocks."""
        return self.rows.n_patterns

    @property
    def empty_weight(self) -> float:
        """Weight of the rows without any observed cell, which no block has."""
        return self.rows.empty_weight

    @property
    def listable(self) -> bool:
        """Always."""
        return True

    def blocks(
        self, variables: Sequence[int]
    ) -> Iterator[tuple[Int[Tensor, "b c"], Float[Tensor, " b"]]]:
        """The rows of some variables and their weights, a block at a time; see ``Rows``."""
        return self.rows.blocks(self._there(variables, ())[0])

    def listed(self) -> Rows:
        """These rows."""
        return self

    def as_counts(self) -> Counts:
        """Return the patterns in memory, columns in the order of the asker.

        Shares the storage of Counts in that order.
        """
        if isinstance(self.data, Countable) and isinstance(self.asker, MixtureSpec):
            return self.data.counts_on(self.asker)
        return gathered(self, self.asker)


def asked(data: Any, asker: Schema | None = None) -> Asked:
    """Let a model ask data for moments, and for rows where they have any; nothing is copied.

    Args:
        data: whatever has what ``MomentSource`` lists: Counts, Population, an object of your own.
        asker: the spec (or schema) whose vertex numbers are used; what the data carry themselves
            when left out.

    Raises:
        DataError: it answers no moments, or they are over other variables or states.
    """
    if isinstance(data, Asked):
        if asker is None or asker is data.asker:
            return data
        data = data.data
    if not isinstance(data, MomentSource):
        missing = [name for name in ("n_rows", "table", "mass") if not hasattr(data, name)]
        raise DataError(
            "expected data that answer moments (px.MomentSource), found a "
            f"{type(data).__name__} without {missing}; pass a table, Counts or a Population"
        )
    known = schema_of(data)
    if asker is None:
        carried = getattr(data, "spec", known)
        asker = carried if isinstance(carried, Schema) else known
    check_same_variables(known, asker)
    numbers = {name: v for v, name in enumerate(known.variables)}
    places = tuple(numbers[name] for name in asker.variables)
    return (AskedRows if isinstance(data, Rows) else Asked)(data, asker, places)


def gathered(rows: Rows, asker: Schema | None = None) -> Counts:
    """Count rows that come in blocks; memory that of the distinct patterns and of one block.

    Args:
        rows: weights are numbers of rows.
        asker: what the counts are for, in the order of the rows; their schema when left out.

    Raises:
        DataError: there is no row, a state is out of range, or a weight is not positive.
    """
    schema = rows.schema
    found: tuple[Tensor, Tensor] | None = None
    for block, weights in rows.blocks(range(schema.n_variables)):
        if not len(block):
            continue
        check_states(schema, block)
        block = block.to(smallest_dtype(schema))
        if found is not None:
            block, weights = torch.cat([found[0], block]), torch.cat([found[1], weights])
        found = collapse(block, schema.cards, weights)
    if found is None:
        raise DataError(
            f"expected at least one row, found none in any block of a {type(rows).__name__}; check "
            "the filter or the files it reads"
        )
    patterns, sums = found
    empty, total = rows.empty_weight, float(sums.sum())
    report = DataReport(
        n_rows=round(total + empty),
        n_variables=schema.n_variables,
        n_patterns=len(patterns),
        n_missing_cells=round(float(sums @ (patterns < 0).sum(1).to(sums.dtype))),
        n_dropped_rows=round(empty),
        total_weight=total,
        empty_weight=empty,
    )
    return Counts(schema if asker is None else asker, patterns, sums, report)


def cells_as_counts(asker: Schema, joint: Float[Tensor, " cells"]) -> Counts:
    """Take the cells of a joint table as patterns, their probabilities as weights.

    Args:
        asker: variables in the order of the axes of the table.
        joint: P(variables), cells in row-major order.
    """
    axes = [torch.arange(c, dtype=smallest_dtype(asker), device=joint.device) for c in asker.cards]
    cells = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    # Probabilities stand for rows without end: the rarest cell is one of them.
    lightest = float(joint[joint > 0].min())
    report = DataReport(
        n_rows=len(cells),
        n_variables=asker.n_variables,
        n_patterns=len(cells),
        row_weight=min(1.0, lightest),
    )
    return Counts(asker, *distinct_rows(asker, cells, joint, report))
