"""More random starts while the best optimum stands alone, and none when it does not."""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from product_cases import draw_rows, edgeless, random_product
from published import latent_class

import pyromix as px
from pyromix.data.counts import Counts
from pyromix.data.thinning import thinned
from pyromix.errors import PyromixWarning, StartsDisagreeWarning
from pyromix.estimate import restarts
from pyromix.estimate.em import climb, fit_em, random_starts
from pyromix.estimate.race import (
    ENTRANTS,
    ENTRANTS_BESIDE_MOMENTS,
    FINALISTS,
    FINALISTS_BESIDE_MOMENTS,
    HEATS,
    race,
)
from pyromix.estimate.restarts import climb_raced, climb_until_confirmed
from pyromix.estimate.result import NEAR_BEST, joined
from pyromix.estimate.starts import batch_of, inside
from pyromix.estimate.step import EMMap, Point
from pyromix.exact.rows import CellIndex
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts


def table(k, n_rows=400, seed=0):
    cards = (2, 3, 2, 2, 2)
    return Counts.from_codes(
        edgeless(cards, k), draw_rows(random_product(cards, k, seed), n_rows, 1)
    )


def drawing(counts):
    generator = torch.Generator().manual_seed(1)
    return lambda n: random_starts(counts.spec, n, generator, counts=counts)


def test_confirmed_starts_are_left_alone():
    counts = table(2)
    draw = drawing(counts)
    result = climb_until_confirmed(counts, draw(20), draw)
    assert len(result.start_objectives) == 20
    assert result.n_best >= 3


@pytest.fixture(scope="module")
def three_optima():
    """A table, and three starts that end in optima apart: the best, another, a third."""
    counts, _ = latent_class("animals", 3)
    starts = drawing(counts)(60)
    ends = climb(counts, starts, check_saddle=False).start_objectives
    chosen: list[int] = []
    for i in ends.argsort(descending=True).tolist():
        apart = not chosen or float(ends[chosen[-1]] - ends[i]) > 0.5
        if apart and not climb(counts, starts[i : i + 1]).saddle:
            chosen.append(i)
    assert len(chosen) >= 3
    return counts, starts[torch.tensor(chosen[:3])]


@pytest.mark.parametrize("n", [2, 5, 6])
def test_the_gain_of_the_last_half_is_the_mean_over_all_halves(n):
    ends = torch.randn(n, generator=torch.Generator().manual_seed(n), dtype=torch.float64).tolist()
    halves = [max(half) for half in itertools.combinations(ends, n // 2)]
    expected = max(ends) - sum(halves) / len(halves)
    assert restarts.gain_of_last_half(ends) == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
@pytest.mark.parametrize(
    ("ends", "enough"),
    [
        ((1, 19, 0), False),
        ((3, 17, 0), False),
        ((8, 12, 0), True),
        ((8, 11, 1), True),
        ((20, 0, 0), True),
        ((10, 0, 0), False),
    ],
)
def test_starts_are_enough_when_a_random_half_of_them_would_have_done(three_optima, ends, enough):
    """Optima that starts reach once only, and that are no better, ask for nothing."""
    counts, optima = three_optima
    which = [place for place, times in enumerate(ends) for _ in range(times)]
    asked = []

    def draw(n):
        asked.append(n)
        return optima[torch.zeros(n, dtype=torch.long)]

    result = climb_until_confirmed(counts, optima[torch.tensor(which)], draw)
    assert (not asked) is enough
    assert len(result.start_objectives) == sum(ends) + sum(asked)


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_starts_are_added_until_the_best_is_confirmed_or_the_limit_is_reached():
    counts, reference = latent_class("animals", 3)
    draw = drawing(counts)
    result = climb_until_confirmed(counts, draw(20), draw)
    assert 20 < len(result.start_objectives) <= restarts.MOST
    assert result.log_likelihood >= reference["loglik"] - 0.01
    best = result.start_objectives.max()
    assert float(best) == pytest.approx(result.objective, abs=1e-9)


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_one_source_needs_no_second_start():
    counts = table(1)
    draw = drawing(counts)
    assert len(climb_until_confirmed(counts, draw(1), draw).start_objectives) == 1


QUIET = pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")


@pytest.fixture(scope="module")
def long_table():
    """More distinct rows than races are run on, three sources, starts that disagree."""
    spec = edgeless((3,) * 9, 4)
    weights, tables = random_product((3,) * 9, 4, 3)
    counts = Counts.from_codes(spec, draw_rows((weights, tables), 6000, 1))
    parts = [torch.as_tensor(t)[None] for t in (weights, *tables)]
    return BayesNetMixture.from_tables(spec, parts), counts


@QUIET
def test_a_race_leaves_the_likeliest_of_its_rows(long_table):
    """Against the same heats run start by start, each alone."""
    _, counts = long_table
    entrants = drawing(counts)(20)
    heat = thinned(counts, 500, 3)
    none = PseudoCounts.of(counts.spec, None)
    em = EMMap(counts.spec, CellIndex(counts.spec, heat.rows), heat.weights, none)
    left = list(range(20))
    points = [Point.of(entrants[i : i + 1]) for i in left]
    for n_steps, n_kept in zip(HEATS, (5, 3), strict=True):
        values = {}
        for i in left:
            for _ in range(n_steps):
                step = em(points[i])
                points[i], values[i] = step.target, float(step.objective)
        left = sorted(left, key=lambda i: -values[i])[:n_kept]
    found = race(heat, entrants, 3)
    for place, i in enumerate(left[:3]):
        expected = inside(points[i].mixture(counts.spec))
        torch.testing.assert_close(found.cpts[0][place], expected.cpts[0][0], rtol=0, atol=1e-9)


@QUIET
def test_a_heat_that_nobody_has_to_leave_is_not_run(long_table):
    """Of ten entrants the first heat leaves the two that are wanted."""
    _, counts = long_table
    entrants, heat = drawing(counts)(10), thinned(counts, 500, 3)
    none = PseudoCounts.of(counts.spec, None)
    em = EMMap(counts.spec, CellIndex(counts.spec, heat.rows), heat.weights, none)
    point = Point.of(entrants)
    for _ in range(HEATS[0]):
        step = em(point)
        point = step.target
    expected = inside(point[step.objective.topk(2).indices].mixture(counts.spec))
    found = race(heat, entrants, 2)
    torch.testing.assert_close(found.cpts[0], expected.cpts[0], rtol=0, atol=1e-9)


@QUIET
def test_thinned_rows_are_rows_of_the_table_by_their_weight(long_table):
    _, counts = long_table
    some = thinned(counts, 4000, 1)
    assert float(some.weights.sum()) == 4000
    assert bool((some.weights == some.weights.round()).all())
    rows = set(map(tuple, counts.rows.tolist()))
    assert all(tuple(row) in rows for row in some.rows.tolist())
    heavy = Counts(counts.schema, counts.rows[:2], torch.tensor([9.0, 1.0]).double(), counts.report)
    share = thinned(heavy, 10_000, 1).weights / 10_000
    assert share.tolist() == pytest.approx([0.9, 0.1], abs=0.015)


@QUIET
def test_races_go_on_until_three_starts_agree_and_say_how_many_were_entered(long_table):
    truth, counts = long_table
    heat = thinned(counts, 2000, 1)
    result = climb_raced(counts, None, drawing(counts), heat)
    n_ended = len(result.start_objectives)
    assert n_ended % FINALISTS == 0
    assert n_ended + result.n_raced == n_ended // FINALISTS * ENTRANTS
    assert result.n_best >= 3 or n_ended == restarts.MOST // ENTRANTS * FINALISTS
    bound = climb(counts, truth)
    assert result.objective >= bound.objective - 1e-3 * counts.n_rows


@QUIET
def test_moments_that_reach_the_best_end_the_race(long_table):
    truth, counts = long_table
    given, heat = truth, thinned(counts, 2000, 1)
    result = climb_raced(counts, given, drawing(counts), heat, n_identified=1)
    assert result.identified_is_best
    assert len(result.start_objectives) == 1 + FINALISTS_BESIDE_MOMENTS
    assert result.n_raced == ENTRANTS_BESIDE_MOMENTS - FINALISTS_BESIDE_MOMENTS


@QUIET
def test_a_straggler_is_left_behind_and_whatever_fits_about_as_well_is_not():
    counts, _ = latent_class("animals", 4)
    starts = drawing(counts)(40)
    to_the_end, left = (
        climb(counts, starts, leave_behind=left, check_saddle=False) for left in (False, True)
    )
    assert left.objective == pytest.approx(to_the_end.objective, abs=1e-5)
    near = to_the_end.start_objectives > to_the_end.objective - NEAR_BEST
    assert 0 < int(near.sum()) < 40
    torch.testing.assert_close(
        left.start_objectives[near], to_the_end.start_objectives[near], rtol=0, atol=1e-4
    )


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_joining_keeps_the_better_and_all_ends():
    counts, _ = latent_class("animals", 3)
    draw = drawing(counts)
    one, two = climb(counts, draw(3)), climb(counts, draw(3))
    for result in (joined(one, two), joined(two, one)):
        same = restarts.SAME_OPTIMUM * counts.n_rows
        best = max(one.objective, two.objective)
        assert result.objective == pytest.approx(best, rel=0, abs=same)
        assert len(result.start_log_likelihoods) == len(result.start_objectives) == 6


def test_an_identified_start_at_the_best_is_no_disagreement():
    counts, _ = latent_class("animals", 3)
    starts = drawing(counts)(6)
    ends = climb(counts, starts, check_saddle=False)
    best, worst = int(ends.start_objectives.argmax()), int(ends.start_objectives.argmin())
    pair = starts[torch.tensor([best, worst])]
    with pytest.warns(PyromixWarning) as said:
        fit_em(counts, pair, check_saddle=False)
    assert any(w.category is StartsDisagreeWarning for w in said)
    assert climb(counts, pair, n_identified=1).identified_is_best
    with pytest.warns(StartsDisagreeWarning, match="above the start from moments"):
        fit_em(counts, starts[torch.tensor([worst, best])], n_identified=1, check_saddle=False)


# -- nested starts -----------------------------------------------------------------------------


@pytest.mark.parametrize("with_data", [False, True])
def test_a_start_does_not_depend_on_how_many_there_are(with_data):
    counts, _ = latent_class("gss82", 3)
    given = {"counts": counts} if with_data else {}
    many = random_starts(counts.spec, 7, 5, **given)
    few = random_starts(counts.spec, 3, 5, **given)
    for one, other in zip(few.tables, many.tables, strict=True):
        assert torch.equal(one, other[:3])
    assert not torch.equal(many.weights[0], many.weights[1])


def test_a_further_start_does_not_hide_what_lies_beyond_a_saddle():
    """Equal classes are a saddle of gss82, with its best optimum behind; start 4 ends between."""
    counts, _ = latent_class("gss82", 3)
    one = random_starts(counts.spec, 1, 0, counts=counts, first=4)
    equal = one.map_tables(lambda table: table.mean(1, keepdim=True).expand_as(table).clone())
    equal = BayesNetMixture(equal.spec, torch.full_like(one.weights, 1 / 3), equal.cpts)
    alone, between = climb(counts, equal), climb(counts, one)
    both = climb(counts, batch_of(equal, one))
    assert alone.saddle
    assert between.objective < alone.objective - 1
    assert both.objective == pytest.approx(alone.objective, abs=1e-4)


@pytest.mark.parametrize("seed", [12, 31])
def test_more_starts_of_one_seed_never_end_lower(seed):
    """Seeds 12 and 31 found the best optimum of gss82 with one start, and not with two."""
    counts, _ = latent_class("gss82", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        ends = [
            px.fit_product(counts, 3, n_init=n, method="em", random_state=seed).log_likelihood
            for n in (1, 2)
        ]
    assert ends == pytest.approx(sorted(ends), abs=1e-4)
