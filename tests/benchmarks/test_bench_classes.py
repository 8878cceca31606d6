"""Latent classes: fit_product against StepMix and pomegranate, to the same log-likelihood.

Neither is a dependency: `pip install stepmix pomegranate apricot-select` beside the package first.
"""

from __future__ import annotations

import time
import warnings

import pytest
import torch

import pyromix as px
from pyromix.data.counts import Counts
from pyromix.estimate.em import fit_em
from pyromix.estimate.starts import batch_of
from pyromix.exact.sampling import sample
from pyromix.model.spec import MixtureSpec

CASES = [
    (20, 3, 10**4, 10),
    (20, 5, 10**4, 10),
    (20, 8, 10**4, 10),
    (100, 3, 10**4, 10),
    (100, 5, 10**4, 10),
    (100, 8, 10**4, 10),
    (20, 3, 10**5, 4),
    (20, 8, 10**5, 4),
    (100, 8, 10**5, 2),
    (20, 3, 10**6, 1),
]
"""Variables, classes, rows, runs of each peer."""

BELOW = 1e-3
"""Nats per row below the best known log-likelihood at which a run has failed."""


def timed(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def stepmix(rows, k, seed):
    """Mean log-likelihood per row of one random start, at its own defaults."""
    module = pytest.importorskip("stepmix.stepmix")
    model = module.StepMix(
        n_components=k, measurement="binary", n_init=1, random_state=seed, verbose=0, progress_bar=0
    )
    return float(model.fit(rows).score(rows))


def pomegranate(rows, k, seed):
    """The same; its default start is k-means."""
    gmm = pytest.importorskip("pomegranate.gmm")
    distributions = pytest.importorskip("pomegranate.distributions")
    torch.manual_seed(seed)
    table = torch.tensor(rows, dtype=torch.float32)
    model = gmm.GeneralMixtureModel(
        [distributions.Bernoulli() for _ in range(k)], tol=1e-3, max_iter=1000, random_state=seed
    )
    return float(model.fit(table).log_probability(table).double().mean())


@pytest.mark.parametrize(("n", "k", "n_rows", "n_runs"), CASES)
def test_fit_product_against_its_peers(benchmark, n, k, n_rows, n_runs, capsys):
    spec = MixtureSpec.from_parents({f"V{i:03}": (0, 1) for i in range(n)}, {}, k)
    truth = px.random_mixture(spec, n + k)
    rows = sample(truth, n_rows, 0)[0]
    table = rows.numpy()
    frame = px.data.frames.to_pandas(dict(zip(spec.variables, table.T, strict=True)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # From a frame, counting included, as the peers read their arrays.
        benchmark.pedantic(px.fit_product, (frame, k), rounds=1, warmup_rounds=int(n_rows < 10**6))
        ours = []
        for seed in range(n_runs):
            ours.append(timed(lambda s=seed: px.fit_product(frame, k, random_state=s)))
        best = fit_em(Counts.from_codes(spec, rows), batch_of(truth)).log_likelihood / n_rows
        ends = {"pyromix": [(t, f.log_likelihood / n_rows) for t, f in ours]}
        for name, peer in (("stepmix", stepmix), ("pomegranate", pomegranate)):
            ends[name] = [timed(lambda s=s, p=peer: p(table, k, s)) for s in range(n_runs)]
    best = max(best, *(end for runs in ends.values() for _, end in runs))
    base = sum(t for t, _ in ends["pyromix"]) / n_runs
    lines = [f"n = {n}, k = {k}, N = {n_rows}:"]
    for name, runs in ends.items():
        failed = sum(end < best - BELOW for _, end in runs) / n_runs
        ratio = sum(t for t, _ in runs) / n_runs / base
        per_success = "never" if failed == 1 else f"{ratio / (1 - failed):.1f}"
        lines.append(
            f"  {name:11} time {ratio:6.1f}  failed {failed:.2f}  per success {per_success}"
        )
    with capsys.disabled():
        print("\n" + "\n".join(lines))  # noqa: T201
