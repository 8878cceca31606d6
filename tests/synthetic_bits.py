"""Synthetic bits of [gordon21colt] as THEORY section 3.1 states them: a second algorithm for tests.

A power of one row of m cannot be seen in binary data, but a combination of subsets of other
variables can take its place: a synthetic bit. Two of them, on disjoint variables, multiply, so all
power moments of the row can be had, and problem 1 gives the row and the weights.

A subset of the n variables is a bit mask in which variable 0 is the highest bit, so that ``g[a]``
is its moment in the order of ``multilinear_moments`` and ``g[a | b]`` that of a union.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import torch

from pyromix.coins.moments import solve_moments
from pyromix.model.status import Status

ROUNDING = 1e-13
"""A k-th singular value below this says that moments, if they are exact, are of fewer sources."""


class SyntheticBits(NamedTuple):
    """One mixture, or the reason why there is none.

    ``means`` is (k, n); ``smallest`` is min(sigma_k(C_BA), sigma_k(C_B'A)). Where ``failed`` is not
    empty, weights and means are nan.
    """

    weights: np.ndarray
    means: np.ndarray
    smallest: float
    failed: str = ""


def synthetic_bits(g, n_sources, least=ROUNDING):
    """Recover k sources from the moments ``g`` of all subsets of at least 3k - 3 binary variables.

    Row 1 of the paper is the first variable of T; k >= 2.
    """
    g, k = np.asarray(g, dtype=float), n_sources
    n = len(g).bit_length() - 1
    bits = [1 << (n - 1 - i) for i in range(n)]
    s, t, t2 = bits[: k - 1], bits[k - 1 : 2 * k - 2], bits[2 * k - 2 : 3 * k - 3]
    row = t[0]

    # 1. A, B, B' of k subsets each.
    a, b, b2, smallest = choose_greedily(g, subsets(s), subsets(t), subsets(t2), k)
    nothing = SyntheticBits(np.full(k, np.nan), np.full((k, n), np.nan), smallest)
    if not smallest > least:
        return nothing._replace(failed="singular value too small")
    c, c2 = g[b[:, None] | a], g[b2[:, None] | a]

    # 2. v_r holds E[x^r times the product over a], x the row; u_r is x^r written in B, u'_r in B'.
    v = [g[a], g[a | row]]
    both = g[b[:, None, None] | b2[:, None] | a]
    for r in range(2, 2 * k):
        u, u2 = np.linalg.solve(c.T, v[r - r // 2]), np.linalg.solve(c2.T, v[r // 2])
        v.append(np.einsum("b,d,bda->a", u, u2, both))

    # 3. The empty set is the first of A.
    power_moments = torch.tensor([w[0] for w in v], dtype=torch.float64)
    solved = solve_moments(power_moments, k)
    if int(solved.status) != Status.OK:
        return nothing._replace(failed=f"power moments: {Status(int(solved.status)).name}")
    x, weights = solved.probs.numpy(), solved.weights.numpy()

    # 4. V diag(pi) A' = [v_0..v_{k-1}] and C_BA = B diag(pi) A'; every row by a linear solve.
    powers = x ** np.arange(k)[:, None]
    weighted_a = np.linalg.solve(powers, np.stack(v[:k]))
    weighted_b = np.linalg.solve(weighted_a.T, c.T).T * weights
    means = np.empty((k, n))
    for i, bit in enumerate(bits):
        if bit in s:
            means[:, i] = np.linalg.solve(weighted_b, g[b | bit])
        else:
            means[:, i] = np.linalg.solve(weighted_a.T, g[a | bit])
    return SyntheticBits(weights, means, smallest)


def subsets(variables):
    """Bit masks of all subsets; the empty one is the first."""
    chosen = itertools.product((0, 1), repeat=len(variables))
    return np.array(
        [sum(v for v, taken in zip(variables, c, strict=True) if taken) for c in chosen]
    )


def singular_value(c, k):
    """The k-th of every matrix in a stack."""
    return np.linalg.svd(c, compute_uv=False)[..., k - 1]


def choose_greedily(g, s, t, t2, k):
    """A, B, B' that make both k-th singular values large, one subset after the other."""
    a = [0]
    for size in range(2, k + 1):
        grown = [np.array([*a, mask]) for mask in s if mask not in a]
        scores = [
            min(singular_value(g[rows[:, None] | columns], size) for rows in (t, t2))
            for columns in grown
        ]
        a = list(grown[int(np.argmax(scores))])
    a = np.array(a)
    b, b2 = (best_rows(g, rows, a, k) for rows in (t, t2))
    return a, b, b2, min(float(singular_value(g[r[:, None] | a], k)) for r in (b, b2))


def best_rows(g, candidates, a, k):
    """Rows for which sigma of all columns a is largest, one after the other."""
    rows = []
    for size in range(1, k + 1):
        grown = [np.array([*rows, mask]) for mask in candidates if mask not in rows]
        scores = [singular_value(g[r[:, None] | a], size) for r in grown]
        rows = list(grown[int(np.argmax(scores))])
    return np.array(rows)
