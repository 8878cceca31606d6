"""Posteriors: effective draws per second, patterns against rows, starts of SVI, coverage.

Every number is a ratio or a share of things run side by side on one thread. A draw of the bootstrap
is independent and counts as one; draws of chains count by their smallest effective number over all
probabilities and the log-likelihood.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pyro.infer.mcmc.util import initialize_model

import pyromix as px
from pyromix.bridges.pyro import to_pyro
from pyromix.exact.sampling import sample
from pyromix.posterior.bootstrap import replicate
from pyromix.posterior.draws import assessed
from pyromix.posterior.gibbs import gibbs
from pyromix.posterior.nuts import Potential, nuts
from pyromix.posterior.svi import site_concentrations, svi

pytestmark = pytest.mark.filterwarnings("ignore::pyromix.PyromixWarning")

SETS = ("hidden-group", "sachs")

NUTS_DRAWS = {
    "hidden-group": {"num_samples": 500, "warmup_steps": 300},
    "sachs": {"num_samples": 250, "warmup_steps": 250},
}
"""Of 4 chains and of 2."""


def fitted(name: str) -> Any:
    model, frame, _ = px.datasets.load(name)
    return px.fit(model, frame, n_init=2)


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Result and seconds of processor time: other programs do not count."""
    start = time.process_time()
    found = run()
    return found, time.process_time() - start


@pytest.mark.parametrize("name", SETS)
def test_effective_draws_per_second(benchmark, name, capsys):
    fit = fitted(name)
    known = {"prior": fit.prior, "row_masses": fit.row_masses}
    chains = 4 if name == "hidden-group" else 2
    other, other_seconds = timed(
        lambda: nuts(fit.counts, fit.mixture, **known, num_chains=chains, **NUTS_DRAWS[name])
    )
    _, boot_seconds = timed(lambda: replicate(fit.counts, fit.mixture, 200, prior=fit.prior))

    def run() -> tuple[Any, float]:
        return timed(lambda: gibbs(fit.counts, fit.mixture, **known))

    mine, seconds = benchmark.pedantic(run, rounds=1)
    reports = [(assessed(mine, "gibbs"), seconds), (assessed(other, "nuts"), other_seconds)]
    rates = {report.method: report.effective / spent for report, spent in reports}
    rates["bootstrap"] = 200 / boot_seconds
    with capsys.disabled():
        print(f"\n{name}: {fit.n_parameters} parameters, {fit.counts.n_patterns} patterns")  # noqa: T201
        for report, spent in reports:
            print(f"  {report}; {spent:.1f} s")  # noqa: T201
        print(f"  bootstrap: 200 replicates in {boot_seconds:.1f} s")  # noqa: T201
        said = ", ".join(f"{method} {rate:.1f}" for method, rate in rates.items())
        ratio = rates["gibbs"] / rates["nuts"]
        print(f"  effective draws per second: {said}; gibbs / nuts {ratio:.2f}")  # noqa: T201
    for report, _ in reports:
        assert report.r_hat < 1.1


@pytest.mark.parametrize("name", SETS)
def test_patterns_against_rows(benchmark, name, capsys):
    """One potential with its gradient: ours, Pyro's on patterns, Pyro's with U enumerated."""
    fit = fitted(name)
    mine = Potential.at_mode(fit.counts, fit.mixture, fit.prior)
    program = to_pyro(fit.mixture, prior=site_concentrations(fit.spec, fit.prior.concentrations))
    rows = fit.counts.rows.long().repeat_interleave(fit.counts.weights.long(), 0)

    def gradient(potential: Callable[..., Any], sites: dict[str, Any]) -> None:
        sites = {name: z.detach().requires_grad_() for name, z in sites.items()}
        torch.autograd.grad(potential(sites), list(sites.values()))

    def of_pyro(repeats: int, **data: Any) -> float:
        start, potential, _, _ = initialize_model(program, (), data, max_plate_nesting=1)
        gradient(potential, start)
        return timed(lambda: [gradient(potential, start) for _ in range(repeats)])[1] / repeats

    collapsed, enumerated = of_pyro(20, counts=fit.counts), of_pyro(3, rows=rows)
    x = torch.zeros(fit.n_parameters, dtype=torch.float64)
    benchmark.pedantic(gradient, (mine, {"z": x}), rounds=20, warmup_rounds=2)
    ours = timed(lambda: [gradient(mine, {"z": x}) for _ in range(50)])[1] / 50
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{name}: {len(rows)} rows, {fit.counts.n_patterns} patterns: potential and gradient "
            f"{ours * 1e3:.2f} ms; the Pyro program takes {collapsed / ours:.1f} times as long on "
            f"patterns, {enumerated / ours:.0f} times on enumerated rows"
        )
    assert ours < collapsed < enumerated


@pytest.mark.parametrize("guide", ["delta", "normal"])
@pytest.mark.parametrize("name", ["hidden-group", "asia"])
def test_starts_of_svi(benchmark, name, guide, capsys):
    """Share of random starts that end below the identified one, and steps to its bound."""
    fit, n_starts, n_steps = fitted(name), 10, 600
    options = {
        "prior": fit.prior, "guide": guide, "num_steps": n_steps, "num_samples": 2,
        "learning_rate": 0.03,
    }  # fmt: skip
    ours = benchmark.pedantic(lambda: svi(fit.counts, fit.mixture, **options), rounds=1)
    smooth = 20
    goal = ours.last - 2.0

    def steps_to(elbo: tuple[float, ...]) -> float:
        mean = np.convolve(elbo, np.ones(smooth) / smooth, mode="valid")
        reached = np.flatnonzero(mean >= goal)
        return float(reached[0]) + smooth if len(reached) else np.inf

    starts = px.random_mixture(fit.spec, 1, batch_shape=(n_starts,))
    found = [svi(fit.counts, starts[i], **options, random_state=i) for i in range(n_starts)]
    worse = sum(one.last < goal for one in found)
    steps = sorted(steps_to(one.elbo) for one in found)
    gaps = sorted(ours.last - one.last for one in found)
    with capsys.disabled():
        print(  # noqa: T201
            f"\nSVI ({guide}) on {name}, {n_steps} steps: {worse} of {n_starts} random starts end "
            f"more than 2 nats below the identified start (median gap "
            f"{gaps[n_starts // 2]:.1f}, worst {gaps[-1]:.1f}); steps to its bound: identified "
            f"{steps_to(ours.elbo):.0f} (the least that is looked at is {smooth}), random "
            f"{steps[0]:.0f} at best, {steps[n_starts // 2]:.0f} in the median"
        )
    assert steps_to(ours.elbo) <= steps[0]


@pytest.mark.slow
def test_coverage_of_ninety_per_cent_intervals(benchmark, capsys):
    """P(Y=better | do X) of the hidden group, 100 tables of 2,000 rows."""
    model, _, _ = px.datasets.load("hidden-group")
    truth = px.mixture_from_pgmpy(model)
    n_tables, level = 100, 0.9
    asked = {"variables": "Y", "do": {"X": ["control", "treated"]}}
    target = px.query(truth, **asked).values[:, 1]
    inside: dict[str, list[Any]] = {}
    width: dict[str, list[Any]] = {}
    spent: dict[str, float] = {}

    def note(method: str, run: Callable[[], Any]) -> None:
        answer, seconds = timed(lambda: run().query(**asked, require="none", interval=True))
        low, high = (end[:, 1] for end in answer.interval(level))
        inside.setdefault(method, []).append((low <= target) & (target <= high))
        width.setdefault(method, []).append(high - low)
        spent[method] = spent.get(method, 0.0) + seconds

    def all_tables() -> None:
        for seed in range(n_tables):
            counts = px.Counts.from_codes(truth.spec, sample(truth, 2000, seed)[0])
            fit = px.fit(truth.spec, counts, n_init=3, random_state=seed)
            note("delta", lambda fit=fit: fit)
            note("bootstrap", lambda fit=fit: fit.bootstrap(n=200))
            note("gibbs", lambda fit=fit: fit.refine(method="gibbs"))
            note(
                "nuts",
                lambda fit=fit: fit.refine(
                    method="nuts", num_chains=1, num_samples=250, warmup_steps=150
                ),
            )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        benchmark.pedantic(all_tables, rounds=1)
    with capsys.disabled():
        print(  # noqa: T201
            f"\ncoverage of {level:.0%} intervals over {n_tables} tables, and mean width:\n"
            "  method     P(better | do control)  P(better | do treated)  seconds per table"
        )
        for method, hits in inside.items():
            share, mean = np.mean(hits, 0), np.mean(width[method], 0)
            print(  # noqa: T201
                f"  {method:10} {share[0]:.2f} (width {mean[0]:.3f})      "
                f"{share[1]:.2f} (width {mean[1]:.3f})      {spent[method] / n_tables:.2f}"
            )
    for method in ("gibbs", "nuts"):
        assert 0.8 <= np.mean(inside[method]) <= 0.97
