"""Effects: naive, under the do, within sources; and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers import BATCH_SHAPES, Oracle, random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyromix.answers.effect import effect
from pyromix.errors import PositivityError, QueryError
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import Certainty
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec

ENGINES = ["elimination", "pyro"]


def toy() -> BayesNetMixture:
    """Z1, Z2, X -> Y, U into all: the toy of the manual, with its population figures."""
    states = {
        "Z1": ("low", "high"),
        "Z2": ("low", "high"),
        "X": ("control", "treated"),
        "Y": ("worse", "better"),
    }

    def table(*ones: float) -> Tensor:
        one = torch.tensor(ones, dtype=torch.float64)
        return torch.stack([1 - one, one], -1)

    spec = MixtureSpec.from_parents(states, {"Y": ["X"]}, 2)
    tables = {
        "Z1": table(0.1, 0.8),
        "Z2": table(0.15, 0.7),
        "X": table(0.2, 0.75),
        "Y": table(0.1, 0.3, 0.5, 0.8).reshape(2, 2, 2),
    }
    weights = torch.tensor([0.6, 0.4], dtype=torch.float64)
    return BayesNetMixture(spec, weights, tuple(tables[name] for name in spec.variables))


def three_states() -> BayesNetMixture:
    spec = MixtureSpec.from_parents(
        {"X": ("none", "some", "much"), "Y": ("a", "b", "c"), "W": ("p", "q")},
        {"Y": ["X"], "W": ["Y"]},
        2,
    )
    return random_mixture(spec, 3)


@pytest.mark.parametrize("engine", ENGINES)
def test_toy_has_the_figures_of_the_manual(engine):
    """By hand: naive .488, do .6 * .2 + .4 * .3 = .24, within the sources .2 and .3."""
    found = effect(toy(), "X", "Y", per_source=True, engine=engine)
    assert float(found.naive) == pytest.approx(0.488, abs=5e-4)
    assert float(found.do) == pytest.approx(0.24, abs=1e-12)
    assert [float(d) for d in found.per_source] == pytest.approx([0.2, 0.3], abs=1e-12)
    assert float(found.confounding) == pytest.approx(float(found.naive) - 0.24, abs=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=25, deadline=None)
@given(structures(3, 5), st.integers(0, 2**31), st.booleans())
def test_every_difference_equals_the_oracle(engine, structure, seed, with_evidence):
    spec = random_spec(**structure)
    mixture = random_mixture(spec, seed)
    rng = np.random.default_rng(seed)
    x, y, z = rng.permutation(spec.n_variables)[:3].tolist()
    a, b = rng.permutation(spec.cards[x])[:2].tolist()
    seen = {z: 0} if with_evidence else {}
    found = effect(
        mixture,
        spec.name(x),
        spec.name(y),
        contrast=(spec.states[x][a], spec.states[x][b]),
        evidence={spec.name(v): spec.states[v][s] for v, s in seen.items()},
        per_source=True,
        engine=engine,
    )
    oracle = Oracle(mixture)

    def difference(seen: dict[int, int], *, under_do: bool) -> Tensor:
        one, other = (
            oracle.table([y], do={x: s}, evidence=seen)
            if under_do
            else oracle.table([y], evidence=seen | {x: s})
            for s in (a, b)
        )
        return other - one

    naive, done = difference(seen, under_do=False), difference(seen, under_do=True)
    np.testing.assert_allclose(found.naive.values, naive, atol=1e-10)
    np.testing.assert_allclose(found.do.values, done, atol=1e-10)
    np.testing.assert_allclose(found.confounding.values, naive - done, atol=1e-10)
    for u, within in enumerate(found.per_source):
        expected = difference(seen | {-1: u}, under_do=True)
        np.testing.assert_allclose(within.values, expected, atol=1e-10)


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_every_batch_element_has_its_own_difference(batch_shape):
    mixture = random_mixture(toy().spec, 1, batch_shape=batch_shape)
    found = effect(mixture, "X", "Y", per_source=True)
    assert found.do.draws.shape == (*batch_shape, 2)
    for index in itertools.product(*map(range, batch_shape)):
        cpts = tuple(c[index] for c in mixture.cpts)
        alone = effect(
            BayesNetMixture(mixture.spec, mixture.weights[index], cpts), "X", "Y", per_source=True
        )
        for one, other in (
            (found.do, alone.do),
            (found.naive, alone.naive),
            *zip(found.per_source, alone.per_source, strict=True),
        ):
            np.testing.assert_allclose(one.draws[index], other.values, atol=1e-14)


def test_interval_is_that_of_the_differences_and_not_of_the_arms():
    mixture = random_mixture(toy().spec, 1, batch_shape=(4, 5))
    found = effect(mixture, "X", "Y")
    low, high = found.interval(0.8)
    differences = found.do.draws.reshape(-1, 2).numpy()
    np.testing.assert_allclose(low, np.quantile(differences, 0.1, axis=0), atol=1e-14)
    np.testing.assert_allclose(high, np.quantile(differences, 0.9, axis=0), atol=1e-14)
    assert found.naive.interval(0.8)[0][1] <= float(found.naive) <= found.naive.interval(0.8)[1][1]
    with pytest.raises(QueryError, match="bootstrap"):
        effect(toy(), "X", "Y").interval()


def test_without_an_edge_from_the_source_nothing_is_confounded():
    spec = MixtureSpec.from_parents({"X": "ab", "Y": "ab"}, {"Y": ["X"]}, 2, uninfluenced=["X"])
    found = effect(random_mixture(spec, 0), "X", "Y")
    assert abs(float(found.confounding)) < 1e-14


def test_turning_the_contrast_turns_the_sign():
    forth = effect(toy(), "X", "Y")
    back = effect(toy(), "X", "Y", contrast=("treated", "control"))
    assert forth.contrast == (0, 1)
    assert float(back.do) == pytest.approx(-float(forth.do), abs=1e-15)


def test_differences_of_all_outcome_states_sum_to_zero():
    found = effect(three_states(), "X", "Y", contrast=("none", "much"))
    for difference in (found.naive, found.do, found.confounding):
        assert difference.values.shape == (3,)
        assert difference.values.sum() == pytest.approx(0, abs=1e-15)


def test_one_number_of_a_longer_outcome_needs_its_state():
    mixture = three_states()
    found = effect(mixture, "X", "Y", contrast=("none", "much"))
    with pytest.raises(QueryError, match=r"3 states \['a', 'b', 'c'\].*outcome_state"):
        float(found.do)
    chosen = effect(mixture, "X", "Y", contrast=("none", "much"), outcome_state="c")
    assert float(chosen.do) == found.do.values[2]
    first = effect(toy(), "X", "Y", outcome_state="worse")
    assert float(first.do) == pytest.approx(-0.24, abs=1e-12)


def test_the_estimate_stands_in_the_middle_where_it_is_given():
    draws = random_mixture(toy().spec, 1, batch_shape=(6,))
    found = effect(draws, "X", "Y", point=toy())
    assert float(found.do) == pytest.approx(0.24, abs=1e-12)
    assert found.do.draws.shape == (6, 2)


def test_arms_are_answers_with_certainty_where_it_was_certified():
    found = effect(toy(), "X", "Y", certainty=Certainty.GRAPHICAL)
    assert found.certainty is Certainty.GRAPHICAL
    assert found.do_arms[1].title == "P(Y | do(X='treated'))"
    assert found.naive_arms[0].title == "P(Y | X='control')"


def test_rows_that_no_data_reached_count_for_arms_under_the_do():
    mixture = toy()
    masks = [torch.ones(c.shape[:-1], dtype=torch.bool) for c in mixture.cpts]
    masks[mixture.spec.vertex("Y")][:, 1] = False
    with pytest.raises(PositivityError, match=r"do\(X='treated'\)"):
        effect(mixture, "X", "Y", reached=masks)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"treatment": "Y"}, "differ"),
        ({"treatment": "Xx"}, "unknown variable 'Xx'"),
        ({"outcome": "W1"}, "unknown variable 'W1'"),
        ({}, r"3 states.*contrast=\('none', 'much'\)"),
        ({"contrast": ("none", "none")}, "two different"),
        ({"contrast": ("none", "all")}, "unknown state 'all'"),
        ({"contrast": ("none",)}, "pair"),
        ({"contrast": "no"}, "pair"),
        ({"contrast": ("none", "much"), "evidence": {"X": "some"}}, r"\['X'\].*evidence"),
        ({"contrast": ("none", "much"), "evidence": {"Y": "a"}}, r"\['Y'\].*evidence"),
        ({"contrast": ("none", "much"), "evidence": {"W": "r"}}, "unknown state 'r'"),
        ({"contrast": ("none", "much"), "outcome_state": "d"}, "unknown state 'd'"),
        ({"contrast": ("none", "much"), "engine": "magic"}, "'magic'"),
        (
            {"contrast": ("none", "much"), "evidence": {"U": 0}, "per_source": True},
            "'U'.*already",
        ),
    ],
)
def test_a_bad_question_is_refused_with_the_names(arguments, match):
    with pytest.raises(QueryError, match=match):
        effect(three_states(), **{"treatment": "X", "outcome": "Y", **arguments})


def test_a_treatment_state_that_never_occurs_has_no_naive_difference():
    mixture = toy()
    never = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(2, 2)
    x = mixture.spec.vertex("X")
    cpts = tuple(never if v == x else c for v, c in enumerate(mixture.cpts))
    with pytest.raises(PositivityError, match="X='treated'"):
        effect(BayesNetMixture(mixture.spec, mixture.weights, cpts), "X", "Y")


def test_differences_per_source_must_be_asked_for():
    with pytest.raises(QueryError, match="per_source=True"):
        _ = effect(toy(), "X", "Y").per_source


def test_printed_effect_shows_arms_and_differences():
    local = Certainty.LOCAL
    found = effect(toy(), "X", "Y", per_source=True, certainty=local, source_certainty=local)
    assert str(found).splitlines() == [
        "Effect of X='control' -> X='treated' on Y",
        "P(Y='better')  X='control'  X='treated'  difference",
        "naive               0.1690       0.6571     +0.4882",
        "do                  0.2600       0.5000     +0.2400",
        "do, U=0             0.1000       0.3000     +0.2000",
        "do, U=1             0.5000       0.8000     +0.3000",
        "certainty: local",
    ]
    assert repr(found) == str(found)


def test_printed_effect_on_a_longer_outcome_shows_every_state_and_draws_their_interval():
    mixture = random_mixture(three_states().spec, 0, batch_shape=(5,))
    text = str(effect(mixture, "X", "Y", contrast=("none", "much")))
    assert [f"P(Y={s!r})" in text for s in "abc"] == [True] * 3
    assert text.count("95% interval") == 3


@pytest.mark.parametrize("evidence", [["A1"], "A", 5])
def test_evidence_of_an_effect_that_is_no_mapping_is_refused(evidence):
    with pytest.raises(QueryError, match="evidence must map variables to states"):
        effect(toy(), "X", "Y", evidence=evidence)
