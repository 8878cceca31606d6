"""Mixtures with numbers as Pyro programs, and as the second engine."""

from __future__ import annotations

import numpy as np
import pyro
import pytest
import torch
from mixed_cases import Oracle, mixture
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from test_mixed_answers import CHILD, COUNT, EXACT, HURDLE, NORMAL, TAILS, agree

import pyromix as px
from pyromix.answers.mixed.do import query
from pyromix.answers.mixed.engines import Engine, value
from pyromix.answers.mixed.question import Question
from pyromix.bridges.pyro_mixed import MixedProgram
from pyromix.errors import DataError, SpecError

ALL = mixture(
    {"C": "categorical", "X": "real", "W": "positive", "T": "student-t", "H": "hurdle",
     "N": "count", "B": "categorical"},
    {"X": ["C"], "W": ["X"], "T": ["W"], "H": ["T", "C"], "N": ["H"], "B": ["N", "X"]},
    seed=9, spread=0.3,
)  # fmt: skip


def rows_of(m, size=40):
    """Rows that the program generates, without the source."""
    with torch.no_grad():
        drawn = px.to_pyro(m)(size)
    return {name: drawn[name] for name in m.spec.variables}


def plain_log_likelihood(m, rows, row):
    """Log-density of one row in the user's units, source by source."""
    logs = m.weights.log()
    spec = m.spec
    values = []
    for v, unit in enumerate(m.units):
        x = rows[spec.variables[v]][row : row + 1]
        slope = 0.0
        if spec.kinds[v].numeric:
            slope = float(unit.log_slope(x)[0])
            x = unit.inward(x)
        values.append(x)
        logs = logs + m.cpds[v].log_prob(x, [values[p] for p in spec.parents[v]])[0] + slope
    return float(logs.logsumexp(0))


def test_a_program_generates_numbers_in_the_units_of_the_user():
    m = mixture({"X": "real", "W": "positive", "H": "hurdle", "N": "count"}, {"W": ["X"]}, seed=1)
    drawn = px.to_pyro(m)(20_000)
    assert set(drawn) == {"U", *m.spec.variables}
    for name in ("X", "W", "H", "N"):
        x = drawn[name]
        oracle = Oracle(m, name)
        error = float(x.std()) / len(x) ** 0.5
        assert x.shape == (20_000,)
        assert abs(float(x.mean()) - oracle.mean) < 4.5 * error
    assert float((drawn["H"] == 0).double().mean()) == pytest.approx(
        Oracle(m, "H").law[0], abs=0.02
    )


def test_observed_rows_are_scored_as_the_laws_score_them():
    rows = rows_of(ALL)
    program = px.to_pyro(ALL)
    assert isinstance(program, MixedProgram)
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    score = -elbo.loss(lambda: program(rows=rows), lambda: None)
    expected = sum(plain_log_likelihood(ALL, rows, row) for row in range(40))
    assert score == pytest.approx(expected, rel=1e-10)


def test_missing_states_are_summed_out_and_missing_numbers_drawn():
    rows = rows_of(ALL)
    gone = rows["B"].clone()
    gone[::2] = -1
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    score = -elbo.loss(lambda: px.to_pyro(ALL)(rows={**rows, "B": gone}), lambda: None)
    expected = 0.0
    for row in range(40):
        some = [rows["B"][row]] if row % 2 else range(3)
        terms = [
            plain_log_likelihood(ALL, {**rows, "B": torch.full((40,), int(s))}, row) for s in some
        ]
        expected += float(torch.tensor(terms, dtype=torch.float64).logsumexp(0))
    assert score == pytest.approx(expected, rel=1e-10)


def test_missing_numbers_are_drawn_and_harm_no_slope():
    rows = rows_of(ALL)
    holes = {name: rows[name].clone() for name in "XWN"}
    for column in holes.values():
        column[:5] = torch.nan
    theta = ALL.parameters.requires_grad_()
    program = px.to_pyro(ALL.with_parameters(theta))
    trace = poutine.trace(program).get_trace(rows={**rows, **holes})
    for name, column in holes.items():
        drawn = trace.nodes[name]["value"]
        assert bool(drawn.isfinite().all())
        torch.testing.assert_close(drawn[5:], column[5:])
    (slope,) = torch.autograd.grad(trace.log_prob_sum(), theta)
    assert bool(slope.isfinite().all())


def test_handlers_of_pyro_see_the_units_of_the_user():
    program = px.to_pyro(HURDLE)
    done = pyro.do(program, data={"X": torch.tensor(1.0, dtype=torch.float64)})
    seen = pyro.condition(done, data={"H": torch.tensor(0.0, dtype=torch.float64)})
    trace = poutine.trace(seen).get_trace(5)
    trace.compute_log_prob()
    u = trace.nodes["U"]["value"]
    law = HURDLE.cpds[1].distribution(u, [HURDLE.units[0].inward(torch.ones(5).double())])
    torch.testing.assert_close(trace.nodes["H"]["log_prob"], law.logs[:, 0])


CASES = [
    *(EXACT[i] for i in (2, 3, 6, 9, 10, 16, 19, 21, 27)),
    (NORMAL, "B", {}, {"U": 0}),
    (CHILD, "X", {}, {"B": "c"}),
    (COUNT, "N", {}, {"Y": 1.0}),
    (HURDLE, "Y", {"X": 1.0}, {"H": 0.0}),
    (TAILS, "Y", {"X": 0.2}, {}),
]


@pytest.mark.parametrize(("m", "outcome", "do", "evidence"), CASES)
def test_pyro_agrees_with_a_grid_within_its_error(m, outcome, do, evidence):
    found = query(m, outcome, do, evidence, engine="pyro", random_state=3)
    assert found.engine.name == "pyro"
    agree(found, Oracle(m, outcome, do, evidence), errors=1.0)
    assert np.max(found.monte_carlo_error) > 0


def test_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    query(CHILD, "Y", engine="pyro", n_samples=100)
    assert torch.equal(torch.rand(1), expected)


def test_programs_refuse_by_name():
    program = px.to_pyro(ALL)
    with pytest.raises(DataError, match=r"'W' has the kind 'positive', found -1"):
        program(rows={"W": torch.tensor([1.0, -1.0])})
    with pytest.raises(DataError, match=r"'N' has the kind 'count', found 0.5"):
        program(rows={"N": torch.tensor([1.0, 0.5])})
    with pytest.raises(DataError, match=r"'B' has state numbers 0..2"):
        program(rows={"B": torch.tensor([1, 3])})
    with pytest.raises(DataError, match="one length"):
        program(rows={"B": torch.tensor([1, 2]), "X": torch.tensor([1.0])})
    with pytest.raises(DataError, match="at least one row"):
        program(0)
    with pytest.raises(SpecError, match="prior="):
        px.to_pyro(ALL, prior=1.0)
    with pytest.raises(SpecError, match="plate named 'rows'"):
        px.to_pyro(mixture({"rows": "real"}, {}))


def test_an_answer_by_pyro_has_the_slope_of_our_engines():
    question = Question.from_names(NORMAL.spec, "W", {"X": 1.0})
    theta = NORMAL.parameters.requires_grad_()
    here = NORMAL.with_parameters(theta)
    slopes = []
    for name in ("pyro", "exact"):
        (at,) = value(here, question, engine=Engine(name, 2000))
        slopes.append(torch.autograd.grad(at, theta, retain_graph=True)[0])
    torch.testing.assert_close(*slopes)
    by_pyro, exact = (value(NORMAL, question, engine=Engine(n, 2000)) for n in ("pyro", "exact"))
    assert float(by_pyro) != float(exact)
