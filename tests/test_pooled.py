"""The learned prior: strengths against a direct search, and when it is taken and when not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from network_cases import bundled, numbered, rows_of
from scipy.optimize import minimize_scalar

import pyromix as px
from pyromix.data.counts import Counts
from pyromix.data.folds import folds
from pyromix.estimate.em import climb
from pyromix.estimate.pooled_prior import CHOICES, expected_cells_of, pooled_prior, shrink
from pyromix.estimate.pooling import LEAST_PSEUDO_COUNT, STRENGTHS, Pooling
from pyromix.estimate.starts import batch_of, inside
from pyromix.exact.likelihood import log_prob
from pyromix.model.query import Certainty

QUIET = pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")


def dirichlet_multinomial(n, bases, strength):
    """log P(counts) of rows drawn from Dirichlet laws around bases, written out."""
    value = 0.0
    for row, base in zip(n, bases, strict=True):
        value += math.lgamma(strength) - math.lgamma(strength + sum(row))
        for count, b in zip(row, base, strict=True):
            value += math.lgamma(strength * b + count) - math.lgamma(strength * b)
    return value


@pytest.mark.parametrize("true_strength", [1.0, 20.0, 500.0])
def test_a_strength_is_the_most_likely_one(true_strength):
    rng = np.random.default_rng(3)
    base = np.array([0.5, 0.3, 0.2])
    n = np.stack([rng.multinomial(200, p) for p in rng.dirichlet(true_strength * base, 60)])
    states = {"A": range(60), "B": range(3)}
    spec = px.MixtureSpec.from_parents(states, {"B": ["A"]}, 1)
    cells = torch.zeros(60 + 180, 1, 1, dtype=torch.float64)
    cells[60:, 0, 0] = torch.tensor(n.flatten())
    bases = torch.cat([torch.full((60,), 1 / 60), torch.tensor(base).repeat(60)])[:, None]
    found = float(Pooling(spec, torch.device("cpu")).strengths(cells, bases)[1, 0])
    best = minimize_scalar(
        lambda t: -dirichlet_multinomial(n.tolist(), [base] * 60, 10**t),
        bounds=(-1, 5),
        method="bounded",
    )
    step = float(STRENGTHS[1] / STRENGTHS[0])
    assert 10**best.x / step <= found <= 10**best.x * step
    assert true_strength / 2 < found < true_strength * 2


def test_expected_counts_are_sums_of_responsibilities_by_the_oracle():
    from helpers import Oracle

    spec = numbered(3, [(0, 1)], 2)
    truth = px.random_mixture(spec, 0)
    counts = rows_of(truth, 100)
    oracle = Oracle(truth)
    expected = torch.zeros(spec.cpt_shape(1), dtype=torch.float64)
    for row, weight in zip(counts.rows.tolist(), counts.weights.tolist(), strict=True):
        for u, share in enumerate(oracle.responsibilities(row)):
            expected[u, row[0], row[1]] += weight * share
    _, found, _ = Pooling(spec, counts.device).axis.unstack(expected_cells_of(counts, truth))
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-9)


def plain_pooling(spec, cpts_of_counts):
    """Places and strengths of every vertex by loops over rows, written as in the formulas."""
    step = [float(t) for t in STRENGTHS]
    places, learned = [], []
    for v, n in enumerate(cpts_of_counts):
        shared = v in spec.uninfluenced
        n = n.reshape(spec.n_sources, -1, spec.card(v)).tolist()
        rows = range(len(n[0]))
        whole = [[n[0][r][s] if shared else sum(u[r][s] for u in n) for s in range(spec.card(v))]
                 for r in rows]  # fmt: skip
        total = sum(map(sum, whole))
        b = [(sum(row[s] for row in whole) + 1 / spec.card(v)) / (total + 1)
             for s in range(spec.card(v))]  # fmt: skip
        among = max(step, key=lambda t: dirichlet_multinomial(whole, [b] * len(whole), t))
        place = [b if shared else [(x + among * y) / (sum(row) + among)
                 for x, y in zip(row, b, strict=True)] for row in whole]  # fmt: skip
        own = max(
            step,
            key=lambda t: sum(dirichlet_multinomial(u, place, t) for u in n),
        )
        places.append(place)
        learned.append(among if shared else own)
    return places, learned


def test_places_and_strengths_are_those_of_plain_loops():
    spec = numbered(4, [(0, 1), (1, 2), (0, 2)], 2, card=3, uninfluenced=[1])
    truth = px.random_mixture(spec, 5)
    counts = rows_of(truth, 300)
    cells = expected_cells_of(counts, truth)
    pooling = Pooling(spec, counts.device)
    place, learned = pooling.learned(cells)
    expected, strengths = plain_pooling(spec, [t[0] for t in pooling.axis.unstack(cells)])
    assert learned[:, 0].tolist() == pytest.approx(strengths)
    flat = [x for table in expected for row in table for x in row]
    assert place[:, 0].tolist() == pytest.approx(flat, abs=1e-12)
    prior = pooled_prior(counts, truth, 0.3)
    assert prior.learned == pytest.approx([0.3 * t for t in strengths])
    found = prior.cpts[2][1].flatten().tolist()
    row = [0.3 * strengths[2] * x + LEAST_PSEUDO_COUNT for row in expected[2] for x in row]
    assert found == pytest.approx(row)


def one_by_one(counts, start, choice, rounds):
    """A candidate fitted to each fold alone, and the mean over the rows it did not see."""
    total = 0.0
    for rest, own in folds(counts, 3, 7):
        mixture = start
        for _ in range(rounds if choice.pooled else 1):
            prior = choice.strength or None
            if choice.pooled:
                prior = pooled_prior(rest, mixture, choice.strength)
            options = {"max_iter": 100, "tol": 1e-6, "check_saddle": False}
            mixture = climb(rest, batch_of(mixture), prior=prior, **options).mixture
        total += float(own.weights @ log_prob(mixture, own.rows).clamp_min(-60))
    return total / counts.n_rows


@QUIET
@pytest.mark.parametrize("uninfluenced", [[], [2]])
def test_candidates_that_climb_together_are_held_to_the_same_rows_as_one_by_one(uninfluenced):
    spec = numbered(5, [(0, 1), (1, 2), (0, 2)], 2, card=3, uninfluenced=uninfluenced)
    truth = px.random_mixture(spec, 3, separation=0.3)
    counts = rows_of(truth, 4000, 1)
    found = px.fit(spec, counts, prior=None, random_state=0)
    result = climb(counts, batch_of(found.mixture))
    start = inside(result.mixture)
    shrunk = shrink(counts, result, 7)
    for rounds in (1, 2, 3):
        expected = [one_by_one(counts, start, choice, rounds) for choice in CHOICES]
        if max(expected[:3]) >= max(expected[3:]):  # a flat one leads
            break
    # EM stops where a step gains 1e-6 nats per row: by the mean row here, by those of a fold there.
    assert [m for _, m in shrunk.held_out] == pytest.approx(expected, abs=5e-5)
    assert np.ptp(expected) > 2e-4


def test_tables_that_do_not_depend_on_the_source_are_pooled_and_the_others_are_not():
    spec = numbered(6, [], 2, card=3)
    truth = px.random_mixture(spec, 1, separation=0.3)
    same = truth.cpts[5][:1].expand(2, -1)
    truth = type(truth)(spec, truth.weights, (*truth.cpts[:5], same))
    prior = pooled_prior(rows_of(truth, 5000), truth)
    totals = [float(t.sum(-1).mean()) for t in prior.cpts]
    assert totals[5] > 100 * max(totals[:5])
    torch.testing.assert_close(
        prior.cpts[5] / prior.cpts[5].sum(-1, keepdim=True), same, rtol=0, atol=0.03
    )


@QUIET
def test_a_network_with_a_source_that_moves_few_tables_is_fitted_better_than_by_likelihood():
    """Alarm, 3,000 rows, a source that moves every fourth table; losses on fresh rows."""
    spec = bundled("alarm", 2)
    strong = px.random_mixture(spec, 0)
    weak = tuple(
        c if v % 4 == 0 else c.mean(0, keepdim=True).expand_as(c) for v, c in enumerate(strong.cpts)
    )
    truth = type(strong)(spec, strong.weights, weak)
    train, fresh = rows_of(truth, 3000, 1), rows_of(truth, 20_000, 2)

    def loss(mixture):
        return -float(fresh.weights @ log_prob(mixture, fresh.rows).clamp_min(-60)) / fresh.n_rows

    plain = px.fit(spec, train, prior=None, random_state=0)
    shrunk = px.fit(spec, train, random_state=0)
    best = loss(truth)
    assert shrunk.diagnostics.prior.startswith("chosen: pooled")
    assert loss(shrunk.mixture) - best < 0.5 * (loss(plain.mixture) - best)


@QUIET
@pytest.mark.parametrize(
    ("error", "choice"), [(0.5, "none"), (0.15, "flat 0.3"), (0.05, "pooled x 0.3")]
)
def test_the_weakest_prior_within_one_standard_error_is_taken(monkeypatch, error, choice):
    """Means and standard errors given: what is chosen of them, and that the fit says so."""
    means = torch.tensor([-1.3, -1.1, -1.2, -1.0, -1.02], dtype=torch.float64)
    monkeypatch.setattr(
        "pyromix.estimate.pooled_prior.compared", lambda *_: (means, torch.full_like(means, error))
    )
    truth = px.random_mixture(numbered(4, [(0, 1)]), 0, separation=0.3)
    fit = px.fit(truth.spec, rows_of(truth, 2000), n_init=1, random_state=0)
    assert fit.diagnostics.prior == f"chosen: {choice}"
    assert [m for _, m in fit.diagnostics.prior_held_out] == means.tolist()
    names = [name for name, _ in fit.diagnostics.prior_held_out]
    assert names == ["none", "flat 0.3", "flat 1", "pooled x 0.3", "pooled x 1"]
    assert fit.prior.is_zero == (choice == "none")


def test_a_handful_of_rows_is_not_split():
    spec = numbered(3, [])
    codes = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 1, 0]])
    fit = px.fit(spec.with_n_sources(1), Counts.from_codes(spec.with_n_sources(1), codes))
    assert fit.diagnostics.prior_held_out == ()
    assert fit.prior.is_zero


@QUIET
def test_an_effect_is_not_drawn_to_the_confounded_one_where_likelihood_is_flat():
    """cancer, 10,000 rows: one pseudo-count per cell moves the effect from .047 to .119."""
    model, frame, _ = px.datasets.load("cancer")
    asked = {
        "contrast": ("low", "high"),
        "outcome_state": "True",
        "require": "none",
        "interval": False,
    }
    plain, shrunk, flat = (
        float(
            px.fit(model, frame, 2, prior=prior, random_state=0)
            .effect("Pollution", "Cancer", **asked)
            .do
        )
        for prior in (None, "pooled", 1.0)
    )
    assert abs(plain - shrunk) < 0.01
    assert abs(plain - flat) > 0.05


@QUIET
def test_a_saved_fit_keeps_its_prior_and_its_standard_errors(tmp_path):
    spec = bundled("asia", 2)
    # Sources far enough apart for 2,000 rows to show them.
    truth = px.random_mixture(spec, 0, separation=0.5)
    fit = px.fit(spec, rows_of(truth, 2000), random_state=0)
    prior = pooled_prior(fit.counts, fit.mixture)
    fit = fit.refine(prior=prior)
    fit.save(tmp_path / "fit.pyromix")
    back = px.load(tmp_path / "fit.pyromix")
    assert back.prior.learned == prior.learned
    one, other = (f.query("dysp", {"smoke": "yes"}, interval=True) for f in (fit, back))
    assert one.certainty is other.certainty is Certainty.GRAPHICAL
    np.testing.assert_array_equal(one.standard_error, other.standard_error)
