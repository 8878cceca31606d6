"""A table together with its index of cells, which several climbs share."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.moments import schema_of
from pyromix.estimate.step import WeightedRows
from pyromix.exact.rows import CellIndex
from pyromix.model.schema import Schema
from pyromix.model.spec import MixtureSpec


@dataclass(frozen=True, eq=False)
class IndexedRows:
    """Weighted rows, as EM takes them, that bring their index.

    Attributes:
        index: of the rows.
        weights: of each row, positive.
        schema: variables and states.
    """

    index: CellIndex
    weights: Float[Tensor, " patterns"]
    schema: Schema

    @staticmethod
    def of(spec: MixtureSpec, counts: WeightedRows) -> IndexedRows:
        """Index a table once for a structure and any number of sources."""
        return IndexedRows(index_of(spec, counts), counts.weights, schema_of(counts))

    @property
    def rows(self) -> Int[Tensor, "patterns variables"]:
        """State numbers, -1 where a cell is missing."""
        return self.index.rows


def index_of(spec: MixtureSpec, counts: WeightedRows) -> CellIndex:
    """The index that a table brings, where it was made for this structure; else a new one.

    Args:
        spec: the structure.
        counts: on its variables.
    """
    if isinstance(counts, IndexedRows):
        found = counts.index.spec
        if (found.cards, found.parents) == (spec.cards, spec.parents):
            return counts.index
    return CellIndex(spec, counts.rows)
