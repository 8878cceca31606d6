"""The asked effect under every number of sources: what the choice of k comes to."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from pyromix.answers import ask
from pyromix.answers.effect import Effect
from pyromix.answers.mixed import ask as mixed
from pyromix.answers.mixed.answer import is_numeric
from pyromix.answers.mixed.effect import MixedEffect
from pyromix.answers.mixed.question import setting_in_words
from pyromix.answers.wording import interval_title
from pyromix.criticism.candidates import Selection
from pyromix.errors import (
    NotCertifiedError,
    PositivityError,
    PyromixWarning,
    QueryError,
    SpecError,
)
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.fitting.record import Fit
from pyromix.model.printed import columns_of_text
from pyromix.model.query import Certainty
from pyromix.model.ties import ROUNDING, first_largest


@dataclass(frozen=True, eq=False)
class EffectAt:
    """An effect under one number of sources.

    Attributes:
        n_sources: k.
        found: the effect, weak ones with the interval that holds; None where it is refused.
        refused: why, in a word; empty where it is not.
    """

    n_sources: int
    found: Effect | MixedEffect | None
    refused: str = ""


def effects_by_k(
    selection: Selection,
    treatment: str,
    outcome: str,
    *,
    contrast: Sequence[Hashable] | None = None,
    outcome_state: Any = ...,
    level: float = 0.95,
) -> tuple[EffectAt, ...]:
    """Ask the fit of every candidate for one effect.

    Args:
        selection: with its fits.
        treatment: as in ``effect``.
        outcome: as in ``effect``.
        contrast: as in ``effect``.
        outcome_state: as in ``effect``.
        level: of the intervals.

    Raises:
        QueryError: a name or state is unknown, or nothing was fitted because there are no rows.
    """
    if not selection.fits:
        raise QueryError("no effect by k: data that answer moments only were not fitted")
    rows = []
    for fit in selection.fits:
        k = fit.spec.n_sources
        try:
            with warnings.catch_warnings():
                # What a fit says of its k is what the table of candidates shows.
                warnings.simplefilter("ignore", PyromixWarning)
                found = _asked(
                    fit,
                    treatment,
                    outcome,
                    contrast=contrast,
                    outcome_state=outcome_state,
                    require="weak",
                    level=level,
                )
        except NotCertifiedError:
            rows.append(EffectAt(k, None, "not determined"))
        except PositivityError:
            rows.append(EffectAt(k, None, "rests on rows that no data reached"))
        except SpecError:
            rows.append(EffectAt(k, None, "too large to certify"))
        else:
            shape = found.certainty is Certainty.BY_SHAPE
            rows.append(EffectAt(k, None, "by shape") if shape else EffectAt(k, found))
    return tuple(rows)


def _asked(
    fit: Fit | MixedRecord, treatment: str, outcome: str, **options: Any
) -> Effect | MixedEffect:
    if isinstance(fit, MixedRecord):
        return mixed.effect_of(fit, treatment, outcome, **options)
    return ask.effect(fit, treatment, outcome, **options)


def effect_lines(effects: Sequence[EffectAt], level: float = 0.95) -> list[str]:
    """A line per number of sources: naive, do, interval, certainty.

    Of a weak effect the interval alone is told: its number means nothing.
    """
    found = [e.found for e in effects if e.found is not None]
    if not found:
        return ["the effect is not determined under any of these k"]
    first, s = found[0], _told_state(found)
    header = ["k", "naive", "do", interval_title(level), "certainty"]
    rows = [_row(e, s) for e in effects]
    return [_title(first, s), *columns_of_text(header, rows, n_left=0)]


def _title(effect: Effect | MixedEffect, s: int) -> str:
    """What lies between two settings, and of what."""
    spec, treatment, outcome = effect.spec, effect.treatment, effect.outcome
    if isinstance(effect, Effect):
        one, other = (effect.spec.states_of(treatment)[i] for i in effect.contrast)
        state = effect.spec.states_of(outcome)[s]
        return f"P({spec.name(outcome)}={state}), {spec.name(treatment)}: {other} less {one}"
    one, other = (setting_in_words(effect.spec, treatment, at) for at in effect.contrast)
    what = f"mean of {spec.name(outcome)}"
    if not is_numeric(effect.spec, outcome):
        what = f"P({spec.name(outcome)}={effect.spec.binned.states_of(outcome)[s]})"
    return f"{what}, {other} less {one}"


def _told_state(found: Sequence[Effect | MixedEffect]) -> int:
    """The headline of all, or the state that changes most under some k."""
    headline = _headline(found[0])
    if headline >= 0:
        return headline
    changes = [
        max(abs(float(e.do.values[s])) for e in found) for s in range(len(found[0].do.values))
    ]
    return first_largest(changes, ROUNDING)


def _headline(effect: Effect | MixedEffect) -> int:
    return effect.headline if isinstance(effect, Effect) else effect.do.headline


def _ends(effect: Effect | MixedEffect, s: int) -> str:
    """The interval of one difference."""
    if isinstance(effect, Effect):
        if not effect.do.has_interval:
            return "none"
        low, high = (float(end[s]) for end in effect.interval())
    else:
        if effect.spread is None or effect.spread.refused:
            return "none"
        ends = effect.interval()
        low, high = ends if effect.do.headline >= 0 else (float(end[s]) for end in ends)
    return f"[{low:+.4f}, {high:+.4f}]"


def _row(at: EffectAt, s: int) -> list[str]:
    if (effect := at.found) is None:
        return [str(at.n_sources), "-", "-", "-", at.refused]
    certainty = effect.certainty
    assert certainty is not None  # of a fit, not of a mixture
    do = "-" if certainty is Certainty.WEAK else f"{effect.do.values[s]:+.4f}"
    return [
        str(at.n_sources), f"{effect.naive.values[s]:+.4f}", do, _ends(effect, s), certainty.value,
    ]  # fmt: skip
