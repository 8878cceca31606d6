"""Answers: values with names, intervals of draws, frames, factors, and how they print."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import random_spec

from pyromix.answers.answer import Answer
from pyromix.answers.do import query
from pyromix.answers.intervals import quantiles as interval
from pyromix.errors import QueryError
from pyromix.model.query import Certainty
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec


def spec() -> MixtureSpec:
    states = {"Z": ("low", "high"), "X": ("control", "treated"), "Y": ("worse", "same", "better")}
    return MixtureSpec.from_parents(states, {"X": ["Z"], "Y": ["X", "Z"]}, 2)


def point(*variables: str, **asked: object) -> Answer:
    return query(random_mixture(spec(), 0), list(variables), **asked)  # type: ignore[arg-type]


def draws(n: int, *variables: str, **asked: object) -> Answer:
    mixture = random_mixture(spec(), 0, batch_shape=(n,))
    return query(mixture, list(variables), **asked)  # type: ignore[arg-type]


def test_axes_stand_in_the_order_asked():
    one, other = point("Y", "Z"), point("Z", "Y")
    assert one.values.shape == (3, 2)
    np.testing.assert_allclose(one.values, other.values.T, atol=1e-15)
    assert list(one.state_names.items()) == [
        ("Y", ["worse", "same", "better"]),
        ("Z", ["low", "high"]),
    ]


def test_values_are_numpy_and_sum_to_one():
    values = point("Y", "Z", do={"X": "treated"}).values
    assert isinstance(values, np.ndarray)
    assert values.dtype == np.float64
    assert values.sum() == pytest.approx(1, abs=1e-14)


def test_scenarios_are_the_first_axis():
    answer = point("Y", do={"X": ["control", "treated"]})
    assert answer.values.shape == (2, 3)
    for i, state in enumerate(["control", "treated"]):
        np.testing.assert_allclose(answer.values[i], point("Y", do={"X": state}).values, atol=1e-14)


@pytest.mark.parametrize("batch_shape", [(5,), (2, 3)])
def test_the_point_of_draws_is_their_mean(batch_shape):
    mixture = random_mixture(spec(), 0, batch_shape=batch_shape)
    answer = query(mixture, "Y", {"X": "treated"})
    assert answer.probs.shape == (*batch_shape, 3)
    np.testing.assert_allclose(answer.values, answer.probs.reshape(-1, 3).mean(0), atol=1e-15)


# -- intervals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("batch_shape", [(7,), (2, 3)])
def test_interval_is_the_pair_of_quantiles_over_all_draws(level, batch_shape):
    mixture = random_mixture(spec(), 0, batch_shape=batch_shape)
    answer = query(mixture, ["Y", "Z"], {"X": ["control", "treated"]})
    low, high = answer.interval(level)
    flat = answer.probs.reshape(-1, 2, 3, 2).numpy()
    assert low.shape == high.shape == answer.values.shape
    np.testing.assert_allclose(low, np.quantile(flat, (1 - level) / 2, axis=0), atol=1e-14)
    np.testing.assert_allclose(high, np.quantile(flat, (1 + level) / 2, axis=0), atol=1e-14)


@pytest.mark.parametrize("batch_shape", [(), (1,)])
def test_one_answer_has_no_interval_and_says_where_draws_come_from(batch_shape):
    answer = query(random_mixture(spec(), 0, batch_shape=batch_shape), "Y")
    assert not answer.has_draws
    with pytest.raises(QueryError, match=r"no interval.*bootstrap"):
        answer.interval()


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, -0.1, float("nan")])
def test_a_level_outside_zero_to_one_is_refused(level):
    with pytest.raises(QueryError, match="between 0 and 1"):
        draws(4, "Y").interval(level)


def test_intervals_of_more_than_sixteen_million_numbers():
    """The limit of torch.quantile."""
    many = torch.arange(5, dtype=torch.float64)[:, None].expand(5, 4_000_000)
    low, high = interval(many, 0.5)
    assert (low[0], high[-1]) == (1.0, 3.0)


# -- reading single numbers ----------------------------------------------------------------------


def test_prob_reads_a_cell_and_sums_over_what_is_not_named():
    answer = point("Y", "Z")
    assert answer.prob(Y="same", Z="high") == answer.values[1, 1]
    assert answer.prob(Z="high") == pytest.approx(answer.values[:, 1].sum(), abs=1e-15)
    assert answer.prob() == pytest.approx(1, abs=1e-15)


def test_prob_refuses_other_names_and_scenarios():
    with pytest.raises(QueryError, match=r"'X'.*\['Y', 'Z'\]"):
        point("Y", "Z").prob(X="control")
    with pytest.raises(QueryError, match=r"unknown state 'sme'.*'same'"):
        point("Y").prob(Y="sme")
    with pytest.raises(QueryError, match="2 scenarios"):
        point("Y", do={"X": ["control", "treated"]}).prob(Y="same")


def test_an_outcome_may_be_called_self():
    named = MixtureSpec.from_parents({"self": ("a", "b")}, {}, 1)
    answer = query(random_mixture(named, 0), "self")
    assert answer.prob(self="a") == answer.values[0]


# -- frames and factors --------------------------------------------------------------------------


def test_frame_has_a_row_per_cell():
    answer = point("Y", "Z", do={"X": "treated"})
    frame = answer.to_frame()
    assert list(frame.columns) == ["Y", "Z", "probability"]
    assert len(frame) == 6
    for row in frame.itertuples():
        assert row.probability == answer.prob(Y=row.Y, Z=row.Z)


def test_frame_of_scenarios_and_draws_says_which_and_how_sure():
    answer = draws(9, "Y", do={"X": ["control", {"control": 0.25, "treated": 0.75}]})
    frame = answer.to_frame(level=0.8)
    assert list(frame.columns) == ["scenario", "Y", "probability", "low", "high"]
    assert list(frame["scenario"].unique()) == [
        "X='control'",
        "X~{'control': 0.25, 'treated': 0.75}",
    ]
    low, high = answer.interval(0.8)
    np.testing.assert_array_equal(frame["low"], low.ravel())
    np.testing.assert_array_equal(frame["high"], high.ravel())


def test_frame_keeps_states_that_are_no_text():
    named = MixtureSpec.from_parents({"N": (3, 1), "B": (True, False)}, {}, 1)
    frame = query(random_mixture(named, 0), ["N", "B"]).to_frame()
    assert frame["N"].tolist() == [3, 3, 1, 1]
    assert frame["B"].tolist() == [True, False, True, False]


def test_frame_refuses_an_outcome_with_the_name_of_its_own_columns():
    named = MixtureSpec.from_parents({"probability": ("a", "b")}, {}, 1)
    with pytest.raises(QueryError, match=r"\['probability'\].*\.values"):
        query(random_mixture(named, 0), "probability").to_frame()


def test_factor_has_the_same_numbers_under_the_same_names():
    answer = point("Y", "Z", do={"X": "treated"})
    factor = answer.to_factor()
    assert factor.variables == ["Y", "Z"]
    assert factor.state_names == answer.state_names
    np.testing.assert_array_equal(factor.values, answer.values)
    assert factor.get_value(Y="better", Z="low") == answer.prob(Y="better", Z="low")


def test_factor_of_scenarios_is_refused():
    with pytest.raises(QueryError, match="2 scenarios"):
        point("Y", do={"X": ["control", "treated"]}).to_factor()


# -- printing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "asked", "title"),
    [
        (["Y"], {}, "P(Y)"),
        (
            ["Y"],
            {"do": {"X": "treated"}, "evidence": {"Z": "low"}},
            "P(Y | do(X='treated'), Z='low')",
        ),
        (["Y", "Z"], {"evidence": {"U": 1}}, "P(Y, Z | U=1)"),
        (
            ["Y"],
            {"do": {"X": {"treated": 0.75, "control": 0.25}}},
            "P(Y | do(X~{'control': 0.25, 'treated': 0.75}))",
        ),
        (
            ["Y"],
            {"do": {"X": ["control", "treated"], "Z": "low"}},
            "P(Y | do(X=2 scenarios, Z='low'))",
        ),
    ],
)
def test_title_is_the_question_on_paper(variables, asked, title):
    assert point(*variables, **asked).title == title


def test_printed_answer_is_an_aligned_table_with_its_certainty():
    answer = query(random_mixture(spec(), 0), "Y", {"X": "treated"}, certainty=Certainty.LOCAL)
    numbers = [f"{p:.4f}" for p in answer.values]
    assert str(answer).splitlines() == [
        "P(Y | do(X='treated'))",
        "Y       probability",
        f"worse        {numbers[0]}",
        f"same         {numbers[1]}",
        f"better       {numbers[2]}",
        "certainty: local",
    ]
    assert repr(answer) == str(answer)


def test_printed_draws_show_their_interval():
    answer = draws(9, "Y", do={"X": "treated"})
    low, high = answer.interval()
    assert f"[{low[2]:.4f}, {high[2]:.4f}]" in str(answer).splitlines()[4]
    assert str(answer).splitlines()[1].endswith("95% interval")


def test_a_long_answer_is_cut_and_says_so():
    mixture = random_mixture(random_spec(2, 6, 2, max_card=4), 0)
    answer = query(mixture, list(mixture.spec.variables))
    lines = str(answer).splitlines()
    assert len(lines) == 40 + 4
    assert lines[-2] == f"... {answer.values.size - 40} more cells, see to_frame()"


def test_an_answer_nobody_certified_says_so():
    assert "nobody certified" in str(point("Y"))
