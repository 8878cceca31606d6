"""Where a sample foresees EM of all rows to go: its equation, its end, samples that mislead."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

import pyromix as px
from pyromix.estimate.ascent import Options, ascend
from pyromix.estimate.sampled import CLOSE, Sample, foreseen
from pyromix.estimate.starts import batch_of, random_starts
from pyromix.estimate.step import EMMap, Point
from pyromix.estimate.streamed import Place, climb_stream
from pyromix.exact.rows import CellIndex
from pyromix.model.prior import PseudoCounts

SPEC = px.MixtureSpec.from_parents(
    {f"v{i}": (0, 1, 2)[: 2 + i % 2] for i in range(6)},
    {"v1": ["v0"], "v3": ["v2"], "v5": ["v4"]},
    2,
    uninfluenced=["v5"],
)
TRUTH = px.random_mixture(SPEC, 3, separation=0.3)
NONE, SOME = PseudoCounts.of(SPEC, None), PseudoCounts.of(SPEC, 0.7)
ALONE = 1e200
"""Rows of doubt with which no sample is believed."""


def counts_of(n: int, seed: int, truth: px.BayesNetMixture = TRUTH) -> px.Counts:
    frame = px.simulate(truth, n, random_state=seed).astype("Int64")
    hidden = np.random.default_rng(seed).random(frame.shape) < 0.1
    return px.Counts.from_frame(frame.mask(hidden), SPEC).in_rows()


ALL, FEW = counts_of(6000, 0), counts_of(1500, 1)


def map_of(counts: px.Counts, prior: PseudoCounts = NONE) -> EMMap:
    return EMMap(SPEC, CellIndex(SPEC, counts.rows), counts.weights, prior)


def start_of(seed: int) -> Point:
    return Point.of(random_starts(SPEC, 1, seed))


def top_of(counts: px.Counts, prior: PseudoCounts, start: Point) -> tuple[Point, float]:
    found = ascend(map_of(counts, prior), start, Options(20_000, 1e-13, True, None))
    return found.point, float(found.step.objective)


def cpts_counted(counts: px.Counts, point: Point) -> list[np.ndarray]:
    """P(U) and CPTs in rows, by listing every completion of every row."""
    mixture = point.mixture(SPEC)[0]
    weights, cpts = mixture.weights.numpy(), [c.numpy() for c in mixture.cpts]
    found = [np.zeros_like(weights), *(np.zeros_like(c) for c in cpts)]
    for row, times in zip(counts.rows.tolist(), counts.weights.tolist(), strict=True):
        places, shares = [], []
        options = [range(c) if s < 0 else [s] for s, c in zip(row, SPEC.cards, strict=True)]
        for states in np.stack(np.meshgrid(*options, indexing="ij"), -1).reshape(-1, len(row)):
            for u in range(SPEC.n_sources):
                at = [(u, *states[list(SPEC.parents[v])], states[v]) for v in range(len(row))]
                places.append((u, at))
                shares.append(weights[u] * np.prod([c[i] for c, i in zip(cpts, at, strict=True)]))
        for (u, at), share in zip(places, np.array(shares) / np.sum(shares), strict=True):
            found[0][u] += times * share
            for v, i in enumerate(at):
                if row[v] >= 0 or any(v in SPEC.parents[w] and row[w] >= 0 for w in range(6)):
                    found[v + 1][i] += times * share
    found[6] = found[6].sum(0, keepdims=True).repeat(2, 0)  # v5, which the sources share
    return found


@pytest.mark.parametrize("doubt", [0.3, 5.0])
def test_the_aim_solves_its_equation_by_hand(doubt):
    few = counts_of(60, 1)
    em, point = map_of(ALL), start_of(0)
    target = em(point).target
    sample = Sample.of(SPEC, few, NONE, ALL.n_rows)
    aim = sample.aim(point, target, doubt)
    before, after = cpts_counted(few, point), cpts_counted(few, aim)
    tables = [target.weights[0].numpy(), *(c[0].numpy() for c in target.mixture(SPEC).cpts)]
    hoped = [t * (a + doubt) / (b + doubt) for t, a, b in zip(tables, after, before, strict=True)]
    hoped = [t / t.sum(-1, keepdims=True) for t in hoped]
    ours = [aim.weights[0].numpy(), *(c[0].numpy() for c in aim.mixture(SPEC).cpts)]
    near = 3 * CLOSE * float(target.distance(point))
    assert float(aim.distance(target)) > 10 * near
    for mine, theirs in zip(ours, hoped, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=near)


@pytest.mark.parametrize("prior", [NONE, SOME], ids=["none", "some"])
def test_a_sample_of_all_rows_aims_at_the_maximum_and_foresees_the_gain(prior):
    em, (top, best) = map_of(ALL, prior), top_of(ALL, prior, start_of(0))
    point = Point(0.9 * top.weights + 0.05, 0.97 * top.table + 0.03 * start_of(1).table)
    step = em(point)
    aim = Sample.of(SPEC, ALL, prior, ALL.n_rows).aim(point, step.target, 1e-9)
    assert float(aim.distance(top)) < 0.02 * float(step.target.distance(top))
    gain = best - float(step.objective)
    assert gain > 20
    assert foreseen(em, point, step, aim) == pytest.approx(gain, rel=0.1)


def test_without_belief_the_aim_is_ems_own():
    em, point = map_of(ALL), start_of(0)
    target = em(point).target
    aim = Sample.of(SPEC, FEW, NONE, ALL.n_rows).aim(point, target, ALONE)
    torch.testing.assert_close(aim.table, target.table, rtol=1e-13, atol=0)
    torch.testing.assert_close(aim.weights, target.weights, rtol=1e-13, atol=0)


def test_a_start_with_zeros_gets_three_rows_of_the_sample():
    tables = [t.clone() for t in TRUTH.tables]
    tables[1][0] = torch.tensor([1.0, 0.0])
    start = px.BayesNetMixture.from_tables(SPEC, tables)
    found = Sample.of(SPEC, FEW, NONE, ALL.n_rows).inside(start)
    mass = float(TRUTH.weights[0]) * FEW.n_rows
    assert float(found.cpts[0][0, 1]) == pytest.approx(1.5 / mass, rel=0.3)


def climbed(em: EMMap, sample: Sample, start: Point, **options) -> list[float]:
    """What was kept after each pass, to a stop."""
    place, kept = Place(start, **options), []
    while place.n_small < 2 and len(kept) < 90:
        place = place.after(em, sample, em(place.point), 0.1)
        kept.append(float(place.known[1].objective))
    return kept


def passes_to(kept: list[float], goal: float) -> int:
    return next((n for n, value in enumerate(kept, 1) if value >= goal), 99)


def test_a_sample_saves_passes_and_one_that_misleads_costs_few():
    good = Sample.of(SPEC, FEW, NONE, ALL.n_rows)
    other = px.random_mixture(SPEC, 11, separation=0.6)
    bad = Sample.of(SPEC, counts_of(300, 2, other), NONE, ALL.n_rows)
    em = map_of(ALL)
    with_good, with_bad, alone = [], [], []
    for seed in (0, 1, 3):
        start = start_of(seed)
        best = top_of(ALL, NONE, start)[1]
        for sample, options, found in (
            (good, {}, with_good),
            (bad, {}, with_bad),
            (good, {"doubt": ALONE}, alone),
        ):
            kept = climbed(em, sample, start, **options)
            assert all(b >= a - 1e-7 for a, b in pairwise(kept))
            found.append(passes_to(kept, best - 1))
    assert sum(with_good) <= 0.7 * sum(alone)
    assert sum(with_bad) <= 3 * sum(alone)


def test_points_that_lie_lower_are_given_up_and_the_sample_believed_less():
    em, sample, worse = map_of(ALL), Sample.of(SPEC, FEW, NONE, ALL.n_rows), start_of(5)
    place = Place(start_of(0))
    while not place.length > 1:
        place = place.after(em, sample, em(place.point), 0.5)
    (known, step), (aim, own) = place.known, place.others
    assert own is step.target
    assert em(worse).objective < step.objective
    for expected in (aim, own):
        given_up = Place(**{**vars(place), "point": worse}).after(em, sample, em(worse), 0.5)
        assert given_up.known == (known, step)
        assert given_up.point is expected
        assert given_up.start is None
        assert (given_up.limit < place.limit) == (expected is aim)
        assert (given_up.doubt > place.doubt) == (expected is own)
        place = given_up
    last = place.after(em, sample, em(own), 0.5)
    assert last.known[1].objective > step.objective


def test_a_climb_finds_starts_that_a_row_forbids():
    tables = [t.clone() for t in TRUTH.tables]
    tables[1][:] = torch.tensor([1.0, 0.0])
    start = Point.of(batch_of(px.BayesNetMixture.from_tables(SPEC, tables)))
    sample = Sample.of(SPEC, FEW, NONE, ALL.n_rows)
    with pytest.raises(px.errors.RefinementError, match="a positive probability"):
        climb_stream(map_of(ALL), sample, start)
