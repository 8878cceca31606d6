"""Whether a table shows signal: exact laws, size, power, missing cells, and what is looked at."""

from __future__ import annotations

import itertools

import pytest
import torch
from network_cases import (
    bundled,
    chain,
    complete,
    numbered,
    random_network,
    rows_of,
    separated,
    table,
)
from test_network_ranks import graph_with_source

import pyromix as px
from pyromix.exact.sampling import sample
from pyromix.identify.network.ranks import Blocks
from pyromix.identify.product.rank import rank_test
from pyromix.identify.signal import MAX_STATES, SIGNAL_LEVEL, _p_value, signal_of
from pyromix.model.mixture import BayesNetMixture

FIVE = numbered(5, [(3, 4)])
"""A, B, C, X -> Y of THEORY section 15.4."""

STRONG, HALF, QUARTER = (0.2, 0.8), (0.35, 0.65), (0.425, 0.575)
DEAD = [(0.5, 0.5), (0.3, 0.3), (0.6, 0.6)]


def alike(mixture):
    """The mixture whose sources are all the same: no triple shows signal."""
    same = [cpt[:1].expand_as(cpt).clone() for cpt in mixture.cpts]
    return px.BayesNetMixture(mixture.spec, mixture.weights, tuple(same))


def five(views, confounded=True):
    """The laws of THEORY section 15.4; X and Y that say nothing of U where not confounded."""
    treated, outcome = (
        (table(0.2, 0.8), table([0.2, 0.4], [0.6, 0.8]))
        if confounded
        else (table(0.4, 0.4), table([0.2, 0.4], [0.2, 0.4]))
    )
    weights = torch.tensor([0.4, 0.6], dtype=torch.float64)
    return BayesNetMixture(FIVE, weights, (*(table(*v) for v in views), treated, outcome))


def signals(truth, n_rows, n_tables, missing=0.0):
    """What each of so many simulated tables shows."""
    for seed in range(n_tables):
        rows = sample(truth, n_rows, seed)[0]
        if missing:
            generator = torch.Generator().manual_seed(seed)
            rows = torch.where(torch.rand(rows.shape, generator=generator) < missing, -1, rows)
        yield signal_of(px.Counts.from_codes(truth.spec, rows))


def repeated(mixture, n_sources):
    """The same law under a model of more sources: the last source is split."""
    more = n_sources - mixture.n_sources
    last = mixture.weights[-1:] / (more + 1)
    weights = torch.cat([mixture.weights[:-1], last.repeat(more + 1)])
    cpts = (torch.cat([cpt, *[cpt[-1:]] * more]) for cpt in mixture.cpts)
    return BayesNetMixture(mixture.spec.with_n_sources(n_sources), weights, tuple(cpts))


# -- exact moments -----------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [FIVE, numbered(7, [(3, 4)], 3), numbered(5, chain(5))])
def test_exact_moments_show_signal_of_generic_sources_and_none_of_fewer(spec):
    generic = px.random_mixture(spec, 1, separation=0.1)
    fewer = px.random_mixture(spec.with_n_sources(spec.n_sources - 1), 1)
    assert signal_of(px.population(generic)).p_value == 0.0
    assert signal_of(px.population(repeated(fewer, spec.n_sources))).p_value == 1.0


def test_two_views_with_signal_and_none_beside_them_show_nothing():
    found = signal_of(px.population(five([STRONG, STRONG, DEAD[2]], confounded=False)))
    assert found.p_value == 1.0
    by_views = {triple.views: triple.p_values for triple in found.triples}
    assert by_views[(0,), (1,), (2,)] == (0.0, 1.0, 1.0)
    assert found.atoms == ((2,), (3, 4), (0,), (1,))
    assert found.atom_p_values == (1.0, 1.0, 0.0, 0.0)


def test_a_third_view_of_fewer_states_than_sources_has_to_show_as_many_as_it_can():
    spec = px.MixtureSpec.from_parents({"A": range(3), "B": range(3), "C": range(2)}, {}, 3)
    (three,) = signal_of(px.population(px.random_mixture(spec, 0, separation=0.1))).triples
    two = repeated(px.random_mixture(spec.with_n_sources(2), 0, separation=0.2), 3)
    (triple,) = signal_of(px.population(two)).triples
    assert triple.views == ((0,), (1,), (2,))
    assert three.p_values == (0.0, 0.0, 0.0)
    assert triple.p_values == (1.0, 0.0, 0.0)


# -- size and power ----------------------------------------------------------------------------


def within_level(share, n_tables, level=0.05):
    """Not above the level by more than 2.6 standard errors."""
    return share <= level + 2.6 * (level * (1 - level) / n_tables) ** 0.5


@pytest.mark.parametrize(("n_rows", "missing"), [(500, 0.0), (1000, 0.3)])
def test_no_more_tables_than_the_level_show_signal_where_every_triple_has_a_dead_view(
    n_rows, missing
):
    """A and B speak of U; C, X and Y do not. Of 300 tables none and .003 reached .05."""
    truth = five([STRONG, STRONG, DEAD[2]], confounded=False)
    found = list(signals(truth, n_rows, 300, missing))
    silent = [dict(zip(f.atoms, f.atom_p_values, strict=True))[(2,)] for f in found]
    assert within_level(sum(f.p_value <= 0.05 for f in found) / 300, 300)
    assert within_level(sum(p <= 0.05 for p in silent) / 300, 300)


# Measured over as many tables: all, none, all, none, none.
@pytest.mark.parametrize(
    ("views", "n_rows", "n_tables", "least", "most"),
    [
        ([STRONG] * 3, 500, 50, 1.0, 1.0),
        ([HALF] * 3, 500, 30, 0.0, 0.1),
        ([HALF] * 3, 5000, 30, 0.95, 1.0),
        ([STRONG, *DEAD[1:]], 5000, 30, 0.0, 0.0),
        (DEAD, 500, 30, 0.0, 0.0),
    ],
)
def test_tables_show_signal_as_in_the_table_of_error_rates(views, n_rows, n_tables, least, most):
    """THEORY section 15.4, one less the flags at 1e-4."""
    found = list(signals(five(views), n_rows, n_tables))
    assert all(f.shown == (f.p_value <= SIGNAL_LEVEL) for f in found)
    assert least <= sum(f.shown for f in found) / n_tables <= most


def test_three_sources_are_shown_and_two_in_place_of_three_are_not():
    """Of 20 seeds all, and none."""
    spec = numbered(6, [(3, 4)], 3, card=3)
    three = px.random_mixture(spec, 0, separation=0.3)
    two = repeated(px.random_mixture(spec.with_n_sources(2), 0, separation=0.3), 3)
    assert all(f.shown for f in signals(three, 5000, 5))
    assert not any(f.shown for f in signals(two, 5000, 20))


def test_a_plan_that_conditions_is_tested_within_its_strata():
    """The chain V0 -> ... -> V4: V2 is conditioned on, or V1 and V3 as well."""
    spec = numbered(5, chain(5), card=3)
    strong = px.random_mixture(spec, 0, separation=0.3)
    silent = px.random_mixture(spec.with_n_sources(1), 0)
    assert all(triple.given for triple in signal_of(rows_of(strong, 5000)).triples)
    assert all(f.shown for f in signals(strong, 5000, 3))
    # Edges make the views dependent, not U.
    assert not any(f.shown for f in signals(repeated(silent, 2), 5000, 20))


def test_many_small_strata_do_not_add_up_to_signal():
    """64 strata of about 20 rows; with N in place of N - 1 the share at .05 is near .09."""
    spec = px.MixtureSpec.from_parents(
        {"Z": range(64), "A": range(2), "B": range(2)}, {"A": ["Z"], "B": ["Z"]}, 2
    )
    one = px.random_mixture(spec.with_n_sources(1), 0)
    bits = table(0.5).expand(1, 64, 2)
    flat = torch.full((1, 64), 1 / 64, dtype=torch.float64)
    truth = BayesNetMixture(one.spec, one.weights, (flat, bits, bits))
    found = [
        _p_value(px.data.asking.asked(rows_of(truth, 1280, seed)), Blocks((1,), (2,), (0,)), 1)
        for seed in range(300)
    ]
    assert within_level(sum(p <= 0.05 for p in found) / 300, 300)


# -- missing cells -----------------------------------------------------------------------------


def test_a_pair_has_the_rows_in_which_it_is_seen():
    """Pearson's test of the rows that are complete in A and B, whatever C lacks."""
    spec = numbered(3, [])
    rows = sample(px.random_mixture(spec, 0, separation=0.2), 600, 0)[0]
    rows = rows.to(torch.int64)
    rows[:200, 0], rows[150:400, 1], rows[350:, 2] = -1, -1, -1
    (triple,) = signal_of(px.Counts.from_codes(spec, rows)).triples
    for (i, j), p_value in zip(itertools.combinations(range(3), 2), triple.p_values, strict=True):
        both = rows[(rows[:, [i, j]] >= 0).all(1)]
        counts = torch.zeros(2, 2, dtype=torch.float64)
        counts.index_put_((both[:, i], both[:, j]), torch.ones(len(both)).double(), True)
        expected = rank_test(counts / len(both), len(both) - 1, 1)
        assert p_value == pytest.approx(float(expected.p_value), rel=1e-9)


# -- what is looked at -------------------------------------------------------------------------


def test_every_triple_of_atoms_of_a_small_graph_is_looked_at():
    found = signal_of(rows_of(alike(five([STRONG] * 3)), 500))
    atoms = [(0,), (1,), (2,), (3, 4)]
    assert sorted(found.atoms) == atoms
    looked_at = {tuple(sorted(triple.views)) for triple in found.triples}
    assert looked_at >= set(itertools.combinations(atoms, 3))
    assert found.n_triples == len(found.triples)
    assert found.p_value == min(1, len(found.triples) * found.triples[0].p_value)


def test_tests_end_with_the_first_triple_that_shows_signal_and_all_triples_count():
    silent, shown = (
        signal_of(rows_of(truth, 2000)) for truth in (alike(five([STRONG] * 3)), five([STRONG] * 3))
    )
    assert shown.shown
    assert len(shown.triples) == 1
    assert shown.n_triples == silent.n_triples == len(silent.triples)
    assert shown.p_value == min(1, silent.n_triples * shown.triples[0].p_value)
    assert shown.atoms == ()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("k", [2, 3])
def test_views_are_d_separated_given_the_source_and_small(k, seed):
    spec = random_network(8, k, seed)
    found = signal_of(px.population(alike(px.random_mixture(spec, seed))))
    graph = graph_with_source(spec)
    for triple in found.triples:
        for one, other in itertools.combinations(triple.views, 2):
            assert separated(graph, one, other, (-1, *triple.given))
        sizes = [spec.n_joint(view) for view in triple.views]
        assert min(sizes[:2]) >= k
        assert max(sizes) <= MAX_STATES
    ordered = [triple.p_value for triple in found.triples]
    assert ordered == sorted(ordered)
    assert list(found.atom_p_values) == sorted(found.atom_p_values, reverse=True)


@pytest.mark.parametrize("spec", [numbered(30, [], 3), bundled("sachs", 3)])
def test_many_variables_give_a_modest_number_of_triples(spec):
    found = signal_of(rows_of(px.random_mixture(spec, 0, separation=0.3), 5000))
    assert found.shown
    assert len(found.triples) <= 40


def test_states_beyond_those_that_can_be_tested_are_merged():
    spec = numbered(3, [], card=60)
    found = signal_of(rows_of(px.random_mixture(spec, 0), 20_000))
    assert found.shown


def test_vertices_are_numbered_by_the_graph_that_asks():
    counts = rows_of(five([STRONG, HALF, DEAD[2]]), 500)
    turned = px.MixtureSpec.from_parents(
        dict.fromkeys(reversed(FIVE.variables), (0, 1)), {"V4": ["V3"]}, 2
    )
    here, there = signal_of(counts), signal_of(counts, turned)
    assert here.triples[0].p_value == pytest.approx(there.triples[0].p_value, rel=1e-6)
    assert turned.name(there.atoms[0][0]) == FIVE.name(here.atoms[0][0]) == "V2"


def test_nothing_is_asked_of_one_source_or_where_no_three_views_exist():
    assert signal_of(rows_of(px.random_mixture(FIVE.with_n_sources(1), 0), 100)) is None
    assert signal_of(rows_of(px.random_mixture(numbered(5, complete(5)), 0), 100)) is None
