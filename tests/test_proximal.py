"""Effects by proxies alone: exact where the graph allows them, and as uncertain as they say."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import random_spec
from network_cases import PROXY, chain, numbered

import pyromix as px
from pyromix.exact.elimination import marginal
from pyromix.exact.sampling import sample
from pyromix.identify.proximal import by_proxies, find_proxies
from pyromix.identify.verdict import judge
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import MixtureSpec
from pyromix.report.advice import PYTHON
from pyromix.report.facts.effects import find_effects
from pyromix.report.facts.question import find_question
from pyromix.report.sections.answers import effect_section


def under_do(truth, x, y):
    """P(y | do(x)), a row per state of x."""
    states = range(truth.spec.cards[x])
    return torch.stack([marginal(truth, DoQuery((y,), {x: state})) for state in states])


def test_exact_moments_give_the_exact_answer_wherever_proxies_are_found():
    found = influenced = 0
    for seed in range(160):
        rng = np.random.default_rng(seed)
        spec = random_spec(
            seed, int(rng.integers(4, 7)), 2 + seed % 2, edge_probability=0.3,
            uninfluenced=seed % 3 == 0,
        )  # fmt: skip
        x, y = map(int, rng.choice(spec.n_variables, 2, replace=False))
        if (proxies := find_proxies(spec, x, y)) is None:
            continue
        truth = px.random_mixture(spec, seed)
        answer = by_proxies(px.population(truth), proxies)
        gap = float(answer.gaps.min())
        assert float((answer.probs - under_do(truth, x, y)).abs().max()) < 1e-12 / gap, spec
        found += 1
        influenced += y in spec.descendants([x])
    assert influenced > 8
    assert found > 40


def test_two_proxy_groups_are_enough_where_the_mixture_is_not_determined():
    """Z -> T, X -> Y, T -> Y: 15 of 17 parameters are seen, and so is the effect (THEORY, 7)."""
    spec = numbered(4, PROXY)
    assert judge(spec).structural is Certainty.NONE
    proxies = find_proxies(spec, spec.vertex("V2"), spec.vertex("V3"))
    assert (proxies.before, proxies.beside) == ((0,), (1,))


NONE = {
    "a chain": (numbered(4, chain(4)), 2, 3),
    "too few states": (numbered(4, PROXY, 3), 2, 3),
    "one proxy": (numbered(3, [(1, 2)]), 1, 2),
    "another confounder": (numbered(5, [(0, 3), (0, 4), (3, 4)]), 3, 4),
    "the outcome itself": (numbered(4, PROXY), 3, 3),
}


@pytest.mark.parametrize(("spec", "x", "y"), NONE.values(), ids=NONE)
def test_no_proxies_are_found_where_there_are_none(spec, x, y):
    assert find_proxies(spec, x, y) is None


def test_a_group_may_take_several_variables():
    states = {"A": (0, 1), "B": (0, 1), "C": (0, 1, 2), "X": (0, 1), "Y": (0, 1)}
    spec = MixtureSpec.from_parents(states, {"Y": ["X"], "X": ["C"]}, 3)
    proxies = find_proxies(spec, spec.vertex("X"), spec.vertex("Y"))
    assert {spec.name(v) for v in proxies.beside} == {"A", "B"}
    assert [spec.name(v) for v in proxies.before] == ["C"]


def test_standard_errors_are_the_spread_over_tables():
    spec = MixtureSpec.from_parents(
        {"A": (0, 1, 2), "B": (0, 1, 2), "X": (0, 1), "Y": (0, 1)}, {"Y": ["X"]}, 2
    )
    truth = px.random_mixture(spec, 4, separation=0.4)
    x, y = spec.vertex("X"), spec.vertex("Y")
    proxies, n_rows = find_proxies(spec, x, y), 4000
    law = truth.joint_table().flatten().numpy()
    drawn = np.random.default_rng(0).multinomial(n_rows, law, size=120)
    cells = torch.cartesian_prod(*(torch.arange(card) for card in spec.cards))
    said, errors = [], []
    for weights in drawn:
        table = px.Counts.from_codes(spec, cells, torch.from_numpy(weights.astype(float)))
        answer = by_proxies(table, proxies, spec)
        said.append(float(answer.difference(0, 1)[1]))
        errors.append(float(answer.standard_error(0, 1, n_rows)[1]))
    real = under_do(truth, x, y)
    real = float(real[1, 1] - real[0, 1])
    assert np.std(said) == pytest.approx(np.median(errors), rel=0.2)
    assert np.mean(said) == pytest.approx(real, abs=4 * np.std(said) / np.sqrt(len(said)))
    covers = np.abs(np.array(said) - real) < 1.96 * np.array(errors)
    assert 0.87 < covers.mean() < 0.99


def test_the_report_says_whether_a_second_answer_agrees():
    model, frame, _ = px.datasets.load("hidden-group")
    fit = px.fit(model, frame, 2, n_init=1, random_state=0, show_progress=False)
    effects = find_effects(fit, find_question(fit, "X", "Y"))
    alone, more = effects.by_proxies, torch.tensor([[0.0, 0.0], [-0.3, 0.3]], dtype=torch.float64)
    for moved, said in ((alone.probs, "the two agree"), (alone.probs + more, "they disagree")):
        changed = replace(effects, by_proxies=replace(alone, probs=moved))
        subject = SimpleNamespace(fit=fit, effects=changed, advice=PYTHON, bounds=None)
        section = effect_section(subject)
        assert any(word.startswith("By proxies alone") and said in word for word in section.words)
        assert any("do, by proxies alone" in row for table in section.tables for row in table.rows)


def test_nothing_is_said_where_a_state_of_the_treatment_has_no_rows():
    spec = numbered(4, PROXY)
    codes, _ = sample(px.random_mixture(spec, 0), 500, 0)
    table = px.Counts.from_codes(spec, codes[codes[:, 2] == 1])
    assert by_proxies(table, find_proxies(spec, 2, 3), spec) is None
