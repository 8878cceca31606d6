"""What a linear map cannot reach of a vector, by products with it alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Remainder:
    """What is left of a vector b when the best ``A y`` is taken away.

    Attributes:
        vector: ``b - A y``, worked out, not estimated: b reaches no farther out of A's range.
        share: its length over that of b.
        slope: length of ``A'`` times it, over its length and the largest singular value seen: zero
            where it is orthogonal to all of A's range, and so the shortest there is.
        n_steps: products with A and with its transpose, each.
    """

    vector: Float[Tensor, " p"]
    share: float
    slope: float
    n_steps: int


def remainder(
    times: Callable[[Tensor], Tensor],
    back: Callable[[Tensor], Tensor],
    vector: Float[Tensor, " p"],
    *,
    close: float,
    level: float,
    max_steps: int,
) -> Remainder:
    """Minimise ``|b - A y|`` over y by LSQR.

    [C. C. Paige, M. A. Saunders, LSQR: an algorithm for sparse linear equations and sparse least
    squares, ACM TOMS 8, 1982]. From y = 0, so that y stays in the range of A'.

    Args:
        times: A times a vector.
        back: A' times a vector.
        vector: b, not zero.
        close: share of b from which on nothing is left.
        level: slope from which on the remainder is orthogonal.
        max_steps: products at most.
    """
    length = float(vector.norm())
    u = vector / length
    v = back(u)
    alpha = float(v.norm())
    solution, n, largest = torch.zeros_like(v), 0, alpha
    if alpha > 0:
        v = v / alpha
        ahead, left, bar = v, length, alpha
        while n < max_steps:
            n += 1
            u = times(v) - alpha * u
            beta = float(u.norm())
            u = u / max(beta, math.ulp(0.0))
            v = back(u) - beta * v
            alpha = float(v.norm())
            v = v / max(alpha, math.ulp(0.0))
            size = math.hypot(bar, beta)
            cosine, sine = bar / size, beta / size
            solution = solution + cosine * left / size * ahead
            turn, bar, left = sine * alpha, -cosine * alpha, sine * left
            ahead = v - turn / size * ahead
            largest = max(largest, size, alpha)
            if left <= close * length or alpha * abs(cosine) <= level * largest:
                break
    found = vector - times(solution)
    size = float(found.norm())
    slope = float(back(found).norm()) / (size * largest) if alpha > 0 and size > 0 else 0.0
    return Remainder(found, size / length, slope, n)
