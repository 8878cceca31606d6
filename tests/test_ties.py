"""Choices among equals: the same whichever of them rounding has put on top."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from helpers import random_spec
from hypothesis import given
from hypothesis import strategies as st

import pyromix as px
from pyromix.coins.likelihood import BinomialMixtures
from pyromix.coins.prony import quadrature
from pyromix.criticism import sensitivity as sensitivity_module
from pyromix.criticism.candidates import Candidate, Selection
from pyromix.criticism.margins import PairCheck, _by_holm, _pair
from pyromix.data.counts import Counts
from pyromix.data.folds import compared
from pyromix.estimate.em import climb, random_starts
from pyromix.estimate.pooling import STRENGTHS, Pooling
from pyromix.estimate.result import SAME_OPTIMUM, first_in_best, joined
from pyromix.estimate.starts import batch_of
from pyromix.exact.sampling import sample
from pyromix.identify.align import align
from pyromix.identify.boundary.solver import _most_frequent
from pyromix.identify.product.search import Trial, most_precise
from pyromix.identify.views.splits import dealt_splits
from pyromix.model.match import best_assignments, canonical_order
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import branched, random_mixture
from pyromix.model.ties import first_largest, first_smallest, ordered, ranks

QUIET = pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")


def nudges(value: float) -> list[float]:
    """The number, and its neighbours on either side."""
    return [value, math.nextafter(value, math.inf), math.nextafter(value, -math.inf)]


def nudged(values, times=3):
    """The same numbers, each moved by up to some units in the last place, in every combination."""
    for steps in itertools.product((-times, 0, times), repeat=len(values)):
        yield [v + s * math.ulp(v) for v, s in zip(values, steps, strict=True)]


# -- the rules -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.5, 1 / 3, 1e-12, 12345.678, -7.25])
def test_the_first_of_equals_is_taken_whichever_rounding_puts_on_top(value):
    for numbers in nudged([value, value, value]):
        assert first_largest([value - abs(value), *numbers]) == 1
        assert first_smallest([value + abs(value), *numbers]) == 1
        assert ordered([[v] for v in numbers]) == [0, 1, 2]
        assert ranks(numbers) == [0, 0, 0]


def test_no_edge_lies_between_equals():
    """Rounding each number would put neighbours of a half on two sides."""
    for edge in (0.5e-9, 1.5e-9, 2.5e-9):
        for low, high in itertools.product(nudges(edge), repeat=2):
            assert ordered([[low], [high]], 1e-9) == [0, 1]


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=12, unique=True))
def test_where_nothing_ties_the_rules_are_those_of_sorting(numbers):
    values = [float(n) for n in numbers]
    assert first_largest(values) == values.index(max(values))
    assert first_smallest(values) == values.index(min(values))
    assert ordered([[v] for v in values]) == sorted(range(len(values)), key=values.__getitem__)
    assert ranks(values) == [sorted(values).index(v) for v in values]


def test_later_columns_decide_among_equals_only():
    keys = [[1.0, 5.0], [1.0 + 1e-15, 3.0], [0.5, 9.0], [1.0 - 1e-15, 3.0]]
    assert ordered(keys) == [2, 1, 3, 0]
    assert ordered([]) == []


def test_infinities_and_nan_have_their_places():
    assert first_largest([math.nan, -math.inf, 2.0, math.inf, math.inf]) == 3
    assert first_smallest([math.nan, math.inf, 2.0, 2.0]) == 2
    assert first_largest([math.nan, math.nan]) == 0
    assert ranks([math.inf, 1.0, math.inf]) == [1, 0, 1]
    with pytest.raises(ValueError, match="empty"):
        first_largest([])


# -- sources -------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 5])
def test_sources_of_equal_weight_stand_in_one_order_however_they_were_rounded(k):
    spec = random_spec(3, 4, k)
    cpts = random_mixture(spec, 5).cpts
    expected = None
    for seed in range(20):
        rng = np.random.default_rng(seed)
        order = torch.from_numpy(rng.permutation(k))
        noise = torch.from_numpy(rng.integers(-4, 5, k)) * 2.0**-54
        weights = torch.full((k,), 1 / k, dtype=torch.float64) + noise
        mixture = BayesNetMixture(spec, weights, tuple(c[order] for c in cpts))
        found = mixture.relabel(canonical_order(mixture)).cpts[0]
        expected = found if expected is None else expected
        assert torch.equal(found, expected)


def test_tables_that_tie_but_for_rounding_leave_the_order_to_the_next_ones():
    spec = random_spec(3, 4, 2)
    cpts = random_mixture(spec, 5).cpts
    half = torch.full((2,), 0.5, dtype=torch.float64)
    orders = set()
    for step in (-1, 0, 1):
        first = torch.stack([cpts[0][0], cpts[0][0]])
        first[1, ..., 0] += step * 2.0**-53
        first[1, ..., 1] -= step * 2.0**-53
        mixture = BayesNetMixture(spec, half, (first, *cpts[1:]))
        orders.add(tuple(canonical_order(mixture).tolist()))
    assert len(orders) == 1


@pytest.mark.parametrize("k", [2, 3, 4, 5, 7])
def test_equally_good_assignments_do_not_hang_on_rounding(k):
    costs = torch.full((20, k, k), 0.7, dtype=torch.float64)
    rng = np.random.default_rng(0)
    costs = costs + torch.from_numpy(rng.integers(-3, 4, costs.shape)) * 2.0**-53
    orders, best, _ = best_assignments(costs, second=True)
    assert bool((orders == torch.arange(k)).all())
    torch.testing.assert_close(best, torch.full_like(best, 0.7 * k))


@pytest.mark.parametrize("k", [3, 6])
def test_a_clear_assignment_is_taken_whatever_the_rule_for_ties(k):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        order = torch.from_numpy(rng.permutation(k))
        costs = torch.ones(k, k, dtype=torch.float64)
        costs[torch.arange(k), order] -= 1e-6
        assert torch.equal(best_assignments(costs)[0], order)


# -- starts --------------------------------------------------------------------------------------


def test_the_first_start_in_the_best_optimum_is_taken_in_either_order_of_rounding():
    n, value = 1000.0, -2345.678
    everywhere = torch.ones(4, dtype=torch.bool)
    for ends in nudged([value] * 3):
        objectives = torch.tensor([value - 1, *ends], dtype=torch.float64)
        assert first_in_best(objectives, everywhere, n) == 1
    # A difference that counts: the better one, wherever it stands.
    clear = torch.tensor([value, value, value, value + 10 * SAME_OPTIMUM * n], dtype=torch.float64)
    assert first_in_best(clear, everywhere, n) == 3


def test_of_starts_in_one_optimum_one_that_has_converged_is_taken():
    objectives = torch.full((3,), -10.0, dtype=torch.float64)
    assert first_in_best(objectives, torch.tensor([False, True, True]), 100.0) == 1
    assert first_in_best(objectives, torch.tensor([False, False, False]), 100.0) == 0


def table(n=2000):
    """Five binary variables that determine two sources well."""
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABCDE", (0, 1)), {}, 2)
    return Counts.from_codes(spec, sample(random_mixture(spec, 0, separation=0.5), n, 1)[0])


@QUIET
def test_the_order_of_starts_in_one_optimum_does_not_show_in_the_answer():
    counts = table()
    starts = random_starts(counts.spec, 6, 0, counts=counts)
    forward = climb(counts, starts)
    assert forward.n_best > 1
    order = torch.arange(5, -1, -1)
    backward = climb(counts, starts[order])
    assert forward.n_best == backward.n_best
    torch.testing.assert_close(forward.mixture.weights, backward.mixture.weights, atol=1e-4, rtol=0)
    assert forward.objective == pytest.approx(backward.objective, abs=1e-9 * counts.n_rows)


@QUIET
def test_a_later_round_in_the_same_optimum_changes_nothing():
    counts = table()
    one = climb(counts, random_starts(counts.spec, 4, 0, counts=counts))
    other = climb(counts, random_starts(counts.spec, 4, 1, counts=counts))
    assert abs(one.objective - other.objective) < SAME_OPTIMUM * counts.n_rows
    assert joined(one, other).mixture is one.mixture
    assert joined(other, one).mixture is other.mixture
    assert joined(one, other).n_best == joined(other, one).n_best


def test_what_follows_the_starts_does_not_hang_on_how_many_were_drawn():
    one, other = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    further = branched(one)
    for _ in range(5):
        torch.randint(10, (1,), generator=further)
    drawn = [torch.randint(2**62, (4,), generator=g) for g in (one, other)]
    assert torch.equal(*drawn)
    assert not torch.equal(torch.randint(2**62, (4,), generator=branched(other)), drawn[0])


@QUIET
def test_folds_do_not_hang_on_the_number_of_rounds(monkeypatch):
    """The same prior scores, however many rounds of starts were needed."""
    from pyromix.estimate import restarts

    counts = table(400)
    scores = []
    for most in (20, 60):
        monkeypatch.setattr(restarts, "MOST", most)
        monkeypatch.setattr(restarts, "_confirmed", lambda result: False)
        found = px.fit(counts.spec, counts, method="em", random_state=0, show_progress=False)
        assert len(found.diagnostics.start_log_likelihoods) == most
        scores.append([score for _, score in found.diagnostics.prior_held_out])
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_coins_that_end_alike_are_those_of_the_first_start():
    one = torch.full((3, 2), 0.5, dtype=torch.float64)
    for ends in nudged([-321.5] * 3):
        log_likelihood = torch.tensor(ends, dtype=torch.float64)
        assert BinomialMixtures(one, one, log_likelihood, torch.ones(3) > 0, 1).best == 0


# -- moments -------------------------------------------------------------------------------------


def trial(precision: float) -> Trial:
    """A trial, as far as the choice looks at it."""
    found = object.__new__(Trial)
    object.__setattr__(found, "precision", precision)
    return found


def test_of_trials_of_equal_precision_the_earlier_is_kept():
    for one, other in itertools.product(nudges(812.3), repeat=2):
        trials = [trial(5.0), trial(one), trial(other)]
        assert most_precise(trials) is trials[1]
    assert most_precise([trial(1.0), trial(1.01)]).precision == 1.01


def test_variables_that_are_equally_alike_are_dealt_alike():
    found = set()
    for seed in range(10):
        noise = np.random.default_rng(seed).integers(-3, 4, (7, 7)) * 2.0**-55
        rng = np.random.default_rng(0)
        found.add(tuple(dealt_splits([2] * 7, 2, np.full((7, 7), 0.1) + noise, rng, 4)))
    assert len(found) == 1


def test_of_equally_frequent_states_the_first_is_the_default():
    spec = px.MixtureSpec.from_parents({"A": (0, 1), "B": (0, 1, 2)}, {}, 1)
    # Three times a tenth is not three tenths.
    rows, weights = torch.tensor([[0, 0], [0, 1], [0, 2], [1, 0]]), [0.1, 0.1, 0.1, 0.3]
    for order in ([0, 1], [1, 0]):
        states = torch.tensor(order)[rows[:, 0]]
        codes = torch.stack([states, rows[:, 1]], 1)
        counts = Counts.from_codes(spec, codes, torch.tensor(weights, dtype=torch.float64))
        assert _most_frequent(counts) == [0, 0]


def test_an_alignment_tree_does_not_hang_on_rounding():
    """Four runs that are equally heavy and equally alike."""
    laws = torch.tensor([[0.1, 0.9], [0.8, 0.2]], dtype=torch.float64)
    keys = torch.zeros(4, 1, dtype=torch.int64)
    trees = set()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        noise = torch.from_numpy(rng.integers(-3, 4, (4, 2, 2))) * 2.0**-54
        rows = torch.full((4, 2), 500.0, dtype=torch.float64)
        rows = rows + torch.from_numpy(rng.integers(-3, 4, (4, 2))) * 2.0**-44
        found = align(keys, [laws.expand(4, 2, 2) + noise], rows, torch.ones(4) > 0)
        trees.add(tuple((link.first, link.second) for link in found.links if link.in_tree))
    assert len(trees) == 1


def test_the_first_of_equally_heavy_atoms_is_repeated():
    middle, apart = 0.5, 0.2
    for step in (-1, 0, 1):
        jacobi = torch.zeros(3, 3, dtype=torch.float64)
        jacobi[0, 0] = jacobi[1, 1] = middle
        jacobi[0, 0] += step * 2.0**-53
        jacobi[0, 1] = jacobi[1, 0] = apart
        atoms, _ = quadrature(jacobi, torch.tensor([True, True, False]))
        torch.testing.assert_close(atoms, torch.tensor([0.3, 0.3, 0.7], dtype=torch.float64))


# -- priors, numbers of sources ------------------------------------------------------------------


def test_where_no_row_says_anything_the_weakest_strength_is_taken():
    spec = px.MixtureSpec.from_parents({"A": range(3), "B": range(4)}, {"B": ["A"]}, 2)
    pooling = Pooling(spec, torch.device("cpu"))
    nothing = torch.zeros(pooling.axis.n_cells, 1, 2, dtype=torch.float64)
    base = torch.full_like(nothing[..., 0], 0.25)
    assert pooling.strengths(nothing, base).tolist() == [[float(STRENGTHS[0])]] * 2


def test_errors_are_against_the_first_of_equally_good_candidates():
    rng = np.random.default_rng(0)
    one = torch.from_numpy(rng.normal(size=50))
    other = one.flip(0)
    weights = torch.ones(50, dtype=torch.float64)
    for step in (-(2.0**-50), 0.0, 2.0**-50):
        _, errors = compared(torch.stack([one, other + step]), weights)
        assert float(errors[0]) == 0.0
        assert float(errors[1]) > 0.0


def candidate(k: int, value: float) -> Candidate:
    same = (value, value, value)
    return Candidate(k, "yes", 9, -100.0, value, value, 0.5, -value, 0.0, 0.5, 0.5, 5, 5, *same)


def test_of_equal_criteria_the_smaller_number_of_sources_is_chosen():
    for one, other in itertools.product(nudges(432.1), repeat=2):
        found = Selection(
            (candidate(1, 500.0), candidate(2, one), candidate(3, other)), (), 0.05, ()
        )
        names = ("aic", "bic", "caic", "sabic", "icl", "held_out")
        assert found.choices == dict.fromkeys(names, 2)


# -- what is printed -----------------------------------------------------------------------------


def check(names: tuple[str, str], p_value: float) -> PairCheck:
    return PairCheck(names, 1.0, 1, p_value, 1.0, 0.0, (0, 0), 0.5, 0.5, 1.0)


@pytest.mark.parametrize("p", [1.0, 0.37, 1e-8, 1e-200])
def test_pairs_that_deviate_alike_stay_in_the_order_of_variables(p):
    pairs = [("A", "B"), ("A", "C"), ("B", "C")]
    for values in nudged([p] * 3):
        found = _by_holm(
            [check(names, min(v, 1.0)) for names, v in zip(pairs, values, strict=True)]
        )
        assert [c.names for c in found] == pairs
    worst = _by_holm([check(n, v) for n, v in zip(pairs, (p, p, p / 2), strict=True)])
    assert worst[0].names == ("B", "C")


def test_of_cells_that_deviate_alike_the_first_is_named():
    """Two binary variables whose margins agree: all four cells are off by as much."""
    states = {"A": ("a0", "a1"), "B": ("b0", "b1")}
    spec = px.MixtureSpec.from_parents(states, {}, 1)
    half = torch.full((1, 2), 0.5, dtype=torch.float64)
    cells = [(a, b) for a in (0, 1) for b in (0, 1)]
    rows = torch.tensor(cells).repeat_interleave(torch.tensor([26, 24, 24, 26]), 0)
    named = set()
    for step in (-3, 0, 3):
        counts = Counts.from_codes(spec, rows)
        cpt = half.clone()
        cpt[0, 0] += step * 2.0**-54
        cpt[0, 1] -= step * 2.0**-54
        mixture = BayesNetMixture(spec, torch.ones(1, dtype=torch.float64), (half, cpt))
        named.add(_pair(mixture, counts, 0, 1, None, None).cell)
    assert named == {("a0", "b0")}


@QUIET
def test_another_optimum_stands_for_all_starts_in_it_and_one_found_once_says_so(monkeypatch):
    model, frame, card = px.datasets.load("hidden-group")
    fit = px.fit(model, frame.iloc[:300], 2, prior=None, n_init=2)
    real = sensitivity_module.climb_replicates

    def ends_of(gaps):
        """Three other ends of given heights: two in one optimum, one in another."""

        def ends(counts, starts, weights, **options):
            found = real(counts, starts[:1], weights[:, :1], **options)
            own = found.mixtures[0]
            one, two = (random_mixture(own.spec, seed) for seed in (1, 2))
            # Not quite where the first one ended: less than would be another answer.
            cpts = tuple(0.9998 * c + 0.0002 / c.shape[-1] for c in one.cpts)
            others = [one, BayesNetMixture(own.spec, one.weights, cpts), two]
            mixtures = batch_of(own, *others)
            objectives = found.objectives[0] - torch.tensor([0.0, *gaps], dtype=torch.float64)
            return type(found)(mixtures, objectives, torch.ones(4, dtype=torch.bool))

        return ends

    said = set()
    for one, other in itertools.product((0.7 - 1e-11, 0.7, 0.7 + 1e-11), repeat=2):
        monkeypatch.setattr(sensitivity_module, "climb_replicates", ends_of([one, other, 1.1]))
        found = fit.sensitivity(card.outcome, {card.treatment: card.contrast[0]}, n_starts=3)
        optima = [v for v in found.variations if v.kind == "optimum"]
        said.add(tuple((v.words, v.note, float(v.answer.values[0])) for v in optima))
    assert len(said) == 1
    (rows,) = said
    assert [note for _, note, _ in rows] == ["", "its optimum was reached by one of 3 starts"]
    assert [words for words, _, _ in rows] == [
        "another optimum, 0.7 nats lower",
        "another optimum, 1.1 nats lower",
    ]
