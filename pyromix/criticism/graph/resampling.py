"""Where chi-square is not trusted: the strongest edge that tables without any of them ask for.

Tables are drawn from the fitted graph; on each the graph is fitted anew, all added edges are
screened and the best few fitted. The least p-value of a table is what chance alone makes of so many
candidates [P. H. Westfall, S. S. Young, Resampling-Based Multiple Testing, 1993, min P].
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.criticism.graph.edits import Edit
from pyromix.criticism.graph.trials import GAIN, STEPS, Bench, strongest
from pyromix.data.counts import Counts
from pyromix.data.intake_report import DataReport
from pyromix.estimate.em import climb_replicates
from pyromix.estimate.result import Ends
from pyromix.estimate.starts import batch_of, random_starts
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.posterior.simulated import simulated, together

VERIFIED = 3
"""Candidates of a simulated table that are fitted: the best by screening."""

NUMBERS = 2**21
"""Rows times sources times simulated tables that climb as one batch."""

AT_ONCE = 25
"""Simulated tables of a batch at most: large p-values are known after the first."""

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
        seed: of these; table i is the same however many there are.

    Returns:
        One per entry of ``log_p_values``, at least ``1 / (n + 1)``.
    """
    least: list[float] = []
    at_once = min(AT_ONCE, max(1, NUMBERS // (bench.counts.n_patterns * bench.spec.n_sources)))
    while len(least) < n and not _known(least, log_p_values):
        numbers = range(len(least), min(n, len(least) + at_once))
        least += _least(bench, candidates, numbers, seed)
    return [(1 + sum(one <= p for one in least)) / (1 + len(least)) for p in log_p_values]


def _known(least: Sequence[float], log_p_values: Sequence[float]) -> bool:
    return all(sum(one <= p for one in least) >= ENOUGH for p in log_p_values)


def _least(bench: Bench, candidates: Sequence[Edit], numbers: range, seed: int) -> list[float]:
    """Logarithm of the least p-value of each of some simulated tables."""
    n_rows = max(1, round(bench.counts.n_rows))
    seeds = [int(np.random.default_rng((seed, i)).integers(2**62)) for i in numbers]
    drawn = together([simulated(bench.mixture, bench.counts, n_rows, own) for own in seeds])
    if drawn is None:  # there is no limit
        return []
    rows, weights = drawn
    whole = _counted(bench, rows, torch.ones_like(weights[:, 0]))
    benches = _fitted(bench, whole, weights, seeds)
    # The same edge on many tables is one batch.
    tried: dict[Edit, list[int]] = defaultdict(list)
    for b, one in enumerate(benches):
        for trial in strongest(one.screened(edit) for edit in candidates)[:VERIFIED]:
            tried[trial.edit].append(b)
    least = [0.0] * len(benches)
    for edit, places in tried.items():
        starts = batch_of(*(benches[b].start(edit) for b in places))
        ends = _climbed(whole.with_spec(starts.spec), starts, weights[:, places])
        for b, log_likelihood in zip(places, ends.objectives.tolist(), strict=True):
            trial = benches[b].ended(edit, bench.mixture, log_likelihood)
            least[b] = min(least[b], trial.log_p if trial.testable else 0.0)
    return least


def _fitted(
    bench: Bench, whole: Counts, weights: Float[Tensor, "m tables"], seeds: Sequence[int]
) -> list[Bench]:
    """The graph on every table: from the estimate, and from a random start of each its own."""
    starts = [bench.mixture] * len(seeds)
    if bench.spec.n_sources > 1:
        device = whole.device
        starts += [random_starts(bench.spec, 1, own, device=device)[0] for own in seeds]
    repeated = weights.repeat(1, len(starts) // len(seeds))
    ends = _climbed(whole, batch_of(*starts), repeated)
    best = ends.objectives.view(-1, len(seeds)).argmax(0) * len(seeds)
    found = []
    for b, place in enumerate((best + torch.arange(len(seeds), device=best.device)).tolist()):
        seen = weights[:, b] > 0
        counts = _counted(bench, whole.rows[seen], weights[seen, b])
        found.append(
            Bench(counts, bench.spec, ends.mixtures[place], float(ends.objectives[place]), False,
                  bool(ends.converged[place]))
        )  # fmt: skip
    return found


def _climbed(whole: Counts, starts: BayesNetMixture, weights: Float[Tensor, "m batch"]) -> Ends:
    return climb_replicates(
        whole,
        starts,
        weights,
        prior=PseudoCounts.of(starts.spec, None, whole.device),
        max_iter=STEPS,
        tol=GAIN / float(weights[:, 0].sum()),
    )


def _counted(bench: Bench, rows: Tensor, weights: Float[Tensor, " m"]) -> Counts:
    report = DataReport(len(rows), bench.spec.n_variables, len(rows))
    return Counts(bench.spec.schema, rows, weights, report)
