"""The front door: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle

import jaxtyping
import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import distance_up_to_relabelling
from pgmpy.models import DiscreteBayesianNetwork

import pyromix as px
from pyromix.formats.bundle import read_bundle, write_bundle
from pyromix.model.spec import MixtureSpec

LAYOUT = {
    "Z1": ("low", "high"),
    "Z2": ("low", "high"),
    "X": ("control", "treated"),
    "Y": ("worse", "better"),
}


@pytest.fixture(scope="module")
def toy() -> px.BayesNetMixture:
    """The toy of the README: Z1, Z2, X -> Y, U into all (UPSTREAM section 5.2)."""
    spec = MixtureSpec.from_parents(LAYOUT, {"Y": ["X"]}, 2)

    def table(*ones: float) -> torch.Tensor:
        one = torch.tensor(ones, dtype=torch.float64)
        return torch.stack([1 - one, one], -1)

    y = table(0.1, 0.3, 0.5, 0.8).reshape(2, 2, 2)
    tables = {"Z1": table(0.1, 0.8), "Z2": table(0.15, 0.7), "X": table(0.2, 0.75), "Y": y}
    weights = torch.tensor([0.6, 0.4], dtype=torch.float64)
    return px.BayesNetMixture(spec, weights, tuple(tables[name] for name in spec.variables))


@pytest.fixture(scope="module")
def frame(toy) -> pd.DataFrame:
    return px.simulate(toy, 20_000, random_state=3)


@pytest.fixture
def model() -> DiscreteBayesianNetwork:
    edges = [("U", name) for name in LAYOUT] + [("X", "Y")]
    return DiscreteBayesianNetwork(edges, latents={"U"})


@pytest.fixture(scope="module")
def fitted(toy, frame) -> px.MixtureFit:
    return px.fit(toy.spec, frame, n_init=10)


def test_toy_has_the_population_values_of_the_manual(toy):
    effect = px.effect(toy, "X", "Y")
    assert float(effect.naive) == pytest.approx(0.488, abs=5e-4)
    assert float(effect.do) == pytest.approx(0.240, abs=5e-4)
    joint = toy.joint_table()
    assert float((joint * joint.log()).sum()) == pytest.approx(-2.32, abs=5e-3)


def test_fit_recovers_the_effect_and_not_the_naive_difference(fitted):
    effect = fitted.effect("X", "Y")
    # 0.03 is about three standard errors of the do difference at 20,000 rows (0.009 measured by
    # refitting 50 samples).
    assert float(effect.do) == pytest.approx(0.240, abs=0.03)
    assert float(effect.naive) == pytest.approx(0.488, abs=0.03)


def test_fit_to_the_population_returns_the_mixture_itself(toy):
    fit = px.fit(toy.spec, px.population(toy), n_init=10, tol=1e-14)
    assert distance_up_to_relabelling(fit.mixture, toy) < 1e-4
    assert float(fit.effect("X", "Y").do) == pytest.approx(0.24, abs=1e-4)


def test_sources_come_by_decreasing_weight(fitted):
    weights = fitted.mixture.weights.tolist()
    assert weights == sorted(weights, reverse=True)


def test_same_seed_same_answer(toy, frame):
    first, second = (px.fit(toy.spec, frame, n_init=3, random_state=7) for _ in range(2))
    assert torch.equal(first.mixture.weights, second.mixture.weights)


def test_every_kind_of_model_gives_the_same_fit(toy, frame, model, tmp_path):
    path = tmp_path / "net.bif"
    px.write(toy, path)
    graph = nx.DiGraph([("X", "Y")])
    graph.add_nodes_from(LAYOUT)
    states = {name: list(states) for name, states in LAYOUT.items()}
    values = []
    for given in (toy.spec, model, path, str(path)):
        values.append(px.fit(given, frame, 2, n_init=3, state_names=states).log_likelihood)
    with pytest.warns(px.AddedSourceWarning, match="U"):
        values.append(px.fit(graph, frame, 2, n_init=3, state_names=states).log_likelihood)
    assert np.ptp(values) < 1e-3


def test_weights_count_as_repeated_rows(toy, frame):
    few = frame.head(300)
    weight = np.arange(300) % 3
    whole = few.loc[few.index.repeat(weight)]
    options = {"n_init": 2, "random_state": 1}
    by_column = px.fit(toy.spec, few.assign(w=weight), sample_weight="w", **options)
    by_array = px.fit(toy.spec, few, sample_weight=weight, **options)
    by_rows = px.fit(toy.spec, whole, **options)
    assert by_column.log_likelihood == pytest.approx(by_rows.log_likelihood, abs=1e-8)
    assert by_array.log_likelihood == pytest.approx(by_rows.log_likelihood, abs=1e-8)


@pytest.mark.filterwarnings("ignore:moments alone")
def test_a_column_of_counts_that_is_not_used_is_spoken_of(toy, frame):
    with pytest.warns(px.DataRepairWarning, match="sample_weight='count'"):
        px.fit(toy.spec, frame.head(50).assign(count=1), n_init=2)


def test_one_source_is_the_ordinary_network(toy, frame):
    fit = px.fit(toy.spec, frame, 1, n_init=1, prior=None)
    assert fit.spec.n_sources == 1
    share = frame.groupby("X", observed=True)["Y"].value_counts(normalize=True)
    answer = fit.query("Y", do={"X": "treated"})
    assert answer.values[1] == pytest.approx(share["treated", "better"], abs=1e-12)


def test_criteria_follow_their_definitions(fitted):
    log_likelihood, p, n = fitted.log_likelihood, fitted.n_parameters, 20_000
    assert p == 1 + 2 * (1 + 1 + 1 + 2)
    assert fitted.aic == pytest.approx(2 * p - 2 * log_likelihood)
    assert fitted.bic == pytest.approx(p * math.log(n) - 2 * log_likelihood)
    assert fitted.icl == pytest.approx(fitted.bic + 2 * fitted.entropy)
    assert fitted.entropy_r2 == pytest.approx(0.68, abs=0.03)


def test_predict_proba_is_bayes_rule_row_by_row(fitted, frame):
    few = frame.head(40)
    shares = fitted.predict_proba(few)
    bn_weights = fitted.mixture.weights
    assert list(shares.columns) == ["0", "1"]
    for i, row in enumerate(few.itertuples(index=False)):
        given = dict(zip(few.columns, row, strict=True))
        answer = fitted.query("U", evidence=given, require="none")
        np.testing.assert_allclose(shares.iloc[i], answer.values, atol=1e-12)
    assert bn_weights.shape == (2,)


def test_score_is_the_mean_log_likelihood(fitted, frame):
    assert fitted.score(frame) == pytest.approx(fitted.log_likelihood / 20_000, abs=1e-12)


def test_simulate_leaves_the_source_out_unless_asked(fitted):
    assert list(fitted.simulate(5).columns) == list(fitted.spec.variables)
    assert "U" in fitted.simulate(5, include_latents=True).columns
    treated = fitted.simulate(50, do={"X": "treated"}, evidence={"Z1": "low"})
    assert set(treated["X"]) == {"treated"}
    assert set(treated["Z1"]) == {"low"}


def test_refine_from_the_optimum_stays_there(fitted, frame):
    again = fitted.refine(frame)
    assert again.log_likelihood >= fitted.log_likelihood - 1e-9
    assert again.log_likelihood == pytest.approx(fitted.log_likelihood, abs=1e-3)


def test_saving_and_loading_keeps_every_answer(fitted, tmp_path):
    path = tmp_path / "fit.pyromix"
    fitted.save(path)
    loaded = px.load(path)
    assert torch.equal(loaded.mixture.weights, fitted.mixture.weights)
    assert loaded.log_likelihood == fitted.log_likelihood
    assert loaded.diagnostics == fitted.diagnostics
    assert loaded.bic == fitted.bic
    np.testing.assert_array_equal(
        loaded.query("Y", do={"X": "treated"}).values, fitted.query("Y", do={"X": "treated"}).values
    )
    assert torch.equal(px.read(path).weights, fitted.mixture.weights)


def test_a_saved_fit_may_leave_the_data_out(fitted, tmp_path):
    path = tmp_path / "fit.pyromix"
    fitted.save(path, include_data=False)
    loaded = px.load(path)
    assert float(loaded.effect("X", "Y").do) == float(fitted.effect("X", "Y").do)
    assert loaded.icl == fitted.icl
    with pytest.raises(px.DataError, match="include_data"):
        _ = loaded.counts
    with pytest.raises(px.DataError, match="include_data=False"):
        loaded.save(path)
    loaded.save(path, include_data=False)
    assert px.load(path).icl == fitted.icl


@pytest.mark.parametrize("verb", ["bootstrap", "refine", "predictive_check"])
def test_weights_without_the_data_they_belong_to_are_refused(fitted, verb):
    with pytest.raises(px.DataError, match="belongs to `data`"):
        getattr(fitted, verb)(sample_weight="w")


def test_arguments_in_the_order_of_another_door_are_named(fitted):
    model, frame, _ = px.datasets.load("hidden-group")
    with pytest.raises(px.SpecError, match=r"n_sources must be .* found a DataFrame; the order"):
        px.check(model, frame, 2)
    with pytest.raises(px.SpecError, match=r"n_sources must be .* found a DataFrame; the order"):
        px.fit(model, 2, frame)


@pytest.mark.parametrize("argument", ["do", "evidence"])
def test_a_question_whose_conditions_are_no_mapping_is_refused(fitted, argument):
    with pytest.raises(px.QueryError, match=f"{argument} must map variables to states, found 'X'"):
        fitted.query("Y", **{argument: "X"})


@pytest.mark.parametrize("door", [px.query, px.effect, px.simulate, px.write])
def test_what_is_neither_mixture_nor_fit_is_refused(door):
    with pytest.raises(px.SpecError, match="expected a mixture or a fit, found a int"):
        door(3, "X" if door is not px.simulate else 2)


def test_a_fit_stays_one_through_copies_and_replacement(fitted):
    for other in (
        copy.copy(fitted),
        copy.deepcopy(fitted),
        pickle.loads(pickle.dumps(fitted)),
        dataclasses.replace(fitted, entropy=0.0),
        fitted.refine(),
        fitted.bootstrap(n=2),
    ):
        assert type(other) is px.MixtureFit
        assert torch.allclose(other.mixture.weights, fitted.mixture.weights, atol=1e-4)


def test_a_damaged_manifest_of_a_fit_is_a_file_error(fitted, tmp_path):
    path = tmp_path / "fit.pyromix"
    fitted.save(path)
    bundle = read_bundle(path)
    notes = [{"kind": "of tomorrow", "sentence": "s", "data": {}}]
    for stages, good in (
        ({"notes": notes}, True),
        ({"notes": 3}, False),
        ({"climb": [1]}, False),
        ({"course": {"asked": "em"}}, False),
    ):
        extra = {**bundle.extra, "stages": {**bundle.extra["stages"], **stages}}
        write_bundle(path, bundle.mixture, kind="fit", extra=extra, tensors=bundle.tensors)
        if good:
            assert px.load(path).diagnostics.notes == ("s",)
            continue
        with pytest.raises(px.FileError, match="incomplete or damaged"):
            px.load(path)


def test_the_fit_prints_starts_and_weights(fitted):
    assert "best of 11 starts (one from moments) reached by 11" in str(fitted)
    assert "P(U)" in str(fitted)


@pytest.mark.filterwarnings("ignore:moments alone")
def test_an_answer_that_is_not_determined_is_refused():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"X": rng.integers(0, 2, 500), "Y": rng.integers(0, 2, 500)})
    graph = DiscreteBayesianNetwork([("U", "X"), ("U", "Y"), ("X", "Y")], latents={"U"})
    fit = px.fit(graph, data, 2, n_init=2)
    with pytest.raises(px.NotCertifiedError, match=r"3 of 7 parameter directions") as caught:
        fit.query("Y", do={"X": 1})
    assert (caught.value.required, caught.value.found) == ("local", "none")
    assert fit.query("Y", do={"X": 1}, require="none").certainty.value == "none"
    with pytest.raises(px.NotCertifiedError):
        fit.effect("X", "Y")


@pytest.mark.filterwarnings("ignore:moments alone")
def test_within_a_source_less_is_determined_than_over_all():
    """X -> Y <- U: P(Y | do(X)) is P(Y | X), and nobody sees U."""
    spec = MixtureSpec.from_parents({"X": (0, 1), "Y": (0, 1)}, {"Y": ["X"]}, 2, uninfluenced=["X"])
    fit = px.fit(spec, px.simulate(px.random_mixture(spec, 0), 500), n_init=2)
    assert fit.effect("X", "Y").certainty.value == "graphical"
    with pytest.raises(px.NotCertifiedError, match="U=0"):
        fit.effect("X", "Y", per_source=True)
    bold = fit.effect("X", "Y", per_source=True, require="none")
    assert bold.certainty.value == "graphical"
    assert {arm.certainty.value for arms in bold.source_arms for arm in arms} == {"none"}
    assert "per source, certainty: none" in str(bold)
    with pytest.raises(px.QueryError, match="already"):
        fit.effect("X", "Y", per_source=True, evidence={"U": 0}, require="none")


@pytest.mark.filterwarnings("ignore:moments alone")
def test_a_model_too_large_for_a_rank_is_refused_by_a_direction_that_moves_the_answer():
    names = [f"V{v}" for v in range(13)]
    complete = {name: names[:v] for v, name in enumerate(names)}
    spec = MixtureSpec.from_parents(dict.fromkeys(names, (0, 1)), complete, 2)
    fit = px.fit(spec, px.simulate(px.random_mixture(spec, 0), 200), n_init=1)
    with pytest.raises(px.NotCertifiedError, match=r"A direction .* moves the answer"):
        fit.query("V1", do={"V0": 1})
    assert fit.query("V1", do={"V0": 1}, require="none").certainty.value == "none"


def test_a_product_has_no_edges_whatever_the_counts_were_for(toy, fitted):
    for data in (fitted.counts, px.population(toy)):
        fit = px.fit_product(data, 2, n_init=2)
        assert fit.spec.variables == toy.spec.variables
        assert not any(fit.spec.parents)


def test_what_data_reached_does_not_depend_on_the_scale_of_the_weights():
    names = [f"V{v}" for v in range(6)]
    spec = MixtureSpec.from_parents(dict.fromkeys(names, (0, 1)), {"V5": names[:5]}, 2)
    frame = px.simulate(px.random_mixture(spec, 0), 1000)
    plain = px.fit(spec, frame, n_init=2)
    weights = {"sample_weight": np.full(1000, 1e-7), "weights_are": "sampling"}
    light = px.fit(spec, frame, n_init=2, **weights)
    for one, other in zip(plain.reached, light.reached, strict=True):
        assert torch.equal(one, other)
    exact = px.fit(spec, px.population(px.random_mixture(spec, 0)), n_init=2)
    assert all(bool(rows.all()) for rows in exact.reached)


@pytest.mark.filterwarnings("ignore:moments alone")
def test_a_row_that_is_impossible_in_every_source_is_spoken_of():
    spec = MixtureSpec.from_parents({"A": (0, 1), "B": (0, 1), "C": (0, 1)}, {"B": ["A"]}, 2)
    data = pd.DataFrame({"A": [0, 0, 1, 1] * 9, "B": [0, 0, 1, 1] * 9, "C": [0, 1] * 18})
    fit = px.fit(spec, data, n_init=1, prior=None)
    unseen = pd.DataFrame({"A": [0, 0], "B": [0, 1], "C": [0, 0]})
    with pytest.warns(px.NumericalWarning, match="1 of 2 rows .* row 1"):
        shares = fit.predict_proba(unseen)
    assert shares.isna().all(axis=1).tolist() == [False, True]


def test_a_global_state_is_left_as_found(toy, frame):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global state is what is looked at
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    px.fit(toy.spec, frame, n_init=2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert torch.get_default_dtype() is torch.float32


# -- bad input: the right exception, with the name and the number -------------------------------


def test_bad_input_two_latents():
    graph = DiscreteBayesianNetwork([("U", "X"), ("W", "X")], latents={"U", "W"})
    with pytest.raises(px.SpecError, match=r"'U'.*'W'"):
        px.fit(graph, pd.DataFrame({"X": [0, 1]}), 2)


def test_bad_input_cyclic_graph(frame):
    graph = nx.DiGraph([("X", "Y"), ("Y", "X"), ("Z1", "X"), ("Z2", "X")])
    with pytest.raises(px.SpecError, match="cycle"):
        px.fit(graph, frame, 2)


@pytest.fixture
def unchecked(monkeypatch) -> None:
    """What a user sees: annotations are checked in tests only."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("k", [0, -1, 2.0, True, "2"])
def test_bad_input_number_of_sources(toy, frame, k):
    with pytest.raises(px.SpecError, match="n_sources"):
        px.fit(toy.spec, frame, k)


def test_bad_input_no_number_of_sources(frame):
    graph = nx.DiGraph([("X", "Y")])
    with pytest.raises(px.SpecError, match="n_sources"), pytest.warns(px.AddedSourceWarning):
        px.fit(graph, frame)


def test_bad_input_missing_column(toy, frame):
    with pytest.raises(px.DataError, match="'Z2'"):
        px.fit(toy.spec, frame.drop(columns="Z2"))


def test_bad_input_empty_table(toy, frame):
    with pytest.raises(px.DataError, match="expected a table with rows"):
        px.fit(toy.spec, frame.head(0))


def test_bad_input_unknown_value(toy, frame):
    wrong = frame.astype(str).replace({"X": {"treated": "treated!"}})
    with pytest.raises(px.DataError, match=r"'X'.*'treated!'"):
        px.fit(toy.spec, wrong)


def test_bad_input_constant_column(model, frame):
    constant = frame.astype(str).assign(Z1="low")
    with pytest.raises(px.PyromixError, match="'Z1'"):
        px.fit(model, constant, 2)


def test_a_column_of_fractions_is_a_number_unless_it_is_declared(model, frame):
    numbers = frame.astype(str).assign(Z1=np.linspace(0, 1, len(frame)))
    with pytest.raises(px.DataError, match="'Z1'"):
        px.fit(model, numbers, 2, kinds={"Z1": "categorical"})
    with pytest.raises(px.DataError, match="'Z1'"):
        px.MixtureEstimator(n_sources=2, model=model).fit(numbers)


@pytest.mark.parametrize("value", [math.nan, -1.0, math.inf])
def test_bad_input_weight(toy, frame, value):
    weight = np.ones(len(frame))
    weight[17] = value
    with pytest.raises(px.DataError, match="17"):
        px.fit(toy.spec, frame, sample_weight=weight)


def test_bad_input_weights_of_wrong_length(toy, frame):
    with pytest.raises(px.DataError, match=r"3.*20000|20000.*3|20,000.*3|3.*20,000"):
        px.fit(toy.spec, frame, sample_weight=[1.0, 1.0, 1.0])


def test_bad_input_unknown_method(toy, frame):
    with pytest.raises(px.QueryError, match="'emm'"):
        px.fit(toy.spec, frame, method="emm")


def test_bad_input_path(toy, tmp_path):
    with pytest.raises(px.FileError, match=r"nowhere\.csv"):
        px.fit(toy.spec, tmp_path / "nowhere.csv")
    with pytest.raises(px.FileError, match=r"nowhere\.bif"):
        px.fit(tmp_path / "nowhere.bif", tmp_path / "nowhere.csv", 2)


def test_bad_input_state_names_of_no_variable(model, frame):
    with pytest.raises(px.SpecError, match="'Q'"):
        px.fit(model, frame, 2, state_names={"Q": [0, 1]})


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"variables": "Yy"}, "did you mean 'Y'"),
        ({"variables": "Y", "do": {"X": "high"}}, r"\['control', 'treated'\]"),
        ({"variables": "Y", "do": {"X": "treated"}, "evidence": {"X": "treated"}}, "'X'"),
        ({"variables": "Y", "do": {"Y": "better"}}, "'Y'"),
        ({"variables": []}, "at least one"),
        ({"variables": "Y", "engine": "magic"}, "magic"),
        ({"variables": "Y", "require": "proof"}, "proof"),
    ],
)
def test_bad_input_query(fitted, arguments, match):
    with pytest.raises(px.QueryError, match=match):
        fitted.query(**arguments)


def test_bad_input_save_leaves_nothing_half_written(fitted, tmp_path):
    with pytest.raises(px.FileError):
        fitted.save(tmp_path / "no" / "such" / "folder" / "fit.pyromix")
    with pytest.raises(px.FileError, match="pyromix"):
        fitted.save(tmp_path / "fit.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["count", "Count", "N"])
def test_a_column_that_looks_like_counts_is_spoken_of_however_it_is_written(name):
    model, frame, _ = px.datasets.load("hidden-group")
    with pytest.warns(px.DataRepairWarning, match=f"sample_weight='{name}'"):
        px.fit(model, frame.assign(**{name: 3}), 1, prior=None)
