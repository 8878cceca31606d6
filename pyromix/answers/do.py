"""P(variables | do, evidence) of a mixture: names in, a named answer out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from pyromix.answers.answer import SAID_UNSUPPORTED, Answer
from pyromix.answers.delta import Delta, finite_gradients
from pyromix.answers.heard import Hearing
from pyromix.answers.wording import question
from pyromix.errors import PositivityError, UnsupportedRowsWarning, warn
from pyromix.exact import elimination
from pyromix.identify.certificate import query_gradient
from pyromix.model.arguments import level_of, one_of
from pyromix.model.mixture import BayesNetMixture, Fitted, mixture_of
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import MixtureSpec

ENGINES = ("auto", "elimination", "pyro")
"""``auto`` is elimination: the same numbers, faster, and without a limit on the sites."""


def query(
    mixture: BayesNetMixture | Fitted,
    variables: str | Sequence[str],
    do: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Hashable] | None = None,
    engine: str = "auto",
    *,
    natural: Mapping[str, Hashable] | None = None,
    certainty: Certainty = Certainty.NONE,
    reached: Sequence[Tensor] | None = None,
    point: BayesNetMixture | None = None,
    heard: Hearing | None = None,
    level: float = 0.95,
) -> Answer:
    """Answer P(variables | do, evidence), exactly, for every batch element of a mixture.

    Args:
        mixture: the tables, or a fit, whose certificate is then not asked; batch axes are draws,
            and give the answer its interval.
        variables: outcome or outcomes, in the order of the answer's axes; U may be one.
        do: per variable a state name, a mapping from states to probabilities, or a list of
            either (scenarios, walked through together).
        evidence: per variable a state name.
        natural: per variable under the do the state that it has by itself in the group asked about.
        engine: ``"elimination"`` contracts the tables; ``"pyro"`` runs the Pyro program under
            ``pyro.do`` and ``pyro.condition`` with every site enumerated, and holds about 60
            sites; ``"auto"`` is elimination.
        certainty: how firmly data determine the answer, when somebody certified it.
        reached: per vertex a bool tensor that broadcasts to the rows ``(k, *card(parents))`` of
            its CPT, false where no data reached the row; None when nobody counted.
        point: the estimate itself, without batch axes, when ``mixture`` holds draws around it.
        heard: the question as the table of a fit was heard on it; None when nobody asked one.
        level: of the interval that is printed, and that ``interval()`` gives unless told.

    Raises:
        QueryError: an unknown name, state or engine, or a variable in two roles.
        PositivityError: the evidence is impossible under the do, or the whole answer rests on
            rows that no data reached.
        DimensionLimitError: too many sites for the engine ``"pyro"``.
        ContractionSizeError: the sum needs a table beyond the memory bound.
    """
    mixture = mixture_of(mixture)
    spec, level = mixture.spec, level_of(level)
    asked = DoQuery.from_names(spec, variables, do, evidence, natural)
    kept = _possible(mixture, asked, point)
    whole = bool(kept.all())
    mixture = mixture if whole else mixture[kept]
    probs = marginal(mixture, asked, engine)
    at_point = probs.detach()
    if point is not None:
        at_point = marginal(point, asked, engine)
    elif batch := len(mixture.batch_shape):
        at_point = at_point.mean(tuple(range(batch)))
    unsupported = torch.zeros(
        probs.shape[: probs.ndim - len(asked.outcomes)], dtype=probs.dtype, device=probs.device
    )
    if reached is not None:
        unsupported = elimination.unsupported_mass(mixture, asked, tuple(reached))
        _check_support(spec, asked, reached, float(unsupported.max()))
    if not whole:
        # Draws that say nothing keep their places, so that answers can be compared draw by draw.
        every = probs.new_full((len(kept), *probs.shape[1:]), torch.nan)
        every[kept] = probs
        probs = every
    delta = None
    if heard is not None and heard.information is not None:
        at = mixture if point is None else point
        delta = Delta(finite_gradients(query_gradient(at, asked)), heard.information)
    return Answer(spec, asked, probs, at_point, certainty, unsupported, delta, heard, level)


def marginal(mixture: BayesNetMixture, query: DoQuery, engine: str = "auto") -> Tensor:
    """Compute P(outcomes | do, evidence) of a query in numbers by the engine of this name.

    Returns:
        ``(*batch, [scenarios,] *cards of the outcomes)``.

    Raises:
        QueryError: no engine of this name.
    """
    one_of("engine", engine, ENGINES)
    if engine == "pyro":
        from pyromix.answers import pyro_engine  # imports Pyro

        return pyro_engine.marginal(mixture, query)
    return elimination.marginal(mixture, query)


def _possible(
    draws: BayesNetMixture, query: DoQuery, point: BayesNetMixture | None
) -> Bool[Tensor, " draws"]:
    """In which draws the evidence can be; the estimate must allow it. All of them, mostly."""
    size = draws.batch_shape.numel() if len(draws.batch_shape) == 1 else 0
    every = torch.ones(size, dtype=torch.bool, device=draws.device)
    if point is None or not (query.evidence or query.natural) or not size:
        return every
    mass = elimination.log_evidence(draws, query).reshape(size, -1)
    kept = (mass > -torch.inf).all(1)
    if bool(kept.all()) or not bool(kept.any()):
        return every
    warn(
        f"{question(draws.spec, query)}: the evidence is impossible in {int((~kept).sum())} of "
        f"{size} draws, which say nothing; a prior would leave it possible",
        UnsupportedRowsWarning,
    )
    return kept


def _check_support(
    spec: MixtureSpec, query: DoQuery, reached: Sequence[Tensor], worst: float
) -> None:
    """Say, or refuse, that an answer rests on rows of tables that no data reached."""
    unreached = [
        f"{spec.name(v)!r} ({int((~reached[v]).sum())} of {reached[v].numel()})"
        for v in sorted(query.relevant(spec))
        if not bool(reached[v].all())
    ]
    where = f"rows that no data reached, in the tables of {', '.join(unreached)}"
    if worst >= 1 - 1e-9:
        raise PositivityError(
            f"{question(spec, query)} rests entirely on {where}; merge states, set a prior, or ask "
            "about a setting that occurs in the data"
        )
    if worst > SAID_UNSUPPORTED:
        warn(
            f"{question(spec, query)}: probability {worst:.2g} rests on {where}; these "
            "rows hold what the fit started from, or its prior. Merge states, set a prior, or ask "
            "about a setting that occurs in the data",
            UnsupportedRowsWarning,
        )
