"""Rank tests as a choice of k hears them: of blocks that are independent within each source."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from pyromix.data.asking import Asked
from pyromix.data.counts import Counts
from pyromix.identify.network.ranks import network_rank
from pyromix.identify.product.rank import RankEstimate, product_rank


def rank_tests(
    moments: Asked | Counts, most: int, level: float, generator: torch.Generator
) -> tuple[RankEstimate, ...]:
    """Estimate how many sources the data show, at most ``most``; nothing without two blocks."""
    if moments.spec.n_variables < 2:
        return ()
    if any(moments.spec.parents):
        return network_rank(moments, max_rank=most, level=level, random_state=generator)
    return (product_rank(moments, max_rank=most, level=level, random_state=generator),)


def rank_p_value(ranks: Sequence[RankEstimate], k: int) -> float:
    """Smallest p-value of the hypothesis that k sources suffice; nan where none was tested."""
    return min((r.p_values[k - 1] for r in ranks if len(r.p_values) >= k), default=math.nan)
