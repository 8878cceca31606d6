"""One question has one answer, at whatever door it is asked."""

from __future__ import annotations

import numpy as np
import pytest

import pyromix as px
from pyromix.answers.gate import admit
from pyromix.identify import graphical
from pyromix.identify.network import search
from pyromix.identify.verdict import Ground, judge
from pyromix.model.query import Certainty, DoQuery, settings

PLAIN = px.MixtureSpec.from_parents({"X": (0, 1), "Y": (0, 1)}, {"Y": ["X"]}, 2)


@pytest.fixture(scope="module")
def pair() -> px.MixtureFit:
    """X -> Y alone: nothing shows the source."""
    frame = px.simulate(px.random_mixture(PLAIN, 1), 2_000, random_state=0)
    with pytest.warns(px.WeakIdentificationWarning):
        return px.fit(PLAIN, frame, n_init=3)


@pytest.fixture(scope="module")
def group() -> px.MixtureFit:
    model, frame, _ = px.datasets.load("hidden-group")
    return px.fit(model, frame, 2, n_init=2)


def test_an_effect_that_the_fit_refuses_is_refused_at_every_door(pair):
    for ask in (
        lambda: pair.effect("X", "Y"),
        lambda: px.effect(pair, "X", "Y"),
        lambda: pair.query("Y", {"X": 1}),
        lambda: px.query(pair, "Y", {"X": 1}),
    ):
        with pytest.raises(px.NotCertifiedError, match="found that it does not"):
            ask()
    assert px.check(PLAIN, outcome="Y", treatment="X").verdict == "not identified"
    effects = pair.report(treatment="X", outcome="Y", show=False, sensitivity=False)
    assert "refused" in dict(effects.section("verdict").facts)["Effect X -> Y"]
    letter = effects.letter
    assert "the data cannot tell what setting X to 1 instead of 0 does" in letter.sentence
    assert [h.level for h in letter.headlines] == ["fail", "aside"]
    assert letter.headlines[0].value == "not determined"
    assert letter.numbers["do"] is None
    assert letter.cure.startswith("2 more variables that depend on U, ")


def test_a_fit_passed_to_a_function_is_asked_as_the_fit(group):
    one, other = group.query("Y", {"X": "treated"}), px.query(group, "Y", {"X": "treated"})
    assert one.certainty is other.certainty is Certainty.GRAPHICAL
    np.testing.assert_array_equal(one.interval(), other.interval())
    left, right = group.effect("X", "Y"), px.effect(group, "X", "Y")
    assert left.certainty is right.certainty is Certainty.GRAPHICAL
    np.testing.assert_array_equal(left.interval(0.9), right.interval(0.9))


def test_a_bare_mixture_is_plain_inference(pair):
    assert px.query(pair.mixture, "Y", {"X": 1}).certainty is Certainty.NONE
    assert px.effect(pair.mixture, "X", "Y").certainty is Certainty.NONE


def test_check_and_report_say_of_the_fits_table_what_its_answers_say():
    """A source without effect on two proxies: the graph would do, the table does not show it."""
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABCXY", (0, 1)), {"Y": ["X"]}, 2)
    truth = px.random_mixture(spec, 0)
    flat = tuple(
        c if spec.name(v) in "XY" else c[:1].expand_as(c).clone() for v, c in enumerate(truth.cpts)
    )
    truth = px.BayesNetMixture(spec, truth.weights, flat)
    frame = px.simulate(truth, 2_000, random_state=1)
    with pytest.warns(px.PyromixWarning):
        fit = px.fit(spec, frame, n_init=3, prior=None)
    found = px.check(spec, data=frame, outcome="Y", treatment="X")
    assert found.verdict == "weak"
    assert fit.effect("X", "Y", require="weak").certainty is Certainty.WEAK
    report = fit.report(treatment="X", outcome="Y", show=False, sensitivity=False)
    assert report.summary()["verdict"]["verdict"] == "weak"
    assert report.summary()["effect"]["certainty"] == "weak"


def test_plans_are_searched_for_once_from_the_fit_to_its_report(monkeypatch):
    calls = []
    real = search.find_plans

    def counted(*args, **kwargs):
        calls.append(args)
        return real(*args, **kwargs)

    model, frame, _ = px.datasets.load("asia")
    for module in (graphical, search):
        monkeypatch.setattr(module, "find_plans", counted)
    graphical.graph_facts.cache_clear()
    fit = px.fit(model, frame, 2, n_init=1, prior=None)
    fit.effect()
    px.check(fit.spec, outcome="lung", treatment="smoke")
    fit.report(show=False, sensitivity=False)
    assert len(calls) == 1


def test_a_report_on_an_em_fit_looks_at_the_moments_once(monkeypatch):
    from pyromix.report.facts import moments

    calls = []
    real = moments.start_from_moments

    def counted(*args, **kwargs):
        calls.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(moments, "start_from_moments", counted)
    model, frame, _ = px.datasets.load("hidden-group")
    fit = px.fit(model, frame, 2, n_init=2, prior=None, method="em")
    report = fit.report(show=False, sensitivity=False)
    report.to_html()
    assert len(calls) == 1


@pytest.mark.parametrize("require", ["graphical", "local", "weak", "none"])
def test_the_gate_lets_through_what_reaches_the_level(require):
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABCXY", (0, 1)), {"Y": ["X"]}, 2)
    verdict = judge(spec, settings(spec, "Y", "X"))
    assert verdict.ground is Ground.GRAPH
    assert admit(verdict, require) is Certainty.GRAPHICAL


def test_a_verdict_names_what_decided_it():
    assert judge(PLAIN.with_n_sources(1)).ground is Ground.ONE_SOURCE
    whole = judge(PLAIN)
    assert (whole.ground, whole.structural) == (Ground.DIRECTIONS, Certainty.NONE)
    asked = judge(PLAIN, (DoQuery.from_names(PLAIN, "Y", {"X": 1}),))
    assert asked.ground is Ground.MOVED
    assert asked.residual > 0.01
    assert set(asked.moved) <= {"U", "X", "Y"}
    seen = judge(PLAIN, (DoQuery.from_names(PLAIN, "Y", None, {"X": 1}),))
    assert (seen.ground, seen.structural) == (Ground.OBSERVED, Certainty.GRAPHICAL)


def test_a_fit_is_written_and_converted_like_its_mixture(group, tmp_path):
    px.write(group, tmp_path / "fit.bif")
    px.write(group.mixture, tmp_path / "mixture.bif")
    assert (tmp_path / "fit.bif").read_text() == (tmp_path / "mixture.bif").read_text()
    one, other = px.to_pgmpy(group), group.to_pgmpy()
    assert one == other
    assert set(one.latents) == {"U"}
    assert set(px.to_pyro(group)(size=3)) == set(group.to_pyro()(size=3))


def test_a_pgmpy_users_estimator_keeps_certainty_and_interval_in_reach():
    from pgmpy.models import DiscreteBayesianNetwork

    frame = px.datasets.load("hidden-group")[1]
    edges = [("U", "Z1"), ("U", "Z2"), ("U", "X"), ("U", "Y"), ("X", "Y")]
    model = DiscreteBayesianNetwork(edges, latents={"U"})
    estimator = px.MixtureEstimator(n_sources=2, n_init=2)
    model.fit(frame, estimator=estimator)
    effect = estimator.fit_.effect("X", "Y")
    assert effect.certainty is Certainty.GRAPHICAL
    low, high = effect.interval(0.9)
    assert (low < high).all()
