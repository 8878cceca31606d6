"""Tables simulated from a mixture, cells missing as in a table that was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.codes import collapse
from pyromix.data.counts import Counts
from pyromix.exact.sampling import sample
from pyromix.model.mixture import BayesNetMixture

Table = tuple[Int[Tensor, "m variables"], Float[Tensor, "m 1"]]
"""Distinct rows and the weight of each."""


def simulated(mixture: BayesNetMixture, counts: Counts, n_rows: int, seed: int) -> Table:
    """Draw a table.

    Args:
        mixture: without batch axes.
        counts: the table that was seen; the cells of a row that is drawn are missing as in one of
            its rows, drawn by weight.
        n_rows: of the table; those in which every cell is missing are left out.
        seed: of the draw.
    """
    codes, _ = sample(mixture, n_rows, seed)
    if not counts.complete:
        share = (counts.weights / counts.weights.sum()).cpu().numpy()
        mask = np.random.default_rng(seed).choice(len(share), n_rows, p=share)
        hidden = (counts.rows < 0).cpu()[torch.from_numpy(mask)]
        codes[hidden.to(codes.device)] = -1
        codes = codes[(codes >= 0).any(1)]
    rows, weights = collapse(codes.to(counts.rows.dtype), mixture.spec.cards)
    return rows, weights.unsqueeze(1)


def together(
    tables: Sequence[Table], most: float = math.inf
) -> tuple[Int[Tensor, "m variables"], Float[Tensor, "m tables"]] | None:
    """Return the distinct rows of all tables, and one column of weights for each.

    Args:
        tables: on the same variables.
        most: distinct rows beyond which the tables stay apart, and None is returned.
    """
    every, place = torch.cat([rows for rows, _ in tables]).unique(dim=0, return_inverse=True)
    if len(every) > most:
        return None
    weights = torch.zeros(len(every), len(tables), dtype=torch.float64, device=every.device)
    sizes = torch.tensor([len(rows) for rows, _ in tables], device=every.device)
    column = torch.arange(len(tables), device=every.device).repeat_interleave(sizes)
    weights[place, column] = torch.cat([own[:, 0] for _, own in tables])
    return every, weights
