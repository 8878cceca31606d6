"""Pseudo-counts as users write them, and what they do to an estimate."""

from __future__ import annotations

import math

import pytest
import torch
from network_cases import numbered, rows_of

import pyromix as px
from pyromix.model.prior import PseudoCounts, prior_words

SPEC = numbered(3, [(0, 1)], 2, card=3, uninfluenced=(2,))


def test_a_number_is_that_pseudo_count_everywhere_and_none_is_nothing():
    everywhere = PseudoCounts.of(SPEC, 0.5)
    assert everywhere.weights.tolist() == [0.5, 0.5]
    assert [tuple(t.shape) for t in everywhere.cpts] == [SPEC.cpt_shape(v) for v in range(3)]
    assert all(bool((t == 0.5).all()) for t in everywhere.cpts)
    assert PseudoCounts.of(SPEC, None).is_zero
    assert not everywhere.is_zero


def test_a_mapping_names_vertices_and_the_source_and_leaves_the_others_alone():
    found = PseudoCounts.of(SPEC, {"U": 2.0, "V1": torch.tensor([1.0, 2.0, 3.0])})
    assert found.weights.tolist() == [2.0, 2.0]
    assert not bool(found.cpts[0].any())
    assert bool((found.cpts[1] == torch.tensor([1.0, 2.0, 3.0])).all())


@pytest.mark.parametrize(
    ("prior", "error", "match"),
    [
        (0.0, px.SpecError, "positive pseudo-count .*, found 0.0"),
        (math.nan, px.SpecError, "positive pseudo-count"),
        ({"V0": -1.0}, px.SpecError, "not negative"),
        ({"V0": torch.ones(2)}, px.SpecError, r"broadcasts to \(2, 3\), found \(2,\)"),
        ({"V9": 1.0}, px.QueryError, "V9"),
    ],
)
def test_what_is_no_prior_is_refused(prior, error, match):
    with pytest.raises(error, match=match):
        PseudoCounts.of(SPEC, prior)


def test_priors_in_words():
    assert prior_words(None) == "none"
    assert prior_words(0.5) == "pseudo-count 0.5 per cell"
    assert prior_words({"V0": 1.0, "U": 2.0}) == "pseudo-counts of V0, U"
    assert prior_words(PseudoCounts.of(SPEC, 1.0)) == "pseudo-counts"


def test_with_one_source_the_estimate_is_the_posterior_mean_of_dirichlet_rows():
    """Counts plus pseudo-counts, normalised, written out."""
    spec = numbered(2, [(0, 1)], 1, card=3)
    counts = rows_of(px.random_mixture(spec, 0), 40)
    prior = {"V1": torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)}
    fit = px.fit(spec, counts, prior=prior)
    for parent in range(3):
        n = torch.zeros(3, dtype=torch.float64)
        for row, weight in zip(counts.rows.tolist(), counts.weights.tolist(), strict=True):
            if row[0] == parent:
                n[row[1]] += weight
        expected = (n + prior["V1"]) / (n + prior["V1"]).sum()
        torch.testing.assert_close(fit.mixture.cpts[1][0, parent], expected, rtol=0, atol=1e-9)
