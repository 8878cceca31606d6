"""Draws against the enumeration oracle by chi-square, and facts that hold for every draw.

Each goodness-of-fit test has a fixed seed and would fail for a right sampler with probability
``FALSE_FAILURE`` when its seed, or the generator behind it, is changed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import BATCH_SHAPES, Oracle, random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from torch import Tensor

from pyromix.errors import ContractionSizeError, PositivityError, QueryError, SpecError
from pyromix.exact.elimination import marginal
from pyromix.exact.sampling import sample
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import DoQuery, DoValue
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import SOURCE, MixtureSpec

FALSE_FAILURE = 1e-6

# Z -> X -> Y -> W <- Z, Y -> V, with U above all of them but Z.
SPEC = MixtureSpec.from_parents(
    {"Z": "ab", "X": "abc", "Y": "ab", "W": "abc", "V": "ab"},
    {"X": ["Z"], "Y": ["X"], "W": ["Y", "Z"], "V": ["Y"]},
    2,
    uninfluenced=["Z"],
)
Z, X, Y, W, V = (SPEC.vertex(name) for name in "ZXYWV")


def simplex(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def p_value(observed: Tensor, expected: Tensor) -> float:
    """Pearson's chi-square of cell counts; cells expected below five are one cell."""
    seen, wanted = observed.flatten().tolist(), expected.flatten().tolist()
    large = [(o, e) for o, e in zip(seen, wanted, strict=True) if e >= 5]
    small = [(o, e) for o, e in zip(seen, wanted, strict=True) if e < 5]
    rest = (sum(o for o, _ in small), math.fsum(e for _, e in small))
    if rest[1] > 0:
        large.append(rest)
    else:
        assert rest[0] == 0  # what is impossible has not been drawn
    statistic = math.fsum((o - e) ** 2 / e for o, e in large)
    return float(chi2.sf(statistic, max(len(large) - 1, 1)))


def joint_counts(spec: MixtureSpec, rows: Tensor, sources: Tensor) -> Tensor:
    """How often each cell of (U, V) was drawn."""
    counts = torch.zeros(spec.n_sources, *spec.cards, dtype=torch.float64)
    index = (sources, *rows.unbind(-1))
    return counts.index_put(index, torch.ones(len(rows), dtype=torch.float64), accumulate=True)


def joint_by_oracle(
    mixture: BayesNetMixture, do: Mapping[int, DoValue], evidence: Mapping[int, int]
) -> Tensor:
    """P(U, V | do, evidence), vertices under a do or with evidence included."""
    oracle, spec = Oracle(mixture), mixture.spec
    plain = {v: d.tolist() if isinstance(d, Tensor) else d for v, d in do.items()}
    table = torch.zeros(spec.n_sources, *spec.cards, dtype=torch.float64)
    for u, x in oracle.worlds():
        world = {-1: u, **dict(enumerate(x))}
        if all(world[v] == s for v, s in evidence.items()):
            table[(u, *x)] = oracle.prob(u, x, plain)
    return table / table.sum()


CASES: dict[str, tuple[dict[int, DoValue], dict[int, int]]] = {
    "forward": ({}, {}),
    "do on a vertex": ({X: 1}, {}),
    "do on a collider": ({W: 2}, {}),
    "do on the source": ({SOURCE: 1}, {}),
    "a soft do": ({X: simplex(0.1, 0.2, 0.7)}, {}),
    "evidence on a leaf": ({}, {V: 1}),
    "evidence on a collider": ({}, {W: 2}),
    "evidence on a root": ({}, {Z: 1}),
    "evidence on the source": ({}, {SOURCE: 1}),
    "evidence on two leaves": ({}, {W: 0, V: 1}),
    "evidence below a do": ({X: 2}, {V: 0}),
    "evidence above a do": ({Y: 1}, {X: 0}),
    "evidence below a soft do": ({X: simplex(0.1, 0.2, 0.7)}, {W: 1}),
    "evidence below a soft do on the source": ({SOURCE: simplex(0.2, 0.8)}, {W: 1}),
    "evidence beside several": ({X: 1, SOURCE: 0}, {W: 1, Z: 0}),
}


@pytest.mark.parametrize("case", CASES)
def test_draws_follow_the_law_of_the_oracle(case):
    do, evidence = CASES[case]
    mixture = random_mixture(SPEC, 3)
    n = 20_000
    rows, sources = sample(mixture, n, 1, do=do, evidence=evidence)
    expected = n * joint_by_oracle(mixture, do, evidence)
    assert p_value(joint_counts(SPEC, rows, sources), expected) > FALSE_FAILURE


@settings(max_examples=40, deadline=None, derandomize=True)
@given(structures(3, 4), st.integers(0, 2**31))
def test_draws_of_any_network_follow_the_law_of_the_oracle(structure, seed):
    spec = random_spec(**structure)
    mixture = random_mixture(spec, seed)
    rng = np.random.default_rng(seed)
    order = (rng.permutation(spec.n_variables + 1) - 1).tolist()
    do = {v: int(rng.integers(spec.card(v))) for v in order[: rng.integers(0, 2)]}
    evidence = {v: int(rng.integers(spec.card(v))) for v in order[2 : 2 + rng.integers(0, 3)]}
    n = 4000
    rows, sources = sample(mixture, n, seed, do=do, evidence=evidence)
    expected = n * joint_by_oracle(mixture, do, evidence)
    assert p_value(joint_counts(spec, rows, sources), expected) > FALSE_FAILURE


@pytest.mark.parametrize("evidence", [{}, {W: 1}])
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_every_batch_element_is_drawn_from_its_own_tables(batch_shape, evidence):
    mixture = random_mixture(SPEC, 5, batch_shape=batch_shape)
    n = 5000
    rows, sources = sample(mixture, n, 2, do={X: 1}, evidence=evidence)
    assert rows.shape == (*batch_shape, n, 5)
    assert sources.shape == (*batch_shape, n)
    assert rows.dtype == sources.dtype == torch.int64
    for index in itertools.product(*map(range, batch_shape)):
        cpts = tuple(c[index] for c in mixture.cpts)
        element = BayesNetMixture(SPEC, mixture.weights[index], cpts)
        expected = n * joint_by_oracle(element, {X: 1}, evidence)
        counts = joint_counts(SPEC, rows[index], sources[index])
        assert p_value(counts, expected) > FALSE_FAILURE


# -- facts about every draw ------------------------------------------------------------------------


def test_vertices_with_a_state_given_have_it_in_every_row():
    mixture = random_mixture(SPEC, 0, batch_shape=(2,))
    rows, sources = sample(mixture, 500, 0, do={X: 2, SOURCE: 1}, evidence={W: 0, V: 1})
    assert bool((sources == 1).all())
    for v, state in {X: 2, W: 0, V: 1}.items():
        assert bool((rows[..., v] == state).all())


def test_a_vertex_under_a_do_is_independent_of_its_parents_and_of_the_source():
    mixture = random_mixture(SPEC, 1)
    shares = simplex(0.2, 0.3, 0.5)
    n = 20_000
    rows, sources = sample(mixture, n, 4, do={X: shares})
    counts = torch.zeros(2, 2, 3, dtype=torch.float64)
    ones = torch.ones(n, dtype=torch.float64)
    counts = counts.index_put((sources, rows[:, Z], rows[:, X]), ones, accumulate=True)
    expected = n * torch.einsum("u,z,x->uzx", mixture.weights, mixture.cpts[Z][0], shares)
    assert p_value(counts, expected) > FALSE_FAILURE
    natural, of = sample(mixture, n, 4)
    counts = torch.zeros_like(counts).index_put(
        (of, natural[:, Z], natural[:, X]), ones, accumulate=True
    )
    assert p_value(counts, expected) < FALSE_FAILURE


@pytest.mark.parametrize("evidence", [{}, {W: 1}])
def test_states_of_probability_zero_are_never_drawn(evidence):
    mixture = random_mixture(SPEC, 2)
    cpts = [c.clone() for c in mixture.cpts]
    cpts[Z][:] = simplex(0.0, 1.0)
    cpts[X][:, 1] = simplex(0.0, 1.0, 0.0)
    cpts[Y][0, 1] = simplex(1.0, 0.0)
    cpts[Y][1, 1] = simplex(0.0, 1.0)
    zeros = replace(mixture, cpts=tuple(cpts))
    rows, sources = sample(zeros, 20_000, 0, evidence=evidence)
    assert bool((rows[:, Z] == 1).all())
    assert bool((rows[:, X] == 1).all())
    assert torch.equal(rows[:, Y], sources)


def test_six_hundred_observed_leaves_do_not_underflow():
    n_leaves = 600
    spec = MixtureSpec.from_parents(
        {"hub": "abc", **{f"leaf{i}": "ab" for i in range(n_leaves)}},
        {f"leaf{i}": ["hub"] for i in range(n_leaves)},
        2,
    )
    generator = torch.Generator().manual_seed(0)
    mixture = random_mixture(spec, 0)
    leaves = [
        (0.1 * torch.randn(*c.shape, generator=generator, dtype=torch.float64)).softmax(-1)
        for c in mixture.cpts[1:]
    ]
    mixture = replace(mixture, cpts=(mixture.cpts[0], *leaves))
    evidence = {v: v % 2 for v in range(1, n_leaves + 1)}
    logs = torch.zeros(2, 3, dtype=torch.float64)
    for u, h in itertools.product(range(2), range(3)):
        terms = [math.log(mixture.cpts[v][u, h, s]) for v, s in evidence.items()]
        prior = math.log(mixture.weights[u]) + math.log(mixture.cpts[0][u, h])
        logs[u, h] = prior + math.fsum(terms)
    assert float(logs.max()) < math.log(1e-150)
    n = 5000
    rows, sources = sample(mixture, n, 0, evidence=evidence)
    counts = torch.zeros(2, 3, dtype=torch.float64)
    counts = counts.index_put(
        (sources, rows[:, 0]), torch.ones(n, dtype=torch.float64), accumulate=True
    )
    expected = n * logs.flatten().softmax(0).reshape(2, 3)
    assert float(expected.min()) < n / 6 < float(expected.max())
    assert p_value(counts, expected) > FALSE_FAILURE


def test_draws_given_evidence_have_the_marginals_of_exact_sums():
    spec = random_spec(11, 14, 3, edge_probability=0.25)
    mixture = random_mixture(spec, 0)
    leaves = [v for v in range(14) if not spec.children[v]]
    evidence, n = dict.fromkeys(leaves[:3], 1), 20_000
    do: dict[int, DoValue] = {5: simplex(*([1 / spec.cards[5]] * spec.cards[5]))}
    do = {v: d for v, d in do.items() if v not in evidence}
    rows, sources = sample(mixture, n, 0, do=do, evidence=evidence)
    assert len(evidence) >= 2
    for v in range(SOURCE, 14):
        if v in evidence or v in do:
            continue
        drawn = sources if v == SOURCE else rows[:, v]
        counts = torch.bincount(drawn, minlength=spec.card(v)).double()
        expected = n * marginal(mixture, DoQuery((v,), do, evidence))
        assert p_value(counts, expected) > FALSE_FAILURE


# -- randomness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("evidence", [{}, {V: 1}])
def test_the_same_seed_gives_the_same_rows_and_another_seed_others(evidence):
    mixture = random_mixture(SPEC, 0, batch_shape=(2,))

    def drawn(random_state: int | np.random.Generator | torch.Generator) -> Tensor:
        rows, sources = sample(mixture, 200, random_state, evidence=evidence)
        return torch.cat([rows, sources.unsqueeze(-1)], -1)

    assert torch.equal(drawn(7), drawn(7))
    assert not torch.equal(drawn(7), drawn(8))
    assert torch.equal(drawn(np.random.default_rng(7)), drawn(np.random.default_rng(7)))
    own = torch.Generator().manual_seed(7)
    first = drawn(own)
    assert torch.equal(first, drawn(7))
    assert not torch.equal(first, drawn(own))  # the generator has moved on


def test_the_global_generators_are_left_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    sample(random_mixture(SPEC, 0), 100, 0, evidence={V: 1})
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_draws_carry_no_derivative():
    mixture = random_mixture(SPEC, 0)
    tracked = replace(mixture, weights=mixture.weights.clone().requires_grad_())
    rows, sources = sample(tracked, 10, 0, evidence={V: 1})
    assert not rows.requires_grad
    assert not sources.requires_grad


def test_no_rows_are_a_table_without_rows():
    rows, sources = sample(random_mixture(SPEC, 0, batch_shape=(3,)), 0, evidence={V: 0})
    assert rows.shape == (3, 0, 5)
    assert sources.shape == (3, 0)


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"n": -1}, QueryError, "found -1"),
        ({"n": True}, QueryError, "found True"),
        ({"do": {7: 0}}, QueryError, "to 4, found 7"),
        ({"do": {X: 3}}, QueryError, "'X' from 0 to 2, found 3"),
        ({"do": {X: simplex(0.5, 0.5)}}, QueryError, r"do\(X\).*found \(2,\)"),
        ({"do": {X: torch.eye(3).double()}}, QueryError, r"do\(X\) is a list of 3 scenarios"),
        ({"evidence": {X: -1}}, QueryError, "'X' from 0 to 2, found -1"),
        ({"do": {X: 0}, "evidence": {X: 0}}, QueryError, r"\['X'\] stand in both"),
        ({"random_state": True}, SpecError, "found True"),
        ({"evidence": {W: 0}, "memory_limit": 64}, ContractionSizeError, "at most 64 bytes"),
    ],
)
def test_unusable_arguments_are_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        sample(random_mixture(SPEC, 0), **{"n": 10, **arguments})


def test_impossible_evidence_is_refused_with_its_names():
    mixture = random_mixture(SPEC, 0, batch_shape=(2,))
    cpts = [c.clone() for c in mixture.cpts]
    cpts[V][1, :, 0] = simplex(1.0, 0.0)
    partly = replace(mixture, cpts=tuple(cpts))
    with pytest.raises(PositivityError, match=r"V='b' under do\(Y\) in 1 of 2"):
        sample(partly, 10, do={Y: 0}, evidence={V: 1})
    sample(partly, 10, do={Y: 1}, evidence={V: 1})


def test_draws_follow_the_device_of_the_tables():
    mixture = random_mixture(SPEC, 0)
    do: dict[int, DoValue] = {X: simplex(0.2, 0.3, 0.5)}
    expected = sample(mixture, 50, 0, do=do, evidence={V: 1})
    with torch.device("meta"):  # a factory call without a device would land there
        found = sample(mixture, 50, 0, do=do, evidence={V: 1})
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.cuda
def test_draws_on_a_gpu_follow_the_law_of_the_oracle():
    mixture = random_mixture(SPEC, 3)
    n = 20_000
    rows, sources = sample(mixture.to("cuda"), n, 1, evidence={W: 2})
    assert rows.is_cuda
    expected = n * joint_by_oracle(mixture, {}, {W: 2})
    assert p_value(joint_counts(SPEC, rows.cpu(), sources.cpu()), expected) > FALSE_FAILURE
