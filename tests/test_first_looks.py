"""First looks at part of a table: what they decide is what all rows decide, and what they leave out
is said, kept, and made up for where they do not suffice."""

from __future__ import annotations

import itertools

import pytest
import torch
from network_cases import numbered, rows_of

import pyromix as px
from pyromix.exact.likelihood import log_prob
from pyromix.exact.rows import CellIndex
from pyromix.identify import start as starting
from pyromix.identify.network import runs
from pyromix.identify.views import patterns as patterning
from pyromix.identify.views.patterns import all_assignments, patterns_of

SPEC = numbered(11, [(0, 1), (2, 3), (4, 5), (6, 7)], 2, card=3)
QUIET = pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")


@pytest.fixture(scope="module")
def table():
    counts = rows_of(px.random_mixture(SPEC, 4, separation=0.4), 4000, 1)
    assert counts.n_patterns > 1800  # twice what the tests below draw
    return counts


@pytest.mark.parametrize("numbers", [2**22, 100], ids=["at once", "in pieces"])
def test_means_by_state_are_those_of_the_rows_one_by_one(numbers, monkeypatch):
    monkeypatch.setattr(patterning, "NUMBERS_OF_PATTERNS", numbers)
    rows = [(z, a, b) for z in (0, 1) for a in (0, 1, -1) for b in (0, 1, 2)]
    states = {"z": (0, 1), "a": (0, 1), "b": (0, 1, 2)}
    weights = torch.arange(1.0, len(rows) + 1, dtype=torch.float64)
    counts = px.Counts.from_codes(
        px.MixtureSpec.from_parents(states, {}, 2), torch.tensor(rows * 9), weights.repeat(9)
    )
    found = patterns_of(counts, (1, 2), (0,), all_assignments((2,)))

    def function(rows, strata):
        return torch.stack([rows[..., 0] + 2.0 * rows[..., 1], strata[:, None] + rows[..., 1]], -1)

    groups = [(0,), (1, 0)]
    expected = [torch.zeros(2, 2, n, dtype=torch.float64) for n in (3, 9)]
    for (z, a, b), weight in zip(rows, weights.tolist(), strict=True):
        a = a % 3  # a missing cell is the state after the last
        share = weight / sum(
            w for (y, _, _), w in zip(rows, weights.tolist(), strict=True) if y == z
        )
        values = torch.tensor([a + 2.0 * b, z + b], dtype=torch.float64)
        for table, state in zip(expected, (a, 3 * b + a), strict=True):
            table[z, :, state] += share * values
    for one, other in zip(found.mean_by_state(function, 2, groups), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@QUIET
def test_moments_of_some_rows_lead_to_the_optimum_and_say_how_many_they_were(
    table, monkeypatch, tmp_path
):
    whole = px.fit(SPEC, table, prior=None, random_state=0)
    monkeypatch.setattr(starting, "ROWS_OF_A_START", 900)
    part = px.fit(SPEC, table, prior=None, random_state=0)
    assert (whole.moments.n_drawn, part.moments.n_drawn) == (0, 900)
    assert "(900 rows drawn)" in str(part.moments)
    assert part.log_likelihood == pytest.approx(whole.log_likelihood, abs=1e-3)
    part.save(tmp_path / "fit.pyromix")
    assert px.load(tmp_path / "fit.pyromix").moments.n_drawn == 900


@QUIET
def test_the_likelihood_of_that_start_is_of_all_rows(table, monkeypatch):
    monkeypatch.setattr(starting, "ROWS_OF_A_START", 900)
    found = starting.start_for_em(table, SPEC, 0)
    by_hand = float(table.weights @ log_prob(found.mixture, table.rows))
    assert found.stage.log_likelihood == pytest.approx(by_hand, rel=1e-12)


@QUIET
def test_where_some_rows_determine_nothing_all_are_asked(table, monkeypatch):
    monkeypatch.setattr(starting, "ROWS_OF_A_START", 12)
    found = starting.start_for_em(table, SPEC, 0)
    expected = starting.start_from_moments(table, 0, spec=SPEC)
    assert found.stage.n_drawn == 0
    assert found.stage.status is expected.stage.status is px.Status.OK


@QUIET
def test_the_plan_that_a_first_look_prefers_is_solved_on_all_rows(table, monkeypatch):
    monkeypatch.setattr(runs, "ROWS_OF_A_FIRST_LOOK", 400)
    monkeypatch.setattr(runs, "ROWS_PER_ASSIGNMENT", 50)
    found = starting.start_from_moments(table, 0, spec=SPEC)
    assert found.stage.ok
    best = px.fit(SPEC, table, prior=None, random_state=0).mixture
    order = px.match_sources(best, found.mixture)
    pairs = zip(best.cpts, found.mixture.relabel(order).cpts, strict=True)
    # Within the error of moments, and far from the other labels: sources are .4 apart.
    assert max(float((a - b).abs().mean()) for a, b in pairs) < 0.05
    assert torch.allclose(best.weights, found.mixture.relabel(order).weights, atol=0.05)


@QUIET
def test_a_sharp_first_look_stands_where_em_follows_and_not_where_moments_are_the_answer(
    table, monkeypatch
):
    monkeypatch.setattr(runs, "ROWS_OF_A_FIRST_LOOK", 900)
    looked = starting.start_for_em(table, SPEC, 0)
    alone = starting.start_from_moments(table, 0, spec=SPEC)
    assert looked.stage.ok
    assert (looked.stage.n_drawn, alone.stage.n_drawn) == (900, 0)
    monkeypatch.setattr(runs, "GOOD_SEPARATION", 1e9)
    assert starting.start_for_em(table, SPEC, 0).stage.n_drawn == 0


@QUIET
def test_rows_behind_every_cpt_row_are_those_of_the_table(table):
    """One sparse product against a count by hand, parent state by parent state."""
    index = CellIndex(SPEC, table.rows)
    found = starting._rows_behind(table, index)
    for v, parents in enumerate(SPEC.parents):
        for state in itertools.product(*(range(SPEC.card(p)) for p in parents)):
            hit = torch.ones_like(table.weights, dtype=torch.bool)
            for p, s in zip(parents, state, strict=True):
                hit &= table.rows[:, p] == s
            assert float(found[v][state]) == float(table.weights[hit].sum())
    gaps = table.rows.clone()
    gaps[0, 0] = -1
    missing = px.Counts.from_codes(SPEC, gaps)
    assert starting._rows_behind(missing, CellIndex(SPEC, missing.rows)) is None
