"""What verdicts, intervals and fits of large models cost, in CPU time and memory.

python tests/studies/scale.py certificates, intervals, growth or walls. Three states, three parents
each, k = 3, one thread. Certificates: parents anywhere before; the time of a sketch of all
parameters, and its exponent in their number. Intervals: parents among the six vertices before, so
that questions are quick; 10,000 rows of a planted mixture, EM from it as far as ``fit`` climbs, a
pseudo-count of one per cell; a standard error in E-steps, sources as drawn, half and a quarter as
far apart, and its relative error where the matrix is formed. Growth: CPU time of a default fit as
one of rows, vertices, sources and states grows and the others stay (two parents each, 20 vertices,
k = 3, three states, 10,000 rows), and the exponent. Walls: what is said of sizes that are refused.
The figures stand in docs/limits.md.
"""

from __future__ import annotations

import itertools
import random
import resource
import sys
import time
import warnings
from functools import partial

import numpy as np
import torch

import pyromix as px
from pyromix.estimate.em import climb_replicates
from pyromix.estimate.starts import batch_of
from pyromix.exact.curvature import Curvature
from pyromix.exact.implicit import ImplicitInformation
from pyromix.exact.information import observed_information
from pyromix.exact.likelihood import expected_counts
from pyromix.exact.rows import CellIndex
from pyromix.exact.sampling import sample
from pyromix.identify.certificate import query_gradient
from pyromix.identify.sketch import sketch
from pyromix.model.prior import PseudoCounts
from pyromix.model.query import settings

N_ROWS = 10_000
LARGEST_MATRIX = 2_000


def dense_graph(n: int, window: int, seed: int = 0) -> px.MixtureSpec:
    """Three parents each, at random among so many vertices before."""
    rng = random.Random(seed)
    names = [f"V{i:03d}" for i in range(n)]
    parents = {
        v: sorted(rng.sample(names[max(0, i - window) : i], min(3, i))) for i, v in enumerate(names)
    }
    return px.MixtureSpec.from_parents(dict.fromkeys(names, (0, 1, 2)), parents, 3)


def seconds(function, times: int = 1):
    """CPU time of a call, and what the last one returned."""
    start = time.process_time()
    for _ in range(times):
        found = function()
    return (time.process_time() - start) / times, found


def certificates() -> None:
    """Time of a sketch, by size."""
    sizes, times = [], []
    for n in (10, 16, 24, 40, 64, 96, 126, 200, 310):
        spec = dense_graph(n, n)
        sketch.cache_clear()
        took, sight = seconds(lambda s=spec: sketch(s).whole)
        sizes.append(spec.n_parameters)
        times.append(took)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(f"{n} vertices, {sizes[-1]:,} parameters: {took:.2f} s, {sight}, {memory:.0f} MiB")
    slope = np.polyfit(np.log(sizes[2:]), np.log(times[2:]), 1)[0]
    print(f"exponent in the number of parameters: {slope:.2f}")


def closer(mixture: px.BayesNetMixture, share: float) -> px.BayesNetMixture:
    """Sources so much nearer to their mean."""
    cpts = [c.mean(0, keepdim=True) * (1 - share) + c * share for c in mixture.cpts]
    return px.BayesNetMixture.from_tables(mixture.spec, [mixture.weights, *cpts])


def intervals() -> None:
    """Standard errors in E-steps, by size and separation."""
    for n in (10, 33, 126):
        spec = dense_graph(n, 6)
        drawn = px.random_mixture(spec, 0)
        prior = PseudoCounts.of(spec, 1.0)
        queries = settings(spec, spec.variables[-1], spec.name(spec.parents[-1][0]))
        for share in (1.0, 0.5, 0.25):
            truth = closer(drawn, share)
            counts = px.Counts.from_codes(spec, sample(truth, N_ROWS, 0)[0])
            weights = counts.weights[:, None]
            climbed = climb_replicates(
                counts, batch_of(truth), weights, prior=prior, max_iter=20_000, tol=1e-12
            )
            mixture = climbed.mixtures[0]
            arms = [query_gradient(mixture, query) for query in queries]
            gradient = (arms[-1] - arms[0])[:1]
            index = CellIndex(spec, counts.rows)
            table = index.axis.stack(mixture.cpts)[:, None]

            def e_step(m=mixture, table=table, index=index, counts=counts):
                return expected_counts(m.weights[None], table, index, counts.weights)

            e_step()
            step, _ = seconds(e_step, 20)
            known = ImplicitInformation(Curvature(mixture, index, counts.weights, prior))
            took, variance = seconds(lambda k=known, g=gradient: float(k.variances(g)[0]))
            loosely, loose = seconds(lambda k=known, g=gradient: float(k.loose_shares(g)[0]))
            line = (
                f"{spec.n_parameters:,} parameters, sources {share:g}: E-step {1e3 * step:.1f} ms, "
                f"standard error {variance**0.5:.4g} in {took / step:.0f} E-steps, loose "
                f"{loose:.2f} in {loosely / step:.0f}"
            )
            if spec.n_parameters <= LARGEST_MATRIX:
                dense, matrix = seconds(
                    partial(observed_information, mixture, counts.rows, counts.weights, prior)
                )
                exact, least = float(matrix.variances(gradient)[0]), float(matrix.values[0])
                share_of = float(matrix.loose_shares(gradient)[0])
                line += (
                    f"; with the matrix {dense / step:.0f}, relative error "
                    f"{variance / exact - 1:.1g}, least eigenvalue {least:.2g}, loose "
                    f"{share_of:.2f}"
                )
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
            print(f"{line}; {memory:.0f} MiB", flush=True)


GROWING = {
    "rows": (1_000, 3_000, 10_000, 30_000, 100_000),
    "vertices": (10, 20, 40, 80),
    "sources": (2, 3, 5, 8),
    "states": (2, 3, 5, 8),
}


def planted(rows: int = 10_000, vertices: int = 20, sources: int = 3, states: int = 3):
    """A table of a random mixture, two parents among the three vertices before each."""
    rng = random.Random(0)
    names = [f"V{i:03d}" for i in range(vertices)]
    parents = {
        v: sorted(rng.sample(names[max(0, i - 3) : i], min(2, i))) for i, v in enumerate(names)
    }
    spec = px.MixtureSpec.from_parents(dict.fromkeys(names, tuple(range(states))), parents, sources)
    return spec, px.Counts.from_codes(spec, sample(px.random_mixture(spec, 0), rows, 0)[0])


def growth() -> None:
    """Default fits, one direction after the other."""
    warnings.simplefilter("ignore")
    for direction, sizes in GROWING.items():
        times = []
        for size in sizes:
            spec, counts = planted(**{direction: size})
            px.fit(spec, counts, n_init=0, prior=None, max_iter=2, show_progress=False)
            took, fit = seconds(lambda s=spec, c=counts: px.fit(s, c, show_progress=False))
            times.append(took)
            print(
                f"{size:,} {direction}, {spec.n_parameters:,} parameters: {took:.2f} s, "
                f"{len(fit.climb.log_likelihoods)} starts ended, {fit.n_iter} steps of the best",
                flush=True,
            )
        slope = np.polyfit(np.log(sizes), np.log(times), 1)[0]
        print(f"exponent in {direction}: {slope:.2f}", flush=True)


def walls() -> None:
    """The first size that is refused in each direction, and what is said."""
    names = [f"V{i:02d}" for i in range(30)]
    states = dict.fromkeys(names, (0, 1))
    chain = {b: [a] for a, b in itertools.pairwise(names)}
    small, counts = planted(100, 6)

    def fitted(spec: px.MixtureSpec, **options) -> None:
        rows = torch.zeros(2, spec.n_variables, dtype=torch.int8)
        px.fit(spec, px.Counts.from_codes(spec, rows), show_progress=False, **options)

    refused = {
        "sources": lambda: px.MixtureSpec.from_parents(states, chain, 4_097),
        "parents": lambda: fitted(
            px.MixtureSpec.from_parents(states, {names[-1]: names[:-1]}, 2), prior=None
        ),
        "starts": lambda: px.fit(small, counts, n_init=10**8, show_progress=False),
        "treewidth": lambda: px.query(
            px.random_mixture(px.MixtureSpec.from_parents(*dense_states(80, 12)), 0),
            "V079",
            {"V000": 0},
        ),
    }
    for direction, ask in refused.items():
        try:
            ask()
            print(f"{direction}: not refused")
        except px.PyromixError as error:
            print(f"{direction}: {type(error).__name__}: {error}")


def dense_states(n: int, parents: int):
    """Binary states, parents drawn among all vertices before, and k = 2."""
    rng = random.Random(0)
    names = [f"V{i:03d}" for i in range(n)]
    drawn = {v: sorted(rng.sample(names[:i], min(parents, i))) for i, v in enumerate(names)}
    return dict.fromkeys(names, (0, 1)), drawn, 2


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"certificates": certificates, "intervals": intervals, "growth": growth, "walls": walls}[
        sys.argv[1]
    ]()
