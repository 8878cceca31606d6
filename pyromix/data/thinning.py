"""A table of fewer rows, drawn from a larger one: for a first look at a bounded cost."""

from __future__ import annotations

from dataclasses import replace

import torch

from pyromix.data.counts import Counts
from pyromix.model.randomness import RandomState, torch_generator


def thinned(counts: Counts, n_rows: int, random_state: RandomState = 0) -> Counts:
    """Draw rows with replacement, a pattern by its weight.

    Args:
        counts: the table.
        n_rows: how many rows to draw; their weights are whole numbers.
        random_state: of the draws.
    """
    generator = torch_generator(random_state)
    heights = counts.weights.cpu().cumsum(0)
    draws = torch.rand(n_rows, dtype=torch.float64, generator=generator, device=generator.device)
    drawn = torch.searchsorted(heights, draws.cpu() * heights[-1]).clamp_max(len(heights) - 1)
    kept, times = drawn.unique(return_counts=True)
    rows = counts.rows[kept.to(counts.device)]
    return replace(counts.in_rows(), rows=rows, weights=times.to(counts.device, torch.float64))
