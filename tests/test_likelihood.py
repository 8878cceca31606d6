"""Log-likelihood, responsibilities and expected counts against sums over the joint table."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from helpers import BATCH_SHAPES, Oracle, random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st

from pyromix.errors import DataError, SpecError
from pyromix.exact import likelihood
from pyromix.exact import missing as missing_cells
from pyromix.exact import rows as cell_index
from pyromix.exact.cells import CellAxis
from pyromix.exact.incidence import Incidence, _transposed, _transposed_by_sorting
from pyromix.exact.likelihood import (
    _weighted_logs,
    expected_counts,
    log_joint,
    log_prob,
    responsibilities,
)
from pyromix.exact.rows import CellIndex, join_families
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec

MISSING = st.sampled_from([0.0, 0.2, 0.5, 0.8])


def random_rows(spec, n, seed, missing=0.0, dtype=torch.int8):
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(0, c, (n,), generator=generator) for c in spec.cards]
    rows = torch.stack(columns, 1)
    rows[torch.rand(rows.shape, generator=generator) < missing] = -1
    return rows.to(dtype)


def oracle_joint(mixture, rows):
    oracle = Oracle(mixture)
    table = [[oracle.row_prob(row, u) for u in range(oracle.k)] for row in rows.tolist()]
    return torch.tensor(table, dtype=torch.float64)


def is_barren(spec, row, v):
    """Whether a vertex is missing together with all its descendants."""
    children = [c for c, parents in enumerate(spec.parents) if v in parents]
    return row[v] == -1 and all(is_barren(spec, row, c) for c in children)


def oracle_counts(mixture, rows, row_weights):
    """Expected counts of every CPT cell by walking through every completion of every row.

    Barren vertices say nothing, are not completed, and count nowhere.
    """
    oracle, spec = Oracle(mixture), mixture.spec
    counts = [torch.zeros(spec.cpt_shape(v), dtype=torch.float64) for v in range(spec.n_variables)]
    for row, weight in zip(rows.tolist(), row_weights.tolist(), strict=True):
        total = math.fsum(oracle.row_prob(row, u) for u in range(oracle.k))
        free = [range(c) if s == -1 else (s,) for s, c in zip(row, spec.cards, strict=True)]
        for u, x in itertools.product(range(oracle.k), itertools.product(*free)):
            share = weight * oracle.prob(u, x) / total
            for v, parents in enumerate(spec.parents):
                if not is_barren(spec, row, v):
                    counts[v][(u, *(x[p] for p in parents), x[v])] += share
    return counts


def stacked(mixture):
    table = CellAxis(mixture.spec).stack(mixture.cpts)
    return table.reshape(-1, *mixture.weights.shape)


# -- against the oracle ------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(structures(), MISSING, st.integers(0, 2**31))
def test_log_joint_is_the_sum_over_all_completions(structure, missing, seed):
    spec = random_spec(**structure)
    mixture, rows = random_mixture(spec, seed), random_rows(spec, 12, seed, missing)
    joint = log_joint(mixture, CellIndex(spec, rows))
    torch.testing.assert_close(joint.exp(), oracle_joint(mixture, rows), rtol=1e-12, atol=1e-15)


@settings(max_examples=50, deadline=None)
@given(structures(), MISSING, st.integers(0, 2**31))
def test_responsibilities_and_log_prob_follow_bayes(structure, missing, seed):
    spec = random_spec(**structure)
    mixture, rows = random_mixture(spec, seed), random_rows(spec, 8, seed, missing)
    joint = oracle_joint(mixture, rows)
    total = joint.sum(-1)
    torch.testing.assert_close(log_prob(mixture, rows), total.log(), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(
        responsibilities(mixture, rows), joint / total[:, None], rtol=1e-12, atol=1e-14
    )


@settings(max_examples=30, deadline=None)
@given(structures(3, 5), MISSING, st.integers(0, 2**31))
def test_expected_counts_are_posterior_sums_over_completions(structure, missing, seed):
    spec = random_spec(**structure)
    mixture, rows = (
        random_mixture(spec, seed, batch_shape=(1,)),
        random_rows(spec, 6, seed, missing),
    )
    row_weights = torch.rand(6, dtype=torch.float64) + 0.5
    index = CellIndex(spec, rows)
    counts = expected_counts(mixture.weights, stacked(mixture), index, row_weights)
    wanted = oracle_counts(mixture[0], rows, row_weights)
    for found, want in zip(index.axis.unstack(counts.cells), wanted, strict=True):
        torch.testing.assert_close(found[0], want, rtol=1e-11, atol=1e-13)
    joint = oracle_joint(mixture[0], rows)
    shares = joint / joint.sum(-1, keepdim=True)
    torch.testing.assert_close(counts.sources[0], row_weights @ shares, rtol=1e-12, atol=0)
    expected = row_weights @ joint.sum(-1).log()
    # Rows without any cell have probability one: the logarithm of a sum that rounds.
    torch.testing.assert_close(counts.log_likelihood[0], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_batching_commutes_with_looping(batch_shape, missing):
    spec = random_spec(4, 5, 3)
    mixture = random_mixture(spec, 1, batch_shape=batch_shape)
    rows = random_rows(spec, 20, 1, missing)
    joint, shares = log_joint(mixture, CellIndex(spec, rows)), responsibilities(mixture, rows)
    assert joint.shape == (*batch_shape, 20, 3)
    for index in itertools.product(*map(range, batch_shape)):
        one = BayesNetMixture(spec, mixture.weights[index], tuple(c[index] for c in mixture.cpts))
        torch.testing.assert_close(joint[index].exp(), oracle_joint(one, rows), rtol=1e-12, atol=0)
        torch.testing.assert_close(shares[index], responsibilities(one, rows), rtol=0, atol=1e-14)
        assert log_prob(mixture, rows)[index].shape == (20,)


# -- how rows are stored ------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("rows_per_block", [7, 64, 2**15])
def test_blocks_and_joint_cells_change_nothing(monkeypatch, missing, rows_per_block):
    spec = random_spec(11, 6, 3)
    mixture, rows = random_mixture(spec, 2, batch_shape=(2,)), random_rows(spec, 500, 3, missing)
    weights = torch.rand(500, dtype=torch.float64)
    monkeypatch.setattr(cell_index, "JOINT_CELLS", 0)
    plain = CellIndex(spec, rows)
    assert all(len(group) == 1 for group in plain.groups)
    plain_joint = log_joint(mixture, plain)
    plain_counts = expected_counts(mixture.weights, stacked(mixture), plain, weights)
    monkeypatch.setattr(cell_index, "JOINT_CELLS", 1024)
    monkeypatch.setattr(cell_index, "ROWS_PER_BLOCK", rows_per_block)
    joined = CellIndex(spec, rows)
    assert len(joined.groups) < spec.n_variables
    assert len(joined.blocks) == -(-500 // rows_per_block)
    torch.testing.assert_close(log_joint(mixture, joined), plain_joint, rtol=0, atol=1e-12)
    counts = expected_counts(mixture.weights, stacked(mixture), joined, weights)
    torch.testing.assert_close(counts.cells, plain_counts.cells, rtol=0, atol=1e-11)
    torch.testing.assert_close(counts.sources, plain_counts.sources, rtol=0, atol=1e-11)


@settings(max_examples=50, deadline=None)
@given(structures(3, 9), st.integers(0, 300))
def test_joined_families_partition_the_vertices_within_the_limit(structure, limit):
    spec = random_spec(**structure)
    groups = join_families(spec, limit)
    assert sorted(v for group in groups for v in group) == list(range(spec.n_variables))
    for group in groups:
        scope = {u for v in group for u in (*spec.parents[v], v)}
        assert len(group) == 1 or math.prod(spec.cards[u] for u in scope) <= limit


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_any_integer_type_of_rows_will_do(dtype):
    spec = random_spec(5, 4, 2)
    mixture, rows = random_mixture(spec, 0), random_rows(spec, 10, 0, 0.3)
    assert torch.equal(log_prob(mixture, rows.to(dtype)), log_prob(mixture, rows))


def test_an_index_serves_any_number_of_sources():
    spec = random_spec(5, 4, 2)
    rows = random_rows(spec, 10, 0, 0.3)
    index = CellIndex(spec, rows)
    mixture = random_mixture(spec.with_n_sources(4), 1)
    assert torch.equal(log_prob(mixture, index), log_prob(mixture, rows))


def test_no_rows_have_an_empty_log_joint():
    spec = random_spec(5, 4, 2)
    rows = torch.empty(0, 4, dtype=torch.int8)
    assert log_joint(random_mixture(spec, 0), CellIndex(spec, rows)).shape == (0, 2)


def test_cells_are_unstacked_as_they_were_stacked():
    mixture = random_mixture(random_spec(8, 5, 3), 0, batch_shape=(2,))
    axis = CellAxis(mixture.spec)
    for cpt, found in zip(mixture.cpts, axis.unstack(stacked(mixture)), strict=True):
        assert torch.equal(cpt, found)
    rows = axis.rows(torch.device("cpu"))
    sums = rows.scatter_sums(axis.stack(mixture.cpts))
    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-12)


def test_incidence_equals_the_dense_matrix():
    slots = torch.tensor([[2, -1, 0], [-1, -1, -1], [1, 2, -1], [3, -1, -1]], dtype=torch.int32)
    dense = torch.tensor([[1.0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0]])
    dense = dense.to(torch.float64)
    incidence = Incidence.from_slots(slots, 5)
    left, right = torch.rand(5, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)
    torch.testing.assert_close(incidence.gather_sums(left), dense @ left)
    torch.testing.assert_close(incidence.scatter_sums(right), dense.T @ right)
    for one, other in zip(_transposed(incidence), _transposed_by_sorting(incidence), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("n_rows", [1, 15, 16, 37])
@pytest.mark.parametrize("weight", ["one", "equal", "unequal"])
def test_logs_of_rows_of_one_weight_are_shared(n_rows, weight, monkeypatch):
    monkeypatch.setattr(likelihood, "MANY_LOGARITHMS", 0)
    totals = 1 + 4095 * torch.rand(n_rows, 3, dtype=torch.float64)
    weights = {
        "one": torch.ones(n_rows, 1),
        "equal": torch.full((n_rows, 1), 2.5),
        "unequal": torch.arange(1.0, n_rows + 1)[:, None],
    }[weight].to(torch.float64)
    found = _weighted_logs(totals, weights)
    torch.testing.assert_close(found, (weights * totals.log()).sum(0), rtol=1e-12, atol=0)


def test_a_row_that_no_source_gives_is_not_hidden_by_those_beside_it(monkeypatch):
    monkeypatch.setattr(likelihood, "MANY_LOGARITHMS", 0)
    totals = torch.full((32, 1), 3.0, dtype=torch.float64)
    totals[5] = 0.0
    assert _weighted_logs(totals, torch.ones(32, 1, dtype=torch.float64)) == -torch.inf


# -- missing cells -------------------------------------------------------------------------------


def test_a_row_without_observed_cells_has_probability_one():
    mixture = random_mixture(random_spec(2, 5, 3), 0)
    row = torch.full((1, 5), -1)
    assert float(log_prob(mixture, row)) == pytest.approx(0.0, abs=1e-15)
    torch.testing.assert_close(responsibilities(mixture, row)[0], mixture.weights)


def test_missing_vertices_without_observed_descendants_cost_nothing():
    names = [f"V{i}" for i in range(40)]
    spec = MixtureSpec.from_parents(
        dict.fromkeys(names, ("0", "1")), {b: [a] for a, b in itertools.pairwise(names)}, 2
    )
    rows = torch.full((1, 40), -1)
    rows[0, 0] = 1
    index, mixture = CellIndex(spec, rows), random_mixture(spec, 0)
    assert index.open.n_units == 0
    expected = (mixture.weights * mixture.cpts[0][:, 1]).log()
    torch.testing.assert_close(log_joint(mixture, index)[0], expected)


def test_equal_components_of_different_rows_are_one_unit():
    names = list("ABCD")
    spec = MixtureSpec.from_parents(
        dict.fromkeys(names, ("0", "1")), {"B": ["A"], "C": ["B"], "D": ["C"]}, 2
    )
    rows = torch.tensor([[0, -1, 1, 0], [0, -1, 1, 1], [0, -1, 1, -1], [1, -1, 1, 0]])
    index = CellIndex(spec, rows)
    assert index.open.n_units == 2  # B between A=0 and C=1, and between A=1 and C=1
    assert index.open.completions.n_rows == 4


def test_more_surrounding_cells_than_one_number_can_hold_are_told_apart():
    names = ["R", *(f"V{i:02}" for i in range(70))]
    spec = MixtureSpec.from_parents(
        dict.fromkeys(names, ("0", "1")), {n: ["R"] for n in names[1:]}, 2
    )
    rows = random_rows(spec, 30, 0)
    rows[:, 0] = -1
    mixture = random_mixture(spec, 3)
    index = CellIndex(spec, rows)
    assert index.open.n_units == 30
    found = log_joint(mixture, index)
    for i, u in itertools.product(range(30), range(2)):
        terms = [
            math.log(float(mixture.cpts[0][u, r]))
            + math.fsum(
                math.log(float(mixture.cpts[v][u, r, int(rows[i, v])])) for v in range(1, 71)
            )
            for r in range(2)
        ]
        top = max(terms)
        expected = top + math.log(math.fsum(math.exp(t - top) for t in terms))
        expected += math.log(float(mixture.weights[u]))
        assert float(found[i, u]) == pytest.approx(expected, rel=1e-12)


def test_components_found_in_different_parts_of_a_table_are_merged(monkeypatch):
    spec = random_spec(11, 6, 2)
    rows = random_rows(spec, 100, 3, 0.4)
    whole = CellIndex(spec, rows).open
    monkeypatch.setattr(missing_cells, "NUMBERS_OF_PAIRS", 7 * 6**2)
    parts = CellIndex(spec, rows).open
    assert parts.n_units == whole.n_units
    assert parts.sizes == whole.sizes


def common_child(n_parents):
    """A child whose parents are all missing: one component of ``2**n_parents`` completions."""
    names = [f"P{i:02}" for i in range(n_parents)]
    states = dict.fromkeys([*names, "C"], ("0", "1"))
    spec = MixtureSpec.from_parents(states, {"C": names}, 2)
    rows = torch.full((3, n_parents + 1), -1)
    rows[:, spec.vertex("C")] = torch.tensor([0, 1, 1])
    return spec, rows


def test_a_component_at_the_limit_is_summed_and_one_beyond_is_refused(monkeypatch):
    spec, rows = common_child(5)
    monkeypatch.setattr(missing_cells, "COMPLETION_LIMIT", 32)
    mixture = random_mixture(spec, 0)
    joint = log_joint(mixture, CellIndex(spec, rows)).exp()
    torch.testing.assert_close(joint, oracle_joint(mixture, rows))
    monkeypatch.setattr(missing_cells, "COMPLETION_LIMIT", 31)
    with pytest.raises(DataError, match=r"at most 31 completions .* 32 in 3 rows, for P00, P01"):
        log_joint(mixture, CellIndex(spec, rows))


def test_the_total_of_all_completions_has_a_limit(monkeypatch):
    spec, rows = common_child(5)
    cells = 2 * 32 * 6  # two configurations of C, 32 completions, 6 families
    monkeypatch.setattr(missing_cells, "COMPLETED_CELLS_LIMIT", cells)
    assert CellIndex(spec, rows).open.n_units == 2
    monkeypatch.setattr(missing_cells, "COMPLETED_CELLS_LIMIT", cells - 1)
    with pytest.raises(DataError, match=r"at most 383 CPT cells .* P00, P01"):
        log_prob(random_mixture(spec, 0), rows)


# -- zeros and derivatives -----------------------------------------------------------------------


def deterministic(spec):
    """A mixture whose tables are full of zeros: source u has state (v + u) mod card."""
    cpts = []
    for v in range(spec.n_variables):
        cpt = torch.zeros(spec.cpt_shape(v), dtype=torch.float64)
        for u in range(spec.n_sources):
            cpt[u, ..., (v + u) % spec.cards[v]] = 1.0
        cpts.append(cpt)
    weights = torch.full((spec.n_sources,), 1 / spec.n_sources, dtype=torch.float64)
    return BayesNetMixture(spec, weights, tuple(cpts))


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_zeros_give_minus_infinity_and_never_nan(missing):
    spec = random_spec(6, 5, 2)
    mixture, rows = deterministic(spec), random_rows(spec, 200, 0, missing)
    joint = log_joint(mixture, CellIndex(spec, rows))
    wanted = oracle_joint(mixture, rows).log()
    assert bool((wanted == -math.inf).any())
    assert not bool(joint.isnan().any())
    torch.testing.assert_close(joint, wanted)
    assert torch.equal(log_prob(mixture, rows) == -math.inf, (wanted == -math.inf).all(-1))


def test_a_source_that_cannot_complete_a_row_has_no_counts_there():
    spec = MixtureSpec.from_parents({"A": "ab", "B": "ab"}, {"B": ["A"]}, 2)
    b = torch.tensor([[[0.3, 0.7], [0.6, 0.4]], [[0.0, 1.0], [0.0, 1.0]]], dtype=torch.float64)
    drawn = random_mixture(spec, 0)
    mixture = BayesNetMixture(spec, drawn.weights, (drawn.cpts[0], b))
    rows, weights = torch.tensor([[-1, 0], [-1, 1]]), torch.tensor([2.0, 3.0], dtype=torch.float64)
    index = CellIndex(spec, rows)
    counts = expected_counts(mixture.weights[None], stacked(mixture)[:, None], index, weights)
    wanted = oracle_counts(mixture, rows, weights)
    for found, want in zip(index.axis.unstack(counts.cells), wanted, strict=True):
        torch.testing.assert_close(found[0], want, rtol=1e-12, atol=0)


def test_expected_counts_say_that_a_row_is_impossible():
    spec = random_spec(6, 5, 2)
    mixture, rows = deterministic(spec), random_rows(spec, 200, 0)
    point = (mixture.weights[None], CellAxis(spec).stack(mixture.cpts)[:, None])
    counts = expected_counts(*point, CellIndex(spec, rows), torch.ones(200, dtype=torch.float64))
    assert counts.log_likelihood.tolist() == [-math.inf]


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_log_prob_is_differentiable_twice(missing):
    spec = random_spec(9, 4, 2, uninfluenced=True)
    index = CellIndex(spec, random_rows(spec, 15, 1, missing))
    mixture = random_mixture(spec, 0)
    logits = [mixture.weights.log(), *(c.log() for c in mixture.cpts)]

    def total(*logits):
        weights, *cpts = (z.softmax(-1) for z in logits)
        return log_joint((weights, cpts), index).logsumexp(-1).sum()

    inputs = tuple(z.clone().requires_grad_() for z in logits)
    assert torch.autograd.gradcheck(total, inputs)
    assert torch.autograd.gradgradcheck(total, inputs)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_the_gradient_stays_finite_at_zeros(missing):
    spec = random_spec(6, 5, 2)
    mixture, rows = deterministic(spec), random_rows(spec, 200, 0, missing)
    weights = mixture.weights.clone().requires_grad_()
    cpts = tuple(c.clone().requires_grad_() for c in mixture.cpts)
    values = log_prob(BayesNetMixture(spec, weights, cpts), rows)
    possible = values > -math.inf
    values.where(possible, torch.zeros_like(values)).sum().backward()
    assert bool(possible.any())
    assert not bool(possible.all())
    assert all(bool(t.grad.isfinite().all()) for t in (weights, *cpts))


def test_the_gradient_with_respect_to_log_tables_is_the_expected_counts():
    spec = random_spec(3, 5, 3)
    mixture, rows = random_mixture(spec, 0), random_rows(spec, 30, 5, 0.3)
    weights = torch.rand(30, dtype=torch.float64)
    logs = [c.log().requires_grad_() for c in mixture.cpts]
    joint = log_joint((mixture.weights, [z.exp() for z in logs]), CellIndex(spec, rows))
    (weights @ joint.logsumexp(-1)).backward()
    for z, counts in zip(logs, oracle_counts(mixture, rows, weights), strict=True):
        assert z.grad is not None
        torch.testing.assert_close(z.grad, counts, rtol=1e-10, atol=1e-12)


# -- bad input and devices ------------------------------------------------------------------------


def test_rows_of_another_width_are_refused():
    with pytest.raises(DataError, match="expected rows of 4 variables, found 3 columns"):
        CellIndex(random_spec(5, 4, 2), torch.zeros(2, 3, dtype=torch.int8))


@pytest.mark.parametrize(("state", "shift"), [(-1, 0), (-2, 0), (-1, 1), (0, 1)])
def test_state_numbers_are_checked_at_both_ends(state, shift):
    spec = random_spec(5, 4, 2)
    rows = torch.zeros(2, 4, dtype=torch.int8)
    rows[1, 2] = state + shift * spec.cards[2]
    if state == -1:
        assert CellIndex(spec, rows).n_rows == 2
        return
    with pytest.raises(DataError, match=f"'{spec.name(2)}' has states 0..{spec.cards[2] - 1}"):
        CellIndex(spec, rows)


@pytest.mark.parametrize("row", [0, 255, 256, 511, 512, 599])
@pytest.mark.parametrize("state", [-2, 9])
def test_state_numbers_of_long_tables_are_checked_in_every_row(row, state):
    spec = random_spec(1, 3, 2)
    rows = torch.zeros(600, 3, dtype=torch.int8)
    rows[row, 1] = state
    with pytest.raises(DataError, match=f"state numbers {min(state, 0)}..{max(state, 0)}"):
        CellIndex(spec, rows)


def test_an_index_of_another_structure_is_refused():
    names = {"A": ("0", "1"), "B": ("0", "1")}
    chain = MixtureSpec.from_parents(names, {"B": ["A"]}, 2)
    flat = MixtureSpec.from_parents(names, {}, 2)
    index = CellIndex(flat, torch.zeros(1, 2, dtype=torch.int8))
    with pytest.raises(SpecError, match="index of the mixture's own structure"):
        log_joint(random_mixture(chain, 0), index)


def test_the_device_of_the_tensors_is_kept():
    spec = random_spec(5, 4, 2, uninfluenced=True)
    mixture, rows = random_mixture(spec, 0, batch_shape=(1,)), random_rows(spec, 500, 0, 0.2)
    weights = torch.ones(500, dtype=torch.float64)
    with torch.device("meta"):  # a factory call that names no device would fail
        index = CellIndex(spec, rows)
        joint = log_joint(mixture, index)
        counts = expected_counts(mixture.weights, stacked(mixture), index, weights)
    assert joint.device == counts.cells.device == torch.device("cpu")


@pytest.mark.cuda
def test_cuda_gives_the_same_numbers():
    spec = random_spec(5, 6, 3, uninfluenced=True)
    mixture, rows = random_mixture(spec, 0, batch_shape=(2,)), random_rows(spec, 2000, 0, 0.2)
    weights = torch.rand(2000, dtype=torch.float64)
    there = mixture.to("cuda")
    torch.testing.assert_close(
        log_joint(there, CellIndex(spec, rows.cuda())).cpu(),
        log_joint(mixture, CellIndex(spec, rows)),
        rtol=0,
        atol=1e-10,
    )
    here = expected_counts(mixture.weights, stacked(mixture), CellIndex(spec, rows), weights)
    far = expected_counts(
        there.weights, stacked(there), CellIndex(spec, rows.cuda()), weights.cuda()
    )
    torch.testing.assert_close(far.cells.cpu(), here.cells, rtol=0, atol=1e-10)
