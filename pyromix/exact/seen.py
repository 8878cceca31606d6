"""The variance that a function of the tables would have, had U and all cells been seen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.model.mixture import BayesNetMixture
from pyromix.model.parameters import ParameterAxis
from pyromix.model.spec import SOURCE


def variance_if_seen(
    mixture: BayesNetMixture,
    row_masses: Sequence[Float[Tensor, ...]],
    n_rows: float,
    gradient: Float[Tensor, " p"],
) -> float:
    """Variance that a function would have, to first order, had U and all cells been seen.

    A CPT row with n rows behind it and slopes g in its log-odds adds
    ``(sum g_s^2 / p_s + (sum g_s)^2 / p_last) / n``; one row is added to each, so that rows nobody
    reached count as known from a single one.

    Args:
        mixture: the estimate, without batch axes.
        row_masses: expected rows behind each CPT row, ``(k, *card(parents))``.
        n_rows: rows in all.
        gradient: of the function in the log-odds.
    """
    axis = ParameterAxis(mixture.spec)
    behind = [torch.as_tensor(n_rows, dtype=torch.float64), *row_masses]
    total = 0.0
    for v, (table, mass) in enumerate(zip(mixture.tables, behind, strict=True), SOURCE):
        free = table.shape[-1] - 1
        if not free:  # one state: nothing is uncertain
            continue
        copies = 1 if v == SOURCE else axis.copies(v)
        law = table.reshape(-1, free + 1) if v == SOURCE else table[:copies].reshape(-1, free + 1)
        slopes = gradient[axis.block(v)].reshape(-1, free)
        law = law.clamp_min(torch.finfo(law.dtype).tiny)
        parts = (slopes.square() / law[:, :-1]).sum(-1) + slopes.sum(-1).square() / law[:, -1]
        rows = mass.reshape(1) if v == SOURCE else mass[:copies].reshape(-1)
        total += float((parts / (rows.to(parts.device) + 1)).sum())
    return total
