"""Independent sets and good collections of runs, against plain loops over subsets."""

from __future__ import annotations

import itertools
import math

import pytest
from boundary_cases import COLLIDER, MIXED, STAR, TREE, connected, network, path
from helpers import random_spec

import pyromix as px
from pyromix.identify.boundary.search import plan_boundaries
from pyromix.identify.boundary.sets import BoundaryGraph

SOLVABLE = {
    "path of 6": path(6),
    "path of 9": path(9),
    "path of 6, three states, k = 3": path(6, 3, 3),
    "path of 10, k = 3": path(10, 3),
    "tree": TREE,
    "collider": COLLIDER,
    "mixed cardinalities": MIXED,
    "two pairs and one more": network({"B": ["A"], "D": ["C"], "E": []}),
    "no edges": network({f"V{i}": [] for i in range(5)}, 3),
    "two uninfluenced": network(
        {"B": ["A"], "C": ["B"], "D": ["C"], "E": [], "F": ["E"], "G": []}, uninfluenced=("A", "C")
    ),
}


def names(spec, vertices):
    return "".join(spec.name(v) for v in vertices)


def numbers(spec, text):
    return [spec.vertex(name) for name in text]


def sets_by_loops(spec, vertex):
    """Least log number of assignments of any set with a vertex that can show k sources."""
    descendants = [spec.descendants([v]) - {v} for v in range(spec.n_variables)]
    others = [v for v in range(spec.n_variables) if v not in spec.uninfluenced and v != vertex]
    best = math.inf
    for size in range(2, len(others) + 1):
        for rest in itertools.combinations(others, size):
            members = {vertex, *rest}
            for clean in itertools.chain.from_iterable(
                itertools.combinations(members, n) for n in range(len(members) + 1)
            ):
                given = {p for v in clean for p in spec.parents[v]}
                given.update(*(spec.markov_boundary(v) for v in members - set(clean)))
                if given & members or any(descendants[v] & (given | members) for v in clean):
                    continue
                if _shows(spec, members):
                    best = min(best, sum(math.log2(spec.cards[v]) for v in given))
    return best


def _shows(spec, members):
    """Whether two disjoint views with k joint states and a third vertex exist."""
    for third in members:
        rest = sorted(members - {third})
        for size in range(len(rest) + 1):
            for one in itertools.combinations(rest, size):
                other = set(rest) - set(one)
                states = [math.prod(spec.cards[v] for v in view) for view in (one, other)]
                if min(states) >= spec.n_sources:
                    return True
    return False


@pytest.mark.parametrize("seed", range(12))
def test_the_cheapest_independent_set_is_that_of_all_subsets(seed):
    spec = random_spec(seed, 6, 2, edge_probability=0.25, uninfluenced=seed % 3 == 0)
    graph = BoundaryGraph(spec)
    for v in graph.influenced:
        showing = [s for s in graph.independent_sets(v) if graph.shows_sources(s.members)]
        costs = [sum(math.log2(spec.cards[z]) for z in s.conditioning) for s in showing]
        assert min(costs, default=math.inf) == pytest.approx(sets_by_loops(spec, v))


@pytest.mark.parametrize("seed", range(12))
def test_members_are_independent_and_depend_on_their_boundaries_alone(seed):
    spec = random_spec(seed, 7, 2, edge_probability=0.3)
    graph = BoundaryGraph(spec)
    for found in itertools.chain(*(graph.independent_sets(v)[:10] for v in graph.influenced)):
        given = set(found.conditioning)
        for v, boundary in found.alignment_variables:
            assert spec.d_separated([v], set(found.members) - {v}, given)
            assert spec.d_separated([v], given - set(boundary), boundary)
            assert boundary == tuple(
                sorted(spec.parents[v] if v in found.clean else spec.markov_boundary(v))
            )


def test_neighbours_are_not_independent_and_colliders_left_out_do_not_matter():
    graph = BoundaryGraph(COLLIDER)
    assert not graph.independent_set(numbers(COLLIDER, "BZ")).independent
    assert graph.independent_set(numbers(COLLIDER, "ZX")).independent
    assert not graph.independent_set(numbers(COLLIDER, "ZXD")).independent


def test_a_vertex_at_the_bottom_is_not_clean_when_its_descendants_are_conditioned_on():
    """Slip S2. R -> B -> Z -> C <- X and C -> D: D brings C into COND, C brings B's child Z."""
    graph = BoundaryGraph(COLLIDER)
    found = graph.independent_set(numbers(COLLIDER, "BXD"))
    assert set(names(COLLIDER, found.conditioning)) == set("RZC")
    assert names(COLLIDER, found.clean) == "D"
    alone = graph.independent_set(numbers(COLLIDER, "BXW"))
    assert set(names(COLLIDER, alone.conditioning)) == {"R"}
    assert len(alone.clean) == 3


def test_a_run_of_a_clean_vertex_is_not_conditioned_on_its_children():
    """Slip S3: COND stays what the branch set, it is not reset to the boundary of the whole set."""
    plan = plan_boundaries(COLLIDER)
    b = COLLIDER.vertex("B")
    family = next(f.independent for f in plan.families if b in f.independent.clean)
    reset = set().union(*(COLLIDER.markov_boundary(v) for v in family.members))
    assert COLLIDER.vertex("Z") in reset - set(family.conditioning)


def test_a_markov_boundary_can_have_the_square_of_the_largest_degree():
    """Slip S1: gamma = Delta^2 is attained, and a run meets all its assignments."""
    spec = network({"A": ["V", "P"], "C": ["V", "Q"], "E": ["A"], "F": ["C"], "W": []})
    inner = network({"A": ["V", "P"], "C": ["V", "Q"]})
    degrees = [len(inner.parents[v]) + len(inner.children[v]) for v in range(inner.n_variables)]
    assert max(degrees) == 2
    assert len(inner.markov_boundary(inner.vertex("V"))) == 4
    found = BoundaryGraph(spec).independent_set(numbers(spec, "VEFW"))
    assert spec.vertex("V") not in found.clean
    assert set(names(spec, dict(found.alignment_variables)[spec.vertex("V")])) == set("APCQ")


@pytest.mark.parametrize("spec", SOLVABLE.values(), ids=SOLVABLE)
@pytest.mark.parametrize("max_runs", [1024, 24])
def test_a_good_collection_shows_sources_covers_everything_and_can_be_aligned(spec, max_runs):
    plan = plan_boundaries(spec, max_runs=max_runs)
    graph = BoundaryGraph(spec)
    for family in plan.families:
        assert graph.shows_sources(family.independent.members)
        assert len(family.assignments) == len(set(family.assignments))
    for v in graph.influenced:
        boundary = plan.boundary(v)
        met = {
            tuple(dict(zip(run.conditioning, run.assignment, strict=True))[w] for w in boundary)
            for run in plan.runs
            if v in run.independent and set(boundary) <= set(run.conditioning)
        }
        assert met == set(itertools.product(*(range(spec.cards[w]) for w in boundary)))
    boundaries = {
        run: dict(family.independent.alignment_variables)
        for family in plan.families
        for run in family.runs
    }
    assert connected(plan.runs, lambda run, v: boundaries[run][v])


@pytest.mark.parametrize("spec", SOLVABLE.values(), ids=SOLVABLE)
def test_a_vertex_is_clean_or_unzipped_after_its_children(spec):
    plan = plan_boundaries(spec)
    influenced = [v for v in range(spec.n_variables) if v not in spec.uninfluenced]
    assert sorted([*plan.clean, *plan.unzipped]) == influenced
    for v in plan.unzipped:
        later = set(spec.children[v]) & set(plan.unzipped)
        assert all(plan.unzipped.index(child) < plan.unzipped.index(v) for child in later)


def test_where_assignments_are_many_runs_differ_from_the_default_run_in_one_boundary():
    spec = path(10, 3)
    default = tuple(v % 2 for v in range(10))
    plan = plan_boundaries(spec, default, max_runs=20)
    assert not all(family.complete for family in plan.families)
    for family in plan.families:
        given = family.independent.conditioning
        assert len(family.assignments) <= 20
        if not family.complete:
            assert tuple(default[v] for v in given) in family.assignments
            for f in family.assignments:
                changed = {v for v, s in zip(given, f, strict=True) if s != default[v]}
                assert any(changed <= set(b) for b in family.independent.boundaries)
    assert plan.default_run in plan.runs


@pytest.mark.parametrize(("k", "n_mp"), [(2, 3), (3, 5), (4, 5)])
def test_a_path_needs_twice_as_many_vertices_as_the_solver_of_products(k, n_mp):
    """THEORY section 4.6; 2 ceil(log2 k) + 1 binary variables show k sources."""
    assert plan_boundaries(path(2 * n_mp, k)).clean
    with pytest.raises(px.PlanError):
        plan_boundaries(path(2 * n_mp - 1, k))


def test_one_source_needs_no_runs():
    plan = plan_boundaries(path(3, 1))
    assert plan.runs == () == plan.unzipped == plan.centres


@pytest.mark.parametrize(
    ("spec", "uncovered", "words"),
    [
        (path(3), 3, "at least 3 variables here; the largest found has 2, {V00, V02} given {V01}"),
        (
            network({"B": ["A"], "C": ["A", "B"], "D": ["A", "B", "C"]}),
            4,
            "at least 3 variables here; the largest found has 1",
        ),
        (network({"B": ["A"], "D": ["C"]}), 4, "around A there are 2: {A, C} given {}"),
        (path(5), 2, "around V01 there are 2: {V01, V03} given {V00, V02}"),
        (path(9, 3), 4, "at least 5 variables"),
        (STAR, 6, "runs around L0 exist but cannot be aligned"),
        (network({"B": ["A"]}, uninfluenced=("A", "B")), 0, "found none"),
    ],
    ids=[
        "path of 3",
        "complete",
        "two pairs",
        "path of 5",
        "path of 9, k = 3",
        "star",
        "no edge from U",
    ],
)
def test_a_graph_without_a_good_collection_is_refused_with_reasons(spec, uncovered, words):
    with pytest.raises(px.PlanError) as caught:
        plan_boundaries(spec)
    assert words in str(caught.value)
    assert len(caught.value.uncovered) == uncovered
    assert set(caught.value.uncovered) <= set(spec.variables)


def test_too_many_assignments_are_given_as_the_reason():
    with pytest.raises(px.PlanError, match="too many assignments"):
        plan_boundaries(path(6, 3, 3), max_runs=8)


def test_a_plan_can_be_read():
    text = str(plan_boundaries(path(6)))
    assert "{V00, V02, V04} given {V01, V03}: all assignments, 4" in text
    assert "unzipped, in this order: {V03, V02, V01, V00}" in text
