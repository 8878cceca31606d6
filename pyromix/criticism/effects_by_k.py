"""The asked effect under every number of sources: what the choice of k comes to."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from pyromix.answers import ask
from pyromix.answers.effect import Effect
from pyromix.answers.wording import interval_title
from pyromix.criticism.candidates import Selection
from pyromix.errors import (
    NotCertifiedError,
    PositivityError,
    PyromixWarning,
    QueryError,
    SpecError,
)
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
    found: Effect | None
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
                found = ask.effect(
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


def effect_lines(effects: Sequence[EffectAt], level: float = 0.95) -> list[str]:
    """A line per number of sources: naive, do, interval, certainty.

    Of a weak effect the interval alone is told: its number means nothing.
    """
    found = [e.found for e in effects if e.found is not None]
    if not found:
        return ["the effect is not determined under any of these k"]
    first, s = found[0], _told_state(found)
    spec = first.spec
    one, other = (spec.states_of(first.treatment)[i] for i in first.contrast)
    state = spec.states_of(first.outcome)[s]
    title = (
        f"P({spec.name(first.outcome)}={state}), {spec.name(first.treatment)}: {other} less {one}"
    )
    header = ["k", "naive", "do", interval_title(level), "certainty"]
    return [title, *columns_of_text(header, [_row(e, s) for e in effects], n_left=0)]


def _told_state(found: Sequence[Effect]) -> int:
    """The headline of all, or the state that changes most under some k."""
    if found[0].headline >= 0:
        return found[0].headline
    changes = [
        max(abs(float(e.do.values[s])) for e in found) for s in range(len(found[0].do.states))
    ]
    return first_largest(changes, ROUNDING)


def _row(at: EffectAt, s: int) -> list[str]:
    if (effect := at.found) is None:
        return [str(at.n_sources), "-", "-", "-", at.refused]
    ends = "none"
    if effect.do.has_interval:
        low, high = effect.interval()
        ends = f"[{low[s]:+.4f}, {high[s]:+.4f}]"
    weak = effect.certainty.value == "weak"
    do = "-" if weak else f"{effect.do.values[s]:+.4f}"
    return [str(at.n_sources), f"{effect.naive.values[s]:+.4f}", do, ends, effect.certainty.value]
