"""Joint tables of three views: exact recovery, statuses, invariance, batches, statistics."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from helpers import BATCH_SHAPES
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from product_cases import (
    draw_table,
    element,
    error,
    identical_bits,
    joint_by_loops,
    joint_table,
    random_product,
    root_mean_square,
    separated_bits,
)

from pyromix.errors import (
    DataError,
    IdentificationError,
    RankError,
    SeparationError,
    SpecError,
)
from pyromix.identify.product.hadamard import hadamard_extension
from pyromix.identify.product.tables import identify_tables
from pyromix.identify.views.three_views import (
    alternating_least_squares,
    assemble,
    error_factor,
    noise_floor,
)
from pyromix.model.status import Status

CARDS = [(2, 2, 2), (2, 3, 4), (4, 2, 3), (3, 5, 2)]


def three_views(mixture, sizes):
    """Join the variables of a mixture into three views by their Hadamard extensions."""
    weights, tables = mixture
    ends = list(itertools.accumulate(sizes))
    blocks = zip([0, *ends], ends, strict=False)
    return weights, [hadamard_extension(tables[a:b]) for a, b in blocks]


@pytest.mark.parametrize("cards", CARDS)
def test_the_batched_joint_table_of_these_tests_is_the_one_by_loops(cards):
    mixture = random_product(cards, 3, 1, (2,))
    joint = joint_table(*mixture)
    for i in range(2):
        expected = joint_by_loops(mixture[0][i], [t[i] for t in mixture[1]])
        torch.testing.assert_close(joint[i], expected, rtol=0, atol=1e-15)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
    st.permutations([0, 1, 2]),
    st.integers(0, 2**31),
)
def test_exact_tables_give_the_mixture_back_times_their_condition(k, extra, order, seed):
    cards = [(max(k, 2), max(k, 2), 2)[i] + extra[i] for i in order]
    mixture = random_product(cards, k, seed)
    solution = identify_tables(joint_table(*mixture), k)
    # The standard error of exact tables is that of noise 1e-14: rounding, magnified to first
    # order. Over 400 draws the error was at most .15 of this bound.
    magnified = float(solution.diagnostics.standard_error / mixture[0].min())
    assert int(solution.status) == Status.OK
    assert error(solution, mixture) < magnified + 1e-14


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_separated_bits_are_recovered_to_1e_12(k):
    """THEORY, E3, in the robust form: blocks of k - 1 variables and a pivot."""
    for seed in range(10):
        mixture = separated_bits(k, 2 * k - 1, seed)
        views = three_views(mixture, (k - 1, k - 1, 1))
        solution = identify_tables(joint_table(*views), k)
        assert int(solution.status) == Status.OK
        assert error(solution, views) < 1e-12


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_batching_commutes_with_looping(batch_shape):
    mixture = random_product((3, 4, 2), 2, 5, batch_shape)
    joint = draw_table(joint_table(*mixture), 5000, 1)
    rows = torch.full(batch_shape, 5000.0, dtype=torch.float64)
    solution = identify_tables(joint, 2, n_rows=rows)
    assert solution.weights.shape == (*batch_shape, 2)
    assert [t.shape for t in solution.tables] == [(*batch_shape, 2, c) for c in (3, 4, 2)]
    assert solution.status.shape == batch_shape
    for i in itertools.product(*map(range, batch_shape)):
        one = identify_tables(joint[i], 2, n_rows=5000.0)
        assert int(one.status) == int(solution.status[i])
        assert error(element(solution, i), (one.weights, list(one.tables))) < 1e-8


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_order_of_views_and_states_does_not_matter(axes):
    weights, tables = random_product((4, 3, 5), 3, 2)
    joint = joint_table(weights, tables)
    states = torch.tensor([2, 0, 1])
    permuted = joint[:, states].permute(axes)
    solution = identify_tables(permuted, 3)
    expected = [tables[0], tables[1][:, states], tables[2]]
    assert error(solution, (weights, [expected[i] for i in axes])) < 1e-10


def test_order_of_sources_in_the_truth_does_not_matter():
    weights, tables = random_product((3, 3, 3), 3, 4)
    order = [2, 0, 1]
    one = identify_tables(joint_table(weights, tables), 3)
    other = identify_tables(joint_table(weights[order], [t[order] for t in tables]), 3)
    assert error(other, (one.weights, list(one.tables))) < 1e-10


def test_any_admissible_view_can_be_the_third():
    mixture = random_product((3, 4, 3), 3, 6)
    joint = joint_table(*mixture)
    for third in range(3):
        solution = identify_tables(joint, 3, third=third)
        assert solution.views[2] == (third,)
        assert error(solution, mixture) < 1e-9


def test_the_view_with_the_fewest_states_is_the_third():
    assert identify_tables(joint_table(*random_product((2, 4, 4), 4, 6)), 4).views[2] == (0,)
    assert identify_tables(joint_table(*random_product((3, 3, 3), 2, 6)), 2).views[2] == (2,)


def test_a_state_that_never_occurs_has_probability_zero():
    weights, tables = random_product((3, 3, 2), 2, 8)
    tables[0] = torch.cat([tables[0][:, :2], torch.zeros(2, 1).double(), tables[0][:, 2:]], -1)
    solution = identify_tables(joint_table(weights, tables), 2)
    assert float(solution.tables[0][:, 2].max()) < 1e-15
    assert error(solution, (weights, tables)) < 1e-11


def test_one_source_gives_the_marginals():
    weights, tables = random_product((2, 3, 2), 1, 0)
    solution = identify_tables(joint_table(weights, tables), 1)
    assert int(solution.status) == Status.OK
    assert error(solution, (weights, tables)) < 1e-14
    assert math.isinf(float(solution.diagnostics.separation))


# -- what cannot be solved -------------------------------------------------------------------


def test_identical_sources_have_too_small_a_rank():
    """THEORY, E5."""
    weights, tables = random_product((3, 3, 3), 3, 1)
    for table in tables:
        table[2] = table[0]
    solution = identify_tables(joint_table(weights, tables), 3)
    assert int(solution.status) == Status.RANK_TOO_SMALL
    with pytest.raises(RankError, match="noise floor") as caught:
        solution.require()
    assert caught.value.singular_values[2] < caught.value.floor


def test_sources_that_the_third_view_cannot_tell_apart_are_merged():
    weights, tables = random_product((3, 3, 2), 3, 1)
    tables[2][1] = tables[2][0]
    solution = identify_tables(joint_table(weights, tables), 3)
    assert int(solution.status) == Status.MERGED
    with pytest.raises(SeparationError, match="standard errors"):
        solution.require()


def test_more_sources_than_states_are_a_status_with_the_marginals():
    weights, tables = random_product((4, 2, 2), 3, 1)
    joint = joint_table(weights, tables)
    solution = identify_tables(joint, 3)
    assert int(solution.status) == Status.TOO_MANY_SOURCES
    torch.testing.assert_close(solution.tables[0], joint.sum((1, 2)).expand(3, 4))
    with pytest.raises(IdentificationError, match="TOO_MANY_SOURCES"):
        solution.require()


def test_goodmans_four_items_with_three_classes_are_refused_in_any_grouping():
    """THEORY, E7: two views of two items leave none for the third."""
    mixture = random_product((2,) * 4, 3, 1)
    for sizes in [(2, 1, 1), (1, 2, 1), (1, 1, 2)]:
        views = three_views(mixture, sizes)
        solution = identify_tables(joint_table(*views), 3)
        assert int(solution.status) == Status.TOO_MANY_SOURCES


@pytest.mark.parametrize("k", [3, 4])
def test_five_items_with_three_or_four_classes_are_solved(k):
    views = three_views(random_product((2,) * 5, k, 3), (2, 2, 1))
    assert error(identify_tables(joint_table(*views), k), views) < 1e-9


def test_a_complex_pair_is_named_and_the_tables_are_still_distributions():
    """P(a, b, c) whose slices turn: no two sources give it, and no real part is taken for one."""
    pair = torch.eye(2, dtype=torch.float64) * 0.25
    turn = torch.tensor([[0.0, 0.05], [-0.05, 0.0]], dtype=torch.float64)
    base = pair + 0.125
    joint = torch.stack([base / 2 + turn, base / 2 - turn], -1)
    joint = joint / joint.sum()
    solution = identify_tables(joint, 2, n_rows=1e6)
    assert int(solution.status) == Status.COMPLEX_PAIR
    assert float(solution.diagnostics.imaginary) > 0.1
    for table in solution.tables:
        assert float(table.min()) >= 0
        torch.testing.assert_close(table.sum(-1), torch.ones(2, dtype=torch.float64))
    with pytest.raises(SeparationError, match="COMPLEX_PAIR"):
        solution.require()


def test_bad_elements_leave_the_others_alone():
    mixture = random_product((2, 3, 2), 2, 3, (6,))
    joint = joint_table(*mixture)
    good = identify_tables(joint[5], 2)
    joint[0, 0, 0, 0] = torch.nan
    joint[1] *= 2
    joint[2, 0, 0, 0] = -0.5
    joint[3] = 0
    rows = torch.tensor([1e4, 1e4, 1e4, 0, 3, math.inf], dtype=torch.float64)
    solution = identify_tables(joint, 2, n_rows=rows)
    invalid, few = Status.INVALID_INPUT, Status.TOO_FEW_ROWS
    assert solution.status.tolist() == [invalid, invalid, invalid, few, few, Status.OK]
    assert error(element(solution, 5), (good.weights, list(good.tables))) < 1e-12
    for table in solution.tables:
        assert bool(table.isfinite().all())
    with pytest.raises(IdentificationError, match=r"element \(0,\), 5 of 6"):
        solution.require()


def test_zeros_are_invalid_where_rows_are_claimed():
    zeros = torch.zeros(2, 2, 2, dtype=torch.float64)
    assert int(identify_tables(zeros, 2).status) == Status.INVALID_INPUT
    assert int(identify_tables(zeros, 2, n_rows=0.0).status) == Status.TOO_FEW_ROWS


def test_arguments_that_make_no_sense_are_refused():
    joint = joint_table(*random_product((2, 2, 2), 2, 0))
    with pytest.raises(SpecError, match="found 0"):
        identify_tables(joint, 0)
    with pytest.raises(SpecError, match="found True"):
        identify_tables(joint, True)
    with pytest.raises(SpecError, match="axis of a view"):
        identify_tables(joint, 2, third=3)
    with pytest.raises(DataError, match="not be negative"):
        identify_tables(joint, 2, n_rows=-1.0)
    with pytest.raises((DataError, TypeCheckError), match=r"n_rows|number of rows"):
        identify_tables(joint, 2, n_rows=torch.ones(3, dtype=torch.float64))


# -- the lower bound, and noise --------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_lower_bound_instance_is_solved_from_exact_moments(k):
    """THEORY, E6. The k-th correlation is 1e-8 at k = 5; error 3e-16, 1e-15, 4e-14, 9e-13."""
    views = three_views(identical_bits(k, 2 * k - 1, 1 / (8 * k)), (k - 1, k - 1, 1))
    assert error(identify_tables(joint_table(*views), k), views) < 1e-11


@pytest.mark.parametrize("k", [3, 4])
def test_lower_bound_instance_is_refused_with_ten_thousand_rows(k):
    """OK in 13 and 1 of 200 samples; the others are mostly RANK_TOO_SMALL."""
    views = three_views(identical_bits(k, 2 * k - 1, 1 / (8 * k)), (k - 1, k - 1, 1))
    joint = joint_table(*views)
    sample = draw_table(joint.expand(200, *joint.shape), 10_000, 0)
    status = identify_tables(sample, k, n_rows=1e4).status
    assert float((status == Status.OK).double().mean()) < 0.12
    assert float((status == Status.RANK_TOO_SMALL).double().mean()) > 0.6


def test_noise_floor_is_the_largest_singular_value_of_the_noise_left():
    """Mean over 200 tables of independent variables, relative to the floor: .88 to .89."""
    m, n = torch.tensor(12), torch.tensor(9)
    _, tables = random_product((12, 9, 1), 1, 0)
    joint = joint_table(torch.ones(1, dtype=torch.float64), tables)
    sample = draw_table(joint.expand(200, -1, -1, -1), 20_000, 0).squeeze(-1)
    a, b = sample.sum(-1), sample.sum(-2)
    values = torch.linalg.svdvals(sample / (a.unsqueeze(-1) * b.unsqueeze(-2)).sqrt())
    floor = noise_floor(m, n, 2, torch.tensor(20_000.0, dtype=torch.float64).rsqrt())
    assert 0.85 < float(values[:, 1].mean() / floor) < 0.95


@pytest.mark.parametrize(("cards", "k", "asked"), [((4, 4, 4), 1, 2), ((4, 4, 4), 2, 3)])
def test_a_source_too_many_is_noticed(cards, k, asked):
    """Share of OK among 300 samples of 1e4 rows: .040 and .023; .08 is three errors above."""
    joint = joint_table(*random_product(cards, k, 0, (300,)))
    solution = identify_tables(draw_table(joint, 10_000, 0), asked, n_rows=1e4)
    assert float((solution.status == Status.OK).double().mean()) < 0.08


@pytest.mark.parametrize(("cards", "k"), [((3, 4, 5), 2), ((6, 6, 6), 4)])
def test_error_falls_like_the_root_of_the_number_of_rows(cards, k):
    """Ratio of median errors at 1e4 and 1e6 rows over 60 mixtures: 8.7 to 11.3 in 6 seeds each."""
    mixture = random_product(cards, k, 3, (60,))
    joint = joint_table(*mixture)
    medians = []
    for n_rows in (10_000, 1_000_000):
        solution = identify_tables(draw_table(joint, n_rows, 1), k, n_rows=float(n_rows))
        errors = [
            root_mean_square(element(solution, i), (mixture[0][i], [t[i] for t in mixture[1]]))
            for i in range(60)
        ]
        medians.append(sorted(errors)[30])
    assert 8 < medians[0] / medians[1] < 12.5


def test_misfit_of_the_right_number_of_sources_is_what_noise_explains():
    """Median over 50 tables, in units of noise: .38; below one, since the fit takes up a part."""
    joint = joint_table(*random_product((8, 8, 8), 3, 1, (50,)))
    residual = identify_tables(draw_table(joint, 100_000, 0), 3, n_rows=1e5).diagnostics.residual
    assert 0.25 < float(residual.median()) < 0.6


def test_least_squares_on_the_core_lowers_the_misfit_and_keeps_exact_solutions():
    weights, (left, right, third) = random_product((3, 4, 2), 3, 2)
    ones = torch.ones(3, dtype=torch.float64)
    third = weights.unsqueeze(-1) * third
    core = assemble(ones, left, right, third)
    kept = alternating_least_squares(core, left, right, third)
    assert all(torch.equal(a, b) for a, b in zip(kept, (left, right, third), strict=True))
    generator = torch.Generator().manual_seed(0)
    noisy = core + 0.01 * torch.randn(core.shape, generator=generator, dtype=torch.float64)
    moved = alternating_least_squares(noisy, left, right, third)
    before = (noisy - core).norm()
    assert float((noisy - assemble(ones, *moved)).norm()) < float(before)


def test_error_factor_is_that_of_the_jacobian():
    """Against the singular values of the Jacobian by autograd; two scales per source are free."""
    weights, (left, right, third) = random_product((3, 4, 2), 3, 2)

    def core(a, b, c):
        return assemble(torch.ones_like(weights), a, b, c).flatten()

    blocks = torch.autograd.functional.jacobian(core, (left, right, weights[:, None] * third))
    values = torch.linalg.svdvals(torch.cat([b.flatten(1) for b in blocks], 1))
    expected = float((1 / values[: 3 * (3 + 4 + 2) - 6] ** 2).mean().sqrt())
    assert float(error_factor(weights, left, right, third)) == pytest.approx(expected, rel=1e-6)


def test_same_seed_same_answer_and_a_generator_is_accepted():
    joint = draw_table(joint_table(*random_product((4, 4, 4), 3, 0)), 1000, 0)
    one, two = (identify_tables(joint, 3, n_rows=1e3, random_state=7) for _ in range(2))
    assert torch.equal(one.weights, two.weights)
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(
        identify_tables(joint, 3, n_rows=1e3, random_state=generator).weights, one.weights
    )


def test_no_tensor_is_made_on_the_default_device():
    joint = draw_table(joint_table(*random_product((3, 3, 3), 2, 0, (2,))), 500, 0)
    with torch.device("meta"):
        solution = identify_tables(joint, 2, n_rows=500.0)
        assert solution.weights.device.type == "cpu"
        assert identify_tables(joint, 4).weights.device.type == "cpu"


@pytest.mark.cuda
def test_on_a_gpu_the_answer_is_the_same():
    joint = joint_table(*random_product((4, 4, 4), 3, 0, (50,)))
    one, other = identify_tables(joint, 3), identify_tables(joint.cuda(), 3)
    torch.testing.assert_close(
        one.diagnostics.singular_values, other.diagnostics.singular_values.cpu()
    )
    for i in range(50):
        cpu = element(one, i)
        gpu = (other.weights[i].cpu(), [t[i].cpu() for t in other.tables])
        assert error(cpu, gpu) < 1e-10
