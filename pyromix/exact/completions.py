"""Rows with missing cells, each as the complete rows that it may be.

A missing vertex none of whose descendants is observed says nothing and is left open: summed out,
it leaves the likelihood alone (it is barren, in the words of Bayesian networks). The others are
listed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.model.spec import MixtureSpec


@dataclass(frozen=True, eq=False)
class Completions:
    """The completions of some rows.

    Attributes:
        rows: state numbers ``(c, n)``; -1 at barren vertices alone.
        owner: which of the rows each one completes, ``(c,)``, ascending.
    """

    rows: Int[Tensor, "c n"]
    owner: Int[Tensor, " c"]


def barren(spec: MixtureSpec, rows: Int[Tensor, "m n"]) -> Bool[Tensor, "m n"]:
    """Which missing cells have no observed descendant.

    Args:
        spec: the structure.
        rows: state numbers; missing cells are -1.
    """
    found = rows < 0
    for v in reversed(range(spec.n_variables)):
        for child in spec.children[v]:
            found[:, v] &= found[:, child]
    return found


def n_completions(spec: MixtureSpec, rows: Int[Tensor, "m n"]) -> Float[Tensor, " m"]:
    """How many completions each row has, as a float: there may be very many.

    Args:
        spec: the structure.
        rows: state numbers; missing cells are -1.
    """
    cards = torch.tensor(spec.cards, dtype=torch.float64, device=rows.device)
    listed = (rows < 0) & ~barren(spec, rows)
    return torch.where(listed, cards, 1.0).prod(1)


def completed(spec: MixtureSpec, rows: Int[Tensor, "m n"]) -> Completions:
    """List the completions of every row; memory is that of the result.

    Args:
        spec: the structure.
        rows: state numbers; missing cells are -1.
    """
    listed = (rows < 0) & ~barren(spec, rows)
    owner = torch.arange(len(rows), device=rows.device)
    rows = rows.long()
    for v, card in enumerate(spec.cards):
        times = torch.where(listed[owner, v], card, 1)
        first = times.cumsum(0) - times
        rows, owner = rows.repeat_interleave(times, 0), owner.repeat_interleave(times)
        states = torch.arange(len(owner), device=rows.device) - first.repeat_interleave(times)
        rows[:, v] = torch.where(listed[owner, v], states, rows[:, v])
    return Completions(rows, owner)
