"""What a question for moments must satisfy, and what its answers share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import DataError
from pyromix.model.spec import MixtureSpec

MAX_TABLE = 2**28
"""Largest number of cells of the tables returned at once."""


def check_request(
    spec: MixtureSpec,
    variables: Sequence[int],
    given: Sequence[int],
    assignments: Int[Tensor, "r c"],
) -> Int[Tensor, "r c"]:
    """Refuse a question for moments that makes no sense.

    Returns:
        The assignments as int64.

    Raises:
        DataError: unknown or repeated vertices, states out of range, or a table beyond memory.
    """
    involved = [*variables, *given]
    if wrong := [v for v in involved if not 0 <= v < spec.n_variables]:
        raise DataError(
            f"moments are of observed vertices, 0..{spec.n_variables - 1}, found {wrong}; the "
            f"source {spec.source!r} is not one of them"
        )
    if len(set(involved)) != len(involved):
        raise DataError(
            f"vertices must be distinct, found variables {list(variables)} given {list(given)}"
        )
    if assignments.shape[1] != len(given):
        raise DataError(
            f"expected one column of assignments for each of {len(given)} given vertices, found "
            f"{assignments.shape[1]}"
        )
    for i, v in enumerate(given):
        column = assignments[:, i]
        if len(column) and (int(column.min()) < 0 or int(column.max()) >= spec.card(v)):
            raise DataError(
                f"states of {spec.name(v)!r} are 0..{spec.card(v) - 1}, found "
                f"{int(column.min())}..{int(column.max())}"
            )
    cells = spec.n_joint(variables) * max(assignments.shape[0], 1)
    if cells > MAX_TABLE:
        raise DataError(
            f"tables of {[spec.name(v) for v in variables]} for {assignments.shape[0]} assignments "
            f"have {cells:,} cells, more than {MAX_TABLE:,}; ask for fewer at a time"
        )
    return assignments.to(torch.int64)


def check_same_variables(known: MixtureSpec, asked: MixtureSpec) -> None:
    """Refuse a spec over other variables or states.

    Raises:
        DataError: names the variables that differ.
    """
    have = dict(zip(known.variables, known.states, strict=True))
    want = dict(zip(asked.variables, asked.states, strict=True))
    if have != want:
        names = sorted(name for name in have | want if have.get(name) != want.get(name))
        raise DataError(
            "expected a model of the same variables and states as the data were counted with, "
            f"found differences in {names}: counted {[have.get(n, 'absent') for n in names][:3]}, "
            f"asked {[want.get(n, 'absent') for n in names][:3]}; count the table with this model"
        )


def normalised(sums: Float[Tensor, "r cells"]) -> Float[Tensor, "r cells"]:
    """Divide every row by its sum; rows of zeros stay zeros."""
    total = sums.sum(1, keepdim=True)
    return torch.where(total > 0, sums / total.where(total > 0, torch.ones_like(total)), 0.0)
