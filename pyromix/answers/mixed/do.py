"""Do-queries to mixtures in which some variables are numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pyromix.answers.mixed.answer import MixedAnswer, answer_of
from pyromix.answers.mixed.engines import Engine, mixed_of
from pyromix.answers.mixed.law import NumericLaw
from pyromix.answers.mixed.question import Question
from pyromix.answers.mixed.sampling import N_SAMPLES
from pyromix.errors import QueryError
from pyromix.model.mixed import MixedMixture
from pyromix.model.mixture import Fitted
from pyromix.model.randomness import RandomState


def query(
    mixture: MixedMixture | Fitted,
    variable: str,
    do: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
    engine: str = "auto",
    *,
    n_samples: int = N_SAMPLES,
    random_state: RandomState = 0,
) -> MixedAnswer:
    """Answer P(variable | do, evidence).

    Args:
        mixture: the laws of all vertices, or a fit.
        variable: the outcome, one; U may be it.
        do: per variable a number in the units of its column, or a state name.
        evidence: likewise.
        engine: ``"exact"``, a sum over sources and states where the numbers that matter are jointly
            normal given these; ``"sampling"``, weighed draws; ``"pyro"``, the Pyro program under
            ``pyro.do``; ``"auto"`` is the exact sum where there is one, else sampling.
        n_samples: draws where there are some, shared out among the sources.
        random_state: an integer gives the same answer every time.

    Returns:
        A ``NumericAnswer`` (mean, sd, quantiles, density) or a ``CategoricalAnswer``
        (probabilities of states).

    Raises:
        QueryError: an unknown name, state or engine, a variable in two roles, a number that a
            variable cannot be, no exact sum where one was asked for, or a mean that is too large to
            be a number.
        PositivityError: the evidence is impossible under the do.
    """
    mixture = mixed_of(mixture)
    question = Question.from_names(mixture.spec, variable, do, evidence)
    how = Engine(engine, n_samples, random_state).settled(mixture, [question])
    with torch.no_grad():
        law = how.law(mixture, question)
    if isinstance(law, NumericLaw) and bool(law.mean.isnan()):
        raise QueryError(
            f"{question.title(mixture.spec)}: numbers come up that are too large for double "
            "precision, such as exponentials of lines far beyond the data; ask about settings that "
            "occur in the data"
        )
    return answer_of(mixture.spec, question, law, how)
