"""What is asked of mixtures with numbers, what is refused, and what is printed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mixed_cases import Oracle, mixture
from test_mixed_answers import CHILD, COUNT, GATED, HURDLE, NORMAL

from pyromix.answers.mixed.do import query
from pyromix.answers.mixed.dose import dose_response
from pyromix.answers.mixed.effect import effect
from pyromix.errors import PositivityError, QueryError, SpecError
from pyromix.model.cpd import TableCPD
from pyromix.model.mixed import MixedMixture

# -- refusals ------------------------------------------------------------------------------------

REFUSED = [
    (NORMAL, ("V",), {}, "unknown variable 'V'"),
    (NORMAL, (["X", "W"],), {}, "the name of one variable"),
    (NORMAL, ("X", {"X": 1.0}), {}, "both `variable` and `do`"),
    (NORMAL, ("X", {"W": 1.0}, {"W": 1.0}), {}, "both `do` and `evidence`"),
    (NORMAL, ("X", ["W"]), {}, "do must map variables to states"),
    (NORMAL, ("X", {"C": "d"}), {}, "unknown state 'd' of 'C'"),
    (NORMAL, ("X", {"C": {"a": 1.0}}), {}, "one state at a time"),
    (NORMAL, ("X", None, {"C": ["a"]}), {}, "evidence: expected a state of 'C'"),
    (NORMAL, ("C", {"X": "high"}), {}, "do: 'X' is a number"),
    (NORMAL, ("C", {"X": True}), {}, "do: 'X' is a number"),
    (NORMAL, ("C", {"X": float("nan")}), {}, "do: 'X' is a number"),
    (NORMAL, ("C", None, {"W": 0.0}), {}, "'W' was declared positive.*found 0.*kind 'hurdle'"),
    (COUNT, ("Y", {"N": -1}), {}, "'N' is a count, found -1"),
    (COUNT, ("Y", {"N": 1.5}), {}, "'N' is a count, found 1.5"),
    (HURDLE, ("Y", {"H": -0.1}), {}, "'H' is zero or positive"),
    (NORMAL, ("X",), {"engine": "quad"}, "engine must be one of"),
    (NORMAL, ("X",), {"n_samples": 1}, "n_samples must be an integer >= 2"),
    (COUNT, ("N",), {"engine": "exact"}, r"P\(N\) has no exact sum: 'N' is not linear.*'X'"),
    (HURDLE, ("Y",), {"engine": "exact"}, "'H' is not linear in the number 'X'"),
    (HURDLE, ("Y", {"X": 1.0}), {"engine": "exact"}, "'H' is not normal, and neither set nor"),
    (COUNT, ("N", {"X": 1.0}, {"Y": 1.0}), {"engine": "exact"}, "depends on 'N', which is not"),
]


@pytest.mark.parametrize(("m", "asked", "options", "message"), REFUSED)
def test_what_cannot_be_asked_is_refused_by_name(m, asked, options, message):
    with pytest.raises(QueryError, match=message):
        query(m, *asked, **options)


def test_a_mixture_of_tables_is_refused():
    with pytest.raises(SpecError, match="a mixture with numbers"):
        query(3, "X")  # type: ignore[arg-type]


def test_evidence_of_probability_zero_is_refused_by_every_engine():
    table = torch.zeros(2, 3, dtype=torch.float64)
    table[:, 0] = 1.0
    m = MixedMixture(NORMAL.spec, NORMAL.units, NORMAL.weights, (
        TableCPD(table, 0), *NORMAL.cpds[1:]))  # fmt: skip
    for engine in ("exact", "sampling", "pyro"):
        with pytest.raises(PositivityError, match=r"P\(X \| C='b'\).*positive probability"):
            query(m, "X", None, {"C": "b"}, engine, n_samples=50)
        assert query(m, "X", {"C": "b"}, engine=engine, n_samples=50).sd > 0


EFFECTS = [
    (NORMAL, ("X", "W"), {}, r"from where to where it goes, contrast=\(from, to\)"),
    (NORMAL, ("C", "W"), {}, "'C' has 3 states"),
    (NORMAL, ("X", "W"), {"contrast": (1.0,)}, r"a pair \(from, to\)"),
    (NORMAL, ("X", "W"), {"contrast": "ab"}, r"a pair \(from, to\)"),
    (NORMAL, ("X", "W"), {"contrast": (1, 1.0)}, "two different settings"),
    (NORMAL, ("X", "X"), {"contrast": (0, 1)}, "must differ"),
    (NORMAL, ("X", "W"), {"contrast": (0, 1), "evidence": {"X": 1}}, "stand in `evidence`"),
    (NORMAL, ("X", "W"), {"contrast": (0, 1), "outcome_state": "a"}, "has no states"),
    (NORMAL, ("X", "W"), {"contrast": (0, 1), "quantile": 1.0}, "quantile must be"),
    (NORMAL, ("X", "B"), {"contrast": (0, 1), "quantile": 0.5}, "an outcome with states"),
    (NORMAL, ("X", "B"), {"contrast": (0, 1), "outcome_state": "d"}, "unknown state 'd'"),
    (NORMAL, ("U", "B"), {"contrast": (0, 1), "per_source": True}, "per_source=True asks within"),
]


@pytest.mark.parametrize(("m", "names", "options", "message"), EFFECTS)
def test_what_has_no_effect_is_refused_by_name(m, names, options, message):
    with pytest.raises(QueryError, match=message):
        effect(m, *names, **options)


def test_answers_refuse_what_is_no_probability_and_no_number():
    number, states = query(NORMAL, "X"), query(NORMAL, "C")
    for q in (0.0, 1.0, [0.5, 2.0], float("nan")):
        with pytest.raises(QueryError, match="q must lie between 0 and 1"):
            number.quantile(q)
    with pytest.raises(QueryError, match="grid: expected numbers"):
        number.density("x")
    with pytest.raises(QueryError, match="above <= up_to"):
        number.prob(above=2, up_to=1)
    with pytest.raises(QueryError, match="expected above="):
        number.prob()
    with pytest.raises(QueryError, match="a state of the outcome"):
        states.prob(X="a")
    assert states.prob(C="b") == states.values[1]
    assert states.state_names == {"C": ["a", "b", "c"]}


# -- effects and curves --------------------------------------------------------------------------


def test_an_effect_is_the_difference_of_two_answers_seen_and_set():
    found = effect(NORMAL, "X", "W", contrast=(0.0, 1.0), evidence={"B": "a"}, per_source=True)
    done = [Oracle(NORMAL, "W", {"X": x}, {"B": "a"}).mean for x in (0.0, 1.0)]
    seen = [Oracle(NORMAL, "W", {}, {"B": "a", "X": x}).mean for x in (0.0, 1.0)]
    assert float(found.do) == pytest.approx(done[1] - done[0], abs=1e-8)
    assert float(found.naive) == pytest.approx(seen[1] - seen[0], abs=1e-8)
    assert found.confounding == pytest.approx(float(found.naive) - float(found.do))
    within = [Oracle(NORMAL, "W", {"X": x}, {"B": "a", "U": 1}).mean for x in (0.0, 1.0)]
    assert float(found.per_source[1]) == pytest.approx(within[1] - within[0], abs=1e-8)
    medians = effect(NORMAL, "X", "W", contrast=(0.0, 1.0), quantile=0.5)
    one, other = (query(NORMAL, "W", {"X": x}).quantile(0.5) for x in (0.0, 1.0))
    assert float(medians.do) == pytest.approx(other - one)


def test_effects_between_states_and_on_states():
    on_number = effect(GATED, "C", "H", contrast=("a", "c"))
    one, other = (Oracle(GATED, "H", {"C": c}).mean for c in "ac")
    assert float(on_number.do) == pytest.approx(other - one, abs=1e-8)
    on_states = effect(CHILD, "X", "B", contrast=(0, 1))
    one, other = (Oracle(CHILD, "B", {"X": x}).probs for x in (0.0, 1.0))
    np.testing.assert_allclose(on_states.do.values, other - one, atol=1e-8)
    with pytest.raises(QueryError, match="one number needs"):
        float(on_states.do)
    named = effect(CHILD, "X", "B", contrast=(0, 1), outcome_state="b")
    assert float(named.do) == on_states.do.values[1]


def test_both_arms_are_answered_by_one_engine():
    """Under the do with B set the sum is exact; seen, it is not."""
    found = effect(CHILD, "B", "Y", contrast=("a", "b"))
    assert [arm.engine.name for arm in found.do.arms] == ["exact"] * 2
    assert [arm.engine.name for arm in found.naive.arms] == ["sampling"] * 2
    assert found.do.monte_carlo_error[0] == 0 < found.naive.monte_carlo_error[0]


def test_a_curve_goes_through_the_answers_at_its_points():
    grid = [0.0, 1.0, 2.5]
    found = dose_response(NORMAL, "X", "W", grid=grid)
    np.testing.assert_allclose(found.values, [Oracle(NORMAL, "W", {"X": x}).mean for x in grid])
    np.testing.assert_allclose(found.naive, [Oracle(NORMAL, "W", {}, {"X": x}).mean for x in grid])
    assert found.grid == (0.0, 1.0, 2.5)
    assert found.to_frame().columns.tolist() == ["X", "do", "naive"]


def test_a_curve_lies_where_the_treatment_does_unless_told():
    found = dose_response(NORMAL, "X", "B")
    ends = query(NORMAL, "X").quantile([0.025, 0.975])
    assert (found.grid[0], found.grid[-1]) == pytest.approx(tuple(ends))
    assert found.values.shape == (41, 3)
    counts = dose_response(COUNT, "N", "Y", n_samples=2000)
    assert counts.grid[:3] == (0.0, 1.0, 2.0)
    assert dose_response(GATED, "C", "H").grid == ("a", "b", "c")
    frame = dose_response(NORMAL, "X", "B", grid=[0, 1]).to_frame()
    assert frame["state"].tolist() == ["a", "b", "c"] * 2
    with pytest.raises(QueryError, match="at least one setting"):
        dose_response(NORMAL, "X", "B", grid=[])
    with pytest.raises(QueryError, match="grid: 'W' was declared positive"):
        dose_response(NORMAL, "W", "B", grid=[0.0, 1.0])


# -- what is printed -----------------------------------------------------------------------------


def test_answers_say_what_they_are_and_how_far_off():
    exact = str(query(NORMAL, "W", {"C": "b"}, {"X": 1.25}))
    assert exact.startswith("P(W | do(C='b'), X=1.25)\n")
    assert "exact, a sum over sources and states" in exact
    drawn = str(query(COUNT, "N", n_samples=3000))
    assert "by sampling, since 'N' is not linear in the number 'X': 3,000 draws, worth" in drawn
    assert "Monte Carlo error of the mean" in drawn
    assert "P(0)" in str(query(HURDLE, "H", {"X": 1.0}))
    rare = str(query(COUNT, "N", None, {"Y": 9.0}, n_samples=200))
    assert "few draws agree with the evidence" in rare
    assert "<table>" in query(NORMAL, "C")._repr_html_()


def test_a_mean_far_in_the_tail_is_said_to_rest_on_few_numbers():
    m = mixture({"X": "real", "W": "positive"}, {"W": ["X"]}, seed=1, spread=2.0)
    wild = m.with_parameters(m.parameters + 5.0)
    for said in (query(wild, "W"), effect(wild, "X", "W", contrast=(0, 1))):
        assert "compare medians" in str(said)
    assert "compare medians" not in str(query(NORMAL, "X"))


def test_effects_and_curves_print_a_line_per_kind():
    lines = str(effect(NORMAL, "X", "W", contrast=(0, 1), per_source=True)).splitlines()
    assert lines[0] == "Effect of X=0 -> X=1 on W"
    assert [line.split("  ")[0] for line in lines[2:6]] == ["naive", "do", "do, U=0", "do, U=1"]
    curve = str(dose_response(NORMAL, "X", "W")).splitlines()
    assert curve[0] == "W along do(X)"
    assert "9 of 41 points" in "\n".join(curve)
