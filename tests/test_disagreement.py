"""Why criteria choose different numbers of sources: the figures are those that decide."""

from dataclasses import dataclass

import pytest

from pyromix.criticism.disagreement import why_others_differ


@dataclass
class Scores:
    n_sources: int
    n_parameters: int
    log_likelihood: float
    held_out: float = -2.5
    held_out_error: float = 0.001
    entropy_r2: float = 0.9
    rank_p_value: float = 0.5


TWO = Scores(2, 11, -2660.25, -2.51, 0.0025, 0.5, 0.04)
THREE = Scores(3, 17, -2652.25, -2.5, 0.0, 0.625, 0.75)


def why(chosen, **choices):
    return why_others_differ([TWO, THREE], choices, chosen, 0.05)


def test_criteria_that_agree_need_no_word():
    assert why(2, rank=2, aic=2, bic=2, caic=2, sabic=2, icl=2, held_out=2) == ()


@pytest.mark.parametrize(
    ("criterion", "chosen", "k", "words"),
    [
        ("rank", 2, 3, ["rejects 2 sources (p = 0.04, level 0.05)", "gains 8.0 nats for 6 par"]),
        ("rank", 3, 2, ["rejects 2 sources (smallest p = 0.04)", "from 2 to 3", "missing edge"]),
        ("held_out", 2, 3, ["with 2 sources held-out rows are less likely", "0.0025 nats"]),
        (
            "held_out",
            3,
            2,
            ["as likely, within a standard error (0.0025 nats", "2 is the smallest"],
        ),
        ("icl", 3, 2, ["entropy R2 is 0.62 with 3 and 0.50 with 2"]),
        ("aic", 2, 3, ["lower price", "from 2 to 3 sources", "8.0 nats for 6 parameters"]),
        ("caic", 3, 2, ["higher price", "from 2 to 3 sources", "8.0 nats for 6 parameters"]),
    ],
)
def test_a_criterion_that_differs_says_what_decided(criterion, chosen, k, words):
    (sentence,) = why(chosen, bic=chosen, **{criterion: k})
    shown = {"rank": "rank", "held_out": "held-out"}.get(criterion, criterion.upper())
    assert sentence.startswith(f"{shown} {k}: ")
    for word in words:
        assert word in sentence


def test_a_rank_beyond_the_candidates_has_no_figures():
    assert why(2, rank=7, bic=2) == ()
