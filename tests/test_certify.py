"""Local certificates against the table of ranks in THEORY section 7, and autograd."""

from __future__ import annotations

import pytest
import torch
from helpers import random_spec

from pyromix.errors import SpecError
from pyromix.exact.information import scores
from pyromix.identify.certificate import query_gradient
from pyromix.identify.certify import certify
from pyromix.identify.verdict import judge
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec

BINARY = (0, 1)


def binary_spec(n: int, edges: list[tuple[int, int]], k: int) -> MixtureSpec:
    """V0..Vn-1, binary, U into all."""
    parents = {f"V{v}": [f"V{a}" for a, b in edges if b == v] for v in range(n)}
    return MixtureSpec.from_parents({f"V{v}": BINARY for v in range(n)}, parents, k)


def chain(n: int) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(n - 1)]


# graph, k, rank, parameters: THEORY section 7, all checked there by other code.
RANKS = [
    (2, [], 2, 3, 5),
    (3, [], 2, 7, 7),
    (4, [], 3, 13, 14),  # Goodman: 15 moments, and still not identified
    (5, [], 3, 17, 17),
    (5, [], 4, 23, 23),
    (5, [], 5, 29, 29),
    (3, chain(3), 2, 7, 11),
    (4, chain(4), 2, 15, 15),
    (5, chain(5), 2, 19, 19),
    (6, chain(6), 3, 35, 35),
    (4, [(0, 1), (2, 3)], 2, 11, 13),
    (5, [(0, 1), (2, 3)], 2, 15, 15),
    (4, [(0, 2), (1, 2)], 2, 15, 15),
    (4, [(0, 3), (1, 3), (2, 3)], 2, 15, 23),
]


@pytest.mark.parametrize(("n", "edges", "k", "rank", "parameters"), RANKS)
def test_rank_is_the_one_of_the_theory_manual(n, edges, k, rank, parameters):
    certificate = certify(binary_spec(n, edges, k))
    assert (certificate.rank, certificate.n_parameters) == (rank, parameters)
    assert certificate.locally_identified == (rank == parameters)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_complete_dag_is_never_identified(n):
    edges = [(i, j) for i in range(n) for j in range(i + 1, n)]
    assert not certify(binary_spec(n, edges, 2)).locally_identified


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rank_does_not_depend_on_the_generic_point(seed):
    assert certify(binary_spec(4, [(0, 1), (2, 3)], 2), seed).rank == 11


# Vertices Z, X, T, Y = 0, 1, 2, 3: the effect of T on Y (E12).
PROXY = [(0, 2), (1, 3), (2, 3)]


def effect_query() -> DoQuery:
    return DoQuery(outcomes=(3,), do={2: 1})


def test_effect_is_accepted_although_the_mixture_is_not_identified():
    certificate = certify(binary_spec(4, PROXY, 2))
    assert (certificate.rank, certificate.n_parameters) == (15, 17)
    assert certificate.residual(effect_query()) < 1e-12
    assert judge(certificate.point.spec, (effect_query(),)).structural is Certainty.LOCAL


@pytest.mark.parametrize(
    ("n", "edges", "query"),
    [
        (4, [*PROXY, (0, 3)], effect_query()),
        (3, chain(3), DoQuery(outcomes=(2,), do={1: 1})),
        (4, [(i, j) for i in range(4) for j in range(i + 1, 4)], effect_query()),
        (3, [(0, 1), (0, 2)], DoQuery(outcomes=(1,), do={0: 1})),
    ],
    ids=["Z also causes Y", "chain of 3", "complete", "single proxy"],
)
def test_effect_is_refused_on_the_other_side_of_the_boundary(n, edges, query):
    certificate = certify(binary_spec(n, edges, 2))
    assert certificate.residual(query) > 1e-2
    assert judge(certificate.point.spec, (query,)).structural is Certainty.NONE


def test_a_query_without_do_is_a_function_of_the_observed_law():
    certificate = certify(binary_spec(3, chain(3), 2))
    assert certificate.residual(DoQuery(outcomes=(2,), evidence={1: 1})) < 1e-12


@pytest.mark.parametrize("uninfluenced", [False, True])
def test_scores_are_the_gradient_of_the_log_likelihood(uninfluenced):
    spec = random_spec(4, 4, 2, uninfluenced=uninfluenced)
    mixture = random_mixture(spec, 1)
    rows = torch.stack(torch.unravel_index(torch.arange(spec.n_cells), spec.cards), -1)
    joint = mixture.joint_table().flatten()
    everything = DoQuery(outcomes=tuple(range(spec.n_variables)))
    expected = query_gradient(mixture, everything) / joint.unsqueeze(-1)
    torch.testing.assert_close(scores(mixture, rows), expected, rtol=1e-9, atol=1e-11)


def test_sampled_cells_give_the_rank_of_all_cells():
    edges = chain(13)
    certificate = certify(binary_spec(13, edges, 2))  # 8192 cells: sampled
    assert certificate.locally_identified


@pytest.mark.parametrize("n_children", [1, 3])
def test_a_sample_visits_every_parent_row(n_children):
    parents = {f"W{j}": [f"V{v}" for v in range(8)] for j in range(n_children)}
    names = [*(f"V{v}" for v in range(14)), *parents]
    certificate = certify(MixtureSpec.from_parents(dict.fromkeys(names, BINARY), parents, 3))
    assert certificate.rank == certificate.n_parameters  # 812 of 32,768 cells, 2348 of 131,072


def test_a_sample_does_not_hide_a_deficient_rank():
    names = [f"V{v}" for v in range(14)]
    spec = MixtureSpec.from_parents(dict.fromkeys(names, BINARY), {}, 2, uninfluenced=names[2:])
    certificate = certify(spec)  # 16,384 cells; of U, V0, V1 three numbers are seen, five exist
    assert (certificate.rank, certificate.n_parameters) == (12 + 3, 12 + 5)


def test_one_source_is_an_ordinary_network():
    assert certify(binary_spec(4, PROXY, 1)).locally_identified


def test_uninfluenced_vertices_need_fewer_directions():
    spec = MixtureSpec.from_parents({f"V{v}": BINARY for v in range(4)}, {}, 2, uninfluenced=["V3"])
    certificate = certify(spec)
    assert (certificate.rank, certificate.n_parameters) == (8, 8)


def test_a_model_beyond_the_dense_limit_is_refused_with_its_size():
    with pytest.raises(SpecError, match=r"at most 5,000 parameters, found \d"):
        certify(binary_spec(1300, [], 4))


def test_duplicate_sources_are_not_hidden_by_the_generic_point():
    spec = binary_spec(3, [], 2)
    one = random_mixture(spec, 0)
    same = BayesNetMixture(spec, one.weights, tuple(c[:1].expand_as(c).clone() for c in one.cpts))
    rows = torch.stack(torch.unravel_index(torch.arange(8), spec.cards), -1)
    values = torch.linalg.svdvals(scores(same, rows))
    assert int((values > 1e-9 * values[0]).sum()) < spec.n_parameters
