"""Sizes of matrices: between which of them a factorisation neither over- nor underflows."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def largest(stack: Tensor, dims: tuple[int, ...] = (-2, -1)) -> Tensor:
    """Largest modulus per matrix; nan where an entry is."""
    return stack.detach().abs().amax(dims)


@lru_cache(maxsize=4)
def limits(dtype: torch.dtype) -> tuple[float, float]:
    """Between these sizes sums of products of two entries are numbers, with room to spare."""
    info = torch.finfo(dtype)
    return info.tiny**0.4, info.max**0.4


def usual(stack: Tensor, dims: tuple[int, ...] = (-2, -1)) -> bool:
    """Whether no matrix needs care; zero matrices get it, and need none."""
    if not stack.numel():
        return True
    size = largest(stack, dims)
    return torch.equal(size.clamp(*limits(stack.dtype)), size)


def within_limits(size: Tensor) -> Tensor:
    """Power of two that brings a size out of range between 2 and 4; one where it is within."""
    least, most = limits(size.dtype)
    out = size.isfinite() & (size > 0) & ((size < least) | (size > most))
    # Subnormal sizes as the least normal one: the factor stays a number.
    size = torch.where(out, size, 1.0).clamp_min(torch.finfo(size.dtype).tiny)
    # The quotient of mantissa and number is a power of two, so this division is exact.
    return torch.where(out, 4 * torch.frexp(size).mantissa / size, 1.0)
