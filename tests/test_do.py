"""Do-queries of every form, by both engines, against the enumeration oracle."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import BATCH_SHAPES, Oracle, random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyromix.answers.do import marginal, query
from pyromix.errors import (
    PositivityError,
    QueryError,
    UnsupportedRowsWarning,
)
from pyromix.formats.files import read
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import SOURCE, MixtureSpec

ENGINES = ["elimination", "pyro"]
MODELS = Path(__file__).parent.parent / "models"

each_engine = pytest.mark.parametrize("engine", ENGINES)


def elements(mixture: BayesNetMixture) -> Iterator[tuple[tuple[int, ...], Oracle]]:
    """The oracle of every batch element, with its index."""
    for index in itertools.product(*map(range, mixture.batch_shape)):
        cpts = tuple(c[index] for c in mixture.cpts)
        yield index, Oracle(BayesNetMixture(mixture.spec, mixture.weights[index], cpts))


def assert_equals_oracle(mixture: BayesNetMixture, asked: DoQuery) -> None:
    """Both engines, in every batch element and scenario."""
    spec, n_scenarios = mixture.spec, asked.n_scenarios
    answers = [marginal(mixture, asked, engine) for engine in ENGINES]
    cards = tuple(spec.card(v) for v in asked.outcomes)
    scenarios = () if n_scenarios is None else (n_scenarios,)
    assert {tuple(a.shape) for a in answers} == {(*mixture.batch_shape, *scenarios, *cards)}
    for index, oracle in elements(mixture):
        for i in range(n_scenarios or 1):
            do = {v: _setting(d, i) for v, d in asked.do.items()}
            expected = oracle.table(asked.outcomes, do=do, evidence=asked.evidence)
            place = index if n_scenarios is None else (*index, i)
            for answer in answers:
                torch.testing.assert_close(answer[place], expected, rtol=0, atol=1e-10)


def _setting(value: int | Tensor, scenario: int) -> int | list[float]:
    if not isinstance(value, Tensor):
        return value
    return (value if value.ndim == 1 else value[scenario]).tolist()


def random_query(spec: MixtureSpec, seed: int) -> DoQuery:
    """Any vertices in any roles: hard, soft and listed settings, one or two outcomes."""
    generator = torch.Generator().manual_seed(seed)

    def below(n: int) -> int:
        return int(torch.randint(n, (1,), generator=generator))

    def simplex(*shape: int) -> Tensor:
        rows = torch.rand(*shape, generator=generator, dtype=torch.float64) + 0.01
        return rows / rows.sum(-1, keepdim=True)

    def setting(card: int) -> int | Tensor:
        return (below(card), simplex(card), simplex(3, card))[below(3)]

    order = (torch.randperm(spec.n_variables + 1, generator=generator) - 1).tolist()
    n_outcomes, n_do, n_evidence = 1 + below(2), below(3), below(3)
    done = order[n_outcomes : n_outcomes + n_do]
    seen = order[n_outcomes + n_do :][:n_evidence]
    return DoQuery(
        tuple(order[:n_outcomes]),
        {v: setting(spec.card(v)) for v in done},
        {v: below(spec.card(v)) for v in seen},
    )


# -- equal to the oracle -------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(structures(3, 5), st.integers(0, 2**31))
def test_any_query_of_any_network_equals_the_oracle_by_both_engines(structure, seed):
    spec = random_spec(**structure)
    assert_equals_oracle(random_mixture(spec, seed), random_query(spec, seed))


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
@settings(max_examples=20, deadline=None)
@given(structures(3, 4), st.integers(0, 2**31))
def test_any_query_of_any_batch_equals_the_oracle_by_both_engines(batch_shape, structure, seed):
    spec = random_spec(**structure)
    mixture = random_mixture(spec, seed, batch_shape=batch_shape)
    assert_equals_oracle(mixture, random_query(spec, seed))


FORMS: dict[str, tuple[list[str], dict[str, Any], dict[str, str]]] = {
    "a root": (["Y"], {"Z": "b"}, {}),
    "a middle vertex": (["Y"], {"X": "b"}, {}),
    "a collider": (["W"], {"Y": "c"}, {}),
    "parent and child": (["W"], {"X": "a", "Y": "b"}, {}),
    "several, none above the outcome": (["Z"], {"X": "a", "W": "b"}, {}),
    "the source": (["Y"], {"U": 1}, {}),
    "evidence above the do": (["Y"], {"X": "b"}, {"Z": "a"}),
    "evidence beside the outcome": (["Y"], {"X": "b"}, {"W": "a"}),
    "evidence below the outcome": (["Y"], {"X": "b"}, {"V": "a"}),
    "evidence below the do, not of the outcome": (["Z"], {"X": "b"}, {"Y": "c"}),
    "evidence on a parent and a child of the do": (["W"], {"X": "b"}, {"Z": "a", "Y": "c"}),
    "evidence on the source": (["Y"], {"X": "b"}, {"U": 1}),
    "the source as outcome": (["U"], {"X": "b"}, {"Y": "a"}),
    "two outcomes across the do": (["Y", "Z"], {"X": "b"}, {"V": "b"}),
    "outcomes in the order asked": (["V", "U", "Z"], {}, {"Y": "b"}),
    "a soft do": (["Y"], {"X": {"a": 0.3, "b": 0.7}}, {"V": "a"}),
    "a soft do on the source": (["Y"], {"U": {0: 0.9, 1: 0.1}}, {"V": "a"}),
    "scenarios of states": (["Y"], {"X": ["a", "b", "a"]}, {"V": "a"}),
    "scenarios walked through together": (
        ["W"],
        {"X": ["a", {"a": 0.5, "b": 0.5}], "Y": ["c", "b"]},
        {"Z": "b"},
    ),
    "scenarios beside a fixed do": (["W"], {"X": ["a", "b"], "Y": "a"}, {}),
    "scenarios of no consequence": (["Z"], {"X": ["a", "b"]}, {}),
    "no do at all": (["Y"], {}, {"X": "b"}),
    "nothing but an outcome": (["U"], {}, {}),
}


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
@pytest.mark.parametrize("form", FORMS)
def test_form_of_query_equals_the_oracle_by_both_engines(form, batch_shape):
    """Z -> X -> Y <- Z,  Y -> V,  X -> W <- Y,  U into all but W."""
    spec = MixtureSpec.from_parents(
        {"Z": "ab", "X": "ab", "Y": "abc", "V": "ab", "W": "ab"},
        {"X": ["Z"], "Y": ["Z", "X"], "V": ["Y"], "W": ["Y", "X"]},
        2,
        uninfluenced=["W"],
    )
    mixture = random_mixture(spec, 11, batch_shape=batch_shape)
    assert_equals_oracle(mixture, DoQuery.from_names(spec, *FORMS[form]))


@each_engine
def test_evidence_below_the_outcome_is_not_dropped(engine):
    """pgmpy 1.1.2 answers .776 here: its query loses evidence outside the adjustment set."""
    spec = MixtureSpec.from_parents(
        dict.fromkeys("ZXYV", (0, 1)), {"X": ["Z"], "Y": ["X", "Z"], "V": ["Y"]}, 1
    )

    def table(*ones: float) -> Tensor:
        one = torch.tensor(ones, dtype=torch.float64)
        return torch.stack([1 - one, one], -1)

    tables = {
        "Z": table(0.7),
        "X": table(0.2, 0.9)[None],
        "Y": table(0.1, 0.4, 0.6, 0.8).reshape(1, 2, 2, 2),
        "V": table(0.05, 0.8)[None],
    }
    weights = torch.ones(1, dtype=torch.float64)
    mixture = BayesNetMixture(spec, weights, tuple(tables[name] for name in spec.variables))
    answer = query(mixture, "Y", {"X": 1}, {"V": 1}, engine)
    under_do = 0.3 * 0.6 + 0.7 * 0.8
    truth = under_do * 0.8 / (under_do * 0.8 + (1 - under_do) * 0.05)
    assert truth == pytest.approx(0.979, abs=5e-4)
    assert answer.prob(Y=1) == pytest.approx(truth, abs=1e-12)


# -- the engines against each other on real networks -----------------------------------------------


@pytest.mark.parametrize("name", ["asia", "sachs", "alarm"])
def test_engines_agree_on_a_network_with_a_planted_source(name):
    spec = read(MODELS / name / "network.bif").spec
    mixture = random_mixture(spec, 5, batch_shape=(2,))
    n = spec.n_variables
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        chosen = torch.randperm(n, generator=generator).tolist()
        outcomes, done, seen = chosen[:2], chosen[2:4], chosen[4:7]
        asked = DoQuery(
            tuple(outcomes),
            {v: int(torch.randint(spec.cards[v], (1,), generator=generator)) for v in done},
            {v: int(torch.randint(spec.cards[v], (1,), generator=generator)) for v in seen},
        )
        one, other = (marginal(mixture, asked, engine) for engine in ENGINES)
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


# -- laws ----------------------------------------------------------------------------------------


@each_engine
@settings(max_examples=25, deadline=None)
@given(structures(3, 5), st.integers(0, 2**31))
def test_relabelling_sources_leaves_answers_about_observed_variables(engine, structure, seed):
    spec = random_spec(**structure)
    mixture, asked = random_mixture(spec, seed), random_query(spec, seed)
    if SOURCE in (*asked.outcomes, *asked.do, *asked.evidence):
        return
    turned = mixture.relabel([*range(1, spec.n_sources), 0])
    torch.testing.assert_close(
        marginal(turned, asked, engine), marginal(mixture, asked, engine), rtol=0, atol=1e-12
    )


@each_engine
@pytest.mark.parametrize("influenced", [False, True])
def test_do_on_a_root_is_conditioning_on_it_only_if_no_source_reaches_it(engine, influenced):
    spec = MixtureSpec.from_parents(
        {"X": "ab", "Y": "ab"}, {"Y": ["X"]}, 2, uninfluenced=[] if influenced else ["X"]
    )
    mixture = random_mixture(spec, 3, separation=0.6)
    done = query(mixture, "Y", do={"X": "a"}, engine=engine).values
    seen = query(mixture, "Y", evidence={"X": "a"}, engine=engine).values
    assert (abs(done - seen).max() < 1e-12) == (not influenced)


@each_engine
def test_a_soft_do_is_the_mixture_of_its_hard_ones(engine):
    mixture = random_mixture(random_spec(3, 4, 2, edge_probability=1.0), 0)
    spec, asked = mixture.spec, mixture.spec.variables[-1]
    name, states = spec.variables[1], spec.states[1]
    shares = dict(zip(states, (0.25, 0.5, 0.25), strict=False))
    shares[states[0]] += 1 - sum(shares.values())
    soft = query(mixture, asked, {name: shares}, engine=engine).values
    hard = sum(
        p * query(mixture, asked, {name: s}, engine=engine).values for s, p in shares.items()
    )
    assert soft == pytest.approx(hard, abs=1e-12)


# -- zero support, and very small support ----------------------------------------------------------


def deterministic() -> BayesNetMixture:
    """X copies U, Y copies X; Z is a coin."""
    spec = MixtureSpec.from_parents({"X": "ab", "Y": "ab", "Z": "ab"}, {"Y": ["X"]}, 2)
    eye = torch.eye(2, dtype=torch.float64)
    tables = {"X": eye, "Y": eye.expand(2, 2, 2), "Z": torch.full_like(eye, 0.5)}
    return BayesNetMixture(
        spec,
        torch.tensor([0.3, 0.7], dtype=torch.float64),
        tuple(tables[name] for name in spec.variables),
    )


@each_engine
def test_evidence_impossible_under_the_do_is_refused_with_its_name(engine):
    mixture = deterministic()
    assert query(mixture, "Z", evidence={"Y": "b"}, engine=engine).values == pytest.approx(0.5)
    with pytest.raises(PositivityError, match="Y='b'"):
        query(mixture, "Z", {"X": "a"}, {"Y": "b"}, engine)
    with pytest.raises(PositivityError, match="X='a'"):
        query(mixture, "Z", None, {"U": 1, "X": "a"}, engine)


@each_engine
def test_evidence_impossible_in_one_scenario_or_draw_is_refused_with_their_number(engine):
    mixture = deterministic()
    with pytest.raises(PositivityError, match="1 of 2"):
        query(mixture, "Z", {"X": ["a", "b"]}, {"Y": "b"}, engine)
    other = random_mixture(mixture.spec, 0)
    batch = BayesNetMixture(
        mixture.spec,
        torch.stack([mixture.weights, other.weights]),
        tuple(torch.stack(pair) for pair in zip(mixture.cpts, other.cpts, strict=True)),
    )
    with pytest.raises(PositivityError, match="1 of 2"):
        query(batch, "Z", {"X": "a"}, {"Y": "b"}, engine)


@each_engine
def test_an_outcome_of_probability_zero_is_zero_and_not_rounding(engine):
    answer = query(deterministic(), "Y", {"X": "a"}, engine=engine)
    assert answer.values.tolist() == [1.0, 0.0]


@each_engine
def test_hundreds_of_observed_leaves_do_not_underflow(engine):
    """Naive Bayes with 600 leaves: the posterior of U in closed form, in logarithms."""
    n = 600
    names = [f"V{i}" for i in range(n)]
    spec = MixtureSpec.from_parents(dict.fromkeys(names, tuple(range(8))), {}, 2)
    mixture = random_mixture(spec, 0)
    states = torch.randint(8, (n,), generator=torch.Generator().manual_seed(2)).tolist()
    logs = [math.log(w) for w in mixture.weights.tolist()]
    for cpt, state in zip(mixture.cpts, states, strict=True):
        logs = [log + math.log(float(cpt[u, state])) for u, log in enumerate(logs)]
    assert max(logs) < -800  # exp of it is zero
    evidence = dict(zip(names, states, strict=True))
    answer = query(mixture, "U", evidence=evidence, engine=engine)
    assert answer.prob(U=1) == pytest.approx(1 / (1 + math.exp(logs[0] - logs[1])), rel=1e-9)


# -- no traces, no devices -------------------------------------------------------------------------


@each_engine
def test_a_query_leaves_no_trace(engine):
    import pyro
    from pyro import poutine

    pyro.clear_param_store()
    before, dtype = torch.get_rng_state(), torch.get_default_dtype()
    mixture = random_mixture(random_spec(3, 4, 2), 0, batch_shape=(2,))
    name = mixture.spec.variables[0]
    shares = {s: 1 / len(mixture.spec.states[0]) for s in mixture.spec.states[0]}

    def model() -> None:
        query(mixture, "U", {name: [shares, shares]}, engine=engine)

    trace = poutine.trace(model).get_trace()
    assert not [n for n in trace.nodes if n not in ("_INPUT", "_RETURN")]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_default_dtype() is dtype
    assert list(pyro.get_param_store().keys()) == []


@each_engine
def test_every_tensor_names_its_device(engine):
    mixture = random_mixture(random_spec(3, 4, 2), 0, batch_shape=(2,))
    name, state = mixture.spec.variables[0], mixture.spec.states[0][0]
    other = mixture.spec.variables[-1]
    with torch.device("meta"):
        answer = query(mixture, other, {name: [state, state]}, engine=engine)
        _ = answer.values, answer.interval(), str(answer)


@pytest.mark.cuda
@each_engine
def test_the_device_makes_no_difference(engine):
    mixture = random_mixture(random_spec(3, 5, 3), 0, batch_shape=(2,))
    asked = random_query(mixture.spec, 7)
    there = marginal(mixture.to("cuda"), asked, engine)
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), marginal(mixture, asked, engine), rtol=0, atol=1e-10)


# -- the door ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"variables": "Yy"}, "did you mean 'Y'"),
        ({"variables": "Y", "do": {"X": "aa"}}, r"\['a', 'b'\]"),
        ({"variables": "Y", "evidence": {"X": "q"}}, r"'X'.*\['a', 'b'\]"),
        ({"variables": "Y", "do": {"X": "a"}, "evidence": {"X": "a"}}, "`do` and `evidence`"),
        ({"variables": "Y", "do": {"Y": "a"}}, "`variables` and `do`"),
        ({"variables": "Y", "evidence": {"Y": "a"}}, "`variables` and `evidence`"),
        ({"variables": []}, "at least one"),
        ({"variables": ["Y", "Y"]}, "more than once"),
        ({"variables": "Y", "do": {"X": {"a": 0.5, "b": 0.6}}}, "sum to one"),
        ({"variables": "Y", "do": {"X": ["a", "b"], "Z": ["a"]}}, "equally long"),
        ({"variables": "Y", "engine": "elimnation"}, "did you mean 'elimination'"),
        ({"variables": "Y", "engine": "magic"}, "'magic'"),
    ],
)
def test_a_bad_question_is_refused_with_the_names(arguments: Mapping[str, Any], match: str):
    spec = MixtureSpec.from_parents({"Z": "ab", "X": "ab", "Y": "ab"}, {"Y": ["X"]}, 2)
    with pytest.raises(QueryError, match=match):
        query(random_mixture(spec, 0), **arguments)


def test_auto_is_elimination():
    mixture = random_mixture(random_spec(3, 5, 2), 0)
    asked = DoQuery((0, SOURCE))
    assert torch.equal(marginal(mixture, asked), marginal(mixture, asked, "elimination"))


def test_certainty_is_handed_through_and_none_unless_given():
    mixture = random_mixture(random_spec(3, 3, 2), 0)
    assert query(mixture, "U").certainty is Certainty.NONE
    assert query(mixture, "U", certainty=Certainty.LOCAL).certainty is Certainty.LOCAL


def test_the_point_of_draws_is_that_of_the_estimate_where_it_is_given():
    mixture = random_mixture(random_spec(3, 3, 2), 0, batch_shape=(3,))
    draws = query(mixture, "U")
    assert draws.values == pytest.approx(mixture.weights.mean(0).numpy(), abs=1e-15)
    centred = query(mixture, "U", point=mixture[1])
    assert centred.values == pytest.approx(mixture.weights[1].numpy(), abs=1e-15)
    assert centred.probs.shape == (3, 2)


# -- rows that no data reached -------------------------------------------------------------------


def reached(mixture: BayesNetMixture, **unreached: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Masks of CPT rows, true but for one row per named vertex."""
    masks = [torch.ones(c.shape[:-1], dtype=torch.bool) for c in mixture.cpts]
    for name, row in unreached.items():
        masks[mixture.spec.vertex(name)][row] = False
    return tuple(masks)


def confounded() -> BayesNetMixture:
    return random_mixture(MixtureSpec.from_parents({"X": "ab", "Y": "ab"}, {"Y": ["X"]}, 2), 4)


def test_an_answer_on_reached_rows_says_nothing():
    mixture = confounded()
    answer = query(mixture, "Y", {"X": "a"}, reached=reached(mixture, Y=(0, 1)))
    assert float(answer.unsupported) == 0.0


def test_probability_on_unreached_rows_is_told_with_the_variable():
    mixture = confounded()
    with pytest.warns(UnsupportedRowsWarning, match=r"do\(X='a'\).*'Y' \(1 of 4\)"):
        answer = query(mixture, "Y", {"X": "a"}, reached=reached(mixture, Y=(0, 0)))
    assert float(answer.unsupported) == pytest.approx(float(mixture.weights[0]), abs=1e-12)
    assert "unsupported" in str(answer)


def test_an_answer_on_unreached_rows_alone_is_refused():
    mixture = confounded()
    masks = list(reached(mixture))
    masks[1][:, 0] = False
    with pytest.raises(PositivityError, match=r"rests entirely.*'Y'"):
        query(mixture, "Y", {"X": "a"}, reached=masks)


@pytest.mark.parametrize(("weight", "said"), [(0.5e-6, False), (2e-6, True)])
def test_a_millionth_on_unreached_rows_is_where_it_is_said(weight, said, recwarn):
    spec = confounded().spec
    weights = torch.tensor([weight, 1 - weight], dtype=torch.float64)
    mixture = BayesNetMixture(spec, weights, confounded().cpts)
    if said:
        with pytest.warns(UnsupportedRowsWarning, match="2e-06"):
            query(mixture, "Y", {"X": "a"}, reached=reached(mixture, Y=(0, 0)))
    else:
        query(mixture, "Y", {"X": "a"}, reached=reached(mixture, Y=(0, 0)))
    assert not recwarn.list


def test_an_unreached_row_of_the_vertex_under_the_do_does_not_matter():
    mixture = confounded()
    answer = query(mixture, "Y", {"X": "a"}, reached=reached(mixture, X=(0,)))
    assert float(answer.unsupported) == 0.0
