"""What verdicts and intervals of large models cost, in CPU time and memory.

python tests/studies/scale.py certificates, or intervals. Three states, three parents each, k = 3,
one thread. Certificates: parents anywhere before; the time of a sketch of all parameters, and its
exponent in their number. Intervals: parents among the six vertices before, so that questions are
quick; 10,000 rows of a planted mixture, EM from it as far as ``fit`` climbs, a pseudo-count of one
per cell; a standard error in E-steps, sources as drawn, half and a quarter as far apart, and its
relative error where the matrix is formed. The figures stand in docs/limits.md.
"""

from __future__ import annotations

import random
import resource
import sys
import time
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


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"certificates": certificates, "intervals": intervals}[sys.argv[1]]()
