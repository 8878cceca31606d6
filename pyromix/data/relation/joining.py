"""Numbers of distinct rows, brought back to the rows of a relation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from pyromix.data.relation.digits import Packed
from pyromix.data.relation.table import RelationTable


def with_columns(
    table: RelationTable,
    packed: Packed,
    codes: Int[Tensor, "m n"],
    columns: Mapping[str, Float[ndarray, " m"]],
) -> Any:
    """The relation with further columns, as the library of its user holds relations; not run yet.

    Args:
        table: the relation.
        packed: its variables.
        codes: its distinct rows.
        columns: numbers of each.

    Raises:
        DataError: the engine refuses.
    """
    import pyarrow as pa

    found = pa.table({**packed.numbers(codes), **columns})
    return table.engine.joined(packed.sql(table.engine.kinds), found)
