"""EM: exact on populations, monotone, indifferent to labels and layout, loud where it should be."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from helpers import Oracle, distance_up_to_relabelling, random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st
from published import latent_class
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.data.population import Population
from pyromix.errors import (
    ConvergenceWarning,
    DataError,
    RefinementError,
    SpecError,
    StartsDisagreeWarning,
    WeakIdentificationWarning,
)
from pyromix.estimate import step as step_module
from pyromix.estimate.accelerate import extrapolate, next_limit
from pyromix.estimate.em import EMResult, fit_em, random_starts
from pyromix.estimate.result import duplicate_sources, empty_sources
from pyromix.estimate.step import EMMap, Point
from pyromix.exact.likelihood import log_prob
from pyromix.exact.rows import CellIndex
from pyromix.exact.sampling import sample
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec


@dataclass(frozen=True, eq=False)
class Table:
    """Rows and weights as they are given, equal rows not collapsed."""

    spec: MixtureSpec
    rows: Tensor
    weights: Tensor


def random_table(spec, n, seed, missing=0.0, integer=False):
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(0, c, (n,), generator=generator) for c in spec.cards]
    rows = torch.stack(columns, 1)
    rows[torch.rand(rows.shape, generator=generator) < missing] = -1
    weights = torch.rand(n, dtype=torch.float64, generator=generator) + 0.1
    weights = (10 * weights).ceil() if integer else weights
    return Table(spec, rows.to(torch.int8), weights)


def as_batch(*mixtures):
    """Unbatched mixtures as one batch of starts."""
    return BayesNetMixture(
        mixtures[0].spec,
        torch.stack([m.weights for m in mixtures]),
        tuple(torch.stack(c) for c in zip(*(m.cpts for m in mixtures), strict=True)),
    )


def blend(left, right, share):
    """The mixture whose tables lie between those of two others."""
    return BayesNetMixture(
        left.spec,
        (1 - share) * left.weights + share * right.weights,
        tuple((1 - share) * a + share * b for a, b in zip(left.cpts, right.cpts, strict=True)),
    )


def assert_same_mixture(left, right, atol):
    torch.testing.assert_close(left.weights, right.weights, rtol=0, atol=atol)
    for a, b in zip(left.cpts, right.cpts, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


def em_map(table, prior=0.0):
    return EMMap(
        table.spec,
        CellIndex(table.spec, table.rows),
        table.weights,
        PseudoCounts.of(table.spec, prior or None),
    )


def three_pairs(k=2):
    """Three views of two variables each, which a generic mixture is identified from."""
    names = "ABCDEF"
    return MixtureSpec.from_parents(
        dict.fromkeys(names, ("0", "1")), {"B": ["A"], "D": ["C"], "F": ["E"]}, k
    )


# -- the step ----------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(structures(), st.integers(0, 2**31))
def test_the_truth_is_a_fixed_point_on_its_own_population(structure, seed):
    spec = random_spec(**structure)
    truth = random_mixture(spec, seed)
    target = em_map(Population(spec, truth).as_counts())(Point.of(as_batch(truth))).target
    assert_same_mixture(target.mixture(spec)[0], truth, atol=1e-11)


@settings(max_examples=50, deadline=None)
@given(
    structures(),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([0.0, 0.5]),
    st.integers(0, 2**31),
)
def test_a_step_never_lowers_the_objective(structure, missing, prior, seed):
    spec = random_spec(**structure)
    em = em_map(random_table(spec, 25, seed, missing), prior)
    point, before = Point.of(random_mixture(spec, seed, batch_shape=(2,))), -math.inf
    for _ in range(6):
        seen = em(point)
        slack = 1e-12 * float(seen.objective.abs().max())
        assert bool((seen.objective >= before - slack).all())
        point, before = seen.target, seen.objective


@settings(max_examples=8, deadline=None)
@given(
    structures(),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([None, 0.5]),
    st.integers(0, 2**31),
)
@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_more_accelerated_iterations_never_lower_the_objective(structure, missing, prior, seed):
    spec = random_spec(**structure)
    table, start = (
        random_table(spec, 25, seed, missing),
        random_mixture(spec, seed, batch_shape=(1,)),
    )
    options = {"prior": prior, "check_saddle": False, "tol": 1e-13}
    ends = [fit_em(table, start, max_iter=n, **options).objective for n in range(1, 40, 3)]
    slack = 1e-11 * max(map(abs, ends))
    assert all(b >= a - slack for a, b in itertools.pairwise(ends))


def test_the_objective_is_the_log_likelihood_plus_the_pseudo_counts():
    spec = random_spec(8, 5, 3, uninfluenced=True)
    assert spec.uninfluenced
    table, mixture = random_table(spec, 30, 0), random_mixture(spec, 1)
    seen = em_map(table, 0.5)(Point.of(as_batch(mixture)))
    log_likelihood = float(table.weights @ log_prob(mixture, table.rows))
    prior = mixture.weights.log().sum()
    for v, cpt in enumerate(mixture.cpts):
        prior += (cpt[:1] if v in spec.uninfluenced else cpt).log().sum()
    assert float(seen.log_likelihood) == pytest.approx(log_likelihood, rel=1e-13)
    assert float(seen.objective) == pytest.approx(log_likelihood + 0.5 * float(prior), rel=1e-13)


def test_groups_of_starts_give_what_one_batch_gives(monkeypatch):
    spec = random_spec(8, 5, 3)
    table = random_table(spec, 30, 0, 0.3)
    point = Point.of(random_mixture(spec, 1, batch_shape=(5,)))
    whole = em_map(table)(point)
    monkeypatch.setattr(step_module, "TABLE_BYTES", 1)
    parts = em_map(table)(point)
    torch.testing.assert_close(parts.log_likelihood, whole.log_likelihood, rtol=1e-13, atol=0)
    torch.testing.assert_close(parts.target.table, whole.target.table, rtol=0, atol=1e-13)


# -- exact answers -----------------------------------------------------------------------------


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_perturbed_truth_comes_back_from_its_population(seed, accelerate):
    spec = three_pairs()
    truth = random_mixture(spec, seed, separation=0.5)
    start = as_batch(blend(truth, random_mixture(spec, seed + 50), 0.2))
    counts = Population(spec, truth).as_counts()
    result = fit_em(counts, start, tol=1e-15, max_iter=20_000, accelerate=accelerate)
    # The curvature at these truths is at least 1e-3: 1e-15 nats per row leave less than 1e-6.
    assert distance_up_to_relabelling(truth, result.mixture) < 1e-6
    entropy = -float(counts.weights @ counts.weights.log())
    assert result.log_likelihood == pytest.approx(-entropy, abs=1e-11)
    assert result.converged


def test_cells_missing_at_random_leave_the_truth_where_it_is():
    spec = three_pairs()
    truth = random_mixture(spec, 1, separation=0.5)
    full = Population(spec, truth).as_counts()
    rows, weights = [], []
    for b_missing in (False, True):
        for e_missing in (False, True):
            part = full.rows.clone()
            # B is missing more often where A = 1, E where both C = 1 and D = 0; A, C, D never are.
            gone_b = 0.2 + 0.5 * (part[:, 0] == 1).to(torch.float64)
            gone_e = 0.1 + 0.6 * ((part[:, 2] == 1) & (part[:, 3] == 0)).to(torch.float64)
            mass = full.weights * (gone_b if b_missing else 1 - gone_b)
            mass = mass * (gone_e if e_missing else 1 - gone_e)
            if b_missing:
                part[:, 1] = -1
            if e_missing:
                part[:, 4] = -1
            rows.append(part)
            weights.append(mass)
    counts = Counts.from_codes(spec, torch.cat(rows), torch.cat(weights))
    start = as_batch(blend(truth, random_mixture(spec, 9), 0.2))
    result = fit_em(counts, start, tol=1e-15, max_iter=20_000)
    assert distance_up_to_relabelling(truth, result.mixture) < 1e-6


def frequencies(table, family, given):
    """Weighted counts of a family, in plain loops."""
    counts = {}
    for row, weight in zip(table.rows.tolist(), table.weights.tolist(), strict=True):
        for cells in (family, given):
            key = (cells, tuple(row[u] for u in cells))
            counts[key] = counts.get(key, 0.0) + weight
    return counts


@pytest.mark.parametrize("prior", [None, 2.0])
def test_one_source_is_the_ordinary_network_in_one_step(prior):
    spec = random_spec(21, 5, 1, edge_probability=0.7)
    table = random_table(spec, 12, 3)
    start = random_mixture(spec, 0, batch_shape=(1,))
    with pytest.warns(ConvergenceWarning):  # one step is no proof of convergence
        result = fit_em(table, start, max_iter=1, prior=prior)
    unreached = 0
    for v, parents in enumerate(spec.parents):
        counts = frequencies(table, (*parents, v), parents)
        cpt, card = result.mixture.cpts[v][0], spec.cards[v]
        for index in np.ndindex(*cpt.shape):
            above = counts.get((parents, index[:-1]), 0.0) + (prior or 0.0) * card
            joint = counts.get(((*parents, v), index), 0.0) + (prior or 0.0)
            expected = joint / above if above else 1 / card
            assert float(cpt[index]) == pytest.approx(expected, rel=1e-12)
            assert bool(result.reached[v][(0, *index[:-1])]) == ((parents, index[:-1]) in counts)
            unreached += (parents, index[:-1]) not in counts
    assert unreached


def test_uninfluenced_vertices_share_the_frequencies_of_all_rows():
    spec = random_spec(8, 5, 3, uninfluenced=True)
    table = random_table(spec, 40, 3)
    result = fit_em(table, random_mixture(spec, 0, batch_shape=(1,)))
    for v in spec.uninfluenced:
        counts = frequencies(table, (*spec.parents[v], v), spec.parents[v])
        for index in np.ndindex(*spec.cpt_shape(v)):
            above = counts.get((spec.parents[v], index[1:-1]), 0.0)
            if above:
                expected = counts.get(((*spec.parents[v], v), index[1:]), 0.0) / above
                assert float(result.mixture.cpts[v][index]) == pytest.approx(expected, rel=1e-9)
                assert float(result.row_masses[v][index[:-1]]) == pytest.approx(above, rel=1e-12)


def test_row_masses_are_posterior_counts_of_the_result():
    spec = random_spec(5, 4, 2)
    table = random_table(spec, 30, 1)
    result = fit_em(table, random_mixture(spec, 0, batch_shape=(1,)))
    oracle = Oracle(result.mixture)
    for v, parents in enumerate(spec.parents):
        expected = torch.zeros(spec.cpt_shape(v)[:-1], dtype=torch.float64)
        for row, weight in zip(table.rows.tolist(), table.weights.tolist(), strict=True):
            for u, share in enumerate(oracle.responsibilities(row)):
                expected[(u, *(row[p] for p in parents))] += weight * share
        torch.testing.assert_close(result.row_masses[v], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore::pyromix.errors.StartsDisagreeWarning")
def test_the_reported_likelihood_is_that_of_the_reported_mixture():
    spec = random_spec(5, 5, 3)
    table = random_table(spec, 40, 1, 0.2)
    result = fit_em(table, random_mixture(spec, 0, batch_shape=(3,)), prior=0.1)
    expected = float(table.weights @ log_prob(result.mixture, table.rows))
    assert result.log_likelihood == pytest.approx(expected, rel=1e-13)
    assert float(result.start_log_likelihoods.max()) >= result.log_likelihood
    assert bool((result.mixture.weights.diff() <= 0).all())


# -- laws --------------------------------------------------------------------------------------

TIGHT = {"tol": 1e-12, "max_iter": 6000}


def fit_pair(table, start, other_table, other_start):
    return fit_em(table, start, **TIGHT), fit_em(other_table, other_start, **TIGHT)


def sampled(spec, seed, n=300, missing=0.1):
    """Rows of a separated mixture with some cells missing, and starts near it."""
    truth = random_mixture(spec, seed, separation=0.6 / max(spec.n_sources - 1, 1))
    rows, _ = sample(truth, n, seed)
    generator = torch.Generator().manual_seed(seed)
    rows[torch.rand(rows.shape, generator=generator) < missing] = -1
    starts = as_batch(*(blend(truth, random_mixture(spec, s), 0.3) for s in (7, 8)))
    return rows, starts


@pytest.mark.filterwarnings("ignore::pyromix.errors.StartsDisagreeWarning")
@pytest.mark.parametrize("seed", range(3))
def test_a_weight_is_as_good_as_repeated_rows(seed):
    spec = random_spec(seed, 4, 2)
    table = random_table(spec, 15, seed, 0.2, integer=True)
    times = table.weights.to(torch.int64)
    rows = table.rows.repeat_interleave(times, 0)
    expanded = Table(spec, rows, torch.ones(len(rows), dtype=torch.float64))
    start = random_mixture(spec, seed, batch_shape=(2,))
    one, other = (fit_em(t, start, check_saddle=False) for t in (table, expanded))
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-8)
    # A probability on its way to zero stops a step earlier or later.
    assert_same_mixture(one.mixture, other.mixture, atol=1e-6)


def test_merged_counts_are_fitted_as_all_rows_are():
    spec = three_pairs()
    rows, starts = sampled(spec, 0)
    merged = Counts.from_codes(spec, rows[:100]).merge(Counts.from_codes(spec, rows[100:]))
    one, other = fit_pair(merged, starts, Counts.from_codes(spec, rows), starts)
    assert_same_mixture(one.mixture, other.mixture, atol=1e-10)


def test_permuting_rows_changes_nothing():
    spec = three_pairs()
    rows, starts = sampled(spec, 1)
    ones = torch.ones(len(rows), dtype=torch.float64)
    shuffled = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    one, other = fit_pair(Table(spec, rows, ones), starts, Table(spec, shuffled, ones), starts)
    assert_same_mixture(one.mixture, other.mixture, atol=1e-10)


def test_permuting_sources_of_the_start_changes_nothing():
    spec = three_pairs(3)
    rows, starts = sampled(spec, 2)
    counts = Counts.from_codes(spec, rows)
    one, other = fit_pair(counts, starts, counts, starts.relabel([2, 0, 1]))
    assert_same_mixture(one.mixture, other.mixture, atol=1e-10)


@pytest.mark.filterwarnings("ignore::pyromix.errors.StartsDisagreeWarning")
def test_permuting_variables_changes_nothing():
    spec = random_spec(13, 5, 2, edge_probability=0.3)
    rows, starts = sampled(spec, 3)
    other = MixtureSpec.from_parents(
        {n: spec.states[spec.vertex(n)] for n in reversed(spec.variables)},
        {n: [spec.variables[p] for p in spec.parents[v]] for v, n in enumerate(spec.variables)},
        2,
    )
    order = [spec.vertex(n) for n in other.variables]
    assert order != sorted(order)
    moved = BayesNetMixture(other, starts.weights, tuple(starts.cpts[v] for v in order))
    ones = torch.ones(len(rows), dtype=torch.float64)
    one, two = fit_pair(Table(spec, rows, ones), starts, Table(other, rows[:, order], ones), moved)
    back = BayesNetMixture(
        spec, two.mixture.weights, tuple(two.mixture.cpts[order.index(v)] for v in range(5))
    )
    # One of the two starts leaves a saddle by a jitter that does not know the order.
    assert_same_mixture(one.mixture, back, atol=1e-9)


def test_permuting_states_changes_nothing():
    spec = random_spec(17, 5, 2, edge_probability=0.5)
    rows, starts = sampled(spec, 4)

    def turned(table, v, lead):
        family = (*spec.parents[v], v)
        return table.flip([lead + 1 + i for i in range(len(family))])

    cards = torch.tensor(spec.cards)
    flipped_rows = torch.where(rows >= 0, cards - 1 - rows, rows)
    flipped = BayesNetMixture(
        spec, starts.weights, tuple(turned(c, v, 1) for v, c in enumerate(starts.cpts))
    )
    ones = torch.ones(len(rows), dtype=torch.float64)
    one, two = fit_pair(Table(spec, rows, ones), starts, Table(spec, flipped_rows, ones), flipped)
    back = BayesNetMixture(
        spec, two.mixture.weights, tuple(turned(c, v, 0) for v, c in enumerate(two.mixture.cpts))
    )
    assert_same_mixture(one.mixture, back, atol=1e-10)


@pytest.mark.filterwarnings("ignore::pyromix.errors.StartsDisagreeWarning")
def test_a_batch_of_starts_ends_where_each_start_ends_alone():
    spec = three_pairs()
    rows, _ = sampled(spec, 5)
    counts = Counts.from_codes(spec, rows)
    starts = random_starts(spec, 4, 0, counts=counts)
    together = fit_em(counts, starts, check_saddle=False, **TIGHT)
    alone = [fit_em(counts, starts[i : i + 1], check_saddle=False, **TIGHT) for i in range(4)]
    ends = torch.cat([r.start_log_likelihoods for r in alone])
    torch.testing.assert_close(together.start_log_likelihoods, ends, rtol=0, atol=1e-8)


# -- acceleration ------------------------------------------------------------------------------


def test_an_extrapolation_of_length_one_is_em_itself():
    spec = random_spec(8, 5, 3)
    em = em_map(random_table(spec, 30, 0))
    start = Point.of(random_mixture(spec, 1, batch_shape=(2,)))
    one = em(start).target
    two = em(one).target
    guess, length = extrapolate(em, start, one, two, torch.ones(2, dtype=torch.float64))
    assert length.tolist() == [1.0, 1.0]
    torch.testing.assert_close(guess.table, two.table, rtol=0, atol=1e-14)
    torch.testing.assert_close(guess.weights, two.weights, rtol=0, atol=1e-14)


@settings(max_examples=30, deadline=None)
@given(structures(), st.integers(0, 2**31))
def test_an_extrapolation_stays_inside_the_simplex(structure, seed):
    spec = random_spec(**structure)
    em = em_map(random_table(spec, 25, seed))
    start = Point.of(random_mixture(spec, seed, batch_shape=(2,)))
    one = em(start).target
    two = em(one).target
    far = torch.full((2,), 1e3, dtype=torch.float64)
    guess, length = extrapolate(em, start, one, two, far)
    assert bool(((length >= 1) & (length <= 1e3)).all())
    assert guess.mixture(spec).batch_shape == (2,)  # which checks the tables
    assert bool((guess.table[two.table > 0] > 0).all())


def test_the_limit_of_extrapolation_follows_success():
    limit = torch.tensor([4.0, 4.0, 4.0, 1.0], dtype=torch.float64)
    length = torch.tensor([4.0, 3.0, 4.0, 1.0], dtype=torch.float64)
    accepted = torch.tensor([True, True, False, False])
    assert next_limit(limit, length, accepted).tolist() == [16.0, 4.0, 2.0, 1.0]


def test_a_sample_gives_the_truth_back():
    spec = three_pairs()
    truth = random_mixture(spec, 3, separation=0.4)
    rows, _ = sample(truth, 20_000, 0)
    counts = Counts.from_codes(spec, rows)
    result = fit_em(counts, random_starts(spec, 10, 0, counts=counts))
    # Over 100 seeds: median .016, 95% .038, 99% .054.
    assert distance_up_to_relabelling(truth, result.mixture) < 0.054


# -- what is said ------------------------------------------------------------------------------


def test_starts_that_disagree_are_counted_and_said():
    counts, _ = latent_class("firms", 4)
    starts = random_starts(counts.spec, 20, 0, counts=counts)
    everything = fit_em(counts, starts)
    ends = everything.start_log_likelihoods
    near = ends >= everything.log_likelihood - 1e-6 * counts.n_rows
    assert everything.n_best == int(near.sum()) > 1
    assert everything.notes == ()
    chosen = [int(near.nonzero()[0]), int((~near).nonzero()[0])]
    gap = float(ends[chosen[0]] - ends[chosen[1]])
    text = rf"reached by 1 of 2 starts of EM; the next best ended {gap:.3g} nats below .* n_init"
    with pytest.warns(StartsDisagreeWarning, match=text):
        result = fit_em(counts, starts[torch.tensor(chosen)])
    assert result.n_best == 1
    assert len(result.notes) == 1


def symmetric(spec):
    """Uniform tables: EM cannot tell the sources apart and stays there."""
    k = spec.n_sources
    return as_batch(
        BayesNetMixture(
            spec,
            torch.full((k,), 1 / k, dtype=torch.float64),
            tuple(
                torch.full(spec.cpt_shape(v), 1 / card, dtype=torch.float64)
                for v, card in enumerate(spec.cards)
            ),
        )
    )


def test_a_symmetric_start_is_left_and_said():
    spec = three_pairs()
    truth = random_mixture(spec, 0, separation=0.5)
    counts = Population(spec, truth).as_counts()
    with pytest.warns(StartsDisagreeWarning, match="stopped at a saddle"):
        result = fit_em(counts, symmetric(spec), tol=1e-12)
    assert result.saddle
    assert distance_up_to_relabelling(truth, result.mixture) < 1e-4


def test_a_symmetric_start_that_is_not_left_shows_duplicates():
    spec = three_pairs(3)
    counts = Population(spec, random_mixture(spec, 0, separation=0.2)).as_counts()
    with pytest.warns(WeakIdentificationWarning, match="one source in disguise") as caught:
        result = fit_em(counts, symmetric(spec), check_saddle=False)
    assert result.duplicates == ((0, 1), (0, 2), (1, 2))
    assert [str(w.message) for w in caught] == [note.sentence for note in result.notes]
    assert "Try n_sources=2" in result.notes[0].sentence


def test_an_optimum_is_not_taken_for_a_saddle():
    spec = three_pairs()
    truth = random_mixture(spec, 0, separation=0.5)
    result = fit_em(Population(spec, truth).as_counts(), as_batch(truth))
    assert not result.saddle
    assert result.duplicates == result.empty == result.notes == ()


@pytest.mark.parametrize(("shift", "found"), [(0.009, ((0, 1),)), (0.011, ())])
def test_duplicates_are_told_by_the_vertex_where_they_differ_most(shift, found):
    spec = MixtureSpec.from_parents({"A": ("0", "1"), "B": ("0", "1")}, {"B": ["A"]}, 2)
    a = torch.tensor([[0.3, 0.7], [0.3, 0.7]], dtype=torch.float64)
    b = torch.tensor([[[0.5, 0.5], [0.2, 0.8]]] * 2, dtype=torch.float64)
    b[1, :, 0] += shift
    b[1, :, 1] -= shift
    mixture = BayesNetMixture(spec, torch.tensor([0.5, 0.5], dtype=torch.float64), (a, b))
    masses = (
        torch.tensor([10.0, 10.0], dtype=torch.float64),
        torch.tensor([[3.0, 7.0], [3.0, 7.0]], dtype=torch.float64),
    )
    assert duplicate_sources(mixture, masses) == found


def test_a_vertex_that_was_never_observed_does_not_hide_duplicates():
    spec = MixtureSpec.from_parents(dict.fromkeys("ABC", ("0", "1")), {}, 2)
    rows = torch.cartesian_prod(*(torch.arange(2, dtype=torch.int8) for _ in range(3)))
    rows[:, 2] = -1
    single = random_mixture(spec.with_n_sources(1), 0)
    start = BayesNetMixture(
        spec,
        torch.tensor([[0.5, 0.5]], dtype=torch.float64),
        tuple(c.expand(1, 2, 2).clone() for c in single.cpts),
    )
    with pytest.warns(WeakIdentificationWarning, match="one source in disguise"):
        result = fit_em(Counts.from_codes(spec, rows), start, check_saddle=False)
    assert result.duplicates == ((0, 1),)


def test_rows_that_one_source_alone_uses_do_not_hide_duplicates():
    spec = MixtureSpec.from_parents({"A": ("0", "1"), "B": ("0", "1")}, {"B": ["A"]}, 2)
    a = torch.tensor([[0.0, 1.0], [0.005, 0.995]], dtype=torch.float64)
    b = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.9], [0.2, 0.8]]], dtype=torch.float64)
    mixture = BayesNetMixture(spec, torch.tensor([0.5, 0.5], dtype=torch.float64), (a, b))
    masses = (
        torch.tensor([10.0, 10.0], dtype=torch.float64),
        torch.tensor([[0.0, 10.0], [0.05, 9.95]], dtype=torch.float64),
    )
    assert duplicate_sources(mixture, masses) == ((0, 1),)


@pytest.mark.parametrize(
    ("weight", "total", "found"),
    [
        (0.9e-4, 1e4, (1,)),
        (1.1e-4, 1e4, ()),
        (0.9e-3, 1.0, (1,)),  # a population: weights are probabilities
        (1.1e-3, 1.0, ()),
    ],
)
def test_a_source_is_empty_below_one_expected_row(weight, total, found):
    spec = three_pairs()
    cpts = random_mixture(spec, 0).cpts
    mixture = BayesNetMixture(spec, torch.tensor([1 - weight, weight], dtype=torch.float64), cpts)
    assert empty_sources(mixture, total) == found


def test_a_source_of_weight_zero_is_reported_and_has_pooled_tables():
    spec = three_pairs()
    rows, _ = sampled(spec, 6, missing=0.0)
    counts = Counts.from_codes(spec, rows)
    mixture = random_mixture(spec, 0)
    weights = torch.tensor([0.0, 1.0], dtype=torch.float64)
    start = as_batch(BayesNetMixture(spec, weights, mixture.cpts))
    with pytest.warns(WeakIdentificationWarning, match="source 1 is empty: 0 of 300 rows"):
        result = fit_em(counts, start, check_saddle=False)
    assert result.empty == (1,)
    for cpt, reached in zip(result.mixture.cpts, result.reached, strict=True):
        torch.testing.assert_close(cpt[0], cpt[1])
        assert bool(reached[0].all())
        assert not bool(reached[1].any())


def test_a_source_of_weight_zero_comes_to_life_by_the_jitter():
    spec = three_pairs()
    truth = random_mixture(spec, 0, separation=0.5)
    weights = torch.tensor([0.0, 1.0], dtype=torch.float64)
    start = as_batch(BayesNetMixture(spec, weights, random_mixture(spec, 1).cpts))
    with pytest.warns(StartsDisagreeWarning, match="saddle"):
        result = fit_em(Population(spec, truth).as_counts(), start, tol=1e-12)
    assert distance_up_to_relabelling(truth, result.mixture) < 1e-4


def test_the_iteration_limit_is_said_with_numbers():
    counts, _ = latent_class("lsat7", 3)
    starts = random_starts(counts.spec, 1, 0, counts=counts)
    with pytest.warns(
        ConvergenceWarning, match=r"after 30 steps.* gained \S+ nats per row"
    ) as said:
        result = fit_em(counts, starts, max_iter=30)
    assert not result.converged
    assert result.n_iter == 30
    assert [note.sentence for note in result.notes] == [str(said[0].message)]
    assert fit_em(counts, starts).converged


def test_progress_is_told_of_steps_and_objective():
    counts, _ = latent_class("lsat7", 2)
    told = []
    starts = random_starts(counts.spec, 3, 0, counts=counts)
    result = fit_em(
        counts, starts, check_saddle=False, progress=lambda n, value: told.append((n, value))
    )
    steps, values = zip(*told, strict=True)
    assert list(steps) == sorted(set(steps))
    assert list(values) == sorted(values)
    assert values[-1] == pytest.approx(result.objective, abs=1e-4)


# -- starts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("random_state", [5, "numpy", "torch"])
def test_starts_come_from_their_random_state_alone(random_state):
    spec = random_spec(8, 5, 3, uninfluenced=True)
    table = random_table(spec, 40, 0, 0.2)

    def draw():
        state = {"numpy": np.random.default_rng(5), "torch": torch.Generator().manual_seed(5)}
        return random_starts(spec, 4, state.get(random_state, random_state), counts=table)

    one, other = draw(), draw()
    assert one.batch_shape == (4,)
    assert_same_mixture(one, other, atol=0)
    assert all(bool((c > 0).all()) for c in (one.weights, *one.cpts))
    assert not torch.equal(one.weights[0], one.weights[1])


def test_starts_lie_around_the_network_without_sources():
    spec = three_pairs()
    rows, _ = sampled(spec, 0, n=2000, missing=0.0)
    counts = Counts.from_codes(spec, rows)
    pooled = fit_em(counts, random_starts(spec.with_n_sources(1), 1, 0)).mixture
    starts = random_starts(spec, 4000, 0, counts=counts)
    for cpt, centre in zip(starts.cpts, pooled.cpts, strict=True):
        # A Dirichlet of concentration 10 has standard deviation at most .15; 8000 draws: .0017.
        torch.testing.assert_close(
            cpt.mean((0, 1)), 0.9 * centre[0] + 0.05, rtol=0, atol=5 * 0.0017
        )


@pytest.mark.parametrize("n", [0, -1, True])
def test_a_number_of_starts_below_one_is_refused(n):
    with pytest.raises(SpecError, match="number of starts must be an integer >= 1"):
        random_starts(three_pairs(), n, 0)


# -- bad input and devices ---------------------------------------------------------------------


def good_arguments():
    spec = three_pairs()
    return random_table(spec, 10, 0), random_mixture(spec, 0, batch_shape=(2,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_iter": 0}, "max_iter must be an integer >= 1, found 0"),
        ({"tol": 0.0}, "tol must be a finite number > 0"),
        ({"tol": math.nan}, "tol must be a finite number > 0"),
        (
            {"prior": 0.0},
            "prior must be None or a positive pseudo-count \\(rows per cell\\), found 0.0",
        ),
        (
            {"prior": -1.0},
            "prior must be None or a positive pseudo-count \\(rows per cell\\), found -1.0",
        ),
        ({"prior": math.inf}, "prior must be None or a positive"),
    ],
)
def test_options_out_of_range_are_refused(change, message):
    table, starts = good_arguments()
    with pytest.raises(SpecError, match=message):
        fit_em(table, starts, **change)


def test_starts_need_exactly_one_batch_axis():
    table, starts = good_arguments()
    for wrong in (starts[0], starts[0:0], random_mixture(starts.spec, 0, batch_shape=(2, 3))):
        with pytest.raises(SpecError, match="starts need one batch axis"):
            fit_em(table, wrong)


def test_starts_for_other_variables_are_refused():
    table, _ = good_arguments()
    other = MixtureSpec.from_parents(dict.fromkeys("ABCDEG", ("0", "1")), {}, 2)
    with pytest.raises(SpecError, match=r"'G'.*, the data for .*'F'.*with_spec"):
        fit_em(table, random_mixture(other, 0, batch_shape=(2,)))


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_weights_must_be_positive_and_finite(weight):
    table, starts = good_arguments()
    table.weights[3] = weight
    with pytest.raises(DataError, match="found 1 others among 10"):
        fit_em(table, starts)


def test_a_start_that_excludes_a_row_is_refused_by_name():
    table, starts = good_arguments()
    cpt = starts.cpts[0].clone()
    cpt[1] = torch.tensor([1.0, 0.0], dtype=torch.float64)
    excluding = BayesNetMixture(starts.spec, starts.weights, (cpt, *starts.cpts[1:]))
    n = int((table.rows[:, 0] == 1).sum())
    with pytest.raises(RefinementError, match=rf"starts \[1\] do not, .* at {n} rows.*'A': 1"):
        fit_em(table, excluding)


def test_the_device_of_the_tensors_is_kept():
    spec = random_spec(8, 5, 3, uninfluenced=True)
    table, starts = random_table(spec, 50, 0, 0.2), random_mixture(spec, 0, batch_shape=(2,))
    with torch.device("meta"):  # a factory call that names no device would fail
        result = fit_em(table, starts, prior=0.1)
        drawn = random_starts(spec, 3, 0, counts=table)
    assert isinstance(result, EMResult)
    assert result.mixture.device == drawn.device == torch.device("cpu")


@pytest.mark.cuda
def test_cuda_gives_the_same_fit():
    spec = three_pairs()
    rows, starts = sampled(spec, 0)
    counts = Counts.from_codes(spec, rows)
    here = fit_em(counts, starts, **TIGHT)
    there = fit_em(counts.to("cuda"), starts.to("cuda"), **TIGHT)
    assert there.mixture.device.type == "cuda"
    assert_same_mixture(there.mixture.to("cpu"), here.mixture, atol=1e-10)
