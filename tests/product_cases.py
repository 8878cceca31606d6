"""Mixtures of products for tests: random and separated ones, their joint tables, and distances.

`joint_by_loops` is the oracle: plain sums over sources and joint states. `joint_table`, for whole
batches, is compared with it in test_tables.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import MixtureSpec

Mixture = tuple[Tensor, list[Tensor]]
"""Weights (*batch, k) and one table (*batch, k, card) per variable."""


def edgeless(cards, n_sources):
    """The spec of independent variables V0, V1, ... with states 0, 1, ..."""
    states = {f"V{i}": tuple(range(card)) for i, card in enumerate(cards)}
    return MixtureSpec.from_parents(states, {}, n_sources)


def as_network(mixture: Mixture):
    weights, tables = mixture
    cards = [t.shape[-1] for t in tables]
    return BayesNetMixture(edgeless(cards, weights.shape[-1]), weights, tuple(tables))


def random_product(cards, n_sources, seed, batch_shape=()) -> Mixture:
    """Tables uniform on the simplex, weights at least 1 / (3k)."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*batch_shape, *shape, generator=generator, dtype=torch.float64)

    weights = 0.5 + uniform(n_sources)
    tables = [-torch.log1p(-uniform(n_sources, card)) for card in cards]
    return (
        weights / weights.sum(-1, keepdim=True),
        [t / t.sum(-1, keepdim=True) for t in tables],
    )


def separated_bits(n_sources, n, seed) -> Mixture:
    """Binary variables whose means are (j + 1/2) / k in an order of their own (THEORY, E3)."""
    generator = torch.Generator().manual_seed(seed)
    levels = (torch.arange(n_sources, dtype=torch.float64) + 0.5) / n_sources
    weights = 0.5 + torch.rand(n_sources, generator=generator, dtype=torch.float64)
    means = [levels[torch.randperm(n_sources, generator=generator)] for _ in range(n)]
    return weights / weights.sum(), [torch.stack([1 - m, m], -1) for m in means]


def identical_bits(n_sources, n, step) -> Mixture:
    """Every variable has the means 0, step, 2 step, ... (THEORY, E6)."""
    means = torch.arange(n_sources, dtype=torch.float64) * step
    table = torch.stack([1 - means, means], -1)
    weights = torch.full((n_sources,), 1 / n_sources, dtype=torch.float64)
    return weights, [table.clone() for _ in range(n)]


def joint_by_loops(weights, tables):
    """P(x_1, .., x_n) of an unbatched mixture, cell by cell."""
    cards = [t.shape[-1] for t in tables]
    pi, rows = weights.tolist(), [t.tolist() for t in tables]
    joint = torch.zeros(cards, dtype=torch.float64)
    for x in itertools.product(*map(range, cards)):
        joint[x] = math.fsum(
            p * math.prod(row[u][s] for row, s in zip(rows, x, strict=True))
            for u, p in enumerate(pi)
        )
    return joint


def joint_table(weights, tables):
    """The same for a batch."""
    joint = weights
    batch = weights.ndim - 1
    for table in tables:
        shape = (*table.shape[: batch + 1], *(1 for _ in joint.shape[batch + 1 :]), -1)
        joint = joint.unsqueeze(-1) * table.reshape(shape)
    return joint.sum(batch)


def draw_table(joint, n_rows, seed):
    """Relative frequencies of a multinomial sample from each joint table of a batch."""
    rng = np.random.default_rng(seed)
    cells = joint.shape[joint.ndim - 3 :]
    flat = joint.reshape(-1, math.prod(cells)).numpy()
    counts = rng.multinomial(n_rows, flat / flat.sum(1, keepdims=True))
    return torch.from_numpy(counts / n_rows).reshape(joint.shape)


def draw_rows(mixture: Mixture, n_rows, seed):
    """Rows of an unbatched mixture, (n_rows, n) int64."""
    weights, tables = mixture
    generator = torch.Generator().manual_seed(seed)
    sources = torch.multinomial(weights, n_rows, True, generator=generator)
    columns = []
    for table in tables:
        edges = table.cumsum(-1)[sources, :-1]
        uniform = torch.rand(n_rows, 1, generator=generator, dtype=torch.float64)
        columns.append((uniform > edges).sum(-1))
    return torch.stack(columns, -1)


def aligned(solution, truth: Mixture) -> Mixture:
    """The unbatched solution with its sources in the order of the truth, tables matched best."""
    cost = sum(
        (t.unsqueeze(1) - t0.unsqueeze(0)).abs().sum(-1)
        for t, t0 in zip(solution.tables, truth[1], strict=True)
    )
    found, wanted = linear_sum_assignment(cost.numpy())
    order = torch.from_numpy(found)[torch.from_numpy(wanted).argsort()]
    return solution.weights[order], [t[order] for t in solution.tables]


def error(solution, truth: Mixture):
    """Largest error over weights and tables of an unbatched solution, sources matched."""
    weights, tables = aligned(solution, truth)
    gaps = [float((weights - truth[0]).abs().max())]
    return max(gaps + [float((t - t0).abs().max()) for t, t0 in zip(tables, truth[1], strict=True)])


def root_mean_square(solution, truth: Mixture):
    """Root mean square error over all entries of all tables, sources matched."""
    _, tables = aligned(solution, truth)
    gaps = [(t - t0).flatten() for t, t0 in zip(tables, truth[1], strict=True)]
    return float(torch.cat(gaps).square().mean().sqrt())


def element(solution, index):
    """Weights and tables of one batch element, as `error` takes them."""
    return _Element(solution.weights[index], tuple(t[index] for t in solution.tables))


class _Element:
    def __init__(self, weights, tables):
        self.weights, self.tables = weights, tables
