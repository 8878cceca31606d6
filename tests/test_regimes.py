"""What is said around a number, regime by regime: strong, weak, not identified, incomplete."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import pyromix as px
from pyromix.answers.excess import excess, fit_reduced
from pyromix.answers.heard import hear
from pyromix.answers.intervals import Method
from pyromix.data.counts import Counts
from pyromix.estimate.em import climb
from pyromix.estimate.result import Ends
from pyromix.estimate.starts import batch_of, random_starts
from pyromix.exact.seen import variance_if_seen
from pyromix.identify.certificate import query_gradient
from pyromix.identify.reduced import reductions
from pyromix.identify.signal import Signal, Triple, signal_of
from pyromix.identify.stage import MomentStage
from pyromix.identify.verdict import Doubt, Findings, judge
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import settings
from pyromix.model.status import Status

pytestmark = pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")

STRONG, HALF, SILENT = ((0.2, 0.8),) * 3, ((0.35, 0.65),) * 3, ((0.5,) * 2, (0.3,) * 2, (0.6,) * 2)
"""P(view = 1 | u) of three views."""

TRUE, NAIVE = 0.2, 0.434
"""The effect of X on Y below, and what those seen with X differ by."""


def five(views, k=2):
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABCXY", (0, 1)), {"Y": ["X"]}, k)
    rows = [*views, (0.2, 0.8), ((0.2, 0.4), (0.6, 0.8))]
    cpts = tuple(torch.tensor(r, dtype=torch.float64) for r in rows)
    cpts = tuple(torch.stack([1 - c, c], -1) for c in cpts)
    return BayesNetMixture(spec, torch.tensor([0.4, 0.6], dtype=torch.float64), cpts)


def fitted(views, n, seed=0, **options):
    truth = five(views)
    return px.fit(truth.spec, px.simulate(truth, n, random_state=seed), **options)


@pytest.fixture(scope="module")
def silent():
    return fitted(SILENT, 2000, seed=3)


@pytest.fixture(scope="module")
def weak(silent):
    """Its effect, which is searched for once."""
    return silent.effect("X", "Y", require="weak", level=0.9)


# -- views that say nothing ------------------------------------------------------------------------


def test_where_views_say_nothing_the_answer_is_refused_with_figures_and_a_cure(silent):
    with pytest.raises(px.NotCertifiedError) as refused:
        silent.effect("X", "Y")
    assert refused.value.found == "weak"
    text = str(refused.value)
    assert "no three views of 'U'" in text
    assert "one more observed variable" in text
    assert 'require="weak"' in text
    with pytest.raises(px.NotCertifiedError):
        silent.query("Y", {"X": 1})


def test_and_the_interval_that_is_given_all_the_same_holds(weak):
    effect = weak
    assert effect.certainty is px.Certainty.WEAK
    low, high = (float(end[1]) for end in effect.interval())
    assert low < TRUE < NAIVE < high
    assert high - low > 0.7
    # what was printed before: a tight interval around the naive number
    narrow = effect.interval(method="delta")
    assert not narrow[0][1] <= TRUE <= narrow[1][1]
    assert effect.do.interval_report().methods == (Method.WEAK,) * 2
    search = effect.do.interval_report().searches[1]
    assert 10 < search.limit < 18  # 13.3 in THEORY 14.5
    assert 1 <= search.n_low <= search.n_down
    assert 1 <= search.n_high <= search.n_up
    assert search.n_low >= 1
    for said in ("certainty: weak", "limit for weak answers", "90% interval"):
        assert said in str(effect)


def test_draws_are_not_printed_as_if_they_held(silent, weak):
    effect = silent.bootstrap(n=50).effect("X", "Y", require="weak", level=0.9)
    assert effect.do.interval_report().methods == (Method.WEAK,) * 2
    np.testing.assert_allclose(effect.interval(), weak.interval(), atol=1e-9)
    draws = effect.interval(method="draws")
    assert not draws[0][1] <= TRUE <= draws[1][1]


def test_a_report_shows_the_interval_marked_where_the_fit_refuses(silent):
    report = silent.report(treatment="X", outcome="Y", sensitivity=False, show=False)
    text, letter = str(report), report.letter
    assert "WEAK" in text
    assert "(weak: fit.effect refuses this answer)" in " ".join(text.split())
    assert "No doubts were found" not in text
    assert "Refused" in text
    # The number of a weak effect means nothing: the letter tells its interval alone, and a cure.
    low, high = (float(end[1]) for end in silent.effect("X", "Y", require="weak").interval())
    first, aside = letter.headlines
    assert (first.level, aside.level) == ("weak", "aside")
    assert first.value == f"{100 * low:+.1f} to {100 * high:+.1f}"
    assert letter.sentence.startswith("The table is too weak for one number")
    assert "no three views of 'U'" in letter.doubts[0]
    assert "strongly" in letter.cure


def test_check_and_fit_say_the_same(silent):
    spec = silent.spec
    report = px.check(spec, data=silent.counts, outcome="Y", treatment="X")
    assert report.verdict == "weak"
    heard = hear(silent, settings(spec, "Y", "X"), None)
    assert heard.verdict.findings.p_signal == report.found.findings.p_signal
    assert report.summary()["p_signal"] > 1e-4
    assert "signal" in report.summary()["doubts"]


def test_an_exact_law_without_signal_is_weak_and_says_between_what_starts_answer():
    truth = five(SILENT)
    fit = px.fit(truth.spec, px.population(truth))
    with pytest.raises(px.NotCertifiedError):
        fit.effect("X", "Y")
    effect = fit.effect("X", "Y", require="weak")
    assert effect.certainty is px.Certainty.WEAK
    assert not effect.do.has_interval
    assert "the distribution is exact" in str(effect)
    # with signal, nothing is in doubt
    strong = px.fit(truth.spec, px.population(five(STRONG)))
    assert strong.effect("X", "Y").certainty is px.Certainty.GRAPHICAL


def test_a_strong_table_is_as_certain_as_its_graph():
    fit = fitted(STRONG, 1000, seed=2)
    effect = fit.effect("X", "Y", level=0.9)
    assert effect.certainty is px.Certainty.GRAPHICAL
    low, high = (float(end[1]) for end in effect.interval())
    assert low <= TRUE <= high
    assert high - low < 0.25


def test_a_question_that_leans_on_no_view_is_never_weak(silent):
    assert silent.query("Y", evidence={"X": 1}).certainty is px.Certainty.GRAPHICAL
    effect = silent.effect("X", "Y", require="weak")
    assert effect.naive.interval_report().methods == (Method.DELTA,) * 2


def test_where_the_graph_has_no_three_views_the_likelihood_tells():
    """A chain of four without a source: k = 2 is locally identified, and nothing shows it."""
    spec = px.MixtureSpec.from_parents(
        dict.fromkeys("ABCD", (0, 1)), {"B": ["A"], "C": ["B"], "D": ["C"]}, 2
    )
    alone = px.random_mixture(spec.with_n_sources(1), 3)
    frame = px.simulate(alone, 2000, random_state=0)
    report = px.check(spec, data=frame, outcome="D", treatment="C")
    assert report.found.structural is px.Certainty.LOCAL
    assert report.verdict == "weak"
    assert report.found.findings.p_reduced > 1e-4
    effect = px.fit(spec, frame, n_init=6).effect("C", "D", require="weak", level=0.9)
    low, high = (float(end[1]) for end in effect.interval())
    assert low <= float(px.effect(alone, "C", "D").do) <= high


# -- the rule --------------------------------------------------------------------------------------


def signal(*p_values):
    triples = tuple(Triple(((0,), (1,), (2,)), (), (p, p, p)) for p in sorted(p_values))
    return Signal(triples, len(triples), ((0,), (1,), (2,)), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("findings", "doubts"),
    [
        (Findings(signal=signal(1e-5)), ()),
        (Findings(signal=signal(2e-4)), (Doubt.SIGNAL,)),
        (Findings(signal=signal(4e-5, 0.5, 0.5)), (Doubt.SIGNAL,)),  # Bonferroni over three
        (Findings(p_reduced=0.3), (Doubt.SIGNAL,)),
        (Findings(p_reduced=1e-6), ()),
        (Findings(stage=MomentStage(Status.RANK_TOO_SMALL, math.nan, ())), (Doubt.SIGNAL,)),
        (
            Findings(signal=signal(1e-9), stage=MomentStage(Status.RANK_TOO_SMALL, math.nan, ())),
            (),
        ),
        (Findings(signal=signal(1e-9), loose=0.51), (Doubt.DIRECTIONS,)),
        (Findings(signal=signal(1e-9), loose=0.49), ()),
        (Findings(signal=signal(1e-9), spread=(0.1, 0.13)), (Doubt.STARTS,)),
        (Findings(signal=signal(1e-9), spread=(0.1, 0.115)), ()),
        (Findings(signal=signal(1e-9), spread=(0.1, 0.13), error=0.04), ()),
    ],
)
def test_an_answer_is_weak_by_one_rule(findings, doubts):
    spec = five(STRONG).spec
    found = judge(spec, settings(spec, "Y", "X"), findings)
    assert found.doubts == doubts
    assert found.weak == bool(doubts)
    assert found.structural is px.Certainty.GRAPHICAL
    # no finding touches what P(V) answers by itself, or what nothing could answer
    seen = judge(spec, [px.DoQuery(outcomes=(4,), evidence={3: 1})], findings)
    assert seen.level is px.Certainty.GRAPHICAL
    lost = px.MixtureSpec.from_parents(dict.fromkeys("XY", (0, 1)), {"Y": ["X"]}, 2)
    assert judge(lost, settings(lost, "Y", "X"), findings).level is px.Certainty.NONE


def test_starts_that_fit_as_well_and_answer_otherwise_make_an_answer_weak():
    fit = fitted(STRONG, 1000, seed=2)
    cpts = list(fit.mixture.cpts)
    cpts[4] = cpts[4].roll(1, -2)
    other = BayesNetMixture(fit.spec, fit.mixture.weights, tuple(cpts))
    both = batch_of(fit.mixture, other)
    for gap, certainty in ((0.0, px.Certainty.WEAK), (3.0, px.Certainty.GRAPHICAL)):
        heights = torch.tensor([0.0, -gap], dtype=torch.float64)
        ends = Ends(both, heights, heights == heights)
        found = replace(fit, ends=ends).effect("X", "Y", require="weak")
        assert found.certainty is certainty
        assert ("starts that fit about as well" in str(found)) == (not gap)


# -- reduced models and what k sources gain over them ----------------------------------------------


def test_views_without_signal_are_silent_in_the_reduced_model():
    spec = five(STRONG).spec
    asked = settings(spec, "Y", "X")
    for views, silent_ones in (
        (SILENT, {0, 1, 2}),
        (((0.2, 0.8), *SILENT[1:]), {1, 2}),
    ):
        counts = Counts.from_frame(px.simulate(five(views), 3000, random_state=1), spec)
        [reduced] = reductions(spec, asked, signal_of(counts, spec))
        assert reduced.uninfluenced == silent_ones
        assert judge(reduced, asked).structural is px.Certainty.NONE


def test_without_views_the_smallest_sets_of_silent_vertices_are_tried():
    spec = px.MixtureSpec.from_parents(
        dict.fromkeys("ABCD", (0, 1)), {"B": ["A"], "C": ["B"], "D": ["C"]}, 2
    )
    asked = settings(spec, "D", "C")
    assert [s.uninfluenced for s in reductions(spec, asked, None)] == [{0, 1}]


@pytest.mark.parametrize(("views", "limit"), [(SILENT, 13.3), (((0.2, 0.8), *SILENT[1:]), 5.9)])
def test_what_two_sources_gain_on_silent_views_is_what_was_found_before(views, limit):
    """THEORY 14.5, from 300 tables: 13.3 and 5.9; here a gamma law of 60."""
    spec = five(views).spec
    counts = Counts.from_frame(px.simulate(five(views), 500, random_state=4), spec)
    top = climb(counts, random_starts(spec, 20, 0, counts=counts)).log_likelihood
    reduced = fit_reduced(
        reductions(spec, settings(spec, "Y", "X"), signal_of(counts, spec)), counts
    )
    assert reduced.log_likelihood <= top + 1e-6
    found = excess(reduced, spec, counts, top)
    assert found.limit(0.9) == pytest.approx(limit, rel=0.25)
    assert found.observed == pytest.approx(2 * (top - reduced.log_likelihood), abs=1e-9)
    assert found.p_value > 1e-3
    again = excess(reduced, spec, counts, top)
    assert again == found
    assert found.limit(0.8) < found.limit(0.9) < found.limit(0.99)


# -- cells missing, intervals missing --------------------------------------------------------------


def test_cells_missing_leave_the_interval_and_silence_is_not_an_answer():
    truth = five(STRONG)
    frame = px.simulate(truth, 1500, random_state=5).astype(object)
    frame = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.1)
    fit = px.fit(truth.spec, frame)
    effect = fit.effect("X", "Y")
    assert effect.do.has_interval
    low, high = (float(end[1]) for end in effect.interval())
    assert low <= TRUE <= high
    for asked, why in (
        (fit.effect("X", "Y", interval=False), "interval=False asked for none"),
        (
            px.fit(truth.spec, frame, method="moments").effect("X", "Y", require="weak"),
            "moments alone",
        ),
    ):
        assert not asked.do.has_interval
        assert f"interval: none, {why}" in str(asked) or why in str(asked)
        with pytest.raises(px.QueryError, match=why):
            asked.interval()


def test_a_saved_fit_without_its_table_keeps_its_verdict(tmp_path, silent, weak):
    silent.save(tmp_path / "fit.pyromix", include_data=False)
    again = px.load(tmp_path / "fit.pyromix")
    assert again.signal.p_value == silent.signal.p_value
    with pytest.raises(px.NotCertifiedError):
        again.effect("X", "Y")
    effect = again.effect("X", "Y", require="weak")
    assert "interval: none, the fit holds no table" in str(effect)
    silent.save(tmp_path / "whole.pyromix")
    whole = px.load(tmp_path / "whole.pyromix").effect("X", "Y", require="weak", level=0.9)
    np.testing.assert_allclose(whole.interval(), weak.interval(), atol=1e-9)


def test_a_naive_difference_of_few_rows_has_a_width():
    rows = np.repeat([[0, 0], [0, 1], [1, 1]], [10, 10, 5], axis=0)
    spec = px.MixtureSpec.from_parents({"X": (0, 1), "Y": (0, 1)}, {"Y": ["X"]}, 1)
    fit = px.fit(spec, pd.DataFrame(rows, columns=["X", "Y"]), prior=None)
    low, high = fit.query("Y", {"X": 1}).interval()
    assert high[1] - low[1] > 0.4
    assert low[1] == pytest.approx(0.478, abs=4e-3)


def test_with_one_source_and_no_cell_missing_everything_is_seen():
    """The observed information is then that of complete rows; one row is added to each CPT row."""
    spec = px.MixtureSpec.from_parents({"X": (0, 1, 2), "Y": (0, 1, 2)}, {"Y": ["X"]}, 1)
    fit = px.fit(spec, px.simulate(px.random_mixture(spec, 0), 20_000), prior=None)
    for query in settings(spec, "Y", "X"):
        for gradient in query_gradient(fit.mixture, query):
            seen = variance_if_seen(fit.mixture, fit.row_masses, fit.n_rows, gradient)
            expected = float(fit.information.variances(gradient[None])[0])
            assert seen == pytest.approx(expected, rel=2e-3)
