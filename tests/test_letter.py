"""The letter of a report: what it says at every level, at every door, in every width."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

import pyromix as px
from pyromix.cli.advice import commands
from pyromix.errors import NotCertifiedError
from pyromix.model.query import Certainty
from pyromix.report.facts.effects import Effects
from pyromix.report.facts.headline import Compared, HeadlineFacts
from pyromix.report.facts.question import Question
from pyromix.report.kinds import PLOT_KINDS
from pyromix.report.letter.effect import effect_headlines, effect_sentence
from pyromix.report.markdown import plain
from pyromix.report.plots.canvas import Sheet, wrap_texts
from pyromix.report.plots.draw import draw
from pyromix.report.plots.headline import draw_headline
from pyromix.report.subject import Subject, look_at

QUESTION = Question("X", "Y", ("control", "treated"))
NAIVE = Compared(0.489, (0.464, 0.513))
SEEN = "; merely comparing those seen with treated and with control shows +48.9."
PYTHON_CALL = re.compile(r"\b(fit|px)\.\w|\w=\.\.\.|\bn_init\b|\bmax_iter\b|interval=")


@pytest.fixture(scope="module")
def fit() -> px.MixtureFit:
    model, frame, _ = px.datasets.load("hidden-group")
    return px.fit(model, frame, 2, n_init=1, prior=None)


@pytest.fixture(scope="module")
def subject(fit) -> Subject:
    return look_at(fit, None, None, vary=False)


def told(level: Certainty, do: Compared | None, naive: Compared | None = NAIVE) -> HeadlineFacts:
    return HeadlineFacts(level, "better", chosen=False, naive=naive, do=do)


@pytest.mark.parametrize(
    ("level", "do", "said"),
    [
        (
            Certainty.GRAPHICAL,
            Compared(0.245, (0.206, 0.284)),
            "Setting X to treated instead of control raises the chance of Y = better by 24.5 "
            "percentage points (95% interval: 20.6 to 28.4)",
        ),
        (
            Certainty.LOCAL,
            Compared(-0.245, (-0.284, -0.206)),
            "Setting X to treated instead of control lowers the chance of Y = better by 24.5 "
            "percentage points (95% interval: 20.6 to 28.4)",
        ),
        (
            Certainty.GRAPHICAL,
            Compared(0.01, (-0.02, 0.04)),
            "Setting X to treated instead of control changes the chance of Y = better by +1.0 "
            "percentage points (95% interval: -2.0 to +4.0): whether it raises or lowers it, this "
            "table does not tell",
        ),
        (
            Certainty.GRAPHICAL,
            Compared(-1e-17, (-1e-17, 0.0)),
            "Setting X to treated instead of control leaves the chance of Y = better as it is: the "
            "graph has no way from X to Y",
        ),
        (
            Certainty.GRAPHICAL,
            Compared(0.245, None),
            "Setting X to treated instead of control raises the chance of Y = better by 24.5 "
            "percentage points",
        ),
        (
            Certainty.WEAK,
            Compared(0.245, (-0.4, 0.7)),
            "The table is too weak for one number: setting X to treated instead of control changes "
            "the chance of Y = better by something between -40.0 and +70.0 percentage points",
        ),
        (
            Certainty.WEAK,
            Compared(0.245, None),
            "The table is too weak to say what setting X to treated instead of control does to the "
            "chance of Y = better",
        ),
        (
            Certainty.NONE,
            None,
            "With a hidden U of 2 states the data cannot tell what setting X to treated instead of "
            "control does to the chance of Y = better",
        ),
    ],
)
def test_the_sentence_says_no_more_than_is_known(subject, level, do, said):
    refused = NotCertifiedError("no", required="local", found="none")
    effects = Effects(QUESTION, None, (refused,), None)
    found = told(level, do)
    assert effect_sentence(subject, effects, found) == said + SEEN
    assert effect_sentence(subject, effects, replace(found, naive=None)) == f"{said}."
    first, *aside = effect_headlines(subject, effects, found)
    assert [h.value for h in aside] == ["+48.9"]
    # A number stands large only where it means something.
    means = level in (Certainty.GRAPHICAL, Certainty.LOCAL)
    assert bool(re.fullmatch(r"[+-][\d.]+", first.value)) is means
    assert (first.level == "pass") is means


def test_a_state_that_was_chosen_because_it_changes_most_is_said_to_be(subject):
    effects = Effects(QUESTION, None, (), None)
    found = replace(told(Certainty.GRAPHICAL, Compared(0.2, (0.1, 0.3)), None), chosen=True)
    assert effect_sentence(subject, effects, found).endswith(
        "raises the chance of Y = better, of its states the one that changes most, by 20.0 "
        "percentage points (95% interval: 10.0 to 30.0)."
    )


def test_what_nobody_checked_is_not_said_to_be_refused(subject):
    unchecked = NotCertifiedError("no", required="local", found="unchecked")
    effects = Effects(QUESTION, None, (unchecked,), None)
    assert "nobody knows whether the data can tell" in effect_sentence(
        subject, effects, told(Certainty.NONE, None)
    )


def test_a_sign_is_one_that_the_interval_shares():
    assert Compared(0.2, (0.1, 0.3)).sign == 1
    assert Compared(-0.2, (-0.3, -0.1)).sign == -1
    assert Compared(0.2, (-0.1, 0.5)).sign == 0
    assert Compared(-0.2, None).sign == -1


@pytest.mark.parametrize("level", [Certainty.GRAPHICAL, Certainty.WEAK, Certainty.NONE])
@pytest.mark.parametrize("width", [3.8, 8.0])
def test_the_headline_is_drawn_within_its_width_and_names_both_numbers(level, width):
    do = None if level is Certainty.NONE else Compared(0.245, (0.206, 0.284))
    ax = draw_headline(QUESTION, told(level, do), Sheet(width))
    wrap_texts(ax, width)
    texts = [t.get_text() for t in ax.texts]
    last = {
        Certainty.GRAPHICAL: "+24.5",
        Certainty.WEAK: "+20.6 to +28.4",
        Certainty.NONE: "not determined",
    }
    assert texts == ["+48.9", last[level]]
    ax.figure.draw_without_rendering()
    assert ax.figure.get_tightbbox().width <= width


@pytest.mark.parametrize("kind", PLOT_KINDS)
@pytest.mark.parametrize("width", [3.8, 8.0])
def test_every_plot_keeps_to_the_width_of_its_sheet(fit, kind, width):
    ax = draw(kind, fit, QUESTION, Sheet(width))
    wrap_texts(ax, width)
    assert ax.figure.get_figwidth() == pytest.approx(width)
    ax.figure.draw_without_rendering()
    assert ax.figure.get_tightbbox().width <= width


def test_a_report_of_the_command_line_advises_commands():
    _, frame, _ = px.datasets.load("hidden-group")
    with pytest.warns(px.PyromixWarning):
        fit = px.fit_product(frame, 2, max_iter=2, n_init=1)
    text = str(fit.report(show=False, sensitivity=False, advice=commands(fit.spec)))
    assert not PYTHON_CALL.findall(text)
    text = " ".join(text.split())
    assert "pyromix report FIT --treatment X --outcome Y" in text
    assert "raise --max-iter of pyromix fit" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a | b", r"a \| b"),
        ("<script>", "&lt;script&gt;"),
        ("*x* _y_ `z` [a](b)", r"\*x\* \_y\_ \`z\` \[a\](b)"),
        ("two\nlines", "two lines"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
    ],
)
def test_markdown_prints_what_stands_there(text, said):
    assert plain(text) == said


def test_what_is_shown_bare_is_what_is_printed(fit):
    found = px.check(fit.spec, outcome="Y", treatment="X")
    for shown in (fit, fit.predictive_check(), found):
        assert repr(shown) == str(shown)
        assert len(repr(shown)) < 2000
