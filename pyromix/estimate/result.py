"""What EM hands back, and what is said about it: starts, duplicates, empty sources, saddles."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import Note, NoteKind, warn_of

SAME_OPTIMUM = 1e-6
"""Nats per row within which two starts reached the same optimum.

At the default tolerance starts on one optimum end within 2e-7 of each other, even where it is flat
(LSAT-7 with k = 3); neighbouring optima of the data sets tried were 1e-5 apart and more.
"""

REACHED_ROWS = 1e-6
"""Expected number of data rows from which a CPT row counts as reached.

Where the lightest data row weighs less than one, in multiples of its weight: populations and
normalised weights are no less seen than counts.
"""

DUPLICATE_DISTANCE = 0.01
"""Average total variation per vertex below which two sources are one."""

EMPTY_WEIGHT = 1e-3
"""A source is empty below this weight and below one expected row."""


NEAR_BEST = 12.0
"""Nats below the best within which the end of a start is kept: what fits about as well."""

MOST_ENDS = 24
"""Ends that are kept."""


@dataclass(frozen=True, eq=False)
class Ends:
    """Where several starts ended.

    Attributes:
        mixtures: batch shape ``(n,)``.
        objectives: log-likelihood, each of its own weighting, plus log-density of pseudo-counts.
        converged: whether by the tolerance.
    """

    mixtures: BayesNetMixture
    objectives: Float[Tensor, " n"]
    converged: Bool[Tensor, " n"]

    def near_best(self) -> Ends:
        """Those of one weighting that fit about as well as the best, in their order."""
        if len(self.objectives) == 1:
            return self
        near = (self.objectives >= self.objectives.max() - NEAR_BEST).nonzero().flatten()
        if len(near) > MOST_ENDS:
            best = self.objectives[near].topk(MOST_ENDS).indices
            near = near[best.sort().values]
        return Ends(self.mixtures[near], self.objectives[near], self.converged[near])

    def joined(self, more: Ends) -> Ends:
        """These and others of the same weighting, as far as they are near the best."""
        pairs = zip(self.mixtures.tables, more.mixtures.tables, strict=True)
        tables = [torch.cat(pair) for pair in pairs]
        return Ends(
            BayesNetMixture.from_tables(self.mixtures.spec, tables),
            torch.cat([self.objectives, more.objectives]),
            torch.cat([self.converged, more.converged]),
        ).near_best()


@dataclass(frozen=True, eq=False)
class EMResult:
    """The first start in the best optimum, and how it was reached.

    Attributes:
        mixture: the estimate, without batch axes; sources by decreasing weight (ties by tables).
        log_likelihood: sum over rows by weight, in nats.
        objective: the log-likelihood plus the log-density of the pseudo-counts.
        n_iter: EM steps from the best start (evaluations of the likelihood of every row).
        converged: whether the best start ended by the tolerance.
        start_log_likelihoods: where every start ended, ``(n_init,)``.
        start_objectives: the same, of the objective.
        n_identified: how many of the starts, the first ones, come from moments that determine the
            mixture.
        total_weight: number of data rows.
        gain: nats that the last step of the best start still gained.
        row_masses: per vertex the expected number of data rows behind each CPT row,
            ``(k, *card(parents))``; for uninfluenced vertices, of all sources together.
        reached_mass: mass from which a CPT row counts as reached, see ``REACHED_ROWS``.
        duplicates: pairs of sources whose tables hardly differ.
        empty: sources without rows to speak of.
        saddle: whether the best start had stopped at a saddle and was taken on from there.
        ends: the points where starts ended, of those that fit about as well as the best.
        notes: what was warned of.
        n_raced: how many further starts lost a race before they ended (``race``).
    """

    mixture: BayesNetMixture
    log_likelihood: float
    objective: float
    n_iter: int
    converged: bool
    start_log_likelihoods: Float[Tensor, " n_init"]
    start_objectives: Float[Tensor, " n_init"]
    n_identified: int
    total_weight: float
    gain: float
    row_masses: tuple[Float[Tensor, ...], ...]
    reached_mass: float
    duplicates: tuple[tuple[int, int], ...]
    empty: tuple[int, ...]
    saddle: bool
    ends: Ends
    notes: tuple[Note, ...]
    n_raced: int = 0

    @property
    def at_best(self) -> Bool[Tensor, " n_init"]:
        """Which starts reached the best objective, to within ``SAME_OPTIMUM`` per row."""
        return in_best(self.start_objectives, self.total_weight)

    @property
    def n_best(self) -> int:
        """How many starts reached the best objective."""
        return int(self.at_best.sum())

    @property
    def identified_is_best(self) -> bool:
        """Whether a start from moments that determine the mixture reached the best objective."""
        return bool(self.at_best[: self.n_identified].any())

    @property
    def reached(self) -> tuple[Bool[Tensor, ...], ...]:
        """Per vertex which CPT rows more than ``reached_mass`` stands behind."""
        return tuple(masses > self.reached_mass for masses in self.row_masses)


def in_best(objectives: Float[Tensor, " n_init"], total_weight: float) -> Bool[Tensor, " n_init"]:
    """Which starts ended in the best optimum.

    Args:
        objectives: where every start ended.
        total_weight: number of data rows.
    """
    return objectives >= objectives.max() - SAME_OPTIMUM * total_weight


def first_in_best(
    objectives: Float[Tensor, " n_init"], converged: Bool[Tensor, " n_init"], total_weight: float
) -> int:
    """The first start in the best optimum, of those that have converged where any has.

    The largest objective is another start's on another processor; the first start is the same
    everywhere, and one from moments, where there is one.

    Args:
        objectives: where every start ended.
        converged: whether by the tolerance.
        total_weight: number of data rows.
    """
    near = in_best(objectives, total_weight)
    chosen = near & converged if bool((near & converged).any()) else near
    return int(chosen.nonzero()[0])


def duplicate_sources(
    mixture: BayesNetMixture,
    row_masses: tuple[Float[Tensor, ...], ...],
    reached_mass: float = REACHED_ROWS,
) -> tuple[tuple[int, int], ...]:
    """Return pairs of sources that differ by less than ``DUPLICATE_DISTANCE`` at every vertex.

    The distance at a vertex is the total variation between CPT rows, averaged over rows by the
    smaller of the two sources' masses: what one of them alone uses cannot tell them apart.

    Args:
        mixture: without batch axes.
        row_masses: per vertex ``(k, *card(parents))``.
        reached_mass: mass from which a CPT row counts as reached.
    """
    k = mixture.n_sources
    farthest = torch.zeros(k, k, dtype=torch.float64, device=mixture.device)
    for cpt, masses in zip(mixture.cpts, row_masses, strict=True):
        if float(masses.sum()) <= reached_mass:
            continue  # a vertex that was never observed tells nobody apart
        rows, mass = cpt.reshape(k, -1, cpt.shape[-1]), masses.reshape(k, -1)
        shared = torch.minimum(mass[:, None], mass[None])
        gaps = (rows[:, None] - rows[None]).abs().sum(-1) / 2
        total = shared.sum(-1)
        average = (shared * gaps).sum(-1) / total.clamp_min(torch.finfo(torch.float64).tiny)
        # Sources without a common row at some vertex differ there as much as they can.
        farthest = farthest.maximum(torch.where(total > reached_mass, average, 1.0))
    close = (farthest < DUPLICATE_DISTANCE).triu(1).nonzero().tolist()
    return tuple((i, j) for i, j in close)


def empty_sources(mixture: BayesNetMixture, total_weight: float) -> tuple[int, ...]:
    """Return the sources of less than one expected row and less than ``EMPTY_WEIGHT``."""
    least = min(1 / total_weight, EMPTY_WEIGHT)
    return tuple(u for u, w in enumerate(mixture.weights.tolist()) if w < least)


def joined(first: EMResult, more: EMResult) -> EMResult:
    """Keep the better of two results on one table, and where the starts of both ended.

    The second is better only by another optimum, or by having converged in the same.
    """
    ends = torch.tensor([first.objective, more.objective], dtype=torch.float64, device="cpu")
    converged = torch.tensor([first.converged, more.converged], device="cpu")
    better = (first, more)[first_in_best(ends, converged, first.total_weight)]
    return replace(
        better,
        start_log_likelihoods=torch.cat([first.start_log_likelihoods, more.start_log_likelihoods]),
        start_objectives=torch.cat([first.start_objectives, more.start_objectives]),
        n_identified=first.n_identified,
        n_raced=first.n_raced + more.n_raced,
        ends=first.ends.joined(more.ends),
    )


def warned(result: EMResult, needed: float = -math.inf) -> EMResult:
    """Give the warnings a reader must have, and keep them as notes; ``needed`` as for ``climb``."""
    return replace(result, notes=warn_of(remarks(result, needed)))


def remarks(result: EMResult, needed: float = -math.inf) -> list[Note]:
    """Return what a reader of the numbers must know; ``needed`` as for ``climb``."""
    names, total_weight = result.mixture.spec.source_states, result.total_weight
    fewer = f"Try n_sources={result.mixture.n_sources - 1}."
    said: list[Note] = []
    if not result.converged and result.log_likelihood < needed:
        said.append(
            Note(
                NoteKind.CONVERGENCE,
                f"EM was stopped after {result.n_iter} steps, before its tolerance: at its pace it "
                f"stays below the log-likelihood {needed:.2f} that it would be wanted for.",
                {"n_iter": result.n_iter, "gain": result.gain, "needed": needed},
            )
        )
    elif not result.converged:
        said.append(
            Note(
                NoteKind.CONVERGENCE,
                f"EM stopped at max_iter, after {result.n_iter} steps, before its tolerance: the "
                f"last step still gained {result.gain / total_weight:.2g} nats per row. Raise "
                "max_iter or loosen tol.",
                {"n_iter": result.n_iter, "gain": result.gain},
            )
        )
    said += _starts_disagree(result)
    if result.saddle:
        said.append(
            Note(
                NoteKind.SADDLE,
                "the best start of EM had stopped at a saddle of the log-likelihood: copies "
                "jittered by a few per cent rose above it, and the estimate goes on from there. "
                "Use several random starts (n_init).",
            )
        )
    for i, j in result.duplicates:
        said.append(
            Note(
                NoteKind.DUPLICATE,
                f"sources {names[i]!r} and {names[j]!r} differ by less than "
                f"{DUPLICATE_DISTANCE:g} (total variation) in the tables of every variable: they "
                f"are one source in disguise. {fewer}",
                {"sources": (i, j)},
            )
        )
    for u in result.empty:
        expected = float(result.mixture.weights[u]) * total_weight
        said.append(
            Note(
                NoteKind.EMPTY,
                f"source {names[u]!r} is empty: {expected:.2g} of {total_weight:.6g} rows are "
                f"expected in it, and its tables mean nothing. {fewer}",
                {"source": u, "rows": expected},
            )
        )
    return said


def _starts_disagree(result: EMResult) -> list[Note]:
    """What is said when other starts do not confirm the best one."""
    n_init, n_best = len(result.start_objectives), result.n_best
    if n_init < 2 or result.identified_is_best:
        return []
    ends = result.start_log_likelihoods.sort(descending=True).values
    if result.n_identified:
        gap = float(ends[0] - result.start_log_likelihoods[: result.n_identified].max())
        sentence = (
            f"random starts of EM ended {gap:.3g} nats of log-likelihood above the start from "
            f"moments; the best was reached by {n_best} of {n_init} starts. Rows may be few, "
            "n_sources too small, or the variables depend on each other beyond the graph."
        )
    elif n_best < 2:
        sentence = (
            f"the best log-likelihood was reached by {n_best} of {n_init} starts of EM; the next "
            f"best ended {float(ends[0] - ends[1]):.3g} nats below it. Increase n_init or start "
            "from moments."
        )
    else:
        return []
    return [Note(NoteKind.STARTS, sentence, {"n_starts": n_init, "n_best": n_best})]
