"""k-MixBND by views: what the moment start is worth to EM, and to the effects that are asked for.

Every instance is a random mixture (`px.random_mixture`, no separation asked for) on a random DAG or
on the graph of a published network, and a sample of it; the bound is the optimum that EM reaches
from the truth.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pytest
import torch
from network_cases import bundled, gaps, numbered, random_network, rows_of
from network_cases import chain as chain_edges

import pyromix as px
from pyromix.data.counts import Counts
from pyromix.errors import PyromixWarning
from pyromix.estimate.em import climb, fit_em, random_starts
from pyromix.estimate.starts import batch_of
from pyromix.estimate.step import EMMap, Point
from pyromix.exact.likelihood import log_prob
from pyromix.exact.rows import CellIndex
from pyromix.identify.boundary.solver import identify_by_boundaries
from pyromix.identify.network.solver import identify_network
from pyromix.identify.start import start_from_moments
from pyromix.model.prior import PseudoCounts

N_ROWS = 20_000

INSTANCES = 10
"""Mixtures, each with a sample of its own, behind every line."""

RANDOM_STARTS = 10

WORSE = 1e-3
"""Nats per row below the optimum from the truth that count as another optimum."""

GRAPHS = [
    *(pytest.param(f"random {n}", k, id=f"random-{n}-{k}")
      for n in (15, 30, 60) for k in (2, 3, 5, 6, 8)),
    *(pytest.param(name, k, id=f"{name}-{k}")
      for name in ("sachs", "child", "alarm", "insurance") for k in (2, 3, 5)),
]  # fmt: skip


def timed(function):
    """Result and seconds; what the package has to say is not wanted here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PyromixWarning)
        start = time.perf_counter()
        return function(), time.perf_counter() - start


@dataclass(frozen=True, eq=False)
class Instance:
    """A mixture, a sample of it, and the fits that are compared."""

    graph: str
    n_sources: int
    seed: int
    n_rows: int = N_ROWS
    seconds: dict = field(default_factory=dict)

    @cached_property
    def truth(self):
        kind, _, n = self.graph.partition(" ")
        if kind == "random":
            spec = random_network(int(n), self.n_sources, self.seed)
        else:
            spec = bundled(self.graph, self.n_sources)
        return px.random_mixture(spec, self.seed)

    @cached_property
    def counts(self):
        return rows_of(self.truth, self.n_rows, self.seed)

    @cached_property
    def optimum(self):
        """EM from the truth: the bound."""
        return self._timed("truth", lambda: climb(self.counts, batch_of(self.truth)))

    @cached_property
    def moments(self):
        return self._timed("moments", lambda: start_from_moments(self.counts, self.seed))

    @cached_property
    def moments_em(self):
        """EM from moments alone; empty where there is no start."""
        if not self.moments.mixtures:
            return ()
        start = batch_of(self.moments.mixture)
        return (self._timed("em", lambda: climb(self.counts, start)),)

    @cached_property
    def fit(self):
        """Maximum likelihood: what the other columns are compared with."""
        options = {"prior": None, "random_state": self.seed}
        return self._timed("fit", lambda: px.fit(self.truth.spec, self.counts, **options))

    @cached_property
    def default_fit(self):
        """What a user gets, prior and all."""
        options = {"random_state": self.seed}
        return self._timed("default", lambda: px.fit(self.truth.spec, self.counts, **options))

    @cached_property
    def random(self):
        def ours():
            starts = random_starts(self.truth.spec, RANDOM_STARTS, self.seed, counts=self.counts)
            return climb(self.counts, starts)

        return self._timed("random", ours)

    @cached_property
    def one_source(self):
        """The network without sources."""
        return fit_em(
            self.counts.with_spec(self.truth.spec.with_n_sources(1)),
            random_starts(self.truth.spec.with_n_sources(1), 1, 0),
        ).mixture

    @cached_property
    def log_likelihood_of_truth(self):
        return float(self.counts.weights @ log_prob(self.truth, self.counts.rows))

    def below(self, log_likelihood):
        """Nats per row under the optimum from the truth."""
        return (self.optimum.log_likelihood - log_likelihood) / self.counts.n_rows

    @cached_property
    def pair(self):
        """A random vertex with descendants, and one of these."""
        spec = self.truth.spec
        rng = np.random.default_rng(self.seed)
        treatments = [v for v in range(spec.n_variables) if spec.children[v]]
        x = int(rng.choice(treatments))
        y = int(rng.choice(sorted(spec.descendants([x]) - {x})))
        return spec.name(x), spec.name(y)

    def do_error(self, mixture):
        """Largest absolute error of P(Y | do X = x) over the states of both."""
        return float(np.abs(self._under_do(mixture) - self._under_do(self.truth)).max())

    def naive_error(self):
        """The same for P(Y | X = x) as the table shows it; uniform where no row has X = x."""
        spec = self.truth.spec
        x, y = (spec.vertex(name) for name in self.pair)
        states = torch.arange(spec.cards[x]).unsqueeze(1)
        shown = self.counts.table((y,), (x,), states).numpy()
        shown[shown.sum(1) == 0] = 1 / spec.cards[y]
        return float(np.abs(shown - self._under_do(self.truth)).max())

    def _under_do(self, mixture):
        x, y = self.pair
        states = self.truth.spec.states_of(self.truth.spec.vertex(x))
        return np.stack([px.query(mixture, [y], do={x: s}).values for s in states])

    def _timed(self, name, function):
        result, self.seconds[name] = timed(function)
        return result


def share(values):
    """Share of True, as a person writes it."""
    values = list(values)
    return f"{sum(values)}/{len(values)}"


@pytest.mark.parametrize(("graph", "k"), GRAPHS)
def test_optimum_reached_and_error_of_an_effect(benchmark, graph, k, capsys):
    instances = [Instance(graph, k, seed) for seed in range(INSTANCES)]
    statuses, lower = [], [[], []]
    misses, times, errors = ([[] for _ in range(n)] for n in (5, 4, 4))
    for case in instances:
        moments, fit, random = case.moments, case.fit, case.random
        statuses.append(moments.stage.status)
        alone = moments.stage.log_likelihood
        after = [result.log_likelihood for result in case.moments_em]
        misses[0].append(not case.below(alone) <= WORSE)
        lower[0].append(case.below(alone))
        lower[1].append(case.below(case.log_likelihood_of_truth))
        misses[1].append(not after or case.below(after[0]) > WORSE)
        misses[2].append(case.below(fit.log_likelihood) > WORSE)
        singles = [case.below(value) > WORSE for value in random.start_log_likelihoods.tolist()]
        misses[3] += singles
        misses[4].append(all(singles))
        seconds = case.seconds
        both = seconds["moments"] + seconds.get("em", 0.0)
        errors[0].append(case.do_error(case.default_fit.mixture))
        errors[1].append(case.do_error(case.optimum.mixture))
        errors[2].append(case.naive_error())
        errors[3].append(case.do_error(case.one_source))
        taken = (seconds["moments"], both, seconds["fit"], seconds["default"])
        for line, value in zip(times, taken, strict=True):
            line.append(value / seconds["random"])
    benchmark.pedantic(start_from_moments, (instances[-1].counts, 0), rounds=1, warmup_rounds=0)
    found = ", ".join(f"{statuses.count(s)} {s}" for s in dict.fromkeys(statuses))
    medians = [f"{np.median(line):.2f}" for line in times]
    effect = [f"{np.median(line):.3f} ({np.quantile(line, 0.9):.3f})" for line in errors]
    under = [f"{np.nanmedian(line):.4f}" for line in lower]
    ten = np.median([case.seconds["random"] for case in instances])
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{graph}, k = {k}, N = {N_ROWS}: moments {found}. More than {WORSE} nats/row below "
            f"the optimum from the truth: moments alone {share(misses[0])} (median {under[0]} "
            f"below, the truth itself {under[1]}), moments + EM {share(misses[1])}, px.fit "
            f"{share(misses[2])}, a random start {share(misses[3])}, best of {RANDOM_STARTS} "
            f"{share(misses[4])}. Median time / that of {RANDOM_STARTS} random starts ({ten:.2f} "
            f"s): moments {medians[0]}, moments + EM {medians[1]}, px.fit {medians[2]} (its prior "
            f"chosen by held-out rows as well {medians[3]}). Error of P(Y | do X), median (.9 "
            f"quantile): px.fit {effect[0]}, EM from the truth {effect[1]}, naive {effect[2]}, "
            f"without sources {effect[3]}"
        )


SIZES = {
    "n": [(n, N_ROWS, 3) for n in (10, 20, 40, 80, 160)],
    "N": [(20, n_rows, 3) for n_rows in (5_000, 20_000, 80_000, 320_000)],
    "k": [(20, N_ROWS, k) for k in (2, 3, 4, 6, 8)],
}


@pytest.mark.parametrize("what", SIZES)
def test_cost_and_its_exponents(benchmark, what, capsys):
    lines, xs, ys = [], [], [[], []]
    for n, n_rows, k in SIZES[what]:
        seconds = [[], []]
        for seed in range(3):
            case = Instance(f"random {n}", k, seed, n_rows)
            _ = case.counts, case.moments, case.fit
            seconds[0].append(case.seconds["moments"])
            seconds[1].append(case.seconds["fit"])
        middle = [float(np.median(s)) for s in seconds]
        xs.append({"n": n, "N": n_rows, "k": k}[what])
        for line, value in zip(ys, middle, strict=True):
            line.append(value)
        lines.append(f"{what} = {xs[-1]}: {middle[0]:.2f} s, {middle[1]:.2f} s")
    benchmark.pedantic(start_from_moments, (case.counts, 0), rounds=1, warmup_rounds=0)
    slopes = [np.polyfit(np.log(xs), np.log(line), 1)[0] for line in ys]
    with capsys.disabled():
        print(  # noqa: T201
            f"\nmedian seconds of the moment stage and of px.fit, random DAGs of 20 vertices, N = "
            f"{N_ROWS}, k = 3 but for {what}: {'; '.join(lines)}. Exponents {slopes[0]:.2f} and "
            f"{slopes[1]:.2f}"
        )


def test_a_whole_fit_against_pgmpy_to_equal_likelihood(benchmark, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pgmpy.parameter_estimator import DiscreteEM
    model, frame, _ = px.datasets.load("asia")
    assert len(frame) == 10_000
    spec = px.from_pgmpy(model, 2)

    def theirs(max_iter):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator = DiscreteEM(
                latent_card={"U": 2}, max_iter=max_iter, seed=0, show_progress=False
            )
            start = time.perf_counter()
            estimator.fit(model, frame)
        return time.perf_counter() - start

    fit, _ = timed(lambda: benchmark.pedantic(px.fit, (spec, frame), rounds=3, warmup_rounds=1))
    whole = benchmark.stats.stats.min
    counts = Counts.from_frame(frame, spec)
    em = EMMap(spec, CellIndex(spec, counts.rows), counts.weights, PseudoCounts.of(spec, None))
    steps = []
    for seed in range(9):
        point, n = Point.of(random_starts(spec, 1, seed, counts=counts)), 0
        step = em(point)
        while fit.log_likelihood - float(step.log_likelihood[0]) > 1e-6 * 10_000 and n < 5_000:
            step, n = em(step.target), n + 1
        steps.append(n)
    reached = sorted(n for n in steps if n < 5_000)
    first, third = theirs(1), theirs(3)
    per_step = (third - first) / 2
    middle = float(np.median(reached))
    theirs_whole = first + (middle - 1) * per_step
    with capsys.disabled():
        print(  # noqa: T201
            f"\nasia, 10,000 rows, k = 2: px.fit with counting the frame {whole:.2f} s "
            f"({fit.diagnostics.method}, logL/row {fit.log_likelihood_per_row:.5f}). Plain EM "
            f"steps of a random start until it is within 1e-6 nats/row: median {middle:.0f} of "
            f"the {len(reached)} of 9 that get there in 5,000; pgmpy {per_step:.2f} s per step, "
            f"so {theirs_whole:.0f} s per start that gets there, ratio {theirs_whole / whole:.0f}"
        )


@pytest.mark.parametrize("n", [6, 9, 12])
def test_markov_boundaries_and_views_on_paths(benchmark, n, capsys):
    spec, n_rows, mixtures = numbered(n, chain_edges(n)), 10**5, 10
    found = {name: [] for name in ("boundaries", "views", "bound", "least", "few", "runs")}
    for seed in range(mixtures):
        truth = px.random_mixture(spec, seed, separation=0.3)
        counts = rows_of(truth, n_rows, seed)
        by_boundaries = identify_by_boundaries(counts, spec)
        by_views = identify_network(counts, random_state=seed)
        optimum = fit_em(counts, batch_of(truth)).mixture
        for name, mixture in (
            ("boundaries", by_boundaries.mixture),
            ("views", by_views.mixture),
            ("bound", optimum),
        ):
            found[name].append(float(gaps(truth, mixture)[spec.n_sources :].median()))
        found["least"].append(float(by_boundaries.runs.mass.min()))
        found["few"].append(float(by_views.run.patterns.n_rows.min()))
        found["runs"].append(len(by_views.run.mass))
    benchmark.pedantic(identify_network, (counts,), rounds=2, warmup_rounds=1)
    middle = {name: float(np.median(values)) for name, values in found.items()}
    with capsys.disabled():
        print(  # noqa: T201
            f"\npath of {n}, N = {n_rows:.0e}: Markov boundaries {len(by_boundaries.plan.runs)} "
            f"runs, {middle['least']:.0f} rows behind the smallest, median CPT error "
            f"{middle['boundaries']:.4f}; views {middle['runs']:.0f} assignments of "
            f"{len(by_views.run.run.conditioning)} variables, {middle['few']:.0f} rows, error "
            f"{middle['views']:.4f}; EM from the truth {middle['bound']:.4f}"
        )
