"""Questions that P(V) answers whatever the sources are, against adjustment and the Jacobian."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import Oracle

import pyromix as px
from pyromix.identify.certificate import RESIDUAL_TOLERANCE
from pyromix.identify.certify import certify
from pyromix.identify.observed import observed_suffice
from pyromix.identify.verdict import Ground, judge
from pyromix.model.query import Certainty, DoQuery, settings


def spec_of(edges, free=(), k=2, n=None):
    names = sorted({v for edge in edges for v in edge} | set(free)) if n is None else n
    parents = {name: [a for a, b in edges if b == name] for name in names}
    return px.MixtureSpec.from_parents(
        dict.fromkeys(names, (0, 1)), parents, k, uninfluenced=[v for v in free if v in names]
    )


BACK_DOOR = spec_of([("Z", "X"), ("Z", "Y"), ("X", "Y")], free=("Z", "Y"))
FRONT_DOOR = spec_of([("X", "M"), ("M", "Y")], free=("M",))
NO_PATH = spec_of([("X", "Y")], free=("X",))
CONFOUNDED = spec_of([("X", "Y")])
MEDIATOR_CONFOUNDED = spec_of([("X", "M"), ("M", "Y")])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [(BACK_DOOR, True), (FRONT_DOOR, True), (NO_PATH, True), (CONFOUNDED, False),
     (MEDIATOR_CONFOUNDED, False)],
    ids=["back door", "front door", "no path", "confounded", "mediator confounded"],
)  # fmt: skip
def test_the_textbook_cases(spec, expected):
    for query in settings(spec, "Y", "X"):
        assert observed_suffice(spec, query) is expected


def test_the_front_door_formula_gives_the_answer_of_the_mixture():
    """P(y | do x) = sum_m P(m | x) sum_x' P(x') P(y | m, x'), by plain sums over the joint."""
    truth = px.random_mixture(FRONT_DOOR, 3)
    joint = np.zeros((2, 2, 2))
    order = [FRONT_DOOR.vertex(name) for name in "XMY"]
    oracle = Oracle(truth)
    for u, x in oracle.worlds():
        joint[tuple(x[v] for v in order)] += oracle.prob(u, x)
    x_law, answer = joint.sum((1, 2)), np.zeros(2)
    for y, m, x in itertools.product(range(2), repeat=3):
        m_given = joint[1, m].sum() / x_law[1]
        answer[y] += m_given * x_law[x] * joint[x, m, y] / joint[x, m].sum()
    np.testing.assert_allclose(px.query(truth, "Y", {"X": 1}).values, answer, atol=1e-12)


def random_case(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 5))
    names = [f"V{i}" for i in range(n)]
    edges = [(names[i], names[j]) for i in range(n) for j in range(i + 1, n) if rng.random() < 0.6]
    free = [name for name in names if rng.random() < 0.5]
    x, y = sorted(rng.choice(n, 2, replace=False))
    return names, edges, free, names[x], names[y]


@pytest.mark.parametrize("seed", range(60))
def test_what_the_law_answers_no_unseen_direction_moves_and_for_large_k_nothing_else(seed):
    """Sound for every k; complete for k as large as the joint table, where U can be anything."""
    names, edges, free, x, y = random_case(seed)
    for k in (2, 2 ** len(names)):
        spec = spec_of(edges, free, k, names)
        query = DoQuery.from_names(spec, y, {x: 1})
        residual = certify(spec).residual(query)
        if observed_suffice(spec, query):
            assert residual <= RESIDUAL_TOLERANCE
        elif k > 2:
            assert residual > RESIDUAL_TOLERANCE


def test_such_a_question_is_graphical_and_never_weak():
    """U shows in nothing here: no view, and no need of one."""
    truth = px.random_mixture(BACK_DOOR, 0)
    frame = px.simulate(truth, 500, random_state=0)
    verdict = judge(BACK_DOOR, settings(BACK_DOOR, "Y", "X"))
    assert (verdict.level, verdict.ground) == (Certainty.GRAPHICAL, Ground.OBSERVED)
    report = px.check(BACK_DOOR, data=frame, outcome="Y", treatment="X")
    assert report.verdict == "identified"
    assert "whatever U is" in str(report)


def test_a_question_about_the_source_is_not_of_this_kind():
    assert not observed_suffice(NO_PATH, DoQuery.from_names(NO_PATH, "U", {"X": 1}))
    within = DoQuery.from_names(NO_PATH, "Y", {"X": 1}, {"U": 0})
    assert not observed_suffice(NO_PATH, within)
