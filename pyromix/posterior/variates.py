"""Multinomial and gamma draws with a generator of their own, many at once."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def multinomial(
    counts: Float[Tensor, "*batch"],
    shares: Float[Tensor, "*batch m"],
    generator: torch.Generator,
) -> Float[Tensor, "*batch m"]:
    """Distribute whole numbers over m places.

    Halves are split by binomial draws, then halves of halves: about log2(m) steps, whatever the
    counts are.

    Args:
        counts: whole numbers, not negative.
        shares: not negative, up to a factor; their sum is positive where the count is.
        generator: on the device of the counts.

    Returns:
        Whole numbers that sum to ``counts`` over the last axis.
    """
    m = shares.shape[-1]
    levels = [shares]
    while levels[-1].shape[-1] > 1:
        odd = levels[-1].shape[-1] % 2
        levels[-1] = torch.nn.functional.pad(levels[-1], (0, odd))
        levels.append(levels[-1].unflatten(-1, (-1, 2)).sum(-1))
    drawn = counts.unsqueeze(-1)
    for total, pair in zip(reversed(levels[1:]), reversed(levels[:-1]), strict=True):
        drawn = drawn[..., : pair.shape[-1] // 2]  # what lies beyond was padding
        share = pair[..., ::2] / total[..., : drawn.shape[-1]]
        left = _binomial(drawn, share.nan_to_num(0.0), generator)
        drawn = torch.stack([left, drawn - left], -1).flatten(-2)
    return drawn[..., :m]


def standard_gamma(alpha: Float[Tensor, "*batch"], generator: torch.Generator) -> Tensor:
    """Gamma draws of scale one, as ``torch.distributions`` makes them, shaped like alpha.

    Args:
        alpha: shapes, positive.
        generator: on the device of alpha; torch.distributions would take the global one.
    """
    return torch._standard_gamma(  # pyright: ignore[reportPrivateImportUsage]
        alpha, generator=generator
    )


def _binomial(
    counts: Float[Tensor, "*batch"], prob: Float[Tensor, "*batch"], generator: torch.Generator
) -> Float[Tensor, "*batch"]:
    """Binomial draws; a count of one, the most frequent, is one uniform number."""
    uniform = torch.rand(prob.shape, dtype=prob.dtype, generator=generator, device=generator.device)
    drawn = (uniform < prob) * counts
    many = (counts > 1).nonzero(as_tuple=True)
    if len(many[0]):
        prob = prob[many].clamp(max=1.0)  # a share and its total are rounded apart
        drawn[many] = torch.binomial(counts[many], prob, generator=generator)
    return drawn
