"""The door to LAPACK, and every solver behind it: a bad matrix of a stack harms no other."""

from __future__ import annotations

import math

import pytest
import torch
from product_cases import joint_table, random_product

from pyromix.coins.likelihood import Flips, refine_binomial
from pyromix.coins.moments import MOMENT_METHODS, solve_moments
from pyromix.coins.prony import quadrature
from pyromix.errors import PyromixError, RefinementError, SpecError
from pyromix.exact import linalg
from pyromix.exact.information import expected_information
from pyromix.identify.network.layers import Normal, _regressed
from pyromix.identify.product.hadamard import multilinear_moments
from pyromix.identify.product.pencil import two_slice_pencil
from pyromix.identify.product.rank import rank_test
from pyromix.identify.product.tables import identify_tables
from pyromix.identify.views.joint_diagonalisation import best_combination, joint_diagonalise
from pyromix.identify.views.simplex import simplex_least_squares, stochastic_least_squares
from pyromix.identify.views.three_views import error_factor, solve_core, third_coordinates
from pyromix.identify.views.views import _whitening
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec
from pyromix.model.status import Status, refuse

OK = int(Status.OK)


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def symmetric(*shape, seed=0):
    a = normal(*shape, seed=seed)
    return (a + a.mT) / 2


def garbage(good):
    """Elements that are no good, or hard, shaped like one that is."""
    one_nan, one_inf = good.clone(), good.clone()
    one_nan.view(-1)[0], one_inf.view(-1)[4] = math.nan, math.inf
    repeated = good.clone()
    repeated[..., -1] = repeated[..., 0]
    graded = good.clone()
    graded[..., 0] = -6e15
    return {
        "nan": torch.full_like(good, math.nan),
        "one nan": one_nan,
        "one inf": one_inf,
        "1e300": good * 1e300,
        "1e-300": good * 1e-300,
        "largest": torch.full_like(good, torch.finfo(good.dtype).max),
        "subnormal": torch.full_like(good, 5e-324),
        "zero": torch.zeros_like(good),
        "repeated": repeated,
        "equal": torch.ones_like(good),
        "graded": graded,
    }


def beside(good):
    """Good elements at both ends of a stack of garbage."""
    return torch.stack([good[0], *garbage(good[0]).values(), good[1]])


DOOR = {
    "eigh": lambda a: linalg.eigh((a + a.mT) / 2),
    "eigvalsh": lambda a: linalg.eigvalsh((a + a.mT) / 2),
    "eig": linalg.eig,
    "eigvals": linalg.eigvals,
    "svd": linalg.svd,
    "svd, full": lambda a: linalg.svd(a[..., :3], full_matrices=True),
    "triangle": linalg.triangle,
    "pinv": linalg.pinv,
    "inv": linalg.inv,
    "solve": lambda a: linalg.solve(a, torch.ones_like(a[..., :2])),
    "solve from the right": lambda a: linalg.solve(a, torch.ones_like(a[..., :2, :]), left=False),
    "solve_triangular": lambda a: linalg.solve_triangular(
        a.tril(), torch.ones_like(a[..., :2]), upper=False
    ),
    "lu": linalg.lu,
}


def parts(found):
    return {
        name: value
        for name, value in vars(found).items()
        if isinstance(value, torch.Tensor) and name != "status"
    }


@pytest.mark.parametrize("name", DOOR)
def test_good_matrices_beside_garbage_are_factorised_as_alone(name):
    good = normal(2, 4, 4)
    found = DOOR[name](beside(good))
    for place, element in ((0, good[0]), (-1, good[1])):
        alone = DOOR[name](element)
        assert int(found.status[place]) == int(alone.status) == OK
        for part, value in parts(alone).items():
            torch.testing.assert_close(parts(found)[part][place], value, rtol=0, atol=0)


@pytest.mark.parametrize("name", DOOR)
def test_a_status_is_ok_exactly_where_every_number_is_finite(name):
    found = DOOR[name](beside(normal(2, 4, 4)))
    for value in parts(found).values():
        if value.dtype == torch.int32:
            continue
        finite = value.isfinite().reshape(len(value), -1)
        sound = found.status == OK
        assert bool(finite[sound].all())
        assert not bool(finite[~sound].any())
    codes = dict(zip(garbage(torch.ones(9)), found.status[1:-1].tolist(), strict=True))
    assert {codes[n] for n in ("nan", "one nan", "one inf")} == {int(Status.INVALID_INPUT)}


@pytest.mark.parametrize("factor", [2.0**-990, 2.0**-600, 2.0**600, 2.0**990])
@pytest.mark.parametrize("name", DOOR)
def test_a_matrix_out_of_range_has_the_exact_multiples_of_its_answers(name, factor):
    degrees = {"values": 1, "value": {"pinv": -1, "inv": -1, "solve": -1}.get(name.split()[0], 1)}
    if name == "solve_triangular":
        degrees["value"] = -1
    a = normal(4, 4)
    expected, found = DOOR[name](a), DOOR[name](a * factor)
    assert int(found.status) == OK
    if name == "lu":
        right = normal(4, 2, seed=5)
        one, other = linalg.lu_solve(expected, right), linalg.lu_solve(found, right)
        torch.testing.assert_close(other * factor, one, rtol=1e-12, atol=0)
        return
    for part, value in parts(expected).items():
        scaled = parts(found)[part] * factor ** -degrees.get(part, 0)
        torch.testing.assert_close(scaled, value, rtol=1e-10, atol=1e-13)


def test_a_solution_of_factors_that_are_none_is_nan_even_for_zeros():
    stack = torch.stack([torch.eye(2).double(), torch.zeros(2, 2).double()])
    factors = linalg.lu(stack)
    solution = linalg.lu_solve(factors, torch.zeros(2, 2, 1, dtype=torch.float64))
    assert factors.status.tolist() == [OK, Status.RANK_TOO_SMALL]
    assert solution.isnan().flatten(1).all(1).tolist() == [False, True]


def test_a_right_hand_side_that_is_not_finite_is_invalid_in_its_element_only():
    right = torch.ones(3, 2, 1, dtype=torch.float64)
    right[1, 0] = math.inf
    found = linalg.solve(torch.eye(2, dtype=torch.float64).expand(3, 2, 2), right)
    assert found.status.tolist() == [OK, Status.INVALID_INPUT, OK]
    assert found.value.isnan().flatten(1).all(1).tolist() == [False, True, False]


@pytest.mark.parametrize("batch_shape", [(), (1,), (2, 3), (0,)])
@pytest.mark.parametrize("name", DOOR)
def test_batches_of_any_shape_keep_it(name, batch_shape):
    for bad in (False, True):
        a = normal(*batch_shape, 4, 4)
        if bad and a.numel():
            a[(0,) * len(batch_shape)] = math.nan
        found = DOOR[name](a)
        assert tuple(found.status.shape) == batch_shape
        for value in parts(found).values():
            assert tuple(value.shape[: len(batch_shape)]) == batch_shape


@pytest.mark.parametrize("name", DOOR)
def test_no_tensor_is_made_on_the_default_device(name):
    a = beside(normal(2, 4, 4))
    expected = DOOR[name](a)
    with torch.device("meta"):
        found = DOOR[name](a)
    for part, value in parts(expected).items():
        torch.testing.assert_close(parts(found)[part], value, rtol=0, atol=0, equal_nan=True)


# -- one by one where LAPACK raises for a stack ------------------------------------------------

FUNCTIONS = {
    "eigh": "eigh", "eigvalsh": "eigvalsh", "eig": "eig", "eigvals": "eigvals", "svd": "svd",
    "svd, full": "svd", "triangle": "qr", "pinv": "pinv", "inv": "inv_ex", "solve": "solve_ex",
    "solve from the right": "solve_ex", "solve_triangular": "solve_triangular",
    "lu": "lu_factor_ex",
}  # fmt: skip


@pytest.mark.parametrize("name", DOOR)
def test_a_stack_that_raises_is_factorised_one_by_one(name, monkeypatch):
    original = getattr(torch.linalg, FUNCTIONS[name])
    good = normal(2, 3, 4, 4)
    expected = DOOR[name](good)
    cursed = good[1, 0, 0, 0]

    def failing(a, *args, **options):
        if a.ndim > 2 or bool((a == cursed).any()):
            raise torch.linalg.LinAlgError("failed to converge")
        return original(a, *args, **options)

    monkeypatch.setattr(torch.linalg, FUNCTIONS[name], failing)
    found = DOOR[name](good)
    status = torch.zeros(2, 3, dtype=torch.int64)
    status[1, 0] = Status.NOT_CONVERGED
    assert found.status.tolist() == status.tolist()
    for part, value in parts(expected).items():
        torch.testing.assert_close(parts(found)[part][0], value[0], rtol=0, atol=0)
        if value.dtype != torch.int32:
            assert bool(parts(found)[part][1, 0].isnan().all())


@pytest.mark.parametrize("bad", [False, True])
def test_derivatives_are_those_of_the_good_matrices(bad):
    a = normal(3, 3, 3)
    a[1] = math.nan if bad else a[1]

    def through(stack):
        whole = (stack + stack.mT) / 2
        e, s = linalg.eigh(whole), linalg.svd(stack)
        inverse = linalg.inv(stack).value
        rebuilt = e.vectors * e.values.exp().unsqueeze(-2) @ e.vectors.mT
        return rebuilt + inverse + s.values.unsqueeze(-1)

    kept = torch.tensor([0, 2])
    assert torch.autograd.gradcheck(
        lambda good: through(a.index_copy(0, kept, good))[kept], a[kept].requires_grad_()
    )
    stack = a.clone().requires_grad_()
    through(stack)[kept].sum().backward()
    assert bool(stack.grad.isfinite().all())


def test_a_single_matrix_is_refused_in_three_parts():
    status = linalg.eigh(torch.full((2, 2), math.nan, dtype=torch.float64)).status
    with pytest.raises(RefinementError, match=r"expected a curvature, found one with .*; look"):
        refuse(status, RefinementError, "a curvature", "look for nan")


def test_rescaling_is_exact_and_leaves_ordinary_numbers_alone():
    a = normal(3, 2, 2)
    same, none = linalg.rescaled(a, (-2, -1))
    assert same is a
    assert none is None
    a[1] *= 2.0**-800
    scaled, scale = linalg.rescaled(a, (-2, -1))
    assert scale.log2().tolist() == scale.log2().round().tolist()
    assert torch.equal(scaled / scale[:, None, None], a)
    assert 2 <= float(scaled[1].abs().max()) < 4


# -- solvers -----------------------------------------------------------------------------------


def finite(*tensors, n_batch=1):
    return torch.stack([t.isfinite().flatten(n_batch).all(-1) for t in tensors]).all(0)


def same(found, alone):
    torch.testing.assert_close(found, alone, rtol=1e-9, atol=1e-9, equal_nan=True)


def tables(seed):
    return joint_table(*random_product((3, 3, 3), 2, seed))


def core(seed):
    """Sources (1, x) in whitened coordinates, k = 2."""
    w = torch.tensor([0.4, 0.6], dtype=torch.float64)
    x = (w.flip(0) / w).sqrt() * torch.tensor([1.0, -1.0], dtype=torch.float64)
    view = torch.stack([torch.ones_like(x), x], -1)
    other = torch.stack([torch.ones_like(x), (0.3 + 0.1 * seed) * x], -1)
    return torch.einsum("u,uc,ui,uj->cij", w, other, view, view)


def solved_core(cores):
    batch = cores.shape[:-3]
    ones = torch.ones(*batch, 2, dtype=torch.float64)
    first = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(*batch, 2)
    return solve_core(cores, ones, first, first, torch.full(batch, 1e-6, dtype=torch.float64))


def test_a_core_beside_garbage_is_solved_as_alone():
    good = torch.stack([core(0), core(1)])
    found = solved_core(beside(good))
    for place, element in ((0, good[0]), (-1, good[1])):
        alone = solved_core(element)
        assert int(found.status[place]) == int(alone.status) == OK
        for part in ("weights", "left", "right", "third", "standard_error"):
            same(getattr(found, part)[place], getattr(alone, part))
    sound = finite(found.weights, found.left, found.right, found.third)
    assert not bool(((found.status == OK) & ~sound).any())
    codes = dict(zip(garbage(torch.ones(9)), found.status[1:-1].tolist(), strict=True))
    assert {codes[n] for n in ("nan", "one nan", "one inf")} == {int(Status.INVALID_INPUT)}
    assert codes["1e300"] != OK
    assert codes["largest"] != OK


def test_third_coordinates_beside_garbage_are_those_alone():
    good = normal(2, 4, 3, 3)
    one = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    found = third_coordinates(beside(good), one.expand(13, 4), 3)
    same(found[0], third_coordinates(good[0], one, 3))
    same(found[-1], third_coordinates(good[1], one, 3))
    assert bool(found[1:4, :, 1:].isnan().all())


def test_the_error_factor_of_a_degenerate_element_is_infinite_and_of_others_as_alone():
    left = beside(normal(2, 3, 3))
    weights = torch.full((13, 3), 1 / 3, dtype=torch.float64)
    weights[5] = math.nan
    right, third = normal(13, 3, 3, seed=1), normal(13, 3, 2, seed=2)
    found = error_factor(weights, left, right, third)
    for i in (0, -1):
        same(found[i], error_factor(weights[i], left[i], right[i], third[i]))
        assert bool(found[i].isfinite())
    assert bool(found[[1, 2, 3, 5]].isinf().all())


def test_matrices_beside_garbage_are_diagonalised_as_alone():
    basis = normal(2, 3, 3) + 2 * torch.eye(3, dtype=torch.float64)
    values = normal(2, 4, 3, seed=1)
    inverse = torch.linalg.inv(basis).unsqueeze(1)
    good = basis.unsqueeze(1) * values.unsqueeze(-2) @ inverse
    stack = beside(good)
    start, gap, imaginary = best_combination(stack)
    found, back, diagonals, converged = joint_diagonalise(stack, start)
    for place, element in ((0, good[0]), (-1, good[1])):
        alone = best_combination(element)
        same(start[place], alone[0])
        same(gap[place], alone[1])
        for a, b in zip(
            (found, back, diagonals, converged), joint_diagonalise(element, alone[0]), strict=True
        ):
            same(a[place], b)
    assert not bool((converged & ~finite(found, back, diagonals)).any())
    assert bool(imaginary[1].isnan())
    assert converged[1:4].tolist() == [False] * 3
    # Uniformly huge and tiny ones have the basis of the good one, to rounding.
    for place, factor in ((4, 1e300), (5, 1e-300)):
        same(found[place].abs(), found[0].abs())
        same(diagonals[place] / factor, diagonals[0])


@pytest.mark.parametrize("solve", [simplex_least_squares, stochastic_least_squares])
@pytest.mark.parametrize("inside", [True, False])
def test_least_squares_beside_garbage_are_solved_as_alone(solve, inside):
    good = normal(2, 6, 3)
    truth = torch.full((3, 2), 0.5, dtype=torch.float64)
    targets = good @ truth if inside else normal(2, 6, 2, seed=7)
    if solve is simplex_least_squares:
        targets = targets[..., 0] * (2 / 3)
    for design, target in (
        (beside(good), torch.stack([targets[0]] * 12 + [targets[1]])),
        (torch.stack([good[0]] * 12 + [good[1]]), beside(targets)),
    ):
        found = solve(design, target)
        same(found[0], solve(good[0], targets[0]))
        same(found[-1], solve(good[1], targets[1]))
        assert bool(found[[0, -1]].isfinite().all())
        assert bool(found[1:4].isnan().all())
        # What is a number is a distribution.
        total = found.sum(-1)
        assert bool(((total - 1).abs() < 1e-9)[~total.isnan()].all())
    scaled = solve(beside(good), torch.stack([targets[0]] * 12 + [targets[1]]) * 0)
    assert bool(scaled[[4, 5]].isfinite().all())


def test_tables_beside_garbage_are_solved_as_alone():
    good = torch.stack([tables(0), tables(1)])
    found = identify_tables(beside(good), 2)
    for place, element in ((0, good[0]), (-1, good[1])):
        alone = identify_tables(element, 2)
        assert int(found.status[place]) == int(alone.status) == OK
        same(found.weights[place], alone.weights)
        for a, b in zip(found.tables, alone.tables, strict=True):
            same(a[place], b)
    assert bool((found.status[1:-1] != OK).all())
    assert bool(finite(found.weights, *found.tables).all())


def test_a_table_whose_singular_vectors_are_not_found_has_a_status(monkeypatch):
    good = torch.stack([tables(0), tables(1), tables(2)])
    alone = identify_tables(good[0], 2)
    original, calls = torch.linalg.svd, []

    def failing(a, *args, **options):
        if a.ndim > 2:
            raise torch.linalg.LinAlgError("failed to converge")
        calls.append(1)
        if len(calls) == 3:  # a spare one, the first, the second
            raise torch.linalg.LinAlgError("failed to converge")
        return original(a, *args, **options)

    monkeypatch.setattr(torch.linalg, "svd", failing)
    found = identify_tables(good, 2)
    assert found.status.tolist() == [OK, Status.NOT_CONVERGED, OK]
    assert bool(found.lost[1])
    same(found.weights[0], alone.weights)
    same(found.weights[1], torch.full((2,), 0.5, dtype=torch.float64))
    same(found.tables[0][1], good[1].sum((1, 2)).expand(2, -1))


def test_moments_beside_garbage_are_solved_by_the_pencil_as_alone():
    def moments(seed):
        return multilinear_moments(joint_table(*random_product((2,) * 5, 2, seed)).flatten())

    good = torch.stack([moments(0), moments(1)])
    found = two_slice_pencil(beside(good), 2, [0, 1], [2, 3], 4)
    for place, element in ((0, good[0]), (-1, good[1])):
        alone = two_slice_pencil(element, 2, [0, 1], [2, 3], 4)
        assert int(found.status[place]) == int(alone.status) == OK
        same(found.weights[place], alone.weights)
        same(found.means[place], alone.means)
    assert not bool(((found.status == OK) & ~finite(found.weights, found.means)).any())
    assert bool((found.status[1:4] == Status.INVALID_INPUT).all())


@pytest.mark.parametrize("method", MOMENT_METHODS)
def test_moments_of_coins_beside_garbage_are_solved_as_alone(method):
    powers = torch.arange(7, dtype=torch.float64)
    probs = torch.tensor([[0.1, 0.5, 0.8], [0.2, 0.4, 0.9]], dtype=torch.float64)
    good = (probs.unsqueeze(-1) ** powers).mean(1)
    found = solve_moments(beside(good), 3, method=method)
    for place, element in ((0, good[0]), (-1, good[1])):
        alone = solve_moments(element, 3, method=method)
        assert int(found.status[place]) == int(alone.status) == OK
        same(found.probs[place], alone.probs)
        same(found.weights[place], alone.weights)
    # The moment that "repeated" spoils is not one that k coins are found from.
    codes = dict(zip(garbage(torch.ones(9)), found.status[1:-1].tolist(), strict=True))
    assert [name for name, code in codes.items() if code == OK] == ["repeated"]
    invalid = found.status == Status.INVALID_INPUT
    assert bool(found.probs[invalid].isnan().all())
    assert bool(found.weights[invalid].isnan().all())


def test_quadrature_beside_garbage_is_as_alone():
    good = torch.diag_embed(torch.full((2, 3), 0.5, dtype=torch.float64))
    good = good + 0.2 * (torch.diag_embed(torch.ones(2, 2, dtype=torch.float64), 1))
    good = (good + good.mT) / 2
    stack = beside(good)
    linked = torch.ones(13, 3, dtype=torch.bool)
    atoms, weights = quadrature(stack, linked)
    for place, element in ((0, good[0]), (-1, good[1])):
        for a, b in zip((atoms, weights), quadrature(element, linked[0]), strict=True):
            same(a[place], b)
    assert bool(atoms[1:4].isnan().all())
    assert bool(weights[1:4].isnan().all())


def test_rank_tests_beside_hard_tables_are_as_alone_and_none_is_made_up(monkeypatch):
    good = torch.stack([tables(0).sum(2), tables(1).sum(2)])
    stack = beside(good).nan_to_num(0.0, 0.0, 0.0).clamp_min(0)
    found = rank_test(stack, 1000.0, 1)
    for place, element in ((0, good[0]), (-1, good[1])):
        alone = rank_test(element, 1000.0, 1)
        same(found.statistic[place], alone.statistic)
        same(found.p_value[place], alone.p_value)

    def failing(a, *args, **options):
        raise torch.linalg.LinAlgError("failed to converge")

    original = torch.linalg.eigh

    def once(a, *args, **options):
        if a.ndim > 2 or torch.equal(a, torch.diag(torch.arange(1.0, 5.0)).double()):
            return original(a) if a.ndim == 2 else failing(a)
        return failing(a)

    monkeypatch.setattr(torch.linalg, "eigh", once)
    lost = rank_test(good, 1000.0, 1)
    assert bool(lost.p_value.isnan().all())
    assert bool(lost.pooled().p_value.isnan())


def test_whitening_beside_garbage_is_as_alone():
    a = normal(2, 4, 4)
    good = a @ a.mT
    white, rank = _whitening(beside(good))
    for place, element in ((0, good[:1]), (-1, good[1:])):
        alone, its_rank = _whitening(element)
        same(white[place], alone[0])
        assert int(rank[place]) == int(its_rank[0]) == 4
    assert rank[1:4].tolist() == [0] * 3
    assert bool(white[1:4].isnan().all())


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e300])
def test_a_layer_is_regressed_beside_a_bad_parent_state_as_alone(bad):
    spec = MixtureSpec.from_parents({"a": [0, 1], "b": [0, 1]}, {"a": [], "b": ["a"]}, 2)
    shares = normal(40, 2).softmax(-1)
    row, state = torch.arange(40) % 2, (torch.arange(40) // 2) % 2
    weight = torch.ones(40, dtype=torch.float64)
    good, mixed = (Normal.empty(spec, 1, row.device) for _ in range(2))
    good.add(shares, weight, row, state)
    mixed.add(shares, torch.where(row == 1, bad, weight), row, state)
    (expected, _), (found, known) = _regressed(spec, 1, good), _regressed(spec, 1, mixed)
    same(found[:, 0], expected[:, 0])
    assert known[:, 0].tolist() == [True, True]
    if bad != 1e300:
        assert known[:, 1].tolist() == [False, False]
        same(found[0, 1], found[1, 1])
    assert bool(found.isfinite().all())


def test_coins_are_refined_from_good_starts_as_alone():
    flips = Flips.from_units(
        torch.tensor([1, 2, 5, 7]), torch.tensor([8, 8, 8, 8]), torch.ones(4, dtype=torch.float64)
    )
    probs = torch.tensor([[0.2, 0.7], [math.nan, 0.5], [0.3, 0.6]], dtype=torch.float64)
    weights = torch.full((3, 2), 0.5, dtype=torch.float64)
    weights[1] = math.nan
    found = refine_binomial(flips, probs, weights)
    alone = refine_binomial(flips, probs[[0, 2]], weights[[0, 2]])
    same(found.probs[[0, 2]], alone.probs)
    same(found.log_likelihood[[0, 2]], alone.log_likelihood)
    assert found.converged.tolist() == [True, False, True]
    assert found.n_iter == alone.n_iter
    assert found.best != 1


def test_an_information_matrix_that_is_not_finite_is_refused_by_name():
    spec = MixtureSpec.from_parents({"a": [0, 1], "b": [0, 1]}, {"a": [], "b": ["a"]}, 2)
    mixture = random_mixture(spec, 0)
    nothing = PseudoCounts(
        torch.zeros_like(mixture.weights), tuple(torch.zeros_like(c) for c in mixture.cpts)
    )
    scores = torch.full((3, spec.n_parameters), math.nan, dtype=torch.float64)
    with pytest.raises(SpecError, match=r"expected an information matrix.*found.*; look for nan"):
        expected_information(mixture, scores, 10.0, nothing)
    assert issubclass(SpecError, PyromixError)
