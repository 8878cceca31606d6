"""Graphs and mixtures for the view method, and distances between a mixture and the truth."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import networkx as nx
import numpy as np
import torch

import pyromix as px
from pyromix.estimate.pooled_prior import pooled_prior
from pyromix.exact.sampling import sample
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import MixtureSpec


def numbered(n, edges, n_sources=2, card=2, uninfluenced=()):
    """V0..Vn-1 with equal numbers of states, edges by number."""
    names = [f"V{v}" for v in range(n)]
    return MixtureSpec.from_parents(
        dict.fromkeys(names, tuple(range(card))),
        {f"V{v}": [f"V{a}" for a, b in edges if b == v] for v in range(n)},
        n_sources,
        uninfluenced=[f"V{v}" for v in uninfluenced],
    )


def chain(n):
    """Edges of V0 -> V1 -> ..."""
    return list(itertools.pairwise(range(n)))


def complete(n):
    """Edges of the complete DAG."""
    return list(itertools.combinations(range(n), 2))


PAIRS = [(0, 1), (2, 3)]
"""Two dependent pairs (THEORY, E8)."""

COLLIDER = [(0, 2), (1, 2)]
"""0 -> 2 <- 1; with a fourth vertex alone the collider is left out of the views."""

PROXY = [(0, 2), (1, 3), (2, 3)]
"""Z -> T, X -> Y, T -> Y as 0, 1, 2, 3 (THEORY, E12)."""

UNLINKED = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (1, 4)]
"""Given V0 and V1 there are three views, and every one of them depends on V1."""


def random_network(n, n_sources, seed, *, parents=2, max_card=3):
    """A random DAG, up to ``parents`` parents and 2 to ``max_card`` states for each vertex."""
    rng = np.random.default_rng(seed)
    names = [f"V{v:03}" for v in range(n)]
    drawn = {
        names[v]: [
            names[p] for p in rng.choice(v, min(v, int(rng.integers(0, parents + 1))), False)
        ]
        for v in range(1, n)
    }
    states = {name: tuple(range(int(rng.integers(2, max_card + 1)))) for name in names}
    return MixtureSpec.from_parents(states, drawn, n_sources)


def bundled(name, n_sources):
    """Graph and states of a network that comes with pgmpy, with a source into every vertex."""
    (folder,) = importlib.util.find_spec("pgmpy").submodule_search_locations
    path = Path(folder) / "utils" / "example_models" / f"{name}.bif.gz"
    return px.read(path).spec.with_n_sources(n_sources)


def table(*ones):
    """P(0), P(1) from P(1)."""
    one = torch.tensor(ones, dtype=torch.float64)
    return torch.stack([1 - one, one], -1)


def fixed_chain():
    """The chain of five of THEORY E15: the effect of V3 on V4 is .2, the naive difference .0497."""
    levels = {0: (0.25, 0.75), 1: (0.7, 0.3)}
    cpts = [table(0.25, 0.75)]
    for v in range(1, 5):
        cpts.append(table(*([a - 0.1, a + 0.1] for a in levels[v % 2])))
    weights = torch.tensor([0.4, 0.6], dtype=torch.float64)
    return BayesNetMixture(numbered(5, chain(5)), weights, tuple(cpts))


def proxies(a):
    """The generator of [mazaheri25spo], THEORY E11: Z -> T -> Y and X; effects -.75 and .75."""
    states = dict.fromkeys("ZXTY", (0, 1))
    spec = MixtureSpec.from_parents(states, {"T": ["Z"], "Y": ["T"]}, 2)
    treated = table([0.75, 0.75 - a / 2], [0.25 + a / 2, 0.25])
    outcome = table([7 / 8, 1 / 8], [1 / 8, 7 / 8])
    tables = {"Z": table(0.25, 0.75), "X": table(0.25, 0.75), "T": treated, "Y": outcome}
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    return BayesNetMixture(spec, weights, tuple(tables[name] for name in spec.variables))


def rows_of(truth, n_rows, seed=0):
    """A sample as distinct rows."""
    return px.Counts.from_codes(truth.spec, sample(truth, n_rows, seed)[0])


def gaps(truth, mixture):
    """Absolute errors of the weights and of all CPT entries, sources matched."""
    mixture = mixture.relabel(px.match_sources(truth, mixture))
    pairs = zip((truth.weights, *truth.cpts), (mixture.weights, *mixture.cpts), strict=True)
    return torch.cat([(a - b).abs().flatten() for a, b in pairs])


def markov(spec, joint):
    """The mixture on a graph whose families have the laws that a table P(U, V) gives them."""
    cpts = []
    for v, parents in enumerate(spec.parents):
        axes = [0, *(1 + p for p in parents), 1 + v]
        others = [a for a in range(joint.ndim) if a not in axes]
        law = joint.sum(others) if others else joint
        law = law.permute([sorted(axes).index(a) for a in axes])
        cpts.append(law / law.sum(-1, keepdim=True))
    weights = joint.sum(tuple(range(1, joint.ndim)))
    return BayesNetMixture(spec, weights, tuple(cpts))


def separated(graph, left, right, given):
    """d-separation of disjoint sets by networkx; nothing is separated from what it overlaps."""
    left, right, given = set(left), set(right), set(given)
    if not left or not right:
        return True
    return not left & right and nx.is_d_separator(graph, left, right, given)


def pooled_hard():
    """Sources told apart, V6 the same in both: truth, 2,000 rows, the prior that pools V6."""
    spec = numbered(7, [])
    truth = px.random_mixture(spec, 1, separation=0.4)
    same = table(0.7, 0.7)
    truth = BayesNetMixture(spec, truth.weights, (*truth.cpts[:6], same))
    counts = rows_of(truth, 2000)
    return truth, counts, pooled_prior(counts, truth)
