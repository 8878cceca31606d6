"""Generic mixtures of a structure, and cells of their joint tables that visit every CPT row."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

from pyromix.model.mixture import BayesNetMixture
from pyromix.model.parameters import ParameterAxis
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec

ALL_CELLS = 4096
"""Joint tables up to this size are never sampled."""

EXTRA_CELLS = 64
"""Cells sampled without regard to any CPT, for the weights."""


def generic_mixture(spec: MixtureSpec, generator: torch.Generator) -> BayesNetMixture:
    """Draw a mixture, halfway to uniform: no direction is faint because a cell is rare."""
    weights, *cpts = random_mixture(spec, generator).tables
    halfway = [(c + 1 / c.shape[-1]) / 2 for c in cpts]
    return BayesNetMixture.from_tables(spec, [weights, *halfway])


def cells(spec: MixtureSpec, generator: torch.Generator) -> Iterator[Int[Tensor, "m n"]]:
    """All cells of the joint table where they are few, else samples without end.

    A CPT row met less often than it has parameters would make these seem free: in a sample every
    row has rows of its own, one more than its parameters, that go through the states of its vertex;
    the other variables are uniform.
    """
    device, axis = generator.device, ParameterAxis(spec)
    cards = spec.joint_shape(range(spec.n_variables))
    n_each = [axis.copies(v) * (card - 1) + 1 for v, card in enumerate(cards)]
    sizes = [n * spec.n_joint(parents) for n, parents in zip(n_each, spec.parents, strict=True)]
    n = sum(sizes) + EXTRA_CELLS
    if spec.n_cells <= max(n, ALL_CELLS):
        # torch.unravel_index would import sympy, half a second in every process.
        yield torch.cartesian_prod(*(torch.arange(c, device=device) for c in cards)).reshape(
            spec.n_cells, len(cards)
        )
        return
    while True:
        columns = [torch.randint(c, (n,), generator=generator, device=device) for c in cards]
        rows = torch.stack(columns, -1)
        for v, own in enumerate(rows.split([*sizes, EXTRA_CELLS])[:-1]):
            number = torch.arange(len(own), device=device)
            own[:, v] = number % n_each[v] % cards[v]
            number = number // n_each[v]
            for p in reversed(spec.parents[v]):
                own[:, p] = number % cards[p]
                number = number // cards[p]
        yield rows
