"""Where else a column of numbers could have been cut into states, and rows in other states."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.bins import as_text

MOVED = 0.25
"""Part of the rows between two cut points by which one moves towards the other."""


def other_cuts(
    edges: Sequence[float], values: Float[Tensor, " rows"]
) -> list[tuple[str, tuple[float, ...]]]:
    """Other edges, and how they differ: lower, higher, a state less, a state more.

    Edges move among the ranks of the column, by a quarter of the rows between them and their
    neighbour. Another number of states keeps the pattern of shares: quantiles stay quantiles.
    Those that ties make the same are left out.

    Args:
        edges: where it was cut, increasing.
        values: the column; nan where missing.
    """
    told = values[~values.isnan()].sort().values
    at = torch.tensor(edges, dtype=torch.float64)
    below = torch.searchsorted(told, at).double() / max(len(told), 1)
    shares = np.array([0.0, *below.tolist(), 1.0])
    gaps, n = np.diff(shares), len(edges) + 1
    wanted = [
        ("lower", shares[1:-1] - MOVED * gaps[:-1]),
        ("higher", shares[1:-1] + MOVED * gaps[1:]),
        ("a state less", _stretched(shares, n - 1)),
        ("a state more", _stretched(shares, n + 1)),
    ]
    found: list[tuple[str, tuple[float, ...]]] = []
    seen = {tuple(edges), ()}
    for words, ranks in wanted:
        own = _at_ranks(told, ranks)
        if own not in seen:
            seen.add(own)
            found.append((words, own))
    return found


def _stretched(shares: np.ndarray, n_states: int) -> np.ndarray:
    """Shares below the edges of another number of states."""
    places = np.arange(1, n_states) * (len(shares) - 1) / n_states
    return np.interp(places, np.arange(len(shares)), shares)


def _at_ranks(told: Float[Tensor, " m"], ranks: np.ndarray) -> tuple[float, ...]:
    """Numbers of the column at these shares of its rows, as names of states spell them."""
    edges: list[float] = []
    last = float(told[0]) if len(told) else math.inf
    for rank in ranks.tolist():
        edge = float(as_text(float(told[min(round(rank * len(told)), len(told) - 1)])))
        if edge > last:
            edges.append(edge)
            last = edge
    return tuple(edges)


def merged_states(fine: Sequence[float], coarse: Sequence[float]) -> Int[Tensor, " fine_states"]:
    """Of every state between fine edges the one between coarse edges that it lies in.

    Args:
        fine: edges, among them all coarse ones.
        coarse: edges.
    """
    low = torch.tensor([-math.inf, *fine], dtype=torch.float64)
    return torch.bucketize(low, torch.tensor(coarse, dtype=torch.float64), right=True)
