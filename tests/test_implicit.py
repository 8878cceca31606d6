"""Information that is never formed, against the matrix; and answers that lean on it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import random_spec

import pyromix as px
from pyromix.answers import heard, intervals, trust
from pyromix.exact import solving
from pyromix.exact.curvature import Curvature
from pyromix.exact.implicit import ImplicitInformation
from pyromix.exact.information import LOOSE, observed_information, of_probabilities
from pyromix.exact.rows import CellIndex
from pyromix.exact.sampling import sample
from pyromix.identify.certificate import query_gradient
from pyromix.model.prior import PseudoCounts
from pyromix.model.query import Certainty, DoQuery


def planted(seed, share, *, n=4, rows=600):
    """A mixture with an uninfluenced vertex, and a table of it with so many cells missing."""
    spec = random_spec(seed, n, 2 + seed % 2, uninfluenced=True)
    mixture = px.random_mixture(spec, seed)
    codes = sample(mixture, rows, seed)[0]
    gaps = torch.rand(codes.shape, generator=torch.Generator().manual_seed(seed)) < share
    return mixture, px.Counts.from_codes(spec, torch.where(gaps, -1, codes))


def both(mixture, counts, prior):
    """The matrix, and what solves without it."""
    dense = observed_information(mixture, counts.rows, counts.weights, prior)
    index = CellIndex(mixture.spec, counts.rows)
    return dense, ImplicitInformation(Curvature(mixture, index, counts.weights, prior))


def gradients_of(mixture):
    """Of all answers about the last vertex under a do of each other."""
    last = mixture.spec.n_variables - 1
    asked = [
        DoQuery(outcomes=(last,), do={x: s})
        for x in range(last)
        for s in range(mixture.spec.card(x))
    ]
    return torch.cat([query_gradient(mixture, query) for query in asked])


@pytest.mark.parametrize("share", [0.0, 0.05, 0.4])
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_products_and_standard_errors_are_those_of_the_matrix(seed, share):
    """Missing cells, weights, pseudo-counts, and those that lie at a learned place."""
    mixture, counts = planted(seed, share)
    spec = mixture.spec
    prior = PseudoCounts.of(spec, 40.0)
    # Pseudo-counts as strong as this make any mixture near them a maximum in all directions.
    learned = tuple(6.0 * (v % 2) for v in range(spec.n_variables))
    prior = PseudoCounts(prior.weights, prior.cpts, learned)
    weighted = px.Counts.from_codes(spec, counts.rows, counts.weights * 1.7)
    dense, implicit = both(mixture, weighted, prior)
    matrix = dense.basis @ torch.diag(dense.values) @ dense.basis.T
    assert float(dense.values[0]) > 0
    products = implicit.curvature(torch.eye(spec.n_parameters, dtype=torch.float64))
    torch.testing.assert_close(products, matrix, rtol=0, atol=1e-11 * float(matrix.abs().max()))
    gradients = gradients_of(mixture)
    expected = dense.variances(gradients)
    torch.testing.assert_close(implicit.variances(gradients), expected, rtol=1e-8, atol=0)
    torch.testing.assert_close(implicit.solve(gradients), dense.solve(gradients), rtol=0, atol=1e-5)


def test_one_source_is_nothing_special():
    states = {"A": (0, 1), "B": (0, 1), "C": (0, 1, 2), "D": (0, 1)}
    spec = px.MixtureSpec.from_parents(states, {"C": ["A", "B"], "D": ["B"]}, 1)
    mixture = px.random_mixture(spec, 0)
    counts = px.Counts.from_codes(spec, sample(mixture, 200, 0)[0])
    dense, implicit = both(mixture, counts, PseudoCounts.of(spec, 30.0))
    gradients = gradients_of(mixture)
    torch.testing.assert_close(implicit.variances(gradients), dense.variances(gradients))


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_a_table_at_the_boundary_has_the_same_standard_errors():
    """Cells that no row has: their log-odds say nothing, and the rest is told."""
    mixture, counts = planted(3, 0.0, n=5, rows=300)
    fit = px.fit(mixture.spec, counts, prior=None, n_init=1, method="em")
    assert any(bool((t < 1e-8).any()) for t in fit.mixture.tables)
    dense, implicit = both(fit.mixture, counts, fit.prior)
    gradients = gradients_of(fit.mixture)
    expected = dense.variances(gradients)
    assert bool(expected.isfinite().any())
    told = expected.isfinite()
    torch.testing.assert_close(
        implicit.variances(gradients)[told], expected[told], rtol=1e-6, atol=0
    )


def test_what_nothing_is_known_of_has_no_standard_error():
    """X -> Y alone: P(Y | X) is known, what the do makes of it is not."""
    spec = px.MixtureSpec.from_parents({"X": (0, 1), "Y": (0, 1)}, {"Y": ["X"]}, 2)
    mixture = px.random_mixture(spec, 1)
    codes, rows = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]), mixture.joint_table().flatten()
    counts = px.Counts.from_codes(spec, codes, 1000 * rows)
    dense, implicit = both(mixture, counts, PseudoCounts.of(spec, None))
    seen = query_gradient(mixture, DoQuery(outcomes=(1,), evidence={0: 1}))
    done = query_gradient(mixture, DoQuery(outcomes=(1,), do={0: 1}))
    torch.testing.assert_close(implicit.variances(seen), dense.variances(seen), rtol=1e-6, atol=0)
    assert implicit.variances(done).tolist() == dense.variances(done).tolist() == [math.inf] * 2
    assert implicit.loose_shares(done).tolist() == [1.0, 1.0]


def test_steps_that_do_not_converge_promise_nothing(monkeypatch):
    mixture, counts = planted(0, 0.0)
    _, implicit = both(mixture, counts, PseudoCounts.of(mixture.spec, 40.0))
    monkeypatch.setattr(solving, "MAX_STEPS", 2)
    assert bool(implicit.variances(gradients_of(mixture)).isinf().all())


def test_conjugate_gradients_solve_and_say_where_they_cannot():
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(30, 30, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(draw).Q
    values = torch.logspace(-3, 0, 30, dtype=torch.float64)
    matrix = basis @ torch.diag(values) @ basis.T
    right = torch.randn(3, 30, generator=generator, dtype=torch.float64)
    right[2] = 0
    found = solving.solve(lambda rows: rows @ matrix, right)
    assert found.converged.tolist() == [True] * 3
    expected = torch.linalg.solve(matrix, right.T).T
    torch.testing.assert_close(found.solutions, expected, rtol=0, atol=1e-6 * 1e3)
    told = (right * found.solutions).sum(-1)
    torch.testing.assert_close(told, (right * expected).sum(-1), rtol=1e-9, atol=0)
    bent = basis @ torch.diag(torch.where(values < 0.01, -values, values)) @ basis.T
    found = solving.solve(lambda rows: rows @ bent, right)
    assert found.flat.tolist() == [True, True, False]


@pytest.mark.parametrize(("rows", "strength"), [(30, 4.0), (60, 8.0)])
def test_loose_shares_bound_those_of_all_principal_axes(rows, strength):
    """By Markov's inequality where that settles it, else by quadrature, within its width."""
    mixture, counts = planted(0, 0.0, rows=rows)
    dense, implicit = both(mixture, counts, PseudoCounts.of(mixture.spec, strength))
    assert float(dense.values[0]) > 0
    gradients = gradients_of(mixture)
    slopes = of_probabilities(mixture, torch.eye(mixture.spec.n_parameters, dtype=torch.float64))
    covariance = dense.basis @ torch.diag(1 / dense.values) @ dense.basis.T
    spread, axes = np.linalg.eigh((slopes @ covariance @ slopes.T).numpy())
    in_free = torch.linalg.solve(slopes.T, gradients.T).T.numpy()
    parts = (in_free @ axes) ** 2 * spread
    exact = parts[:, spread > LOOSE**2].sum(1) / parts.sum(1)
    few = [int(exact.argmin()), int(exact.argmax())]
    exact, found = exact[few], implicit.loose_shares(gradients[few]).numpy()
    assert (found >= exact - 1e-6).all()
    by_quadrature = found >= 0.5
    assert by_quadrature.any() == (rows == 30)
    assert (found[by_quadrature] <= exact[by_quadrature] + 0.02 + 1e-6).all()


@pytest.fixture(scope="module")
def fitted():
    model, frame, _ = px.datasets.load("hidden-group")
    return px.fit(model, frame, 2, n_init=1, prior=None)


@pytest.fixture
def group(fitted, monkeypatch):
    """A fit whose matrix is never formed unasked."""
    monkeypatch.setattr(heard, "CHEAP_INFORMATION", 0)
    return replace(fitted)


def test_answers_have_the_interval_of_the_matrix_without_it(group, monkeypatch):
    effect = group.effect("X", "Y")
    assert "information" not in vars(group)
    assert "interval: delta method\n" in str(effect)
    monkeypatch.undo()
    again = group.effect("X", "Y")
    assert "information" in vars(group)
    for one, other in zip(effect.interval(0.9), again.interval(0.9, "delta"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8)
    for one, other in ((effect.do, again.do), (effect.naive, again.naive)):
        np.testing.assert_allclose(one.standard_error, other.standard_error, rtol=1e-8)


def test_where_the_delta_method_is_not_trusted_and_nothing_is_searched_it_is_marked(
    group, monkeypatch
):
    monkeypatch.setattr(trust, "CURVED", -1.0)
    effect = group.effect("X", "Y")
    assert set(effect.do.interval_report().methods) == {intervals.Method.ROUGH}
    with pytest.raises(px.QueryError, match="at most 3,000 parameters"):
        effect.interval(method="profile")
    assert set(group.effect("X", "Y", interval=True).do.interval_report().methods) == {
        intervals.Method.PROFILE
    }


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_an_answer_that_is_not_determined_has_no_interval_where_nothing_is_searched(monkeypatch):
    spec = px.MixtureSpec.from_parents({"X": (0, 1), "Y": (0, 1)}, {"Y": ["X"]}, 2)
    fit = px.fit(spec, px.simulate(px.random_mixture(spec, 1), 500), n_init=2, prior=0.5)
    monkeypatch.setattr(heard, "CHEAP_INFORMATION", 0)
    answer = fit.query("Y", {"X": 1}, require="none")
    assert answer.certainty is Certainty.NONE
    assert not answer.has_interval
    assert "interval: none, what the table leaves open takes searches" in str(answer)
    assert "interval=True" not in str(answer)  # a command line prints this, too
    with pytest.raises(px.QueryError, match="interval=True asks for it"):
        answer.interval()
    monkeypatch.setattr(heard, "MAX_INFORMATION_PARAMETERS", 5)
    with pytest.raises(px.QueryError, match=r"of at most 5 parameters .* has 7 parameters"):
        fit.query("Y", {"X": 1}, require="none", interval=True).interval()


def test_where_rows_are_too_many_unasked_nobody_is_told_to_ask_a_fit(group, monkeypatch):
    monkeypatch.setattr(heard, "CHEAP_PRODUCT", 0)
    answer = group.query("Y", {"X": "treated"})
    assert "take more than a moment, and none was asked for" in str(answer)
    with pytest.raises(px.QueryError, match=r"asked for; interval=True asks for it$"):
        answer.interval()
    assert group.query("Y", {"X": "treated"}, interval=True).has_interval
