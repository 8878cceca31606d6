"""The command that says between what an answer lies, where data do not make it a point."""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Annotated, Any

import typer

from pyromix.answers.bounds import Bounds, Range
from pyromix.cli.common import Evidence, Json, Quiet, Seed, Source, assignments
from pyromix.cli.flags import in_flags
from pyromix.cli.progress import working
from pyromix.cli.questions import Contrast, FitFile, Level, Outcome, Treatment, asked_effect, fit_at


def bounds(
    fitted: FitFile,
    treatment: Treatment = None,
    outcome: Outcome = None,
    contrast: Contrast = None,
    evidence: Evidence = None,
    level: Level = 0.95,
    n_starts: Annotated[int, typer.Option(help="Starts from which ends are searched.")] = 24,
    random_state: Seed = 0,
    source: Source = "U",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say between what answers lie, among mixtures that fit as well as the best.

    Of P(outcome | do(treatment)) for every state of the treatment, and of the difference where
    there are two, or two are named.

    Example: pyromix bounds fit.pyromix --treatment X --outcome Y
    """
    fit = fit_at(fitted, source)
    asked = asked_effect(fit, treatment, outcome, contrast, None, needed=True)
    x = asked["treatment"]
    states: list[Hashable] = list(asked.get("contrast", fit.spec.states_of(fit.spec.vertex(x))))
    given = assignments(fit.spec, evidence, "--evidence")
    with working("searching mixtures that fit as well", quiet=quiet):
        found = fit.bounds(
            asked["outcome"],
            {x: states},
            given,
            level=level,
            n_starts=n_starts,
            random_state=random_state,
        )
        text = json.dumps(in_numbers(found), indent=1, default=str) if as_json else str(found)
    typer.echo(text if as_json else in_flags(text, fit.spec.variables))


def in_numbers(found: Bounds) -> dict[str, Any]:
    """Bounds as plain numbers and texts, ready for JSON."""
    content: dict[str, Any] = {
        "question": found.title,
        "certainty": found.certainty.value,
        "level": found.level,
        "n_sources": found.range.n_sources,
        "searches": [_searches(found.range), _searches(found.next_k)],
        "cells": found.to_records(),
    }
    if found.contrast is not None:
        content["difference"] = in_numbers(found.contrast)
    return content


def _searches(found: Range) -> dict[str, Any]:
    return {
        "n_sources": found.n_sources,
        "searches": found.n_searches,
        "reached_low": found.n_low.ravel().tolist(),
        "reached_high": found.n_high.ravel().tolist(),
    }
