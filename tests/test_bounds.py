"""Bounds of answers against closed forms, linear programmes, and enumeration of the law."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import torch

import pyromix as px
from pyromix.answers.natural import natural_bounds
from pyromix.errors import DataError, PositivityError, QueryError, SpecError
from pyromix.estimate.starts import random_starts
from pyromix.exact.law import LawMap
from pyromix.exact.likelihood import log_prob

EXACT = 1e-4


def spec_of(parents, k, uninfluenced=(), **cards):
    states = {name: tuple(range(cards.get(name, 2))) for name in parents}
    return px.MixtureSpec.from_parents(states, parents, k, uninfluenced=uninfluenced)


def law_of(mixture):
    """P(V) by loops over sources and cells, from the tables alone."""
    spec = mixture.spec
    law = np.zeros(spec.cards)
    for u, weight in enumerate(mixture.weights.tolist()):
        for cell in itertools.product(*map(range, spec.cards)):
            p = weight
            for v, cpt in enumerate(mixture.cpts):
                p *= float(cpt[(u, *(cell[w] for w in spec.parents[v]), cell[v])])
            law[cell] += p
    return law


def at(mixture, k):
    """The law of a mixture, asked with k sources."""
    return px.population(mixture).with_spec(mixture.spec.with_n_sources(k))


def natural(law, x):
    """Of P(Y = last | do(X = x)), X and Y the axes of a law."""
    return law[x, -1], 1 - (law[x].sum() - law[x, -1])


def ends(bounds):
    return [float(bounds.low[..., -1]), float(bounds.high[..., -1])]


# -- X and Y alone: the natural bounds -------------------------------------------------------------


def test_x_and_y_alone_give_the_natural_bounds_with_two_sources_and_with_more():
    mixture = px.random_mixture(spec_of({"X": [], "Y": ["X"]}, 2), 3)
    found = px.bounds(mixture, "Y", {"X": 1}, n_starts=3)
    expected = natural(law_of(mixture), 1)
    np.testing.assert_allclose(ends(found), expected, atol=EXACT)
    np.testing.assert_allclose(ends(found.next_k), expected, atol=EXACT)
    np.testing.assert_allclose([found.natural[0][1], found.natural[1][1]], expected, atol=1e-12)
    # of two states the other one's ends follow
    np.testing.assert_allclose([found.low[0], found.high[0]], [1 - e for e in expected[::-1]],
                               atol=EXACT)  # fmt: skip


def test_a_contrast_of_a_treatment_with_three_states_needs_three_sources():
    mixture = px.random_mixture(spec_of({"X": [], "Y": ["X"]}, 2, X=3), 1)
    law = law_of(mixture)
    (l0, h0), (l2, h2) = natural(law, 0), natural(law, 2)
    found = px.bounds(mixture, "Y", {"X": [0, 2]}, n_starts=3)
    # each arm has all of its bounds with two sources, their difference has not
    np.testing.assert_allclose(found.low[:, 1], [l0, l2], atol=EXACT)
    np.testing.assert_allclose(found.high[:, 1], [h0, h2], atol=EXACT)
    difference = found.difference
    assert difference.high[1] < h2 - l0 - 0.01
    np.testing.assert_allclose(ends(difference.next_k), [l2 - h0, h2 - l0], atol=EXACT)
    np.testing.assert_allclose([difference.natural[0][1], difference.natural[1][1]],
                               [l2 - h0, h2 - l0], atol=1e-12)  # fmt: skip


# -- a binary instrument: Balke and Pearl's linear programme ---------------------------------------


def balke_pearl(law):
    """Least and largest P(Y = 1 | do(X = 1)) over sixteen kinds of responses [balkepearl97]."""
    given = law / law.sum((1, 2), keepdims=True)
    kinds = list(itertools.product(itertools.product((0, 1), repeat=2), repeat=2))
    rows, right = [], []
    for z, x, y in itertools.product((0, 1), repeat=3):
        rows.append([float(takes[z] == x and shows[x] == y) for takes, shows in kinds])
        right.append(given[z, x, y])
    aim = np.array([float(shows[1] == 1) for _, shows in kinds])
    least, most = (
        scipy.optimize.linprog(sign * aim, A_eq=rows, b_eq=right).fun * sign for sign in (1, -1)
    )
    return [least, most]


def test_a_binary_instrument_gives_the_bounds_of_balke_and_pearl_with_four_sources():
    spec = spec_of({"Z": [], "X": ["Z"], "Y": ["X"]}, 2, uninfluenced=["Z"])
    mixture = px.random_mixture(spec, 0)
    expected = balke_pearl(law_of(mixture))
    found = px.bounds(at(mixture, 3), "Y", {"X": 1}, n_starts=3).next_k
    np.testing.assert_allclose(ends(found), expected, atol=EXACT)
    # Two sources say more, here from below: SLSQP from 300 starts found [.474692, .753985].
    fewer = px.bounds(mixture, "Y", {"X": 1}, n_starts=3)
    np.testing.assert_allclose(ends(fewer), [0.474692, 0.753985], atol=EXACT)
    low, high = (end[1] for end in fewer.natural)
    assert low < expected[0] < expected[1] < high


# -- proxies ---------------------------------------------------------------------------------------


def test_two_binary_proxies_and_two_sources_give_a_point():
    mixture = px.random_mixture(spec_of({"A": [], "B": [], "X": [], "Y": ["X"]}, 2), 0)
    found = px.bounds(mixture, "Y", {"X": 1}, n_starts=6)
    truth = px.query(mixture, "Y", {"X": 1}).values[1]
    np.testing.assert_allclose(ends(found), [truth, truth], atol=EXACT)
    assert found.next_k.high[1] - found.next_k.low[1] > 0.1
    assert found.certified
    assert "determined (graphical)" in str(found)


def test_one_binary_proxy_with_three_sources_says_no_more_than_none_and_with_two_it_does():
    mixture = px.random_mixture(spec_of({"A": [], "X": [], "Y": ["X"]}, 2), 1)
    found = px.bounds(mixture, "Y", {"X": 1}, n_starts=9)
    low, high = natural(law_of(mixture).sum(0), 1)
    np.testing.assert_allclose(ends(found.next_k), [low, high], atol=EXACT)
    truth = px.query(mixture, "Y", {"X": 1}).values[1]
    assert low + 0.01 < found.low[1] < truth < found.high[1] < high - 0.1
    # The ends of two sources by another algorithm, augmented Lagrangians in the same roots.
    np.testing.assert_allclose(ends(found), [0.155336, 0.229535], atol=EXACT)
    assert found.range.n_searches >= found.range.n_low[1] > 0


# -- evidence --------------------------------------------------------------------------------------


def test_natural_bounds_are_those_among_people_with_the_evidence():
    mixture = px.random_mixture(spec_of({"W": [], "X": ["W"], "Y": ["X", "W"]}, 2), 2)
    law = law_of(mixture)[1]
    found = px.bounds(mixture, "Y", {"X": 1}, {"W": 1}, n_starts=3)
    expected = natural(law / law.sum(), 1)
    np.testing.assert_allclose([found.natural[0][1], found.natural[1][1]], expected, atol=1e-12)
    np.testing.assert_allclose(ends(found.next_k), expected, atol=EXACT)
    drawn = px.DoQuery.from_names(mixture.spec, "Y", {"X": {0: 0.3, 1: 0.7}}, {"W": 1})
    other = natural(law / law.sum(), 0)
    low, high = (0.3 * a + 0.7 * b for a, b in zip(other, expected, strict=True))
    np.testing.assert_allclose([end[1] for end in natural_bounds(mixture, drawn)], [low, high])


def test_evidence_below_the_treatment_has_a_range_and_no_natural_bounds():
    mixture = px.random_mixture(spec_of({"X": [], "Y": ["X"], "W": ["Y"]}, 2), 2)
    found = px.bounds(mixture, "Y", {"X": 1}, {"W": 1}, n_starts=3)
    assert found.natural is None
    assert found.low[1] < px.query(mixture, "Y", {"X": 1}, {"W": 1}).values[1] < found.high[1]
    assert "natural bounds: none" in str(found)


# -- the law as a function of roots ----------------------------------------------------------------


def test_gaps_are_those_of_the_likelihood_and_the_jacobian_their_differences():
    spec = spec_of({"A": [], "X": ["A"], "Y": ["X"], "B": ["X"]}, 3, uninfluenced=["A"], Y=3)
    rows = torch.tensor([[0, 1, 2, 0], [-1, 0, 1, 1], [1, -1, -1, 1], [1, -1, 0, -1]])
    law = LawMap(spec, rows, torch.tensor([0.1, 0.2, 0.3, 0.05], dtype=torch.float64))
    mixtures = random_starts(spec, 2, 0)
    points = law.axis.points(mixtures)
    logs = law.gaps(points) / law.law.sqrt() + law.law.log()
    np.testing.assert_allclose(logs, log_prob(mixtures, rows), atol=1e-12)
    moved = law.jacobian(points)
    for i in range(law.axis.size):
        step = torch.zeros_like(points)
        step[:, i] = 1e-6
        there, back = (law.gaps(law.axis.normalised(points + s)) for s in (step, -step))
        np.testing.assert_allclose(moved[..., i], (there - back) / 2e-6, atol=1e-8)


# -- tables ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    counts = {("no", "low"): 40, ("no", "high"): 60, ("yes", "low"): 30, ("yes", "high"): 70}
    rows = [row for row, n in counts.items() for _ in range(n)]
    return pd.DataFrame(rows, columns=["X", "Y"])


NAMED = px.MixtureSpec.from_parents({"X": ("no", "yes"), "Y": ("low", "high")}, {"Y": ["X"]}, 2)


@pytest.fixture(scope="module")
def fit(table):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few sources: the prior makes them alike
        return px.fit(NAMED, table, prior=2.0, method="em", n_init=2)


@pytest.fixture(scope="module")
def found(fit):
    return fit.bounds("Y", {"X": "yes"}, level=0.9, n_starts=3)


def test_of_a_table_the_law_is_the_one_that_fits_best_without_the_prior(found):
    np.testing.assert_allclose(ends(found), [70 / 200, 1 - 30 / 200], atol=EXACT)
    assert not found.certified


def test_sampling_widens_the_range_by_a_profile_of_the_binomial(found):
    """With two sources P(y, x) is all that bounds the answer: each end has its own binomial."""
    low, high = (end[1] for end in found.interval())

    def loss(p, n):
        return 2 * (n * np.log(n / 200 / p) + (200 - n) * np.log((1 - n / 200) / (1 - p))) - 2.7055

    expected = (
        scipy.optimize.brentq(loss, 0.2, 0.35, args=(70,)),
        1 - scipy.optimize.brentq(loss, 0.05, 0.15, args=(30,)),
    )
    np.testing.assert_allclose([low, high], expected, atol=3e-3)
    assert found.interval(0.99)[0][1] < low
    more = [end[1] for end in found.next_k.interval(0.9)]
    assert more[0] <= low
    assert high <= more[1]


def test_bounds_print_what_they_mean(found):
    text = str(found)
    assert text.startswith("Bounds of P(Y | do(X='yes'))\n")
    assert ("at least as wide as [0.3500, 0.8500] among mixtures with 2 sources that fit as well; "
            "another k gives another range") in text  # fmt: skip
    assert "k = 3: ends reached from inside by" in text
    assert "with sampling, 90%" in text
    frame = found.to_frame()
    assert list(frame["Y"]) == ["low", "high"]
    assert frame["natural_high"][1] == pytest.approx(0.85)
    assert frame["searches"][0] == found.range.n_searches


def test_a_state_that_no_row_has_is_free(table):
    spec = px.MixtureSpec.from_parents(
        {"X": ("no", "yes", "never"), "Y": ("low", "high")}, {"Y": ["X"]}, 1
    )
    fit = px.fit(spec, table, prior=None)
    with pytest.raises(PositivityError):
        fit.query("Y", {"X": "never"})
    found = fit.bounds("Y", {"X": "never"}, n_starts=3)
    np.testing.assert_allclose(ends(found), [0, 1], atol=EXACT)
    np.testing.assert_allclose([end[1] for end in found.interval()], [0, 1], atol=EXACT)


def test_with_one_source_an_answer_is_a_point_and_has_the_interval_of_the_query(table):
    fit = px.fit(NAMED.with_n_sources(1), table, prior=None)
    found, answer = fit.bounds("Y", {"X": "yes"}, n_starts=3), fit.query("Y", {"X": "yes"})
    np.testing.assert_allclose(ends(found), [0.7, 0.7], atol=EXACT)
    np.testing.assert_allclose(found.interval(), answer.interval(), atol=EXACT)
    assert "determined (graphical), so that bounds are not needed: 0.7000" in str(found)
    np.testing.assert_allclose(ends(found.next_k), [70 / 200, 1 - 30 / 200], atol=EXACT)


def test_missing_cells_count_for_what_is_seen_of_their_rows(table):
    """A cell missing at random: the law that fits best is that of complete and incomplete rows."""
    holes = table.astype(object)
    holes.loc[holes.index % 4 == 0, "Y"] = None
    fit = px.fit(NAMED, holes, prior=None, method="em", n_init=2)
    found = fit.bounds("Y", {"X": "yes"}, n_starts=3)
    seen = holes[holes["X"] == "yes"]["Y"].dropna()
    share = (seen == "high").mean() / 2
    np.testing.assert_allclose(ends(found), [share, share + 0.5], atol=2e-3)


def test_a_fit_without_its_table_has_a_range_and_no_interval(fit, tmp_path):
    fit.save(tmp_path / "f.pyromix", include_data=False)
    found = px.load(tmp_path / "f.pyromix").bounds("Y", {"X": "yes"}, n_starts=3)
    assert not found.has_interval
    with pytest.raises(QueryError, match="the fit holds no table"):
        found.interval()


# -- what is refused -------------------------------------------------------------------------------


def test_what_cannot_be_bounded_is_refused_by_name(fit, found):
    for bad, match in (
        ({"outcome": "X", "do": {"X": "yes"}}, "X"),
        ({"outcome": "U", "do": {"X": "yes"}}, "found 'U' in it"),
        ({"outcome": "Y", "do": {"X": "maybe"}}, "maybe"),
        ({"outcome": "Y", "do": {"X": "yes"}, "n_starts": 0}, "n_starts"),
        ({"outcome": "Y", "do": {"X": "yes"}, "level": 1.5}, "level"),
    ):
        with pytest.raises(QueryError, match=match):
            fit.bounds(**bad)
    with pytest.raises(SpecError, match="expected a fit, a mixture or a population"):
        px.bounds(3, "Y")
    with pytest.raises(DataError, match="batch"):
        px.bounds(random_starts(NAMED, 2), "Y", {"X": "yes"})
    with pytest.raises(QueryError, match="two scenarios"):
        _ = found.difference


def test_a_law_too_large_to_be_searched_is_refused_by_its_size():
    spec = spec_of({f"V{i}": [] for i in range(13)}, 2)
    with pytest.raises(SpecError, match=r"at most 4,096, found 8,192"):
        px.bounds(px.random_mixture(spec, 0), "V0", {"V1": 1})
    wide = spec_of({f"V{i}": [f"V{j}" for j in range(i)] for i in range(9)}, 2)
    with pytest.raises(SpecError, match="found 512 rows and"):
        px.bounds(px.random_mixture(wide, 0), "V8", {"V1": 1})


def test_a_law_that_k_sources_do_not_have_is_replaced_by_the_nearest():
    spec = spec_of({"A": [], "B": [], "C": [], "X": []}, 3)
    mixture = px.random_mixture(spec, 0)
    found = px.bounds(at(mixture, 1), "X", {"A": 1}, n_starts=3)
    share = law_of(mixture).sum((0, 1, 2))[1] if spec.name(3) == "X" else None
    np.testing.assert_allclose(ends(found), [share, share], atol=EXACT)


def test_a_refusal_names_the_bounds(fit):
    with pytest.raises(px.NotCertifiedError, match=r"fit\.bounds\(\.\.\.\)"):
        fit.query("Y", {"X": "yes"})
