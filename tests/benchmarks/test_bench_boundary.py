"""Markov boundaries on paths: runs and rows that the method asks for, and its error beside EM's.

The bound in the same run is the maximum-likelihood estimate: EM from the truth.
"""

from __future__ import annotations

import itertools

import pytest
import torch

import pyromix as px
from pyromix.data.counts import Counts
from pyromix.estimate.em import fit_em
from pyromix.estimate.starts import batch_of
from pyromix.exact.sampling import sample
from pyromix.identify.boundary.solver import identify_by_boundaries
from pyromix.model.spec import MixtureSpec

MIXTURES = 10
"""Random mixtures behind every median."""


def path(n):
    names = [f"V{i:02}" for i in range(n)]
    parents = {v: [p] for p, v in itertools.pairwise(names)}
    return MixtureSpec.from_parents(dict.fromkeys(names, (0, 1)), parents, 2)


def median_error(truth, mixture):
    """Median absolute error of CPT entries, sources matched."""
    mixture = mixture.relabel(px.match_sources(truth, mixture))
    pairs = zip(truth.cpts, mixture.cpts, strict=True)
    return torch.cat([(a - b).abs().flatten() for a, b in pairs]).median()


@pytest.mark.parametrize("n_rows", [10**5, 10**6])
@pytest.mark.parametrize("n", [6, 9, 12])
def test_runs_rows_and_error_on_paths(benchmark, n, n_rows, capsys):
    spec = path(n)
    ours, bound, smallest, counted = [], [], [], []
    for seed in range(MIXTURES):
        truth = px.random_mixture(spec, seed, separation=0.3)
        counts = Counts.from_codes(spec, sample(truth, n_rows, seed)[0])
        solution = identify_by_boundaries(counts, spec)
        ours.append(median_error(truth, solution.mixture))
        bound.append(median_error(truth, fit_em(counts, batch_of(truth)).mixture))
        smallest.append(solution.runs.mass.min())
        counted.append(solution.alignment.aligned.double().mean())
    benchmark.pedantic(identify_by_boundaries, (counts, spec), rounds=2, warmup_rounds=1)
    error, best, rows, share = (
        float(torch.stack(values).median()) for values in (ours, bound, smallest, counted)
    )
    sizes = [len(family.independent.conditioning) for family in solution.plan.families]
    with capsys.disabled():
        print(  # noqa: T201
            f"\npath of {n}, N = {n_rows:.0e}: {len(solution.plan.runs)} runs in {len(sizes)} "
            f"families given {min(sizes)} to {max(sizes)} vertices, {share:.0%} of them counted, "
            f"{rows:.0f} rows behind the smallest; median CPT error {error:.4f}, of maximum "
            f"likelihood {best:.4f}, ratio {error / best:.1f}"
        )
