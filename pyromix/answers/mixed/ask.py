"""Questions put to a fit with numbers: gated by what its table determines, with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyromix.answers.ask import role_of
from pyromix.answers.mixed import do as plain
from pyromix.answers.mixed import dose, effect
from pyromix.answers.mixed.answer import MixedAnswer, NumericAnswer, is_numeric
from pyromix.answers.mixed.certainty import admitted
from pyromix.answers.mixed.dose import DoseResponse
from pyromix.answers.mixed.effect import Change, MixedEffect
from pyromix.answers.mixed.engines import Engine, Summary, value
from pyromix.answers.mixed.question import Question
from pyromix.answers.mixed.reach import hardly_reached
from pyromix.answers.mixed.sampling import N_SAMPLES
from pyromix.answers.mixed.spread import Spread, Value, spread_of
from pyromix.errors import UnsupportedRowsWarning, warn
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.model.arguments import flag, level_of
from pyromix.model.mixed import MixedMixture
from pyromix.model.only_states import A_FIT_OF_STATES, without
from pyromix.model.query import Certainty
from pyromix.model.randomness import RandomState

UNHEARD = (
    "the table does not show what would determine it, so neither standard errors nor draws hold"
)
"""Why a weak answer has no interval."""

SHAPE = "only the shape of the noise determines it, and an interval would lean on that shape"
"""Why an answer by shape has no interval."""


@without(variables="it answers for one variable at a time: variable='Y'")
def query(
    fit: MixedRecord,
    variable: str,
    do: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
    engine: str = "auto",
    *,
    require: str = "local",
    interval: bool | None = None,
    level: float = 0.95,
    n_samples: int = N_SAMPLES,
    random_state: RandomState = 0,
) -> MixedAnswer:
    """Answer P(variable | do, evidence): mean, sd, quantiles and density, or states.

    Args:
        fit: of a table with numbers.
        variable: the outcome, one; U may be it.
        do: per variable a number in the units of its column, or a state name.
        evidence: likewise.
        engine: ``"exact"``, a sum over sources and states where the numbers that matter are jointly
            normal given these; ``"sampling"``, weighed draws; ``"pyro"``, the Pyro program under
            ``pyro.do``; ``"auto"`` is the exact sum where there is one, else sampling.
        require: least certainty, ``"graphical"``, ``"local"``, ``"shape"`` (only the shape assumed
            of the noise singles it out), ``"weak"``, ``"unchecked"`` or ``"none"``. What certifies
            are views of U, numbers cut into bins: never the shape of the noise.
        interval: whether the answer comes with standard errors; by default where they take
            seconds. They hold whatever the shape of the noise (sandwich). Draws always give one.
        level: of the interval that is printed.
        n_samples: draws where there are some.
        random_state: of the draws; an integer gives the same answer every time.

    Raises:
        QueryError: an unknown name, state or option, a variable in two roles, or a number that a
            variable cannot be.
        NotCertifiedError: the certainty falls short of ``require``.
        PositivityError: the evidence is impossible under the do.
        DataError, SpecError: an interval was asked for that cannot be had.
    """
    level, interval = level_of(level), _wanted(interval)
    question = Question.from_names(fit.spec, variable, do, evidence)
    certainty = admitted(fit, [question], require)
    answer = plain.query(
        fit.mixture, variable, do, evidence, engine, n_samples=n_samples, random_state=random_state
    )

    def found(mixture: MixedMixture, reference: MixedMixture | None) -> Tensor:
        return value(mixture, question, Summary(), answer.engine, reference=reference)

    numeric = isinstance(answer, NumericAnswer)
    spread = _spread(
        fit, certainty, found, answer.monte_carlo_error, bounded=not numeric, interval=interval
    )
    return replace(
        answer,
        certainty=certainty,
        spread=spread,
        level=level,
        notes=(*answer.notes, *_far(fit, [question])),
    )


@without(among=f"effects among groups are sums over tables: {A_FIT_OF_STATES}")
def effect_of(
    fit: MixedRecord,
    treatment: str | None = None,
    outcome: str | None = None,
    *,
    contrast: Sequence[Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
    quantile: float | None = None,
    per_source: bool = False,
    require: str = "local",
    interval: bool | None = None,
    level: float = 0.95,
    **options: Any,
) -> MixedEffect:
    """Compare an outcome between two settings of the treatment, seen and set.

    Args:
        fit: of a table with numbers.
        treatment: the variable seen or set; by default the model's one exposure.
        outcome: the variable looked at, by default the model's one outcome: means of a number,
            probabilities of states.
        contrast: ``(from, to)``: numbers in the units of the treatment, or states; a treatment with
            two states goes from the first to the second unless told.
        evidence: conditions of every arm.
        quantile: compare this quantile of a numeric outcome instead of means, e.g. ``0.5``.
        per_source: also ask within each source.
        require: as in ``query``, of both arms under the do.
        interval: as in ``query``.
        level: as in ``query``.
        **options: ``outcome_state``, ``engine``, ``n_samples`` and ``random_state``.

    Raises:
        QueryError: as ``query``; treatment and outcome not distinct, one of them in the evidence,
            or a contrast that is missing or no pair of different settings.
        NotCertifiedError: the certainty falls short of ``require``.
        PositivityError: an arm conditions on something impossible.
    """
    level, interval = level_of(level), _wanted(interval)
    roles = fit.spec.binned
    treatment = role_of(roles, "exposures", "treatment") if treatment is None else treatment
    outcome = role_of(roles, "outcomes", "outcome") if outcome is None else outcome
    x, _ = effect.roles_of(fit.spec, treatment, outcome, evidence)
    pair = effect.contrast_of(fit.spec, x, contrast)
    given = Question.from_names(fit.spec, outcome, None, evidence)
    done = [replace(given, do={x: at}) for at in pair]
    certainty = admitted(fit, done, require)
    found = effect.effect(
        fit.mixture,
        treatment,
        outcome,
        contrast=contrast,
        evidence=evidence,
        quantile=quantile,
        per_source=per_source,
        **options,
    )
    seen = [replace(given, evidence={**given.evidence, x: at}) for at in pair]
    return replace(
        found,
        certainty=certainty,
        spread=_spread_of_change(fit, certainty, found.do, done, interval),
        spread_naive=_spread_of_change(fit, Certainty.GRAPHICAL, found.naive, seen, interval),
        level=level,
        notes=(*found.notes, *_far(fit, done)),
    )


def dose_response(
    fit: MixedRecord,
    treatment: str,
    outcome: str,
    *,
    grid: Sequence[Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
    quantile: float | None = None,
    require: str = "local",
    interval: bool | None = None,
    level: float = 0.95,
    **options: Any,
) -> DoseResponse:
    """Follow an outcome along settings of the treatment, with a band and the naive curve.

    Args:
        fit: of a table with numbers.
        treatment: the variable set; its states are the settings where it has some.
        outcome: the mean of a number, or probabilities of states.
        grid: settings, in the units of the treatment; from its 2.5% to its 97.5% quantile unless
            told.
        evidence: conditions of every point.
        quantile: of a numeric outcome, instead of its mean.
        require: as in ``query``.
        interval: as in ``query``; the band holds point by point.
        level: as in ``query``.
        **options: ``outcome_state``, ``engine``, ``n_samples`` and ``random_state``.

    Raises:
        QueryError: as ``effect``, or an empty grid.
        NotCertifiedError: the certainty falls short of ``require``.
        PositivityError: a point conditions on something impossible.
    """
    level, interval = level_of(level), _wanted(interval)
    found = dose.dose_response(
        fit.mixture,
        treatment,
        outcome,
        grid=grid,
        evidence=evidence,
        quantile=quantile,
        **options,
    )
    certainty = admitted(fit, found.questions, require)

    def point(question: Question) -> Value:
        return lambda mixture, reference: value(
            mixture, question, found.summary, found.engine, reference=reference
        )

    spread = _spread(
        fit,
        certainty,
        [point(question) for question in found.questions],
        found.all_errors.ravel(),
        bounded=not is_numeric(fit.spec, found.outcome),
        interval=interval,
    )
    ends = [found.questions[0], found.questions[-1]]
    notes = (*found.notes, *_far(fit, ends))
    return replace(found, certainty=certainty, spread=spread, level=level, notes=notes)


def _wanted(interval: bool | None) -> bool | None:
    return None if interval is None else flag("interval", interval)


def _spread(
    fit: MixedRecord,
    certainty: Certainty,
    found: Value | Sequence[Value],
    monte_carlo: Any,
    *,
    bounded: bool,
    interval: bool | None,
) -> Spread:
    """How far values may be off, where that can be said."""
    if not certainty.at_least(Certainty.LOCAL):
        with torch.no_grad():
            parts = [found] if callable(found) else found
            values = torch.cat([part(fit.mixture, None) for part in parts]).cpu().numpy()
        why = UNHEARD if certainty is Certainty.WEAK else SHAPE
        return Spread(values, np.full(values.shape, np.nan), refused=why)
    errors = np.atleast_1d(monte_carlo)
    return spread_of(fit, found, errors, bounded=bounded, interval=interval)


def _spread_of_change(
    fit: MixedRecord,
    certainty: Certainty,
    change: Change,
    questions: Sequence[Question],
    interval: bool | None,
) -> Spread:
    engine: Engine = change.arms[0].engine

    def difference(mixture: MixedMixture, reference: MixedMixture | None) -> Tensor:
        low, high = (
            value(mixture, q, change.summary, engine, reference=reference) for q in questions
        )
        return high - low

    return _spread(
        fit, certainty, difference, change.monte_carlo_error, bounded=False, interval=interval
    )


def _far(fit: MixedRecord, questions: Sequence[Question]) -> tuple[str, ...]:
    """Settings that a source has hardly a row with: said, and warned of."""
    said: dict[str, None] = {}
    for question in questions:
        for v, at in question.do.items():
            said |= dict.fromkeys(hardly_reached(fit, v, float(at)))
    for sentence in said:
        warn(f"{sentence}.", UnsupportedRowsWarning)
    return tuple(said)
