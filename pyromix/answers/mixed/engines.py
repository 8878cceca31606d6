"""Which engine answers a question, and what of a law is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from pyromix.answers.mixed import exact, sampling
from pyromix.answers.mixed.law import NumericLaw, StateLaw
from pyromix.answers.mixed.question import Question
from pyromix.errors import QueryError, SpecError
from pyromix.model.arguments import one_of, real, shown, whole
from pyromix.model.mixed import MixedMixture
from pyromix.model.mixture import Fitted
from pyromix.model.randomness import RandomState, check_seed

ENGINES = ("auto", "exact", "sampling", "pyro")
"""``auto`` is the exact sum where there is one, else sampling."""

Law = NumericLaw | StateLaw


@dataclass(frozen=True)
class Engine:
    """How questions are to be answered.

    Attributes:
        name: one of ``ENGINES``; ``"auto"`` until ``settled``.
        n_samples: draws where there are some.
        random_state: of the draws.
        reason: why not exactly, as the end of a sentence; empty where nobody had to say.

    Raises:
        QueryError: no engine of this name, or no number of draws.
        SpecError: a random state that is neither an integer nor a generator.
    """

    name: str = "auto"
    n_samples: int = sampling.N_SAMPLES
    random_state: RandomState = 0
    reason: str = ""

    def __post_init__(self) -> None:
        one_of("engine", self.name, ENGINES)
        whole("n_samples", self.n_samples, 2)
        check_seed(self.random_state)

    def settled(self, mixture: MixedMixture, questions: Sequence[Question]) -> Engine:
        """The same with one engine for all of some questions, so that they can be compared.

        Raises:
            QueryError: ``"exact"`` was asked for, and there is no finite sum; it says why.
        """
        reasons = [exact.why_not(mixture.spec, question) for question in questions]
        reason = next(filter(None, reasons), "")
        if self.name == "exact" and reason:
            at = next(q for q, why in zip(questions, reasons, strict=True) if why)
            raise QueryError(
                f"{at.title(mixture.spec)} has no exact sum: {reason}; use engine='sampling'"
            )
        name = self.name if self.name != "auto" else ("sampling" if reason else "exact")
        return Engine(name, self.n_samples, self.random_state, reason)

    def law(
        self, mixture: MixedMixture, question: Question, reference: MixedMixture | None = None
    ) -> Law:
        """The law of the outcome.

        Args:
            mixture: the laws of all vertices.
            question: what is asked.
            reference: where draws of states and counts are taken from; see ``sampling``.

        Raises:
            QueryError: as ``settled``.
            PositivityError: the evidence is impossible.
        """
        settled = self if self.name != "auto" else self.settled(mixture, [question])
        if settled.name == "exact":
            return exact.solve(mixture, question)
        if settled.name == "pyro":
            from pyromix.answers.mixed import pyro_engine  # imports Pyro

            return pyro_engine.solve(mixture, question, self.n_samples, self.random_state)
        return sampling.solve(
            mixture, question, self.n_samples, self.random_state, reference=reference
        )


@dataclass(frozen=True)
class Summary:
    """What of a law is looked at: the mean of a number unless told; of states probabilities.

    Attributes:
        quantile: between 0 and 1, of a number.
    """

    quantile: float | None = None

    @staticmethod
    def of_argument(quantile: Any, *, numeric: bool) -> Summary:
        """Read an argument.

        Raises:
            QueryError: no number between 0 and 1, or the outcome has states.
        """
        if quantile is None:
            return Summary()
        if not numeric:
            raise QueryError(
                f"quantile={shown(quantile)} is asked of an outcome with states; leave it out, "
                "probabilities are compared"
            )
        return Summary(real("quantile", quantile, 0.0, 1.0, advice="e.g. quantile=0.5"))

    @property
    def words(self) -> str:
        """What it is called of a number."""
        if self.quantile is None:
            return "mean"
        return "median" if self.quantile == 0.5 else f"{100 * self.quantile:g}% quantile"

    def of(self, law: Law) -> Float[Tensor, " cells"]:
        """One number, or the probability of every state."""
        if isinstance(law, StateLaw):
            return law.probs
        if self.quantile is None:
            return law.mean[None]
        return law.quantile(law.mix.weights.new_tensor([self.quantile]))

    def scores(self, law: Law) -> Float[Tensor, "cells c"]:
        """What every component adds to the error of each of them."""
        if isinstance(law, StateLaw):
            return law.scores
        if self.quantile is None:
            return law.mean_scores[None]
        return law.quantile_scores(law.mix.weights.new_tensor([self.quantile]))


def value(
    mixture: MixedMixture,
    question: Question,
    summary: Summary = Summary(),
    engine: Engine = Engine(),
    *,
    reference: MixedMixture | None = None,
) -> Float[Tensor, " cells"]:
    """What is looked at of an answer, as a smooth function of ``mixture.parameters``.

    Args:
        mixture: perhaps ``point.with_parameters(theta)``, whose answer is then differentiable.
        question: what is asked.
        summary: what of the law.
        engine: how; for finite differences take one that is ``settled``. Draws of Pyro have no
            slope: theirs is that of our own engines.
        reference: for finite differences by sampling, the mixture around which they are taken;
            without it values jump where a state or count is drawn. Gradients need none.

    Returns:
        ``(1,)`` for a number, ``(card,)`` for states.

    Raises:
        QueryError: there is no exact sum, and one was asked for.
        PositivityError: the evidence is impossible.
    """
    found = summary.of(engine.law(mixture, question, reference))
    if engine.name != "pyro" or not mixture.parameters.requires_grad:
        return found
    ours = Engine("auto", engine.n_samples, engine.random_state)
    smooth = value(mixture, question, summary, ours, reference=reference)
    return found + (smooth - smooth.detach())


def mixed_of(given: MixedMixture | Fitted) -> MixedMixture:
    """Return a mixture with numbers as it is, and that of a fit.

    Raises:
        SpecError: it is neither.
    """
    found = given if isinstance(given, MixedMixture) else getattr(given, "mixture", None)
    if not isinstance(found, MixedMixture):
        raise SpecError(f"expected a mixture with numbers, or a fit of one, found {shown(given)}")
    return found
