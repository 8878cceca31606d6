"""What the stages of a fit hand on, as values; sentences are made where people read them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyromix.estimate.result import EMResult
from pyromix.identify.stage import MomentStage
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import NoteKind
from pyromix.model.prior import PseudoCounts
from pyromix.posterior.draws import SamplingReport

MOMENTS_ALONE = ("moments", "markov-boundary")
"""Methods that end with the moments: nothing climbs the likelihood after them."""


@dataclass(frozen=True)
class Course:
    """What was asked for, and which stages ran.

    Attributes:
        asked: the method by name; ``"refine"`` for an estimate that went on from another.
        ran: names of the stages that made the estimate, in order.
    """

    asked: str
    ran: tuple[str, ...]

    @property
    def moments_alone(self) -> bool:
        """Whether nothing climbed the likelihood after the moments."""
        return self.ran == ("moments",)

    @property
    def streamed(self) -> bool:
        """Whether the rows came as a stream, so that there is no table to hold."""
        return "stream" in self.ran

    def __str__(self) -> str:
        """E.g. ``auto: moments, em``."""
        if self.ran == (("em",) if self.asked == "em" else ("moments",)) and self.asked in (
            *MOMENTS_ALONE,
            "em",
        ):
            return self.asked
        return f"{self.asked}: {', '.join(self.ran)}"


@dataclass(frozen=True)
class Climb:
    """Where the starts of EM ended.

    Attributes:
        log_likelihoods: of every start, sum over rows, in nats; a start from moments leads.
        n_best: how many starts reached the best optimum.
        converged: whether the best start ended by the tolerance.
        n_iter: EM steps of the best start; 0 where nothing climbed.
        bound: where SVI climbed instead, its evidence bound at every step, in nats.
        n_raced: how many further random starts lost a race on part of the rows before they ended.
    """

    log_likelihoods: tuple[float, ...]
    n_best: int
    converged: bool
    n_iter: int
    bound: tuple[float, ...] = ()
    n_raced: int = 0

    @staticmethod
    def of(result: EMResult) -> Climb:
        """What a result of EM says of its starts."""
        ends = tuple(result.start_log_likelihoods.tolist())
        return Climb(ends, result.n_best, result.converged, result.n_iter, n_raced=result.n_raced)


@dataclass(frozen=True, eq=False)
class ChosenPrior:
    """The pseudo-counts of a fit, and how they came about.

    Attributes:
        counts: pseudo-counts per cell; zeros for maximum likelihood.
        words: the prior for people; ``"none"`` for maximum likelihood.
        held_out: where held-out rows chose it, each candidate with their mean log-likelihood, in
            nats per row.
        choice: name of the candidate that was chosen; empty where none was.
    """

    counts: PseudoCounts
    words: str
    held_out: tuple[tuple[str, float], ...] = ()
    choice: str = ""

    @property
    def was_chosen(self) -> bool:
        """Whether held-out rows chose it."""
        return bool(self.held_out)


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws around an estimate, under its labels.

    Attributes:
        mixture: batch shape ``(n,)``.
        method: what drew them: ``"bootstrap"``, ``"gibbs"``, ``"nuts"`` or ``"svi"``.
        size: how many and of which kind, for people.
        sampling: whether draws of a Markov chain are to be relied on; None for other draws.
        bound: of a variational posterior, its evidence bound at every step, in nats.
    """

    mixture: BayesNetMixture
    method: str
    size: str
    sampling: SamplingReport | None = None
    bound: tuple[float, ...] = ()

    @property
    def n(self) -> int:
        """Number of draws."""
        return self.mixture.batch_shape[0]

    def __str__(self) -> str:
        """E.g. ``bootstrap (multinomial, 200)``."""
        return f"{self.method} ({self.size})"


@dataclass(frozen=True)
class FitDiagnostics:
    """The stages of a fit side by side, in plain numbers and sentences.

    Attributes:
        method: the method that was asked for and the stages that ran, e.g. ``"auto: em"``.
        start_log_likelihoods: where every start ended, sum over rows; a start from moments leads.
        n_best: how many starts reached the best optimum.
        prior: in words; ``"none"`` for maximum likelihood.
        notes: sentences: an added source, repaired data, disagreeing starts.
        moments: the moment stage; empty where there was none.
        prior_held_out: where a prior was chosen by held-out rows, each candidate with their mean
            log-likelihood.
        sampling: whether the draws of a posterior are to be relied on; empty for other draws.
        elbo: of a variational posterior, the bound at every step.
        random_state: the seed, or ``"a generator"``; empty where nobody kept it.
    """

    method: str
    start_log_likelihoods: tuple[float, ...]
    n_best: int
    prior: str
    notes: tuple[str, ...]
    moments: tuple[MomentStage, ...] = ()
    prior_held_out: tuple[tuple[str, float], ...] = ()
    sampling: tuple[SamplingReport, ...] = ()
    elbo: tuple[float, ...] = ()
    random_state: str = ""

    @property
    def log_likelihood_moments(self) -> float:
        """Log-likelihood of the moment estimate; nan where there was no moment stage."""
        return self.moments[0].log_likelihood if self.moments else math.nan


ABOUT_DATA = (NoteKind.ADDED_SOURCE, NoteKind.REPAIR)
"""Kinds of notes about what was given rather than about what was found."""
