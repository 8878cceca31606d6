"""The same law written for more than it needs: for one more parent, or for every source apart.

Coordinates of the larger law are linear in those of the smaller one, without a constant, so that
the matrix between them says which directions the larger one adds.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.errors import SpecError
from pyromix.model.cpd import TableCPD, logits
from pyromix.model.families.hurdle import HurdleCPD
from pyromix.model.families.layout import WIDTHS, Layout, Numbers, Parent
from pyromix.model.families.linear_gaussian import LinearGaussianCPD
from pyromix.model.families.logistic import LogisticCPD
from pyromix.model.families.poisson import PoissonCPD


def with_parent(cpd: Any, place: int, parent: Parent) -> Any:
    """Write a law for one more parent, on which nothing depends.

    Args:
        cpd: of one vertex, without a batch axis.
        place: of the new parent, among all.
        parent: its number of states, or how its number enters.

    Raises:
        SpecError: the law is of no known family.
    """
    if isinstance(cpd, HurdleCPD):
        gate = with_parent(cpd.gate, place, parent)
        return HurdleCPD(gate, with_parent(cpd.size, place, parent))
    if isinstance(cpd, TableCPD):
        layout = Layout(cpd.values.shape[1:-1])
        if isinstance(parent, Numbers):
            odds = logits(cpd.values)[..., :-1].reshape(len(cpd.values), -1, 1, cpd.card - 1)
            plain = LogisticCPD(odds, layout, cpd.shared)
            return with_parent(plain, place, parent)
        values = cpd.values.unsqueeze(1 + place)
        shape = [parent if axis == 1 + place else -1 for axis in range(values.ndim)]
        return replace(cpd, values=values.expand(shape).contiguous(), n_parents=cpd.n_parents + 1)
    if not isinstance(cpd, LinearGaussianCPD | LogisticCPD | PoissonCPD):
        raise SpecError(f"expected a law of a known family, found a {type(cpd).__name__}")
    before, after = cpd.layout.parents[:place], cpd.layout.parents[place:]
    layout = Layout((*before, parent, *after))
    if isinstance(parent, Numbers):
        return replace(cpd, coefficients=_wider(cpd, before, WIDTHS[parent]), layout=layout)
    shape = (prod(Layout(before).cards), parent, prod(Layout(after).cards))
    found = {"coefficients": _repeated(cpd.coefficients, shape)}
    if isinstance(cpd, LinearGaussianCPD):
        found["variances"] = _repeated(cpd.variances, shape)
    return replace(cpd, **found, layout=layout)


def of_every_source(cpd: Any) -> Any:
    """Write a law that sources share as one that each of them has for itself."""
    if isinstance(cpd, HurdleCPD):
        return HurdleCPD(of_every_source(cpd.gate), of_every_source(cpd.size))
    return replace(cpd, shared=False)


def tangent(small: Any, large: Any) -> Float[Tensor, "large small"]:
    """Return the matrix from coordinates of a law to those of the same law, written larger.

    Args:
        small: a law of the smaller family.
        large: a function that writes such a law larger.
    """
    n = len(small.parameters)
    one = torch.eye(n, dtype=torch.float64, device=small.parameters.device)
    return torch.stack([large(small.with_parameters(row)).parameters for row in one], 1)


def _wider(cpd: Any, before: tuple[Parent, ...], width: int) -> Tensor:
    """Coefficients with columns of zeros for a new number."""
    axis, place = 2, Layout(before).n_columns
    old = cpd.coefficients
    shape = list(old.shape)
    shape[axis] = width
    parts = (old.narrow(axis, 0, place), old.new_zeros(shape))
    return torch.cat([*parts, old.narrow(axis, place, old.shape[axis] - place)], axis)


def _repeated(values: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Rows of a table, once for every state of a new parent."""
    before, card, after = shape
    split = values.unflatten(1, (before, after)).unsqueeze(2)
    size = [card if axis == 2 else -1 for axis in range(split.ndim)]
    return split.expand(size).flatten(1, 3)
