"""Observed information against the Hessian, and standard errors against what they must be."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from helpers import random_spec

import pyromix as px
from pyromix.answers.delta import probability_interval
from pyromix.exact import information
from pyromix.exact.completions import completed, n_completions
from pyromix.exact.information import Information, observed_information
from pyromix.exact.likelihood import log_joint
from pyromix.exact.rows import CellIndex
from pyromix.exact.sampling import sample
from pyromix.identify.certificate import query_gradient
from pyromix.identify.verdict import Doubt
from pyromix.model.prior import PseudoCounts
from pyromix.model.query import DoQuery


def log_odds(mixture):
    """Against the last state, shared tables once: the layout of the certificate."""
    spec, parts = mixture.spec, []
    for v in range(-1, spec.n_variables):
        table = mixture.weights[None] if v < 0 else mixture.cpts[v]
        rows = (table[:1] if v in spec.uninfluenced else table).reshape(-1, table.shape[-1])
        parts.append((rows[:, :-1].log() - rows[:, -1:].log()).flatten())
    return torch.cat(parts)


def tables_of(spec, theta):
    """Weights and CPTs of log-odds, written out."""
    tables = []
    for v in range(-1, spec.n_variables):
        shape = (1, spec.n_sources) if v < 0 else spec.cpt_shape(v)
        shape = (1, *shape[1:]) if v in spec.uninfluenced else shape
        rows, card = math.prod(shape[:-1]), shape[-1]
        own, theta = theta[: rows * (card - 1)], theta[rows * (card - 1) :]
        free = torch.cat([own.reshape(rows, card - 1), torch.zeros(rows, 1, dtype=own.dtype)], 1)
        table = free.softmax(-1).reshape(shape)
        if v in spec.uninfluenced:
            table = table.expand(spec.cpt_shape(v))
        tables.append(table[0] if v < 0 else table)
    return tables[0], tables[1:]


def objective(theta, counts, index, pseudo):
    """Log-likelihood plus pseudo-counts, shared tables once."""
    spec = counts.spec
    weights, cpts = tables_of(spec, theta)
    value = (counts.weights * log_joint((weights, cpts), index).logsumexp(-1)).sum()
    value = value + pseudo * weights.log().sum()
    for v, cpt in enumerate(cpts):
        value = value + pseudo * (cpt[:1] if v in spec.uninfluenced else cpt).log().sum()
    return value


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_information_is_minus_the_hessian_at_the_estimate(seed):
    spec = random_spec(seed, 4, 2 + seed % 2, uninfluenced=True)
    counts = px.Counts.from_frame(
        px.simulate(px.random_mixture(spec, seed), 2000, random_state=seed), spec
    )
    fit = px.fit(spec, counts, prior=0.5, tol=1e-13, n_init=3)
    found = observed_information(fit.mixture, counts.rows, counts.weights, fit.prior)
    index = CellIndex(spec, counts.rows)
    hessian = torch.autograd.functional.hessian(
        lambda theta: objective(theta, counts, index, 0.5), log_odds(fit.mixture)
    )
    matrix = found.basis @ torch.diag(found.values) @ found.basis.T
    # Eigenvalues below zero are rounding of nearly unseen directions and count as zero.
    assert float((matrix + hessian).abs().max()) < 1e-6 * float(hessian.abs().max())


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("share", [0.05, 0.4])
@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_information_of_rows_with_gaps_is_minus_the_hessian(seed, share):
    spec = random_spec(seed, 4, 2 + seed % 2, uninfluenced=True)
    rows = sample(px.random_mixture(spec, seed), 600, seed)[0]
    gaps = torch.rand(rows.shape, generator=torch.Generator().manual_seed(seed)) < share
    counts = px.Counts.from_codes(spec, torch.where(gaps, -1, rows))
    fit = px.fit(spec, counts, prior=0.5, tol=1e-13, n_init=3)
    found = observed_information(fit.mixture, counts.rows, counts.weights, fit.prior)
    index = CellIndex(spec, counts.rows)
    hessian = torch.autograd.functional.hessian(
        lambda theta: objective(theta, counts, index, 0.5), log_odds(fit.mixture)
    )
    matrix = found.basis @ torch.diag(found.values) @ found.basis.T
    assert float((matrix + hessian).abs().max()) < 1e-6 * float(hessian.abs().max())


def test_completions_are_those_of_a_plain_loop():
    """A -> B -> C, A -> D: a gap at C or D is barren, one at B with C observed is not."""
    spec = px.MixtureSpec.from_parents(
        {"A": (0, 1), "B": (0, 1, 2), "C": (0, 1), "D": (0, 1)},
        {"B": ["A"], "C": ["B"], "D": ["A"]},
        2,
    )
    order = [spec.vertex(name) for name in "ABCD"]
    gap = -1
    rows = torch.full((5, 4), 0)
    for i, cells in enumerate(
        [(1, 2, 0, 1), (gap, 2, 0, gap), (1, gap, 1, 0), (gap, gap, gap, 1), (gap, gap, 0, gap)]
    ):
        for v, cell in zip(order, cells, strict=True):
            rows[i, v] = cell
    assert n_completions(spec, rows).tolist() == [1, 2, 3, 2, 6]
    found = completed(spec, rows)
    for i, row in enumerate(rows.tolist()):
        listed = {tuple(c) for c in found.rows[found.owner == i].tolist()}
        free = [v for v in range(4) if row[v] < 0]
        open_ = [v for v in free if all(row[d] < 0 for d in spec.descendants([v]))]
        expected = set()
        for states in itertools.product(*(range(spec.card(v)) for v in free if v not in open_)):
            copy = list(row)
            for v, s in zip([v for v in free if v not in open_], states, strict=True):
                copy[v] = s
            expected.add(tuple(copy))
        assert listed == expected


def test_one_missing_cell_takes_no_interval_away():
    model, frame, _ = px.datasets.load("hidden-group")
    whole = px.fit(model, frame, 2, n_init=2, prior=None)
    gap = frame.astype(object)
    gap.loc[0, "Z1"] = None
    fit = px.fit(model, gap, 2, n_init=2, prior=None)
    for one, other in zip(fit.effect().interval(), whole.effect().interval(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_more_completions_than_can_be_listed_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(information, "MAX_COMPLETIONS", 10)
    spec = px.MixtureSpec.from_parents(dict.fromkeys("AB", (0, 1)), {"B": ["A"]}, 1)
    rows = torch.tensor([[-1, 0]] * 6)
    mixture = px.random_mixture(spec, 0)
    with pytest.raises(px.DataError, match="found 12"):
        observed_information(
            mixture, rows, torch.ones(6, dtype=torch.float64), PseudoCounts.of(spec, None)
        )


def test_one_source_has_the_standard_errors_of_counting():
    spec = px.MixtureSpec.from_parents({"A": (0, 1), "B": (0, 1, 2)}, {"B": ["A"]}, 1)
    counts = px.Counts.from_frame(px.simulate(px.random_mixture(spec, 0), 5000), spec)
    fit = px.fit(spec, counts, prior=None)
    answer = fit.query("B", evidence={"A": 1})
    p = answer.values
    n = float(counts.mass((0,), torch.tensor([[1]])))
    np.testing.assert_allclose(answer.standard_error, np.sqrt(p * (1 - p) / n), rtol=1e-9)


def test_delta_method_is_gradient_times_covariance():
    spec = px.MixtureSpec.from_parents(
        {"A": (0, 1), "B": (0, 1), "C": (0, 1, 2), "D": (0, 1)}, {"D": ["C"]}, 2
    )
    fit = px.fit(spec, px.simulate(px.random_mixture(spec, 3, separation=0.4), 5000), prior=None)
    answer = fit.query("D", do={"C": 1})
    gradient = query_gradient(fit.mixture, DoQuery(outcomes=(3,), do={2: 1}))
    known = fit.information
    covariance = known.basis @ torch.diag(1 / known.values) @ known.basis.T
    expected = (gradient @ covariance @ gradient.T).diagonal().sqrt()
    np.testing.assert_allclose(answer.standard_error, expected.numpy(), rtol=1e-8)
    effect = fit.effect("C", "D", contrast=(0, 1))
    other = query_gradient(fit.mixture, DoQuery(outcomes=(3,), do={2: 0}))
    step = gradient - other
    expected = (step @ covariance @ step.T).diagonal().sqrt()
    np.testing.assert_allclose(effect.do.standard_error, expected.numpy(), rtol=1e-8)
    low, high = effect.interval(0.9)
    half = 1.6448536269514722 * expected.numpy()
    np.testing.assert_allclose((high - low) / 2, half, rtol=1e-8)


def test_an_interval_of_probabilities_stays_between_zero_and_one():
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABC", (0, 1)), {}, 2)
    truth = px.random_mixture(spec, 1, separation=0.6)
    fit = px.fit(spec, px.simulate(truth, 60), prior=0.5)
    low, high = fit.query(["A", "B", "C"]).interval(0.999)
    values = fit.query(["A", "B", "C"]).values
    assert (low >= 0).all()
    assert (high <= 1).all()
    assert ((low <= values) & (values <= high)).all()


def test_directions_that_nothing_is_known_of_give_infinite_errors_and_are_flagged():
    """Probabilities of a half move by a quarter of what their log-odds do.

    With 2 rows the error of a probability is .18, above the .15 from which on it counts as hardly
    determined; with 3 rows it is .144.
    """
    spec = px.MixtureSpec.from_parents({"A": (0, 1)}, {}, 2)
    half = torch.full((2, 2), 0.5, dtype=torch.float64)
    mixture = px.BayesNetMixture(spec, half[0], (half,))
    values = torch.tensor([0.0, 2.0, 100.0], dtype=torch.float64)
    known = Information(mixture, values, torch.eye(3, dtype=torch.float64))
    gradients = torch.tensor(
        [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64
    )
    assert known.variances(gradients).tolist() == [0.01, 0.51, math.inf, 0.0]
    assert known.loose_shares(gradients).tolist() == pytest.approx([0.0, 0.5 / 0.51, 1.0, 0.0])
    firmer = Information(mixture, values + torch.tensor([0.0, 1.0, 0.0]), known.basis)
    assert firmer.loose_shares(gradients).tolist() == pytest.approx([0.0, 0.0, 1.0, 0.0])


def test_loose_directions_are_the_principal_axes_of_the_free_probabilities():
    """All axes, written out; only those of few rows are looked at where it matters."""
    spec = px.MixtureSpec.from_parents({"A": (0, 1, 2), "B": (0, 1)}, {"B": ["A"]}, 2)
    mixture = px.random_mixture(spec, 3)
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(spec.n_parameters, spec.n_parameters, generator=generator).double()
    values = torch.logspace(0, 3, spec.n_parameters, dtype=torch.float64)
    known = Information(mixture, values, torch.linalg.qr(draw).Q)
    gradients = torch.cat(
        [query_gradient(mixture, DoQuery(outcomes=(1,), do={0: a})) for a in range(3)]
    )

    def free(odds):
        weights, cpts = tables_of(spec, odds)
        return torch.cat([t[..., :-1].flatten() for t in (weights, *cpts)])

    slopes = torch.autograd.functional.jacobian(free, log_odds(mixture))
    covariance = known.basis @ torch.diag(1 / known.values) @ known.basis.T
    spread, axes = np.linalg.eigh((slopes @ covariance @ slopes.T).numpy())
    in_free = torch.linalg.solve(slopes.T, gradients.T).T.numpy()
    parts = (in_free @ axes) ** 2 * spread
    expected = parts[:, spread > 0.15**2].sum(1) / parts.sum(1)
    assert 0.01 < expected.max() < 1
    np.testing.assert_allclose(known.loose_shares(gradients).numpy(), expected, atol=0.02)


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_an_answer_that_rests_on_hardly_determined_directions_is_weak():
    """Views carry signal, and the likelihood has a ridge all the same."""
    model, frame, card = px.datasets.load("cancer")
    fit = px.fit(model, frame)
    asked = {"contrast": card.contrast, "outcome_state": card.outcome_state}
    with pytest.raises(px.NotCertifiedError, match="of the variance comes from directions") as said:
        fit.effect(**asked)
    assert said.value.found == "weak"
    for interval in (False, True):
        with pytest.raises(px.NotCertifiedError, match="of the variance comes from directions"):
            fit.effect(**asked, interval=interval)
    effect = fit.effect(**asked, require="weak")
    findings = effect.do.heard.verdict.findings
    assert effect.do.heard.verdict.doubts == (Doubt.DIRECTIONS,)
    assert findings.signal.shown
    low, high = effect.interval()
    flat = effect.do.interval(method="delta")
    # The do effect of the planted network; on the other side of the ridge is the naive one.
    state = effect.headline
    assert low[state] < card.truth["do"] < high[state]
    assert flat[1][state] < card.truth["naive"] < high[state]
    assert "interval: profile likelihood" in str(effect)
    model, frame, card = px.datasets.load("hidden-group")
    firm = px.fit(model, frame).effect("X", "Y")
    assert firm.certainty.value == "graphical"
    assert firm.do.heard.verdict.findings.loose < 0.01
    assert "interval: delta method" in str(firm)


def test_what_cannot_be_had_is_refused_or_left_out():
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABC", (0, 1)), {}, 2)
    truth = px.random_mixture(spec, 1, separation=0.6)
    assert not px.fit(spec, px.population(truth)).query("A").has_interval
    with pytest.raises(px.QueryError, match="no interval"):
        px.query(truth, "A").interval()


@pytest.mark.slow
def test_ninety_per_cent_intervals_of_the_toy_cover_the_truth():
    """70 sets of the README's toy, 2,000 rows; three standard errors of the share are .108.

    Half the standard error would cover .59. What is promised is proved by the table of
    ``studies/coverage_of_intervals.py``.
    """
    mixture = px.read(px.datasets.read_card("hidden-group").folder / "network.bif")
    truth = float(px.effect(mixture, "X", "Y").do)
    hits = 0
    for seed in range(1000, 1070):
        frame = px.simulate(mixture, 2000, random_state=seed)
        fit = px.fit(mixture.spec, frame, n_init=0, prior=None, random_state=seed)
        low, high = fit.effect("X", "Y").interval(0.9)
        hits += bool(low[1] <= truth <= high[1])
    assert 0.79 <= hits / 70 < 1


def test_meta_device_needs_no_default():
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABC", (0, 1)), {"B": ["A"]}, 2)
    counts = px.Counts.from_frame(px.simulate(px.random_mixture(spec, 0), 100), spec)
    none = PseudoCounts.of(spec, None, "cpu")
    mixture = px.random_mixture(spec, 0)
    with torch.device("meta"):
        found = observed_information(mixture, counts.rows, counts.weights, none)
    assert found.values.device.type == "cpu"


def test_rows_drawn_together_at_a_learned_place_are_as_sure_as_all_their_rows():
    """Sources told apart with certainty, a vertex they do not move: the binomial error of N rows.

    Pseudo-counts at a known place would make it as small as they are many.
    """
    spec = px.MixtureSpec.from_parents({f"V{i}": (0, 1) for i in range(5)}, {}, 2)
    sharp = torch.tensor([[0.999, 0.001], [0.001, 0.999]], dtype=torch.float64)
    same = torch.tensor([[0.3, 0.7], [0.3, 0.7]], dtype=torch.float64)
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    truth = px.BayesNetMixture(spec, weights, (sharp,) * 4 + (same,))
    counts = px.Counts.from_frame(px.simulate(truth, 4000), spec)
    none = torch.zeros(2, 2, dtype=torch.float64)
    drawn = (none,) * 4 + (1e6 * same,)
    expected = math.sqrt(0.3 * 0.7 / 4000)
    for learned, at_one, at_all in (
        ((), math.sqrt(0.21 / 1e6), math.sqrt(0.21 / 2e6)),
        ((0.0,) * 4 + (1e6,), expected, expected),
        ((0.0,) * 4 + (1e-9,), expected * math.sqrt(2), expected),
    ):
        pseudo = drawn if learned != (0.0,) * 4 + (1e-9,) else (none,) * 5
        prior = PseudoCounts(torch.zeros_like(weights), pseudo, learned)
        found = observed_information(truth, counts.rows, counts.weights, prior)
        asked = [DoQuery(outcomes=(4,), evidence={-1: 0}), DoQuery(outcomes=(4,))]
        errors = [float(found.variances(query_gradient(truth, q))[1].sqrt()) for q in asked]
        np.testing.assert_allclose(errors, [at_one, at_all], rtol=0.02)


@pytest.mark.parametrize("shared", [True, False])
def test_parent_states_of_one_table_are_drawn_together_likewise(shared):
    spec = px.MixtureSpec.from_parents(
        {"A": (0, 1), "B": (0, 1)},
        {"B": ["A"]},
        2 if shared else 1,
        uninfluenced=["A", "B"] if shared else [],
    )
    k = spec.n_sources
    half = torch.full((k, 2), 0.5, dtype=torch.float64)
    same = torch.tensor([0.3, 0.7], dtype=torch.float64).expand(k, 2, 2).clone()
    weights = torch.full((k,), 1 / k, dtype=torch.float64)
    truth = px.BayesNetMixture(spec, weights, (half, same))
    codes = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    rows = torch.tensor([300.0, 700.0, 300.0, 700.0], dtype=torch.float64)
    counts = px.Counts.from_codes(spec, codes, rows)
    prior = PseudoCounts(torch.zeros_like(weights), (0 * half, 1e6 * same), (0.0, 1e6))
    found = observed_information(truth, counts.rows, counts.weights, prior)
    for query in (DoQuery(outcomes=(1,), evidence={0: 0}), DoQuery(outcomes=(1,))):
        error = float(found.variances(query_gradient(truth, query))[1].sqrt())
        assert error == pytest.approx(math.sqrt(0.21 / 2000), rel=1e-3)


def test_where_nothing_is_known_of_a_probability_its_interval_is_all_there_is():
    """Also at an estimate of zero or one, whose interval is else the point."""
    values, errors = np.array([0.0, 0.3, 1.0, 0.0]), np.array([np.inf, np.inf, np.inf, 0.1])
    low, high = probability_interval(values, errors, 0.9)
    assert low.tolist() == [0, 0, 0, 0]
    assert high.tolist() == [1, 1, 1, 0]
