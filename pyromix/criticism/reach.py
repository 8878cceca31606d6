"""What a number of sources would have to reach so that a criterion could still choose it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pyromix.estimate.result import NEAR_BEST
from pyromix.fitting.record import Fit
from pyromix.model.note import NoteKind

CHOOSING = ("bic", "caic", "sabic")
"""Criteria that a candidate must be able to win by one of, or by ICL, which is looked at after the
fit. AIC is not of them: of a mixture it takes ever more sources, by less than the ends of single
starts differ by."""


def log_likelihood_needed(n_parameters: int, rivals: Sequence[Fit]) -> float:
    """Log-likelihood from which a candidate would win by one of ``CHOOSING``.

    Each is a price of every parameter less twice the log-likelihood: to be below the least value c
    of the rivals takes (price * n_parameters - c) / 2.

    Args:
        n_parameters: of the candidate.
        rivals: fits of other candidates to the same table; minus infinity without any.
    """
    needed = []
    for name in CHOOSING if rivals else ():
        one, least = rivals[0], min(getattr(fit, name) for fit in rivals)
        price = (getattr(one, name) + 2 * one.log_likelihood) / one.n_parameters
        needed.append((price * n_parameters - least) / 2)
    return min(needed, default=-math.inf)


def was_stopped(fit: Fit) -> bool:
    """Whether EM left off because the fit could not reach what it would be wanted for."""
    return any(note.kind is NoteKind.CONVERGENCE and "needed" in note.data for note in fit.notes)


def may_win_by_icl(fit: Fit, rivals: Sequence[Fit]) -> bool:
    """Whether a fit that was stopped has about the least ICL of all: it must then be finished."""
    return fit.icl < min(rival.icl for rival in rivals) + 2 * NEAR_BEST


def cannot_win(fit: Fit, needed: float) -> bool:
    """Whether a fit lies so far below what is needed that its held-out score may be a rough one."""
    return fit.log_likelihood + NEAR_BEST < needed
