"""Where chi-square is not trusted: the strongest edge that tables without any of them ask for.

Tables are drawn from the fitted graph; on each the graph is fitted anew, all added edges are
screened and the best few fitted. The least p-value of a table is what chance alone makes of so many
candidates [P. H. Westfall, S. S. Young, Resampling-Based Multiple Testing, 1993, min P].
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from pyromix.criticism.graph.edits import Edit
from pyromix.criticism.graph.trials import Bench, strongest
from pyromix.data.counts import Counts
from pyromix.data.intake_report import DataReport
from pyromix.estimate.starts import batch_of, random_starts
from pyromix.posterior.simulated import simulated

VERIFIED = 3
"""Candidates of a simulated table that are fitted: the best by screening."""

RANDOM_STARTS = 2
"""Random starts of the graph on a simulated table, beside that from the estimate."""

ENOUGH = 10
"""Simulated tables as extreme as the table after which no more are drawn: p is then known to a
third of itself [J. Besag, P. Clifford, Sequential Monte Carlo p-values, Biometrika 78, 1991]."""


def simulated_p_values(
    bench: Bench, candidates: Sequence[Edit], log_p_values: Sequence[float], n: int, seed: int
) -> list[float]:
    """p-values of the strongest of some candidates, corrected for all of them.

    Args:
        bench: the graph as it is.
        candidates: all edges that might be added.
        log_p_values: of those that are asked about, by chi-square, on the table.
        n: simulated tables; fewer where all p-values are known to be large.
        seed: of these.

    Returns:
        One per entry of ``log_p_values``, at least ``1 / (n + 1)``.
    """
    least: list[float] = []
    for log_p in itertools.islice(_least(bench, candidates, seed), n):
        least.append(log_p)
        if all(sum(one <= p for one in least) >= ENOUGH for p in log_p_values):
            break
    return [(1 + sum(one <= p for one in least)) / (1 + len(least)) for p in log_p_values]


def _least(bench: Bench, candidates: Sequence[Edit], seed: int) -> Iterator[float]:
    """Logarithm of the least p-value of one simulated table after the other."""
    n_rows = max(1, round(bench.counts.n_rows))
    for i in itertools.count():
        own = int(np.random.default_rng((seed, i)).integers(2**62))
        rows, weights = simulated(bench.mixture, bench.counts, n_rows, own)
        starts = [bench.mixture]
        if bench.spec.n_sources > 1:
            starts.append(random_starts(bench.spec, RANDOM_STARTS, own, device=rows.device))
        drawn = Bench.of(_counted(bench, rows, weights), batch_of(*starts))
        screened = strongest(drawn.screened(edit) for edit in candidates)
        best = strongest(drawn.verified(trial.edit) for trial in screened[:VERIFIED])
        yield best[0].log_p if best else 0.0


def _counted(bench: Bench, rows: Tensor, weights: Tensor) -> Counts:
    report = DataReport(len(rows), bench.spec.n_variables, len(rows))
    return Counts(bench.spec.schema, rows, weights[:, 0], report)
