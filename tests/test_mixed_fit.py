"""A fit with numbers, end to end: effects under confounding, certainty, intervals, what is said."""

from __future__ import annotations

import warnings

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from mixed_truths import random_mixed, random_mixed_spec, slope, table_of

import pyromix as px
from pyromix.answers.mixed.spread import gradients
from pyromix.fitting.mixed import heavy
from pyromix.fitting.mixed.record import SAME
from pyromix.identify.verdict import judge
from pyromix.model.kind import Kind


def confounded(n, seed, noise=None):
    """Y rises by .5 with X, and by 1.2 in the second source."""
    g = np.random.default_rng(seed)
    noise = g.normal if noise is None else noise
    u = g.random(n) < 0.4
    x = 1.5 * u + noise(size=n)
    frame = pd.DataFrame({
        "A": 2 * u + g.normal(size=n),
        "B": -1.5 * u + g.normal(size=n),
        "C": np.where(g.random(n) < 0.3 + 0.4 * u, "yes", "no"),
        "X": x,
        "Y": 0.5 * x + 1.2 * u + noise(size=n),
    })  # fmt: skip
    return frame, u


def graph(*edges):
    dag = nx.DiGraph(edges)
    names = sorted(dag.nodes)
    dag.add_edges_from(("U", name) for name in names)
    dag.nodes["U"]["latent"] = True
    return dag


VIEWS = graph(("X", "Y"))
VIEWS.add_edges_from(("U", v) for v in "ABC")


@pytest.fixture(scope="module")
def fit():
    return px.fit(VIEWS, confounded(2000, 0)[0], 2)


def test_the_effect_is_not_the_naive_slope(fit):
    effect = fit.effect("X", "Y", contrast=(0, 1))
    low, high = effect.interval()
    assert float(effect.naive) > 0.75
    assert low < 0.5 < high
    assert high - low < 0.2
    assert effect.certainty is px.Certainty.GRAPHICAL
    assert "whatever the shape of the noise" in str(effect)


def test_bins_and_random_starts_end_in_one_optimum(fit):
    objectives = [start.objective for start in fit.starts]
    assert [start.name for start in fit.starts].count("bins") == 1
    assert max(objectives) - min(objectives) < SAME
    assert fit.starts[0].name == "bins"


def test_draws_of_the_posterior_give_the_same_interval_and_say_so(fit):
    """Noise is normal and rows are many, so that both ways to an interval hold."""
    few = {"num_samples": 40, "warmup_steps": 20, "num_chains": 2, "thinning": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.SamplingWarning)
        drawn = fit.refine(method="gibbs", **few)
    ask = {"treatment": "X", "outcome": "Y", "contrast": (0, 1)}
    one, other = fit.effect(**ask), drawn.effect(**ask)
    assert float(one) == float(other)
    (low, high), (a, b) = one.interval(), other.interval()
    assert (a + b) / 2 == pytest.approx((low + high) / 2, abs=(high - low) / 3)
    assert 0.6 < (b - a) / (high - low) < 1.5
    assert "by draws of the posterior (gibbs), given the shape of the noise" in str(other)
    assert drawn.sampled.sampling.n_switched == 0
    assert "80 draws (R-hat" in str(drawn)
    assert any("normal-inverse-gamma" in said for said in drawn.said)


def test_permuting_rows_and_columns_changes_no_answer(fit):
    frame = confounded(2000, 0)[0]
    other = px.fit(VIEWS, frame.sample(frac=1, random_state=1)[list("YXCBA")], 2)
    assert other.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-5)
    one, two = (float(f.effect("X", "Y", contrast=(0, 1)).do) for f in (fit, other))
    assert two == pytest.approx(one, abs=1e-5)


def test_units_change_no_answer(fit):
    frame = confounded(2000, 0)[0]
    frame["X"], frame["Y"] = 1000 * frame["X"] + 7e4, frame["Y"] / 100
    other = px.fit(VIEWS, frame, 2)
    moved = other.effect("X", "Y", contrast=(7e4, 7e4 + 1000))
    plain = fit.effect("X", "Y", contrast=(0, 1))
    assert float(moved.do) == pytest.approx(float(plain.do) / 100, abs=1e-7)
    assert np.array(moved.interval()) == pytest.approx(np.array(plain.interval()) / 100, abs=1e-6)
    shift = 2000 * (np.log(1000) - np.log(100))
    assert other.log_likelihood == pytest.approx(fit.log_likelihood - shift, abs=1e-3)


def test_numbers_alone_are_refused_though_normal_noise_would_answer():
    """THEORY 18.6: the shape of the noise is no witness."""
    frame = confounded(1500, 1)[0][["X", "Y"]]
    alone = px.fit(graph(("X", "Y")), frame, 2)
    with pytest.raises(px.NotCertifiedError, match="shape") as caught:
        alone.effect("X", "Y", contrast=(0, 1))
    assert caught.value.found == "shape"
    effect = alone.effect("X", "Y", contrast=(0, 1), require="shape")
    with pytest.raises(px.QueryError, match="no interval"):
        effect.interval()


def test_skewed_noise_without_confounding_is_no_certified_answer():
    """THEORY E27: a mixture of lines invents a slope here."""
    g = np.random.default_rng(2)
    x = g.gamma(2.0, size=1500)
    frame = pd.DataFrame({"X": x, "Y": 0.5 * x + g.gamma(2.0, size=1500)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = px.fit(graph(("X", "Y")), frame, 2)
    with pytest.raises(px.NotCertifiedError):
        found.query("Y", do={"X": 1.0})


def test_views_without_signal_make_an_answer_weak():
    """Three numbers that say nothing of U: graph and rank would do, the table does not show it."""
    g = np.random.default_rng(3)
    n = 1500
    frame = pd.DataFrame({v: g.normal(size=n) for v in "ABCX"})
    frame["Y"] = frame["X"] + g.normal(size=n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = px.fit(VIEWS, frame, 2, n_init=2)
    with pytest.raises(px.NotCertifiedError) as caught:
        found.effect("X", "Y", contrast=(0, 1))
    assert caught.value.found == "weak"
    weak = found.effect("X", "Y", contrast=(0, 1), require="weak")
    assert "interval: none" in str(weak)


@pytest.mark.parametrize("noise", ["normal", "gamma"])
def test_effects_in_a_random_graph_come_near_those_with_u_known(noise):
    spec = random_mixed_spec(3, 7, 2)
    truth = random_mixed(spec, 3)
    frame, _ = table_of(truth, 4000, 3, noise)
    dag = graph(*((spec.name(p), spec.name(v)) for v, ps in enumerate(spec.parents) for p in ps))
    dag.add_edges_from(("U", name) for name in spec.variables)
    states = {
        spec.name(v): list(spec.binned.states_of(v))
        for v in range(spec.n_variables)
        if spec.kind(v) is Kind.CATEGORICAL
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = px.fit(dag, frame, 2, state_names=states)
    assert slope(found.mixture) == pytest.approx(slope(truth), abs=0.12)


def test_gradients_of_answers_are_those_of_differences(fit):
    from pyromix.answers.mixed.engines import Engine, Summary, value
    from pyromix.answers.mixed.question import Question

    question = Question.from_names(fit.spec, "Y", {"X": 1.0})

    def found(mixture, reference):
        return value(mixture, question, Summary(), Engine("exact"), reference=reference)

    slopes, at = gradients(fit.mixture, found)[0], fit.mixture.parameters
    for j in range(len(at)):
        step = torch.zeros_like(at)
        step[j] = 1e-5
        up, down = (found(fit.mixture.with_parameters(at + s), None) for s in (step, -step))
        assert float(slopes[j]) == pytest.approx(float(up - down) / 2e-5, abs=1e-6)


def test_replicates_and_standard_errors_agree(fit):
    drawn = fit.bootstrap(n=60)
    by_draws = drawn.effect("X", "Y", contrast=(0, 1)).spread
    by_errors = fit.effect("X", "Y", contrast=(0, 1)).spread
    assert by_draws.draws.shape == (60, 1)
    assert by_draws.errors[0] == pytest.approx(by_errors.errors[0], rel=0.35)


def test_a_setting_far_from_all_rows_is_said(fit):
    with pytest.warns(px.UnsupportedRowsWarning, match="extrapolates"):
        answer = fit.query("Y", do={"X": 40.0})
    assert "source 0" in str(answer)
    assert "extrapolates" in str(answer)


def test_products_with_numbers_are_gaussian_mixtures():
    g = np.random.default_rng(4)
    u = g.random(1000) < 0.4
    frame = pd.DataFrame({f"v{i}": 2.5 * u + g.normal(size=1000) for i in range(4)})
    found = px.fit_product(frame, 2)
    assert isinstance(found, px.MixedFit)
    assert not any(found.spec.parents)
    assert (found.predict_proba(frame)["1"] > 0.5).eq(u).mean() > 0.97


def test_a_fit_is_a_program_in_the_units_of_the_table(fit):
    """Its log-likelihood of the table is the fit's, and its answers are."""
    import pyro.infer

    program = fit.to_pyro()
    elbo = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)
    score = -elbo.loss(lambda: program(rows=fit.records), lambda: None)
    assert score == pytest.approx(fit.log_likelihood, rel=1e-9)
    by_pyro = fit.query("Y", do={"X": 1.0}, engine="pyro")
    exact = fit.query("Y", do={"X": 1.0})
    assert abs(by_pyro.mean - exact.mean) < 4.5 * by_pyro.monte_carlo_error
    assert by_pyro.spread.errors[0] > exact.spread.errors[0] > 0


def test_a_state_that_a_source_has_no_rows_with_is_said():
    """Nobody in the first source is treated: the do over both sources rests on the prior there."""
    frame, u = confounded(1500, 5)
    frame["X"] = np.where(u & (np.arange(1500) % 2 == 0), "treated", "not")
    found = px.fit(VIEWS, frame, 2)
    with pytest.warns(px.UnsupportedRowsWarning, match=r"X='treated': source 0 has .* such rows"):
        effect = found.effect("X", "Y", contrast=("not", "treated"))
    assert "rests on the prior" in str(effect)


def test_what_is_local_without_three_views_is_weak_whatever_the_table():
    """The stand-in's rank would do; nothing free of shape shows whether the table says it."""
    g = np.random.default_rng(7)
    n = 1200
    frame = pd.DataFrame({"A": g.integers(0, 3, n), "B": g.normal(size=n), "X": g.normal(size=n)})
    frame["C"] = g.integers(0, 3, n)
    frame["Y"] = g.integers(0, 3, n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dag = graph(("A", "C"), ("B", "C"), ("A", "X"), ("X", "Y"))
        found = px.fit(dag, frame, 2, n_init=2)
    assert judge(found.spec.binned).structural is px.Certainty.LOCAL
    with pytest.raises(px.NotCertifiedError, match="no three views") as caught:
        found.effect("X", "Y", contrast=(0, 1), outcome_state=2)
    assert caught.value.found == "weak"
    assert px.check(dag, 2, frame, outcome="Y", treatment="X").verdict == "weak"


def table_with_tails():
    """X has normal noise and Y, its child, Student's t."""
    g = np.random.default_rng(4)
    u = g.integers(0, 2, 900)
    frame = pd.DataFrame({name: (g.random(900) < 0.2 + 0.6 * u).astype(int) for name in "ABC"})
    frame["X"] = g.normal(size=900) + u
    frame["Y"] = frame["X"] + 2 * u + g.standard_t(2.5, size=900)
    graph = nx.DiGraph([("X", "Y"), *(("U", name) for name in "ABCXY")])
    graph.nodes["U"]["latent"] = True
    return graph, frame


def test_heavy_tails_of_what_was_declared_are_named_with_what_they_would_gain():
    graph, frame = table_with_tails()
    options = {"n_init": 0, "prior": None}
    with pytest.warns(
        px.WeakIdentificationWarning, match=r"Student's t fits the noise of 'Y' \(\+"
    ):
        plain = px.fit(graph, frame, 2, kinds={"Y": "real"}, **options)
    (note,) = [note for note in plain.notes if note.kind == "shape of noise"]
    assert set(note.data) == {"Y"}
    assert "kinds={'Y': \"student-t\"} declares it" in note.sentence
    heavy = px.fit(graph, frame, 2, kinds={"X": "real", "Y": "student-t"}, **options)
    # The note is a lower bound, up to the rows seen before.
    assert heavy.log_likelihood - plain.log_likelihood > note.data["Y"] - 1
    assert not [note for note in heavy.notes if note.kind == "shape of noise"]

    found = px.fit(graph, frame, 2, **options)  # nobody declared: followed, and said
    assert found.log_likelihood == pytest.approx(heavy.log_likelihood, abs=1e-6)
    assert [found.spec.kind(found.spec.vertex(name)) for name in "XY"] == ["real", "student-t"]
    (note,) = [note for note in found.notes if note.kind == "shape of noise"]
    assert note.sentence.startswith("The noise of 'Y' (+")
    assert "kinds={'Y': \"real\"} keeps normal noise" in note.sentence


def test_noise_stays_normal_where_missing_numbers_are_integrated_out():
    graph, frame = table_with_tails()
    graph.add_edges_from([("Y", "Z"), ("U", "Z")])
    frame["Z"] = frame["Y"] + np.random.default_rng(5).normal(size=900)
    leaf, middle, parent = frame.copy(), frame.copy(), frame.copy()
    leaf.loc[3, "Y"] = parent.loc[3, "X"] = middle.loc[3, "Y"] = np.nan
    del leaf["Z"]
    graph_of_leaf = graph.subgraph(set(graph) - {"Z"})
    found = px.fit(graph_of_leaf, leaf, 2, n_init=0)
    assert found.spec.kind(found.spec.vertex("Y")) == "student-t"
    for table in (middle, parent):
        with pytest.warns(px.WeakIdentificationWarning, match="where no cell is missing"):
            found = px.fit(graph, table, 2, n_init=0)
        assert found.spec.kind(found.spec.vertex("Y")) == "real"


def test_sources_that_took_the_tails_do_not_hide_them_from_those_that_bins_show():
    g = np.random.default_rng(6)
    frame = pd.DataFrame({"A": g.integers(0, 2, 1500), "Y": g.gamma(1.0, size=1500)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        one, two = (
            px.fit(graph(("A", "Y")), frame, k, kinds={"Y": "real"}, n_init=4) for k in (1, 2)
        )
        undeclared = px.fit(graph(("A", "Y")), frame, 2, n_init=4)
    y = one.spec.vertex("Y")
    (alone,) = heavy.heavier(one.mixture, one.records).values()
    assert not heavy.heavier(two.mixture, one.records)
    assert undeclared.spec.kind(undeclared.spec.vertex("Y")) == "student-t"
    found = heavy.heaviest([two.mixture, one.mixture], one.records)
    assert found == {y: alone} == heavy.heaviest([one.mixture, two.mixture], one.records)
