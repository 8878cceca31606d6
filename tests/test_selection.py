"""How many sources: what each criterion says, and that what is not identified does not stand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from product_cases import draw_rows, edgeless, random_product
from published import latent_class

import pyromix as px
from pyromix.cli.flags import in_flags
from pyromix.criticism import selection as selecting
from pyromix.criticism.candidates import Candidate
from pyromix.criticism.reach import log_likelihood_needed, may_win_by_icl
from pyromix.criticism.selection import HELD_OUT_PRIOR
from pyromix.data.counts import Counts
from pyromix.data.folds import folds


@pytest.fixture(scope="module")
def three() -> px.Selection:
    cards = (2, 3, 2, 3, 2, 2, 3)
    truth = random_product(cards, 3, 11)
    counts = Counts.from_codes(edgeless(cards, 1), draw_rows(truth, 20_000, 0))
    return px.select_n_sources(None, counts, range(1, 5))


def test_every_criterion_finds_three_sources(three):
    assert three.choices["rank"] == three.choices["bic"] == three.choices["held_out"] == 3
    assert (three.best, three.agree) == (3, True)
    assert "agree on 3" in str(three)


def test_the_likelihood_of_nested_models_grows_and_the_table_holds_them_all(three):
    ends = [c.log_likelihood for c in three.candidates]
    assert ends == sorted(ends)
    frame = three.to_frame()
    assert frame["n_sources"].tolist() == [1, 2, 3, 4]
    assert frame["n_parameters"].tolist() == [c.n_parameters for c in three.candidates]
    assert frame["bic"].idxmin() == 2


def test_too_few_sources_are_rejected_by_rank_and_the_right_number_is_not(three):
    p_values = [c.rank_p_value for c in three.candidates]
    assert p_values[0] < 1e-6
    assert p_values[1] < 1e-6
    assert p_values[2] > 0.05


def test_stouffer_and_tobys_third_class_is_not_identified_and_not_elected():
    counts, _ = latent_class("values", 2)
    found = px.select_n_sources(None, counts, range(1, 5), n_init=4)
    assert [c.identified for c in found.candidates] == ["yes", "yes", "no", "no"]
    assert found.best == 2
    # Two blocks of two binary items each show up to four: rank 2 can be contradicted, 4 cannot.
    assert math.isnan(found.candidates[3].rank_p_value)


def test_held_out_likelihood_is_that_of_fits_to_the_other_folds():
    """One source: the fit of a fold is its margins with pseudo-counts, by hand."""
    cards = (2, 3)
    generator = torch.Generator().manual_seed(0)
    codes = torch.stack([torch.randint(0, c, (300,), generator=generator) for c in cards], 1)
    counts = Counts.from_codes(edgeless(cards, 1), codes)
    total = 0.0
    torch_generator = torch.Generator().manual_seed(5)
    found = px.select_n_sources(None, counts, [1], n_folds=3, random_state=torch_generator)
    # Rank tests draw nothing of two variables' only split but the seed of their order.
    torch_generator = torch.Generator().manual_seed(5)
    torch.randint(2**62, (1,), generator=torch_generator)
    for rest, own in folds(counts, 3, torch_generator):
        for v, card in enumerate(cards):
            shares = torch.zeros(card, dtype=torch.float64)
            shares = shares.index_add(0, rest.rows[:, v].long(), rest.weights) + HELD_OUT_PRIOR
            total += float(own.weights @ (shares / shares.sum()).log()[own.rows[:, v].long()])
    assert found.candidates[0].held_out == pytest.approx(total / 300, abs=1e-9)


def test_one_standard_error_prefers_fewer_sources():
    def candidate(k, held_out, error):
        return Candidate(k, "yes", k, 0.0, k, k, 1.0, held_out, error, math.nan, 1.0, 1, 1, k, k, k)

    near = px.Selection((candidate(1, -1.01, 0.02), candidate(2, -1.0, 0.0)), (), 0.05, ())
    far = px.Selection((candidate(1, -1.01, 0.005), candidate(2, -1.0, 0.0)), (), 0.05, ())
    assert (near.choices["held_out"], far.choices["held_out"]) == (1, 2)


def test_a_network_is_selected_by_likelihood_and_its_graph():
    truth = px.random_mixture(
        px.MixtureSpec.from_parents(
            {f"V{i}": (0, 1, 2) for i in range(6)}, {"V1": ["V0"], "V3": ["V2"]}, 2
        ),
        3,
        separation=0.3,
    )
    found = px.select_n_sources(truth.spec, px.simulate(truth, 5000), [1, 2, 3], n_init=5)
    assert found.best == found.choices["held_out"] == 2


def test_pair_margins_contradict_too_few_sources(three):
    p_values = [c.fit_p_value for c in three.candidates]
    assert p_values[0] < 1e-6
    assert p_values[1] < 1e-6
    assert p_values[2] > 0.05
    assert three.reproduced
    assert "no candidate" not in str(three)


def test_a_missing_edge_is_said_to_be_possible_where_no_candidate_reproduces_the_pairs():
    spec = px.MixtureSpec.from_parents(
        {f"V{i}": (0, 1, 2) for i in range(6)}, {"V1": ["V0"], "V3": ["V2"]}, 2
    )
    rows = px.simulate(px.random_mixture(spec, 3, separation=0.3), 20_000)
    found = px.select_n_sources(None, rows, [1, 2], n_init=3)
    assert not found.reproduced
    assert "an edge may be missing" in str(found)


def test_a_contradicted_choice_is_said_whatever_other_candidates_reproduce():
    """BIC chooses k = 1, which the pair margins contradict; k = 2 reproduces them."""

    def told(p_values):
        table = [
            Candidate(k, "yes", 1, -1.0, 10.0 * k, 0.0, 1.0, -1.0, 0.0, 1.0, p, 1, 1, 0.0, 0.0, 0.0)
            for k, p in p_values
        ]
        return px.Selection(tuple(table), (), 0.05, ())

    found = told([(1, 1e-9), (2, 0.6)])
    assert found.best == 1
    assert not found.reproduced
    assert "the chosen k does not reproduce" in str(found)
    other = told([(1, 0.6), (2, 1e-9)])
    assert other.reproduced
    assert "does not reproduce" not in str(other)


@pytest.mark.parametrize("candidates", [[], [0], [True, 2], [-1]])
def test_candidates_that_are_none_are_refused(candidates):
    counts, _ = latent_class("values", 2)
    with pytest.raises(px.SpecError, match="candidates"):
        px.select_n_sources(None, counts, candidates)


def test_a_population_is_judged_by_exact_ranks():
    truth = px.random_mixture(edgeless((3, 3, 3, 3), 2), 0)
    found = px.select_n_sources(None, px.population(truth), [1, 2, 3])
    assert found.choices == {"rank": 2}
    assert [c.rank_p_value for c in found.candidates[:2]] == [0.0, 1.0]
    assert "need rows" in str(found)


def test_a_frame_with_weights_is_the_table_it_stands_for():
    counts, _ = latent_class("values", 2)
    rng = np.random.default_rng(0)
    names = list(counts.spec.variables)
    frame = px.data.frames.to_pandas(
        {**dict(zip(names, counts.rows.T.numpy(), strict=True)), "w": counts.weights.numpy()}
    )
    frame = frame.iloc[rng.permutation(len(frame))]
    one = px.select_n_sources(None, frame, [2], sample_weight="w", n_init=3)
    two = px.select_n_sources(None, counts, [2], n_init=3)
    assert one.candidates[0].log_likelihood == pytest.approx(
        two.candidates[0].log_likelihood, abs=1e-5
    )


def of_seven_items(**options) -> px.Selection:
    """Seven binary items of two sources, and four of them tried."""
    truth = random_product((2,) * 7, 2, 3)
    counts = Counts.from_codes(edgeless((2,) * 7, 1), draw_rows(truth, 2000, 1))
    return px.select_n_sources(None, counts, [2, 4], n_init=2, n_folds=2, method="em", **options)


@pytest.fixture(scope="module")
def far_too_many():
    """With what cannot win stopped, and climbed to its end."""
    return of_seven_items(), of_seven_items(finish_all=True)


def test_far_too_many_sources_are_stopped_marked_and_change_no_choice(far_too_many):
    stopped, whole = far_too_many
    assert [c.stopped for c in stopped.candidates] == [False, True]
    assert not any(c.stopped for c in whole.candidates)
    assert stopped.choices == whole.choices
    assert "* stopped" in str(stopped)
    assert "--finish-all" in in_flags(str(stopped))
    assert "* stopped" not in str(whole)
    assert "stopped" in stopped._repr_html_()


def test_what_is_stopped_is_a_lower_bound_near_where_it_would_end(far_too_many):
    """Of no account is a nat in 200 steps; EM speeds up, and starts may end in another order."""
    (own, end), (few, _) = ([found.candidates[i] for found in far_too_many] for i in (1, 0))
    steps = [found.fits[1].climb.n_iter for found in far_too_many]
    assert steps[0] < steps[1]
    assert few.log_likelihood < own.log_likelihood <= end.log_likelihood + 1e-6
    assert end.log_likelihood - own.log_likelihood < 12
    (note,) = [n for n in far_too_many[0].fits[1].notes if "needed" in n.data]
    assert own.log_likelihood < note.data["needed"]
    assert "max_iter" not in note.sentence


def test_the_log_likelihood_that_is_needed_would_win_by_one_criterion_and_a_nat_less_by_none(three):
    """By the criteria themselves, of a fit of that likelihood."""
    rivals, other = three.fits[:3], three.fits[3]
    needed = log_likelihood_needed(other.n_parameters, rivals)
    for gap, wins in ((0.01, True), (-0.01, False)):
        there = replace(other, log_likelihood=needed + gap)
        names = ("bic", "caic", "sabic")
        assert wins == any(
            getattr(there, name) < min(getattr(fit, name) for fit in rivals) for name in names
        )
    assert log_likelihood_needed(other.n_parameters, ()) == -math.inf


def test_what_may_still_win_by_icl_is_climbed_to_its_end(three, far_too_many, monkeypatch):
    """Within twelve nats of the least; entropy is no matter of the likelihood alone."""
    rivals, other = three.fits[:3], three.fits[3]
    least = min(fit.icl for fit in rivals)
    for gap, may in ((11.9, True), (12.1, False)):
        there = replace(other, entropy=(least - other.bic) / 2 + gap)
        assert may_win_by_icl(there, rivals) == may
    monkeypatch.setattr(selecting, "may_win_by_icl", lambda *_: True)
    (_, again), (_, whole) = (f.candidates for f in (of_seven_items(), far_too_many[1]))
    assert not again.stopped
    assert again.log_likelihood == pytest.approx(whole.log_likelihood, abs=1e-6)
