"""MixtureSpec: graph questions against plain definitions, names and numbers, every refusal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import pytest
from helpers import Oracle, random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st

from pyromix.errors import QueryError, SpecError
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import SOURCE, MixtureSpec, near_matches

# Z -> X -> Y <- Z, Y -> W; declared against the order of the edges.
STATES = {"W": "ab", "Y": "abc", "X": "ab", "Z": "abcd"}
PARENTS = {"W": ["Y"], "Y": ["X", "Z"], "X": ["Z"]}


def example(**arguments: Any) -> MixtureSpec:
    return MixtureSpec.from_parents(
        **{"states": STATES, "parents": PARENTS, "n_sources": 2, **arguments}
    )


# -- the graph -------------------------------------------------------------------------------------


def edges_of(spec: MixtureSpec) -> set[tuple[int, int]]:
    return {(p, v) for v, parents in enumerate(spec.parents) for p in parents}


def reachable(n: int, edges: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """All (a, b) with a directed path from a to b, the empty one included."""
    pairs = {(v, v) for v in range(n)} | set(edges)
    for m, a, b in itertools.product(range(n), repeat=3):  # Warshall: the midpoint slowest
        if (a, m) in pairs and (m, b) in pairs:
            pairs.add((a, b))
    return pairs


def dependent(
    oracle: Oracle, left: Iterable[int], right: Iterable[int], given: Iterable[int]
) -> bool:
    """Whether, within some source, P(left, right, given) P(given) is not P(left, given) P(...)."""
    left, right, given = tuple(left), tuple(right), tuple(given)
    for u in range(oracle.k):
        sums: dict[tuple[Any, ...], list[float]] = {}
        for x in itertools.product(*(range(c) for c in oracle.cards)):
            p = oracle.prob(u, x) / oracle.weights[u]
            a, b, c = (tuple(x[v] for v in group) for group in (left, right, given))
            for key in ((a, b, c), (a, None, c), (None, b, c), (None, None, c)):
                sums.setdefault(key, []).append(p)
        mass = {key: math.fsum(terms) for key, terms in sums.items()}
        for (a, b, c), p in mass.items():
            if a is not None and b is not None:
                gap = p * mass[None, None, c] - mass[a, None, c] * mass[None, b, c]
                if abs(gap) > 1e-11:
                    return True
    return False


@settings(max_examples=30, deadline=None, derandomize=True)
@given(structures(3, 5), st.integers(0, 2**31))
def test_d_separation_is_independence_within_every_source(structure, seed):
    spec = random_spec(**structure, max_card=2)
    oracle = Oracle(random_mixture(spec, seed))
    n = spec.n_variables
    for left, right in itertools.combinations(range(n), 2):
        rest = [v for v in range(n) if v not in (left, right)]
        for size in range(len(rest) + 1):
            for given_set in itertools.combinations(rest, size):
                separated = spec.d_separated([left], [right], given_set)
                assert separated is not dependent(oracle, [left], [right], given_set)


def test_d_separation_of_sets_is_independence_of_sets():
    spec = random_spec(2, 5, 2, max_card=2, edge_probability=0.4)
    oracle = Oracle(random_mixture(spec, 0))
    verdicts = set()
    for roles in itertools.product("LRG-", repeat=5):
        left, right, given_set = ([v for v in range(5) if roles[v] == r] for r in "LRG")
        if left and right:
            separated = spec.d_separated(left, right, given_set)
            verdicts.add(separated)
            assert separated is not dependent(oracle, left, right, given_set)
    assert verdicts == {True, False}


def test_nothing_is_d_separated_from_anything():
    spec = example()
    assert spec.d_separated([], [0], [1])
    assert spec.d_separated([0], [], [1])


@pytest.mark.parametrize(
    ("left", "right", "given_set"), [([0], [0], []), ([0, 1], [2], [1]), ([0], [2], [2])]
)
def test_overlapping_sets_are_refused(left, right, given_set):
    with pytest.raises(SpecError, match="disjoint"):
        example().d_separated(left, right, given_set)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(structures(3, 5), st.integers(0, 2**31))
def test_the_markov_boundary_is_what_matters_when_all_else_is_known(structure, seed):
    # In a positive distribution w belongs to the boundary of v exactly when the two depend on
    # each other given all other vertices.
    spec = random_spec(**structure, max_card=2)
    oracle = Oracle(random_mixture(spec, seed))
    everything = set(range(spec.n_variables))
    for v in everything:
        needed = {w for w in everything - {v} if dependent(oracle, [v], [w], everything - {v, w})}
        assert spec.markov_boundary(v) == needed


@settings(max_examples=100, deadline=None)
@given(structures(3, 7), st.integers(0, 2**31))
def test_ancestors_and_descendants_are_the_ends_of_directed_paths(structure, seed):
    spec = random_spec(**structure)
    n, paths = spec.n_variables, reachable(spec.n_variables, edges_of(spec))
    chosen = [v for v in range(n) if seed >> v & 1]
    assert spec.ancestors(chosen) == {a for a, b in paths if b in chosen}
    assert spec.descendants(chosen) == {b for a, b in paths if a in chosen}


@settings(max_examples=100, deadline=None)
@given(structures(3, 7), st.integers(0, 2**31))
def test_ancestors_under_a_do_are_those_of_the_graph_without_the_edges_into_it(structure, seed):
    spec = random_spec(**structure)
    n = spec.n_variables
    chosen = [v for v in range(n) if seed >> v & 1]
    cut = [v for v in range(n) if seed >> (v + 8) & 1]
    left = {(a, b) for a, b in edges_of(spec) if b not in cut}
    expected = {a for a, b in reachable(n, left) if b in chosen}
    assert spec.ancestors(chosen, removed=cut) == expected


def test_the_source_is_passed_over_among_the_ancestors():
    spec = example()
    assert spec.ancestors([SOURCE, spec.vertex("X")]) == {spec.vertex("X"), spec.vertex("Z")}


def test_children_and_graph_hold_the_edges_of_the_parents():
    spec = example(uninfluenced=["Z"])
    edges = edges_of(spec)
    assert {(p, v) for p, vs in enumerate(spec.children) for v in vs} == edges
    assert set(spec.graph().edges) == edges
    assert set(spec.graph().nodes) == set(range(4))
    from_source = {(SOURCE, v) for v in range(4) if spec.variables[v] != "Z"}
    assert set(spec.graph(with_source=True).edges) == edges | from_source


# -- sizes -----------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(structures(3, 6))
def test_n_parameters_counts_the_free_cells_of_all_tables(structure):
    spec = random_spec(**structure)
    mixture = random_mixture(spec, 0)
    free = spec.n_sources - 1
    for v, cpt in enumerate(mixture.cpts):
        tables = [cpt[0]] if v in spec.uninfluenced else list(cpt)
        rows = sum(table.numel() // table.shape[-1] for table in tables)
        free += rows * (cpt.shape[-1] - 1)
    assert spec.n_parameters == free
    assert spec.n_cells == mixture.joint_table().numel()


def test_n_parameters_of_a_known_network():
    # Z 3, X 4 rows, Y 8 rows of 2, W 3 rows, each twice, and one weight.
    assert example().n_parameters == 1 + 2 * (3 + 4 + 8 * 2 + 3)
    assert example(uninfluenced=["Y", "Z"]).n_parameters == 1 + 2 * (4 + 3) + 3 + 8 * 2


def test_shapes_and_cards():
    spec = example()
    y, x, z = map(spec.vertex, "YXZ")
    assert spec.parents[y] == (x, z)
    assert spec.cpt_shape(y) == (2, 2, 4, 3)
    assert [spec.card(v) for v in (SOURCE, x, y, z)] == [2, 2, 3, 4]


# -- from names ------------------------------------------------------------------------------------


def test_variables_are_sorted_by_edges_and_ties_by_declaration():
    assert example().variables == ("Z", "X", "Y", "W")
    loose = MixtureSpec.from_parents({"C": "ab", "A": "ab", "B": "ab"}, {"C": ["B"]}, 1)
    assert loose.variables == ("A", "B", "C")


def test_the_order_of_parents_is_the_order_given():
    spec = example(parents={**PARENTS, "Y": ["Z", "X"]})
    assert [spec.name(p) for p in spec.parents[spec.vertex("Y")]] == ["Z", "X"]


@settings(max_examples=50, deadline=None)
@given(structures(3, 7))
def test_every_parent_stands_before_its_child(structure):
    spec = random_spec(**structure)
    assert all(p < v for p, v in edges_of(spec))


def test_names_and_states_there_and_back():
    spec = example(source="H", source_states=("old", "young"), uninfluenced=["Z"])
    assert [spec.vertex(spec.name(v)) for v in range(SOURCE, 4)] == list(range(SOURCE, 4))
    assert spec.name(SOURCE) == "H"
    for v in range(SOURCE, 4):
        states = spec.states_of(v)
        assert [spec.state(v, s) for s in states] == list(range(len(states)))
    assert spec.states_of(SOURCE) == ("old", "young")
    assert spec.uninfluenced == {spec.vertex("Z")}


def test_sources_are_numbered_when_they_have_no_names():
    assert example(n_sources=3).source_states == (0, 1, 2)
    named = example(source_states=("a", "b"))
    assert named.with_n_sources(3).source_states == (0, 1, 2)
    assert named.with_n_sources(3, "xyz").source_states == ("x", "y", "z")
    assert named.with_n_sources(3).parents == named.parents


def test_roles_are_sorted_and_empty_ones_left_out():
    spec = example(roles={"outcomes": ["W"], "exposures": ["Y", "X"], "none": []})
    assert spec.roles == (("exposures", (1, 2)), ("outcomes", (3,)))


def test_equal_structures_are_equal_and_hash_alike():
    one, other = example(), example()
    assert one == other
    assert hash(one) == hash(other)
    assert one != example(n_sources=3)
    assert len({one, other, example(uninfluenced=["X"])}) == 2


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"states": {}, "parents": {}}, "at least one observed variable"),
        ({"states": {**STATES, "": "ab"}}, "non-empty strings, found ''"),
        ({"source": ""}, "non-empty strings, found ''"),
        ({"source": "X"}, "source 'X' must not be among"),
        ({"states": {**STATES, "X": "a"}}, r"'X' needs at least 2 states, found \['a'\]"),
        ({"states": {**STATES, "X": ""}}, r"'X' needs at least 2 states, found \[\]"),
        ({"states": {**STATES, "X": "aba"}}, "'X' must be distinct"),
        ({"parents": {"Q": ["X"]}}, r"parents given for: \['Q'\]"),
        ({"parents": {"X": ["Q"]}}, r"parents of 'X': \['Q'\]"),
        ({"uninfluenced": ["Q"]}, r"uninfluenced: \['Q'\]"),
        ({"roles": {"outcomes": ["Q"]}}, r"outcomes: \['Q'\]"),
        ({"parents": {"X": ["Y"], "Y": ["Z"], "Z": ["X"]}}, "cycle: .* -> .* -> "),
        ({"parents": {"X": ["X"]}}, "cycle: X -> X"),
        ({"parents": {"Y": ["X", "X"]}}, "'Y' must be distinct"),
        ({"n_sources": 0}, ">= 1, found 0"),
        ({"n_sources": -2}, ">= 1, found -2"),
        ({"n_sources": True}, "integer >= 1, found True"),
        ({"source_states": ("a", "a")}, "'U' must be distinct"),
        ({"source_states": ("a", "b", "c")}, "has 2 states but 3 state names"),
    ],
)
def test_unusable_structures_are_refused_by_name(arguments, match):
    with pytest.raises(SpecError, match=match):
        example(**arguments)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"variables": ("A", "A")}, r"distinct, found \['A'\] more than once"),
        ({"states": (("a", "b"),)}, "each of 2 variables, found 1"),
        ({"parents": ((),)}, "each of 2 variables, found 2 and 1"),
        ({"parents": ((1,), ())}, r"'A' must be distinct earlier vertices .* found \(1,\)"),
        ({"parents": ((), (1,))}, r"'B' must be distinct earlier vertices .* found \(1,\)"),
        ({"parents": ((), (-1,))}, r"found \(-1,\)"),
        ({"parents": ((), (0, 0))}, r"found \(0, 0\)"),
        ({"uninfluenced": frozenset({2})}, r"0\.\.1, found \[2\]"),
        ({"uninfluenced": frozenset({-1})}, r"0\.\.1, found \[-1\]"),
        ({"roles": (("outcomes", (0, 2)),)}, r"role must lie in 0\.\.1, found \[2\]"),
    ],
)
def test_unusable_numbers_are_refused(arguments, match):
    usable = {"variables": ("A", "B"), "states": (("a", "b"),) * 2, "parents": ((), (0,))}
    MixtureSpec(**usable, n_sources=2)
    with pytest.raises(SpecError, match=match):
        MixtureSpec(**{**usable, **arguments}, n_sources=2)


def test_unknown_names_come_with_what_was_perhaps_meant():
    spec = MixtureSpec.from_parents(
        {"smoker": ("yes", "no"), "cancer": ("none", "benign", "malignant")}, {}, 2
    )
    with pytest.raises(QueryError, match=r"'Smoker' \(did you mean 'smoker'\?\).*'cancer'"):
        spec.vertex("Smoker")
    with pytest.raises(QueryError, match=r"'benigm' of 'cancer' \(did you mean 'benign'\?\)"):
        spec.state(1, "benigm")
    with pytest.raises(QueryError, match=r"unknown state 1 of 'smoker'; .*\['yes', 'no'\]"):
        spec.state(0, 1)
    with pytest.raises(QueryError, match="unknown state"):
        spec.state(0, ["yes"])  # not even hashable


def test_long_lists_of_names_are_cut():
    spec = MixtureSpec.from_parents({f"V{i:02}": "ab" for i in range(20)}, {}, 1)
    with pytest.raises(QueryError, match=r"'V11', \.\.\. 9 more\]"):  # 20 variables and U
        spec.vertex("zzz")


def test_near_matches_are_named_or_nothing_is_said():
    assert near_matches("trated", ["treated", "control"]) == " (did you mean 'treated'?)"
    assert near_matches("xyz", ["treated", "control"]) == ""
    assert near_matches(" Yes ", ["Yes", "No"]) == " (did you mean 'Yes'?)"
