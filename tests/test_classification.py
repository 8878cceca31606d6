"""Latent class tables: assignments, bivariate residuals, criteria over k, published figures."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from published import latent_class

import pyromix as px
from pyromix.answers.classification import classified, likeliest
from pyromix.data.frames import decode


def frame_of(name: str) -> pd.DataFrame:
    """A row per person."""
    counts, _ = latent_class(name, 1)
    frame = decode(counts.counted_for, counts.rows)
    return frame.loc[frame.index.repeat(counts.weights.int().numpy())].reset_index(drop=True)


@pytest.fixture(scope="module")
def two() -> px.MixtureFit:
    return px.fit_product(latent_class("cheating", 2)[0], 2, n_init=4)


def test_the_table_of_assignments_is_a_sum_over_people(two):
    """By a loop over people, Bayes' rule on plain numbers."""
    weights = two.mixture.weights.tolist()
    cpts = [table.tolist() for table in two.mixture.cpts]
    table, entropy = np.zeros((2, 2)), 0.0
    for row in frame_of("cheating").itertuples(index=False):
        joint = [
            weights[u] * math.prod(cpts[v][u][int(s)] for v, s in enumerate(row)) for u in (0, 1)
        ]
        shares = [p / sum(joint) for p in joint]
        table[int(shares[1] > shares[0])] += shares
        entropy -= sum(p * math.log(p) for p in shares)
    found = two.classification()
    assert found.table.numpy() == pytest.approx(table)
    assert found.entropy_r2 == pytest.approx(1 - entropy / (319 * math.log(2)))
    assert found.entropy_r2 == pytest.approx(two.entropy_r2)
    assert found.average_posterior.numpy() == pytest.approx(table / table.sum(1)[:, None])
    assert found.assigned_given_source.numpy() == pytest.approx((table / table.sum(0)).T)
    assert found.error == pytest.approx((table[0, 1] + table[1, 0]) / 319)
    frame = found.to_frame()
    one = frame[(frame["assigned"] == 1) & (frame["source"] == 0)].iloc[0]
    assert one["rows"] == pytest.approx(table[1, 0])
    assert one["average_posterior"] == pytest.approx(table[1, 0] / table[1].sum())
    assert one["assigned_given_source"] == pytest.approx(table[1, 0] / table[:, 0].sum())
    assert "entropy R2" in str(found)


def test_membership_names_the_likeliest_class_of_every_row(two):
    people = frame_of("cheating").set_index(np.arange(319) + 7)
    found = two.membership(people)
    shares = two.predict_proba(people)
    assert list(found.index) == list(people.index)
    assert (found[["0", "1"]] == shares).all(axis=None)
    assert list(found["assigned"]) == [int(b > a) for a, b in shares.to_numpy()]
    # Another table is classified anew.
    assert two.classification(people).table.numpy() == pytest.approx(two.classification().table)


def test_equal_posteriors_are_assigned_to_the_first_class_whatever_rounding_says():
    import torch

    for step in (-(2.0**-50), 0.0, 2.0**-50):
        shares = torch.tensor([[0.5, 0.5 + step], [0.2, 0.8]], dtype=torch.float64)
        assert likeliest(shares).tolist() == [0, 1]
    single = px.MixtureSpec.from_parents({"A": (0, 1)}, {}, 1)
    one = classified(single, torch.ones(3, 1, dtype=torch.float64), torch.ones(3).double())
    assert (one.entropy_r2, one.error) == (1.0, 0.0)


def test_a_bivariate_residual_is_pearsons_chi_square_by_its_degrees_of_freedom():
    fit = px.fit_product(latent_class("gss82", 2)[0], 2, n_init=4)
    people = frame_of("gss82")
    weights = fit.mixture.weights.numpy()
    found = {pair.names: pair.bvr for pair in fit.predictive_check().pairs}
    assert len(found) == 6
    for v, w in itertools.combinations(range(4), 2):
        a, b = fit.spec.name(v), fit.spec.name(w)
        expected = np.einsum(
            "u,us,ut->st", weights, fit.mixture.cpts[v].numpy(), fit.mixture.cpts[w].numpy()
        )
        chi = 0.0
        for s, t in itertools.product(range(expected.shape[0]), range(expected.shape[1])):
            seen = ((people[a] == s) & (people[b] == t)).sum()
            chi += (seen - 1202 * expected[s, t]) ** 2 / (1202 * expected[s, t])
        dof = (expected.shape[0] - 1) * (expected.shape[1] - 1)
        assert found[a, b] == pytest.approx(chi / dof, rel=1e-6)


PUBLISHED = {
    ("values", 1): -543.6498,
    ("values", 2): -504.4677,
    ("gss82", 2): -2783.268,
    ("gss82", 3): -2754.545,
    ("gss82", 4): -2746.621,
    ("cheating", 2): -440.0271,
}
"""Log-likelihoods that poLCA's manual pages print (values, gss82, cheating)."""


@pytest.mark.parametrize(("name", "k"), PUBLISHED)
def test_published_log_likelihoods_and_class_sizes_are_reproduced(name, k):
    counts, card = latent_class(name, k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        fit = px.fit_product(counts, k, n_init=10)
    printed = PUBLISHED[name, k]
    digits = len(str(printed).partition(".")[2])
    assert round(fit.log_likelihood, digits) == printed
    sizes = fit.mixture.weights.tolist()
    assert sizes == pytest.approx(card["weights"], abs=2e-3)
    if (name, k) == ("gss82", 3):  # poLCA 1.4, Table 1: ideal, believers, skeptics
        assert [round(w, 3) for w in sizes] == [0.621, 0.207, 0.172]


def test_criteria_are_their_formulas(two):
    p, logl, n = 9, two.log_likelihood, 319
    assert two.caic == pytest.approx(p * (math.log(n) + 1) - 2 * logl)
    assert two.sabic == pytest.approx(p * math.log((n + 2) / 24) - 2 * logl)


def test_numbers_of_classes_are_compared_without_a_model():
    people = frame_of("cheating")
    found = px.select_n_sources(people, range(1, 3), n_init=1, n_folds=2)
    same = px.select_n_sources(None, people, [1, 2], n_init=1, n_folds=2)
    assert found.candidates == same.candidates
    assert found.choices["bic"] == found.choices["caic"] == found.choices["sabic"] == 2
    by_hand = found.to_frame().set_index("n_sources")
    for k, fit in zip((1, 2), found.fits, strict=True):
        for name in ("aic", "bic", "caic", "sabic", "icl"):
            assert by_hand.loc[k, name] == getattr(fit, name)


@pytest.mark.parametrize("numbers", [range(1, 3), [1, 2], {1, 2}, np.arange(1, 3), 2])
def test_numbers_in_place_of_a_table_are_numbers_of_sources(numbers):
    from pyromix.criticism.selection import CANDIDATES, _in_order

    people = frame_of("cheating").head(3)
    model, table, wanted = _in_order(people, numbers, CANDIDATES)
    assert model is None
    assert table is people
    assert wanted is numbers
    assert _in_order(people, None, CANDIDATES)[1] is people
    assert _in_order("net.bif", people, CANDIDATES)[:2] == ("net.bif", people)
    with pytest.raises(px.SpecError, match="numbers of sources once"):
        px.select_n_sources(people, numbers, range(2, 4))
