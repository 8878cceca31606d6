"""The method of Markov boundaries: exact statistics in, exact mixture out; then from rows."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from boundary_cases import COLLIDER, MIXED, TREE, network, path
from helpers import Oracle, distance_up_to_relabelling, random_spec

import pyromix as px
from pyromix.estimate.em import fit_em
from pyromix.estimate.starts import batch_of
from pyromix.exact.sampling import sample
from pyromix.identify.align import align
from pyromix.identify.boundary.plan import BoundaryPlan, RunFamily
from pyromix.identify.boundary.runs import pooled_table, solve_runs
from pyromix.identify.boundary.search import plan_boundaries
from pyromix.identify.boundary.sets import BoundaryGraph
from pyromix.identify.boundary.solver import identify_by_boundaries, recover_cpts, source_weights
from pyromix.model.status import Status

ROUNDING = 100.0
"""Largest error of an exact answer, in standard errors of the worst run at rounding noise: those
are root mean squares, and unzipping adds to them. Over 6 seeds, with and without separation, of
paths of 6 to 9, of 6 with three states and k = 3, of 10 with k = 3, the tree and the collider (96
instances) the largest was 1.1 and the median .002; over 130 random DAGs of 8 to 10 vertices with
up to 3 states, k = 2 and 3, it was 45, then 20, then 4."""

GRAPHS = {
    "path of 6": path(6),
    "path of 7": path(7),
    "path of 8": path(8),
    "path of 9": path(9),
    "path of 6, three states, k = 3": path(6, 3, 3),
    "path of 10, k = 3": path(10, 3),
    "tree": TREE,
    "collider": COLLIDER,
    "mixed cardinalities": MIXED,
    "boundary of four": network({"A": ["V", "P"], "C": ["V", "Q"], "E": ["A"], "F": ["C"]}),
    "two pairs and one more": network({"B": ["A"], "D": ["C"], "E": []}),
    "no edges, k = 3": network({f"V{i}": [] for i in range(5)}, 3),
    "two uninfluenced": network(
        {"B": ["A"], "C": ["B"], "D": ["C"], "E": [], "F": ["E"], "G": []}, uninfluenced=("A", "C")
    ),
}


def solved(truth, **options):
    return identify_by_boundaries(px.population(truth), truth.spec, **options)


def tolerance(solution):
    """The condition number of the worst run that counts, times rounding."""
    errors = solution.runs.standard_error
    return ROUNDING * max(float(errors[errors.isfinite()].max()), 1e-14)


def rows_of(truth, n_rows, seed=0):
    return px.Counts.from_codes(truth.spec, sample(truth, n_rows, seed)[0])


def cpt_errors(truth, mixture):
    """Absolute errors of all CPT entries, sources matched."""
    mixture = mixture.relabel(px.match_sources(truth, mixture))
    pairs = zip(truth.cpts, mixture.cpts, strict=True)
    return torch.cat([(a - b).abs().flatten() for a, b in pairs])


@pytest.mark.parametrize("spec", GRAPHS.values(), ids=GRAPHS)
def test_exact_moments_give_the_mixture_back(spec):
    truth = px.random_mixture(spec, 0, separation=0.8 / spec.n_sources)
    solution = solved(truth)
    assert solution.ok, solution.notes
    assert all(bool(known.all()) for known in solution.determined)
    assert distance_up_to_relabelling(truth, solution.mixture) < tolerance(solution)


@pytest.mark.parametrize("seed", [1, 2, 3, 5, 6, 7])
def test_random_graphs_come_back(seed):
    k = 2 if seed % 3 else 3
    spec = random_spec(seed, 8, k, edge_probability=0.18, uninfluenced=seed % 2 == 0)
    truth = px.random_mixture(spec, seed, separation=0.8 / k)
    solution = solved(truth)
    assert solution.ok, solution.notes
    assert distance_up_to_relabelling(truth, solution.mixture) < tolerance(solution)


def test_sources_come_by_decreasing_weight_whatever_their_order_was():
    truth = px.random_mixture(path(6), 3, separation=0.4)
    one, other = solved(truth).mixture, solved(truth.relabel([1, 0])).mixture
    assert bool((one.weights.diff() <= 0).all())
    for a, b in zip((one.weights, *one.cpts), (other.weights, *other.cpts), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_runs_have_the_sources_of_the_mixture():
    truth = px.random_mixture(COLLIDER, 1, separation=0.4)
    solution = solved(truth)
    oracle = Oracle(solution.mixture)
    for family, at in zip(solution.plan.families, solution.plan.slices, strict=True):
        given = family.independent.conditioning
        for f, weights in zip(family.assignments, solution.runs.weights[at], strict=True):
            evidence = dict(zip(given, f, strict=True))
            torch.testing.assert_close(
                weights, oracle.table([-1], evidence=evidence), rtol=0, atol=1e-9
            )


# -- the slips of THEORY section 4.7 -----------------------------------------------------------


def test_a_vertex_at_the_bottom_is_not_read_as_its_cpt():
    """E9. The run of {B, X, D} is given {R, Z, C}, and shows P_u(B | R, Z), not P_u(B | R)."""
    truth = px.random_mixture(COLLIDER, 1)
    b, d, x, r, z = (COLLIDER.vertex(name) for name in "BDXRZ")
    independent = BoundaryGraph(COLLIDER).independent_set([b, x, d])
    states = tuple(itertools.product(range(2), repeat=3))
    plan = BoundaryPlan(COLLIDER, (RunFamily(independent, states, True),), (0,) * 7)
    runs = solve_runs(px.population(truth), plan, 0)
    boundary = tuple(sorted((r, z)))
    table, _ = pooled_table(runs.relabel(orders_of(runs)), b, boundary)
    oracle, literal = Oracle(truth), 0.0
    for states in itertools.product(range(2), repeat=2):
        evidence = dict(zip(boundary, states, strict=True))
        shown = [oracle.table([b], evidence={-1: u, **evidence}) for u in range(2)]
        cpt = [oracle.table([b], evidence={-1: u, r: evidence[r]}) for u in range(2)]
        ones = sorted(table[:, *states, 1].tolist())
        assert ones == pytest.approx(sorted(float(t[1]) for t in shown), abs=1e-10)
        literal = max(literal, *(abs(float(s[1] - t[1])) for s, t in zip(shown, cpt, strict=True)))
    assert literal > 0.5  # .59, what reading the run as the CPT would be off by
    solution = solved(truth)
    mixture = solution.mixture.relabel(px.match_sources(truth, solution.mixture))
    torch.testing.assert_close(mixture.cpts[b], truth.cpts[b], rtol=0, atol=1e-10)


def orders_of(runs):
    return align(runs.keys, runs.tables, runs.rows, runs.status == Status.OK).orders


def test_three_states_are_recovered_as_they_are():
    """Slip S4: .5, .3, .2 comes back, where one-hot bits would show .714 in place of .5."""
    spec = network({"B": ["A"], "C": ["B"], "D": ["C"], "E": [], "F": []}, cards={"B": 3})
    truth = px.random_mixture(spec, 0, separation=0.4)
    b = spec.vertex("B")
    cpt = truth.cpts[b].clone()
    cpt[0, 1] = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    cpts = tuple(cpt if v == b else t for v, t in enumerate(truth.cpts))
    truth = replace(truth, cpts=cpts)
    mixture = solved(truth).mixture
    found = mixture.relabel(px.match_sources(truth, mixture)).cpts[b]
    assert found[0, 1].tolist() == pytest.approx([0.5, 0.3, 0.2], abs=1e-10)


# -- parts -------------------------------------------------------------------------------------


def test_cpts_and_weights_are_recovered_from_aligned_runs():
    truth = px.random_mixture(path(6), 0, separation=0.4)
    moments = px.population(truth)
    runs = solve_runs(moments, plan_boundaries(truth.spec), 0)
    runs = runs.relabel(orders_of(runs))
    cpts = recover_cpts(runs, [])
    weights = source_weights(runs, cpts)
    mixture = px.BayesNetMixture(truth.spec, weights, tuple(cpts))
    assert distance_up_to_relabelling(truth, mixture) < 1e-10


def test_weights_need_not_all_assignments():
    """P(u) = P(u, S) / P(S | u) for any assignments S that are solved."""
    truth = px.random_mixture(path(7), 2, separation=0.4)
    solution = solved(truth)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        kept = torch.rand(len(solution.runs.status), generator=generator) < 0.4
        weights = source_weights(solution.runs.restricted(kept), solution.mixture.cpts)
        torch.testing.assert_close(weights, solution.mixture.weights, rtol=0, atol=1e-9)


def test_the_runs_of_the_good_collection_alone_are_enough():
    """Where assignments are many: one boundary at a time, Bayes on one run."""
    truth = px.random_mixture(path(10, 3), 0, separation=0.25)
    solution = solved(truth, max_runs=20)
    assert not any(family.complete for family in solution.plan.families[1:])
    assert solution.ok, solution.notes
    assert distance_up_to_relabelling(truth, solution.mixture) < tolerance(solution)


def test_a_supergraph_of_the_truth_gives_the_same_law():
    small = network({"B": ["A"], "C": ["B"], "D": [], "E": ["D"], "F": [], "G": []})
    large = network({"B": ["A"], "C": ["A", "B"], "D": [], "E": ["D"], "F": ["D"], "G": []})
    truth = px.random_mixture(small, 0, separation=0.4)
    solution = identify_by_boundaries(px.population(truth).with_spec(large), large)
    assert solution.ok, solution.notes
    axes = [large.vertex(name) for name in small.variables]
    found = solution.mixture.joint_table().permute(axes)
    torch.testing.assert_close(found, truth.joint_table(), rtol=0, atol=1e-10)


def test_one_source_is_the_plain_network():
    truth = px.random_mixture(network({"B": ["A"], "C": ["A", "B"]}, 1), 0)
    solution = solved(truth)
    assert solution.ok
    assert solution.runs.status.numel() == 0
    assert distance_up_to_relabelling(truth, solution.mixture) < 1e-14


def test_effect_is_recovered_where_the_naive_difference_is_far_off():
    """E15 with a sixth vertex: the effect of V3 on V4 is .2, the naive difference .0497."""
    spec = path(6)
    levels = {0: (0.25, 0.75), 1: (0.7, 0.3)}
    cpts = [torch.tensor([[0.75, 0.25], [0.25, 0.75]], dtype=torch.float64)]
    for v in range(1, 6):
        ones = torch.tensor([[a - 0.1, a + 0.1] for a in levels[v % 2]], dtype=torch.float64)
        cpts.append(torch.stack([1 - ones, ones], -1))
    weights = torch.tensor([0.4, 0.6], dtype=torch.float64)
    truth = px.BayesNetMixture(spec, weights, tuple(cpts))
    mixture = solved(truth).mixture

    def difference(**how):
        low, high = (
            px.query(mixture, ["V04"], **{key: {"V03": s} for key in how}).values[1] for s in (0, 1)
        )
        return high - low

    assert difference(do=True) == pytest.approx(0.2, abs=1e-10)
    assert difference(evidence=True) == pytest.approx(0.0497, abs=1e-4)
    # from rows: .193 to .208 over seeds 0..9
    mixture = identify_by_boundaries(rows_of(truth, 200_000), spec).mixture
    assert difference(do=True) == pytest.approx(0.2, abs=0.015)


# -- what goes wrong is said -------------------------------------------------------------------


def test_a_row_that_no_run_determines_is_that_of_all_sources_and_marked():
    """V01 does not depend on U where V00 = 1, nor do the other views of its only family."""
    truth = px.random_mixture(path(6), 0, separation=0.4)
    cpts = [c.clone() for c in truth.cpts]
    for v in (3, 4, 5):
        cpts[v][1, 1] = cpts[v][0, 1]
    cpts[1][1, 1] = cpts[1][0, 1]
    truth = replace(truth, cpts=tuple(cpts))
    solution = solved(truth)
    assert solution.status in (Status.RANK_TOO_SMALL, Status.MERGED)
    assert not solution.ok
    assert any("were not solved" in note.sentence for note in solution.notes)
    lost = 0
    aligned = px.match_sources(truth, solution.mixture)
    mixture = solution.mixture.relabel(aligned)
    for v, known in enumerate(solution.determined):
        known = known[aligned]
        lost += int((~known).sum())
        gap = (mixture.cpts[v] - truth.cpts[v]).abs().amax(-1)
        assert float(gap[known].max() if bool(known.any()) else 0.0) < 1e-8
        if not bool(known.all()):
            assert any(
                f"rows of the CPT of {truth.spec.name(v)}" in n.sentence for n in solution.notes
            )
            pooled = Oracle(truth)
            for row in (~known).nonzero().tolist():
                evidence = dict(zip(truth.spec.parents[v], row[1:], strict=True))
                expected = pooled.table([v], evidence=evidence)
                torch.testing.assert_close(
                    mixture.cpts[v][tuple(row)], expected, rtol=0, atol=1e-12
                )
    assert lost > 0


def test_too_few_rows_are_reported_and_nothing_is_guessed():
    truth = px.random_mixture(path(9), 0, separation=0.4)
    counts = rows_of(truth, 30)
    solution = identify_by_boundaries(counts, truth.spec)
    assert not solution.ok
    assert not any(bool(known.all()) for known in solution.determined)
    assert "84 runs were not solved" in solution.notes[0].sentence
    nothing = torch.zeros(1, 0, dtype=torch.int64)
    torch.testing.assert_close(
        solution.mixture.cpts[0], counts.table((0,), (), nothing).expand(2, 2)
    )


def test_assignments_that_do_not_occur_lack_nothing():
    """V00 is never 1: the rows below it are marked, but no data miss them."""
    truth = px.random_mixture(path(7), 1, separation=0.4)
    first = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(2, 2)
    spec = replace(truth.spec, uninfluenced=frozenset({0}))
    truth = px.BayesNetMixture(spec, truth.weights, (first, *truth.cpts[1:]))
    solution = solved(truth)
    assert solution.status is Status.OK, solution.notes
    assert solution.notes == ()
    assert solution.determined[1].tolist() == [[True, False]] * 2
    found = solution.mixture.joint_table()
    torch.testing.assert_close(found, truth.joint_table(), rtol=0, atol=1e-10)


def test_links_that_contradict_the_tree_are_reported():
    """Three sources cannot be told as two: runs disagree on which two they saw."""
    truth = px.random_mixture(path(9, 3), 0, separation=0.4)
    solution = identify_by_boundaries(px.population(truth), path(9, 2))
    assert solution.alignment.inconsistent
    assert not solution.ok
    assert any("contradict the alignment tree" in note.sentence for note in solution.notes)


def test_a_graph_without_a_good_collection_is_refused():
    truth = px.random_mixture(path(5), 0)
    with pytest.raises(px.PlanError, match="V01"):
        solved(truth)


def test_a_table_of_variables_in_another_order_has_the_same_answer():
    spec = path(6)
    counts = rows_of(px.random_mixture(spec, 0), 100)
    turned = network({f"V{i:02}": [f"V{i + 1:02}"] for i in range(5)})
    one = identify_by_boundaries(counts, turned).mixture
    other = identify_by_boundaries(counts.with_spec(turned), turned).mixture
    assert one.spec == turned
    assert torch.equal(one.joint_table(), other.joint_table())


def test_a_table_of_other_variables_is_refused():
    counts = rows_of(px.random_mixture(path(6), 0), 100)
    with pytest.raises(px.DataError, match="V06"):
        identify_by_boundaries(counts, path(7))


# -- from rows ---------------------------------------------------------------------------------


def test_a_path_of_nine_is_recovered_from_rows():
    truth = px.random_mixture(path(9), 0, separation=0.3)
    solution = identify_by_boundaries(rows_of(truth, 200_000), truth.spec)
    errors = cpt_errors(truth, solution.mixture)
    # over mixtures 0..19 (median, .9 quantile, largest): median error .0021, .0031, .0045;
    # root mean square .0052, .0108, .0118; weights .0027, .0080, .0088
    assert float(errors.median()) < 0.0045
    assert float(errors.square().mean().sqrt()) < 0.012
    mixture = solution.mixture.relabel(px.match_sources(truth, solution.mixture))
    assert float((mixture.weights - truth.weights).abs().max()) < 0.009


def test_em_from_the_runs_ends_where_em_from_the_truth_ends():
    truth = px.random_mixture(path(9), 1, separation=0.4)
    counts = rows_of(truth, 20_000)
    solution = identify_by_boundaries(counts, truth.spec)
    ends = [
        float(fit_em(counts, batch_of(start)).log_likelihood) for start in (solution.mixture, truth)
    ]
    assert ends[0] == pytest.approx(ends[1], abs=1e-4)  # below 2e-7 for mixtures 0..7


def test_cells_missing_at_random_cost_rows_only():
    truth = px.random_mixture(path(7), 1, separation=0.5)
    codes = sample(truth, 200_000, 0)[0].to(torch.int64)
    holes = torch.rand(codes.shape, generator=torch.Generator().manual_seed(0)) < 0.05
    counts = px.Counts.from_codes(truth.spec, codes.masked_fill(holes, -1))
    solution = identify_by_boundaries(counts, truth.spec)
    # .0016 to .0029 over mixtures 0..5, .0013 to .0024 without holes
    assert float(cpt_errors(truth, solution.mixture).median()) < 0.003


def test_the_default_run_takes_the_most_frequent_states():
    truth = px.random_mixture(path(6), 4, separation=0.3)
    counts = rows_of(truth, 5_000)
    default = identify_by_boundaries(counts, truth.spec).plan.default
    codes = counts.expand()
    assert default == tuple(int(column.bincount().argmax()) for column in codes.T)


@pytest.mark.parametrize("exact", [True, False])
def test_every_tensor_is_where_the_data_are(exact):
    truth = px.random_mixture(path(6), 0, separation=0.4)
    moments = px.population(truth) if exact else rows_of(truth, 20_000)
    expected = identify_by_boundaries(moments, truth.spec).mixture
    with torch.device("meta"):
        found = identify_by_boundaries(moments, truth.spec).mixture
    for a, b in zip((found.weights, *found.cpts), (expected.weights, *expected.cpts), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.cuda
def test_a_cuda_device_gives_the_same_answer():
    truth = px.random_mixture(path(7), 0, separation=0.4)
    expected = solved(truth).mixture
    found = solved(truth.to("cuda")).mixture
    for a, b in zip((found.weights, *found.cpts), (expected.weights, *expected.cpts), strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=0, atol=1e-10)


def test_no_number_is_lost_in_the_reports():
    truth = px.random_mixture(path(6), 0, separation=0.4)
    solution = identify_by_boundaries(rows_of(truth, 50_000), truth.spec)
    runs = solution.runs
    n = len(solution.plan.runs)
    assert runs.status.shape == runs.mass.shape == runs.standard_error.shape == (n,)
    assert solution.alignment.orders.shape == (n, 2)
    for family, at in zip(solution.plan.families, solution.plan.slices, strict=True):
        assert family.complete
        assert float(runs.mass[at].sum()) == pytest.approx(50_000)
    counted = runs.standard_error.isfinite()
    assert counted.tolist() == solution.alignment.aligned.tolist()
    assert not bool(counted[runs.status != Status.OK].any())
    assert math.isfinite(float(runs.rows.sum()))
