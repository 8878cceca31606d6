"""Questions to a fit with numbers: texts as numbers or names of states, answers as figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pyromix.answers.mixed.answer import MixedAnswer, NumericAnswer
from pyromix.answers.mixed.effect import Change, MixedEffect
from pyromix.answers.mixed.spread import Spread
from pyromix.cli.common import parted, state_of
from pyromix.errors import QueryError
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.model.mixed import MixedSpec
from pyromix.report.mixed.question import find_mixed_question

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of a number, in the output of programs."""


def settings(spec: MixedSpec, given: Sequence[str] | None, flag: str) -> dict[str, Any]:
    """``VARIABLE=VALUE`` texts as numbers, or as names of states.

    Raises:
        QueryError: no such variable or state, no number, one is set twice, or a text can be read in
            two ways.
    """
    result: dict[str, Any] = {}
    for text in given or ():
        name, value = parted(spec.binned, text, flag)
        if name in result:
            raise QueryError(f"{flag} sets {name!r} twice")
        result[name] = setting(spec, name, value, flag)
    return result


def setting(spec: MixedSpec, name: str, text: str, flag: str) -> Any:
    """A text as a number where the variable is one, else as the name of a state."""
    if name == spec.source or not spec.kind(spec.vertex(name)).numeric:
        return state_of(spec.binned, name, text, flag)
    try:
        return float(text)
    except ValueError:
        raise QueryError(f"{flag}: {name!r} is a number, found {text!r}") from None


def asked_mixed(
    fit: MixedRecord,
    treatment: str | None,
    outcome: str | None,
    contrast: Sequence[str] | None,
    outcome_state: str | None,
    *,
    needed: bool = False,
) -> dict[str, Any]:
    """Keywords of ``fit.effect`` and ``fit.report``; arguments as in ``asked_effect``.

    Raises:
        QueryError: a name, number or state is unknown, or there is no effect to which they belong.
    """
    spec = fit.spec
    named = find_mixed_question(fit, treatment, outcome)
    if named is None:
        if needed or contrast or outcome_state is not None:
            what = "an effect needs" if needed else "--contrast and --outcome-state need"
            raise QueryError(
                f"{what} --treatment and --outcome: the model names neither; its variables are "
                f"{list(spec.variables)}"
            )
        return {"treatment": None, "outcome": None}
    asked: dict[str, Any] = {"treatment": named.treatment, "outcome": named.outcome}
    if contrast:
        if len(contrast) != 2:
            raise QueryError(
                f"--contrast is given twice, from and to, found {len(contrast)}: "
                f"{', '.join(contrast)}"
            )
        asked["contrast"] = tuple(
            setting(spec, named.treatment, text, "--contrast") for text in contrast
        )
    if outcome_state is not None:
        if spec.kind(spec.vertex(named.outcome)).numeric:
            raise QueryError(f"--outcome-state: {named.outcome!r} is a number and has no states")
        asked["outcome_state"] = state_of(
            spec.binned, named.outcome, outcome_state, "--outcome-state"
        )
    return asked


def effect_in_numbers(effect: MixedEffect) -> dict[str, Any]:
    """An effect as plain numbers and texts, ready for JSON; as ``in_numbers`` of states."""
    spec = effect.spec
    kinds = {"naive": (effect.naive, effect.spread_naive), "do": (effect.do, effect.spread)}
    for u, change in zip(spec.binned.source_states, effect.per_source, strict=False):
        kinds[f"do, {spec.source}={u}"] = (change, None)
    x = effect.treatment
    numeric = spec.kind(x).numeric
    ends = effect.contrast
    return {
        "treatment": spec.name(x),
        "outcome": spec.name(effect.outcome),
        "contrast": [at if numeric else str(spec.binned.states_of(x)[int(at)]) for at in ends],
        "certainty": None if effect.certainty is None else effect.certainty.value,
        "level": effect.level,
        "differences": {
            kind: _cells(effect, change, spread) for kind, (change, spread) in kinds.items()
        },
    }


def _cells(effect: MixedEffect, change: Change, spread: Spread | None) -> list[dict[str, Any]]:
    """One entry per state of the outcome, one for a number."""
    spec, y = effect.spec, effect.outcome
    ends = _ends(spread, effect.level)
    states = [None] if spec.kind(y).numeric else [str(s) for s in spec.binned.states_of(y)]
    return [
        {
            **({} if state is None else {"state": state}),
            "difference": float(change.values[s]),
            "low": None if ends is None else _finite(ends[0][s]),
            "high": None if ends is None else _finite(ends[1][s]),
        }
        for s, state in enumerate(states)
    ]


def answer_in_numbers(answer: MixedAnswer) -> dict[str, Any]:
    """An answer as plain numbers and texts, ready for JSON."""
    ends = _ends(answer.spread, answer.level)
    told = {
        "question": answer.title,
        "certainty": None if answer.certainty is None else answer.certainty.value,
        "level": answer.level,
    }
    if isinstance(answer, NumericAnswer):
        return {
            **told,
            "mean": answer.mean,
            "low": None if ends is None else _finite(ends[0][0]),
            "high": None if ends is None else _finite(ends[1][0]),
            "sd": answer.sd,
            "quantiles": {f"{q:g}": float(answer.quantile(q)) for q in QUANTILES},
            **({} if answer.zero is None else {"zero": answer.zero}),
        }
    return {
        **told,
        "cells": [
            {
                "state": str(state),
                "probability": float(answer.values[s]),
                "low": None if ends is None else _finite(ends[0][s]),
                "high": None if ends is None else _finite(ends[1][s]),
            }
            for s, state in enumerate(answer.states)
        ],
    }


def _ends(spread: Spread | None, level: float) -> Any:
    return None if spread is None or spread.refused else spread.interval(level)


def _finite(value: float) -> float | None:
    """JSON has no nan."""
    return float(value) if math.isfinite(value) else None
