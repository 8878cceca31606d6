"""Logarithms of probabilities that may be zero, with derivatives that stay finite."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def log(table: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Logarithm whose derivative at zero is zero, where infinity would spoil the others."""
    positive = table > 0
    return torch.where(positive, table, 1.0).log().masked_fill(~positive, -torch.inf)


def logsumexp(terms: Float[Tensor, ...], dim: int | tuple[int, ...]) -> Float[Tensor, ...]:
    """Log-sum-exp over axes; minus infinity, with derivative zero, where all terms are."""
    impossible = (terms == -torch.inf).all(dim, keepdim=True)
    total = terms.masked_fill(impossible, 0.0).logsumexp(dim)
    return total.masked_fill(impossible.squeeze(dim), -torch.inf)
