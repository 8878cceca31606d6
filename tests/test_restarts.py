"""More random starts while the best optimum stands alone, and none when it does not."""

from __future__ import annotations

import pytest
import torch
from product_cases import draw_rows, edgeless, random_product
from published import latent_class

from pyromix.data.counts import Counts
from pyromix.errors import PyromixWarning, StartsDisagreeWarning
from pyromix.estimate import restarts
from pyromix.estimate.em import climb, fit_em, random_starts
from pyromix.estimate.restarts import climb_until_confirmed
from pyromix.estimate.result import joined


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
    ends = climb(counts, starts).start_objectives
    places = ends.argsort(descending=True)
    chosen = [int(places[0])]
    for i in places.tolist():
        if float(ends[chosen[-1]] - ends[i]) > 0.5:
            chosen.append(i)
    assert len(chosen) >= 3
    return counts, starts[torch.tensor(chosen[:3])]


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
@pytest.mark.parametrize(
    ("ends", "enough"),
    [
        ((1, 19, 0), False),
        ((2, 18, 0), False),
        ((3, 17, 0), True),
        ((20, 0, 0), True),
        ((19, 1, 0), True),
        ((18, 1, 1), False),
        ((3, 16, 1), True),
        ((9, 1, 0), False),
    ],
)
def test_the_best_is_believed_when_three_starts_reached_it_and_few_optima_stand_alone(
    three_optima, ends, enough
):
    """Few: the share of starts whose optimum no other start reached is at most one in twenty."""
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


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_large_tables_get_no_more(monkeypatch):
    counts, _ = latent_class("animals", 3)
    monkeypatch.setattr(restarts, "ROWS_OF_A_SMALL_TABLE", 10)
    draw = drawing(counts)
    assert len(climb_until_confirmed(counts, draw(2), draw).start_objectives) == 2


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
    ends = climb(counts, starts)
    best, worst = int(ends.start_objectives.argmax()), int(ends.start_objectives.argmin())
    pair = starts[torch.tensor([best, worst])]
    with pytest.warns(PyromixWarning) as said:
        fit_em(counts, pair)
    assert any(w.category is StartsDisagreeWarning for w in said)
    assert climb(counts, pair, n_identified=1).identified_is_best
    with pytest.warns(StartsDisagreeWarning, match="above the start from moments"):
        fit_em(counts, starts[torch.tensor([worst, best])], n_identified=1)
