"""The law that fits best, at the rows by which it is told from others."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from pyromix.answers.inquiry import Inquiry
from pyromix.answers.ranges import with_one_more
from pyromix.data.population import Population
from pyromix.errors import SpecError
from pyromix.estimate.em import climb_replicates
from pyromix.estimate.starts import batch_of, random_starts
from pyromix.exact.law import LawMap
from pyromix.exact.likelihood import log_prob
from pyromix.fitting.record import Fit
from pyromix.identify.verdict import Verdict
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.query import Certainty
from pyromix.model.randomness import RandomState
from pyromix.model.spec import MixtureSpec

MAX_WORK = 2**23
"""Rows times roots times the smaller of both, up to which one searches: one look at a mixture takes
about as many multiplications, a walk hundreds of looks, and there are dozens of walks. At the limit
it is minutes."""

MAX_CELLS = 2**12
"""Cells of the joint table of a law that is searched without a table of rows."""

NEAREST = 20
"""Random starts from which the nearest law is looked for, where graph and k do not have the law."""


@dataclass(frozen=True, eq=False)
class FittedLaw:
    """The law that all mixtures have, and one that has it.

    Attributes:
        rows: state numbers, -1 for a missing cell.
        law: probability of each.
        mixture: with the law, batch shape ``(1,)``.
        log_likelihood: of the table, of that mixture; nan without a table.
    """

    rows: Int[Tensor, "m n"]
    law: Float[Tensor, " m"]
    mixture: BayesNetMixture
    log_likelihood: float = math.nan

    def map(self, spec: MixtureSpec) -> LawMap:
        """How far mixtures of a structure are from it."""
        return LawMap(spec, self.rows, self.law)


def law_of_fit(fit: Fit, verdict: Verdict) -> FittedLaw:
    """The law that fits the table best, at its rows; of a fit without one, its own law.

    Args:
        fit: whose table it is.
        verdict: on the question.

    Raises:
        SpecError: there is no table, and the joint one is too large.
    """
    if fit.table is None:
        return _law_at_cells(Population(fit.spec, fit.mixture))
    starts = [fit.mixture] if fit.ends is None else [fit.mixture, fit.ends.mixtures]
    inquiry = Inquiry(fit, verdict)
    _, climbed, likelihoods = inquiry.climbed(batch_of(*starts))
    best = int(likelihoods.argmax())
    mixture = climbed[best : best + 1]
    rows = inquiry.counts.rows
    law = log_prob(mixture[0], rows).exp()
    return FittedLaw(rows, law, mixture, float(likelihoods[best]))


def law_of_population(given: Population, random_state: RandomState) -> FittedLaw:
    """The law of a population; where the graph and k asked for do not have it, the nearest.

    Args:
        given: graph and k asked for, and the mixture whose law it is.
        random_state: of the starts from which the nearest is looked for.

    Raises:
        SpecError: the joint table is too large.
    """
    own, spec = given.mixture.spec, given.spec
    same = (own.variables, own.states, own.parents, own.uninfluenced) == (
        spec.variables,
        spec.states,
        spec.parents,
        spec.uninfluenced,
    )
    if same and own.n_sources <= spec.n_sources:
        mixture = batch_of(given.mixture)
        for k in range(own.n_sources + 1, spec.n_sources + 1):
            mixture = with_one_more(mixture, spec.with_n_sources(k))
        return _law_at_cells(Population(spec, mixture[0]))
    _check_cells(spec)
    counts = given.as_counts()
    starts = random_starts(spec, NEAREST, random_state, counts=counts).to(given.device)
    ends = climb_replicates(
        counts,
        starts,
        counts.weights[:, None].expand(-1, NEAREST),
        prior=PseudoCounts.of(spec, None, given.device),
        tol=1e-13,
    )
    return _law_at_cells(Population(spec, ends.mixtures[int(ends.objectives.argmax())]))


def _law_at_cells(given: Population) -> FittedLaw:
    _check_cells(given.spec)
    counts = given.as_counts()
    return FittedLaw(counts.rows, counts.weights, batch_of(given.mixture))


def _check_cells(spec: MixtureSpec) -> None:
    if spec.n_cells > MAX_CELLS:
        raise SpecError(
            f"bounds of a law without rows look at every cell of the joint table: expected at most "
            f"{MAX_CELLS:,}, found {spec.n_cells:,}; take a graph of the variables that matter to "
            "the question, with their ancestors"
        )


def check_size(law: LawMap, certainty: Certainty) -> None:
    """Refuse a search that would take very long.

    Args:
        law: that would be searched.
        certainty: of the answer, for the advice.

    Raises:
        SpecError: names sizes and limit.
    """
    m, n = len(law.law), law.axis.size
    if m * n * min(m, n) <= MAX_WORK:
        return
    advice = "take a graph of the variables that matter to the question, with their ancestors"
    if certainty.at_least(Certainty.LOCAL):
        advice = "this answer is determined and needs no bounds"
    raise SpecError(
        "bounds search the mixtures of a law: expected distinct rows times probabilities times the "
        f"smaller of both to be at most {MAX_WORK:,}, found {m:,} rows and {n:,} probabilities; "
        f"{advice}"
    )
