"""Effects among a group: potential outcomes world by world, identities, and what is refused.

THEORY section 16; fact E23.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers import random_spec
from network_cases import chain, numbered, proxies
from potential_outcomes import among as by_worlds

import pyromix as px
from pyromix.answers.do import query
from pyromix.estimate.surface import mixtures_of
from pyromix.exact.elimination import marginal
from pyromix.identify.certificate import graph_covers, query_gradient
from pyromix.identify.certify import certify
from pyromix.identify.graphical import graph_facts
from pyromix.identify.observed import observed_suffice
from pyromix.identify.verdict import judge
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.parameters import ParameterAxis
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import SOURCE, MixtureSpec

EXACT = 1e-12


def mixture(parents, cards=None, n_sources=2, uninfluenced=(), seed=0, separation=None):
    """A random mixture on named vertices."""
    names = dict.fromkeys(v for child, found in parents.items() for v in (*found, child))
    states = {name: tuple(range((cards or {}).get(name, 2))) for name in names}
    spec = MixtureSpec.from_parents(states, parents, n_sources, uninfluenced=uninfluenced)
    return px.random_mixture(spec, seed, separation=separation)


MEDIATED = {"Z": [], "X": ["Z"], "M": ["X"], "Y": ["Z", "X", "M"]}
"""Z -> X -> M -> Y, X -> Y, Z -> Y."""


def asked(truth, x, seen, given=()):
    """P(Y | do X = x, given) among those in whom X is `seen`."""
    spec = truth.spec
    v = spec.vertex("X")
    evidence = {spec.vertex(name): state for name, state in dict(given).items()}
    return DoQuery((spec.vertex("Y"),), {v: x}, evidence, {v: seen})


# -- the number --------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"Z": 1}])
def test_what_would_have_been_is_what_worlds_say(given):
    truth = mixture({"Z": [], "X": ["Z"], "Y": ["Z", "X"]}, {"X": 3}, seed=3)
    spec = truth.spec
    x, y = spec.vertex("X"), spec.vertex("Y")
    for to, seen in itertools.product(range(3), range(3)):
        group = {x: seen, **{spec.vertex(name): state for name, state in given.items()}}
        expected = by_worlds(truth, y, {x: to}, group)
        found = marginal(truth, asked(truth, to, seen, given))
        np.testing.assert_allclose(found, expected, atol=EXACT)


def test_what_would_have_been_through_a_mediator_is_what_worlds_say():
    truth = mixture(MEDIATED, seed=5)
    spec = truth.spec
    x, y = spec.vertex("X"), spec.vertex("Y")
    found = marginal(truth, asked(truth, 0, 1))
    np.testing.assert_allclose(found, by_worlds(truth, y, {x: 0}, {x: 1}), atol=EXACT)
    assert float((found - marginal(truth, DoQuery((y,), {x: 0}))).abs().max()) > 0.01


def test_a_group_told_by_a_mediator_is_another_question_than_worlds_answer():
    """Why descendants are refused: evidence under the change is not what was there before it."""
    truth = mixture(MEDIATED, seed=0)
    spec = truth.spec
    x, m, y = (spec.vertex(name) for name in "XMY")
    under = marginal(truth, asked(truth, 0, 1, {"M": 1}))
    before = by_worlds(truth, y, {x: 0}, {x: 1, m: 1})
    assert np.abs(under.numpy() - before).max() > 0.01


@pytest.mark.parametrize("uninfluenced", [(), ("X",), ("Z",)])
def test_everybody_is_the_mean_of_the_groups(uninfluenced):
    truth = mixture(MEDIATED, {"X": 3}, 3, uninfluenced)
    spec = truth.spec
    x, y = spec.vertex("X"), spec.vertex("Y")
    shares = marginal(truth, DoQuery((x,)))
    for to in range(3):
        groups = torch.stack([marginal(truth, asked(truth, to, seen)) for seen in range(3)])
        everybody = marginal(truth, DoQuery((y,), {x: to}))
        torch.testing.assert_close(shares @ groups, everybody, rtol=0, atol=EXACT)
        seen = marginal(truth, DoQuery((y,), {}, {x: to}))
        torch.testing.assert_close(groups[to], seen, rtol=0, atol=EXACT)  # consistency


def test_one_source_without_common_causes_makes_all_groups_equal():
    truth = mixture({"X": [], "Y": ["X"]}, {"X": 3}, 1)
    found = torch.stack([marginal(truth, asked(truth, 1, seen)) for seen in range(3)])
    torch.testing.assert_close(found, found[:1].expand(3, -1), rtol=0, atol=EXACT)


def test_both_engines_say_the_same_and_draws_are_asked_one_by_one():
    truth = mixture(MEDIATED, {"Z": 3}, 3)
    group, given = {"X": 1}, {"Z": 2}
    one, other = (
        query(truth, "Y", {"X": 0}, given, engine, natural=group)
        for engine in ("elimination", "pyro")
    )
    np.testing.assert_allclose(one.values, other.values, atol=EXACT)
    assert one.title == "P(Y | do(X=0), Z=2, among X=1)"
    two = BayesNetMixture.from_tables(
        truth.spec, [torch.stack([t, t.flip(0) if i else t]) for i, t in enumerate(truth.tables)]
    )
    found = marginal(two, asked(truth, 0, 1))
    alone = BayesNetMixture.from_tables(truth.spec, [t[1] for t in two.tables])
    torch.testing.assert_close(found[1], marginal(alone, asked(truth, 0, 1)), rtol=0, atol=EXACT)


def test_the_gradient_is_that_of_central_differences():
    truth = mixture(MEDIATED, seed=2)
    question = asked(truth, 0, 1, {"Z": 1})
    axis, step = ParameterAxis(truth.spec), 1e-5
    odds = axis.log_odds(truth.tables)
    found = query_gradient(truth, question)
    for i in range(0, len(odds), 3):
        ends = []
        for sign in (1, -1):
            moved = odds.clone()
            moved[i] += sign * step
            ends.append(marginal(mixtures_of(axis, moved[None]), question)[0])
        expected = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close(found[:, i], expected, rtol=0, atol=1e-8)


# -- the doors ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    """Five proxies of two sources, a treatment and an outcome, 4,000 rows."""
    parents = {"A": [], "B": [], "C": [], "X": ["A"], "Y": ["X"]}
    truth = mixture(parents, seed=11, separation=0.4)
    frame = px.simulate(truth, 4000, random_state=0)
    return truth, px.fit(truth.spec, frame, show_progress=False)


def test_a_fit_answers_for_a_group_with_an_interval(fitted):
    truth, fit = fitted
    found = fit.effect("X", "Y", among={"X": 1})
    real = px.effect(truth, "X", "Y", among={"X": 1})
    low, high = found.interval()
    assert found.certainty.at_least(Certainty.LOCAL)
    assert low[1] < float(real.do) < high[1]
    assert str(found).startswith("Effect of X=0 -> X=1 on Y, among X=1\n")
    # those who took it: what is seen of them stands against what would have been
    seen = fit.query("Y", evidence={"X": 1}).values
    np.testing.assert_allclose(found.do_arms[1].values, seen, atol=EXACT)
    profile = found.interval(method="profile")
    np.testing.assert_allclose(np.array(profile)[:, 1], [low[1], high[1]], atol=0.02)


def test_draws_and_the_delta_method_agree_on_how_much_is_known(fitted):
    _, fit = fitted
    error = fit.effect("X", "Y", among={"X": 1}).do.standard_error[1]
    drawn = fit.bootstrap(n=60, random_state=0).effect("X", "Y", among={"X": 1})
    assert drawn.do.standard_error[1] == pytest.approx(error, rel=0.4)


def test_naive_and_sources_are_those_of_the_group(fitted):
    truth, _ = fitted
    found = px.effect(truth, "X", "Y", among={"X": 1, "A": 0}, per_source=True)
    plain = px.effect(truth, "X", "Y", evidence={"A": 0}, per_source=True)
    np.testing.assert_allclose(found.naive.values, plain.naive.values, atol=EXACT)
    for one, other in zip(found.per_source, plain.per_source, strict=True):
        # within a source and a state of X's parent who takes X says nothing more
        np.testing.assert_allclose(one.values, other.values, atol=EXACT)
    both = px.effect(truth, "X", "Y", among={"A": 0})
    np.testing.assert_allclose(both.do.values, plain.do.values, atol=EXACT)
    assert abs(float(found.do) - float(plain.do)) > 1e-3


REFUSED = {
    "a descendant": ({"X": 1, "M": 0}, None, r"'M'.*'X' influences"),
    "the outcome": ({"Y": 1}, None, "names the outcome 'Y'"),
    "twice": ({"Z": 1}, {"Z": 1}, "both `among` and `evidence`"),
    "no mapping": (["X"], None, "among must map variables to states"),
    "an unknown name": ({"Q": 1}, None, "Q"),
    "an unknown state": ({"X": 7}, None, "7"),
}


@pytest.mark.parametrize(("group", "evidence", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_group_is_refused_by_name(group, evidence, said):
    truth = mixture(MEDIATED)
    with pytest.raises(px.QueryError, match=said):
        px.effect(truth, "X", "Y", among=group, evidence=evidence)


def test_an_empty_group_has_no_effect():
    truth = mixture({"Z": [], "X": ["Z"], "Y": ["X", "Z"]})
    cpts = list(truth.cpts)
    nobody = cpts[1].clone()
    nobody[..., 0], nobody[..., 1] = 1.0, 0.0
    cpts[truth.spec.vertex("X")] = nobody
    truth = BayesNetMixture(truth.spec, truth.weights, tuple(cpts))
    with pytest.raises(px.PositivityError, match=r"group with somebody in it.*X=1"):
        query(truth, "Y", {"X": 0}, natural={"X": 1})


def test_a_group_of_one_source_is_the_source_by_itself():
    truth = mixture({"Z": [], "X": ["Z"], "Y": ["X", "Z"]})
    spec = truth.spec
    x, y = spec.vertex("X"), spec.vertex("Y")
    of_source = marginal(truth, DoQuery((y,), {x: 1}, {SOURCE: 1}))
    named = px.effect(truth, "X", "Y", among={"U": 1})
    np.testing.assert_allclose(named.do_arms[1].values, of_source, atol=EXACT)
    # the source as treatment: what it is by itself says nothing once it is set
    set_ = marginal(truth, DoQuery((y,), {SOURCE: 0}))
    group = marginal(truth, DoQuery((y,), {SOURCE: 0}, {}, {SOURCE: 1}))
    torch.testing.assert_close(set_, group, rtol=0, atol=EXACT)


# -- certainty ---------------------------------------------------------------------------------


def everywhere():
    """Graphs from determined to not: proxies of one treatment, chains, a complete one."""
    return {
        "chain of 5": (numbered(5, chain(5)), 3, 4),
        "chain of 4": (numbered(4, chain(4)), 2, 3),
        "chain of 3": (numbered(3, chain(3)), 1, 2),
        "complete": (numbered(3, [(0, 1), (0, 2), (1, 2)]), 1, 2),
        "proxies": (proxies(0.5).spec, 2, 3),
        "two proxy groups": (numbered(4, [(0, 2), (1, 3), (2, 3)]), 2, 3),
        "observed back-door": (numbered(3, [(0, 1), (0, 2), (1, 2)], uninfluenced=[1, 2]), 1, 2),
        "front door": (numbered(3, [(0, 1), (1, 2)], uninfluenced=[1]), 0, 2),
    }


@pytest.mark.parametrize(("spec", "x", "y"), everywhere().values(), ids=everywhere())
def test_the_treated_are_certified_if_and_only_if_the_other_arm_is(spec, x, y):
    other = DoQuery((y,), {x: 0})
    group = DoQuery((y,), {x: 0}, {}, {x: 1})
    assert judge(spec, [group]).structural is judge(spec, [other]).structural
    # and so say the gradients, of which the rule above does not know
    local = certify(spec)
    assert (local.residual(group) < 1e-6) == (local.residual(other) < 1e-6)
    same = DoQuery((y,), {x: 1}, {}, {x: 1})
    assert judge(spec, [same]).structural is Certainty.GRAPHICAL


def test_of_three_states_each_group_is_a_question_of_its_own():
    """Front door: X -> M -> Y, M without an edge from U, is P(V)'s to answer for every group."""
    spec = MixtureSpec.from_parents(
        {"X": (0, 1, 2), "M": (0, 1), "Y": (0, 1)},
        {"M": ["X"], "Y": ["M"]},
        2,
        uninfluenced=["M"],
    )
    front = DoQuery((2,), {0: 0}, {}, {0: 1})
    assert judge(spec, [front]).structural is Certainty.GRAPHICAL
    truth = px.random_mixture(spec, 0)
    joint = truth.joint_table()
    of_mediator = joint.sum(2) / joint.sum((1, 2))[:, None]
    outcome = joint[1] / joint[1].sum(1, keepdim=True)  # P(y | X = 1, m)
    torch.testing.assert_close(marginal(truth, front), of_mediator[0] @ outcome, rtol=0, atol=EXACT)
    bare = MixtureSpec.from_parents({"X": (0, 1, 2), "Y": (0, 1)}, {"Y": ["X"]}, 2)
    assert judge(bare, [DoQuery((1,), {0: 0}, {}, {0: 1})]).structural is Certainty.NONE


def test_whatever_is_taken_for_determined_is_moved_by_no_unseen_direction():
    """The rules of graphs, of what P(V) answers by itself and of groups, against the gradients."""
    taken = left = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        spec = random_spec(
            seed, int(rng.integers(2, 5)), 2, edge_probability=0.6, uninfluenced=True
        )
        x, y = 0, spec.n_variables - 1
        states = rng.integers(spec.cards[x], size=2).tolist()
        question = DoQuery((y,), {x: states[0]}, {}, {x: states[1]})
        if spec.n_cells > 60 or y not in spec.descendants([x]):
            continue
        facts = graph_facts(spec).vertices
        if observed_suffice(spec, question) or graph_covers(spec, facts, question):
            taken += 1
            assert certify(spec).residual(question) < 1e-6, seed
        else:
            left += 1
    assert min(taken, left) > 5


def test_what_nobody_certifies_is_refused_for_a_group_as_for_all():
    truth = mixture({"X": [], "Y": ["X"]})
    fit = px.fit(truth.spec, px.population(truth), method="em", n_init=2, show_progress=False)
    with pytest.raises(px.NotCertifiedError, match=r"do\(X=0\), among X=1"):
        fit.effect("X", "Y", among={"X": 1})


@pytest.mark.parametrize("outcome", [["Y"], {}, [[1]], None])
def test_an_outcome_that_is_no_name_is_refused_by_name(outcome):
    truth = mixture({"X": [], "Y": ["X"]})
    with pytest.raises(px.QueryError):
        px.effect(truth, "X", outcome, among={"X": 1}, require="none")
