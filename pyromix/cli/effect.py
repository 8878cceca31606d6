"""The command that compares what is seen with what setting would do."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

import typer

from pyromix.answers.difference import Difference
from pyromix.answers.effect import Effect
from pyromix.answers.mixed.effect import MixedEffect
from pyromix.api_mixed import MixedFit
from pyromix.cli.common import Evidence, Json, Quiet, Seed, Source, assignments
from pyromix.cli.flags import in_flags
from pyromix.cli.going_on import CheckpointFile, kept_at
from pyromix.cli.mixed import asked_mixed, effect_in_numbers, settings
from pyromix.cli.progress import working
from pyromix.cli.questions import (
    Among,
    Contrast,
    FitFile,
    Interval,
    Level,
    Outcome,
    OutcomeState,
    Require,
    Treatment,
    any_fit_at,
    asked_effect,
)
from pyromix.errors import QueryError


def effect(
    fitted: FitFile,
    treatment: Treatment = None,
    outcome: Outcome = None,
    contrast: Contrast = None,
    outcome_state: OutcomeState = None,
    evidence: Evidence = None,
    among: Among = None,
    per_source: Annotated[bool, typer.Option(help="Also within each source.")] = False,
    require: Require = "local",
    interval: Interval = None,
    level: Level = 0.95,
    bootstrap: Annotated[
        int, typer.Option(metavar="N", help="Intervals from so many replicates; 500 will do.")
    ] = 0,
    random_state: Seed = 0,
    checkpoint: CheckpointFile = None,
    source: Source = "U",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare an outcome between two states of a treatment: as seen, and if it were set.

    Example: pyromix effect fit.pyromix --treatment X --outcome Y
    """
    fit = any_fit_at(fitted, source)
    if isinstance(fit, MixedFit):
        if among:
            raise QueryError(
                "--among: a fit with numbers has no effects among groups; pyromix fit DATA "
                "--discretize COLUMN=quantile:4 -o fit.pyromix makes a fit of states, which has"
            )
        asked = asked_mixed(fit, treatment, outcome, contrast, outcome_state, needed=True)
        given = settings(fit.spec, evidence, "--evidence")
        with working("asking the fit", quiet=quiet):
            if bootstrap:
                fit = fit.bootstrap(n=bootstrap, random_state=random_state, show_progress=False)
            options = {"require": require, "interval": interval, "level": level}
            mixed = fit.effect(**asked, evidence=given, per_source=per_source, **options)
        if as_json:
            typer.echo(json.dumps(effect_in_numbers(mixed), indent=1, default=str))
        else:
            typer.echo(in_flags(str(mixed), fit.spec.variables))
        return
    asked = asked_effect(fit, treatment, outcome, contrast, outcome_state, needed=True)
    given = assignments(fit.spec, evidence, "--evidence")
    group = assignments(fit.spec, among, "--among")
    if checkpoint is not None and not bootstrap:
        raise QueryError("--checkpoint keeps the replicates of a bootstrap: give --bootstrap 500")
    with kept_at(checkpoint, quiet=quiet), working("asking the fit", quiet=quiet):
        if bootstrap:
            fit = fit.bootstrap(n=bootstrap, random_state=random_state, checkpoint=checkpoint)
        found = fit.effect(
            **asked,
            evidence=given,
            among=group,
            per_source=per_source,
            require=require,
            interval=interval,
            level=level,
        )
    if as_json:
        typer.echo(json.dumps(in_numbers(found), indent=1, default=str))
    else:
        typer.echo(in_flags(str(found), fit.spec.variables))


def any_in_numbers(effect: Effect | MixedEffect) -> dict[str, Any]:
    """An effect on states or on numbers, ready for JSON."""
    return in_numbers(effect) if isinstance(effect, Effect) else effect_in_numbers(effect)


def in_numbers(effect: Effect) -> dict[str, Any]:
    """An effect as plain numbers and texts, ready for JSON."""
    spec = effect.spec
    states = spec.states_of(effect.treatment)
    kinds = {"naive": effect.naive, "do": effect.do}
    for number, u in enumerate(spec.source_states[: len(effect.source_arms)]):
        kinds[f"do, {spec.source}={u}"] = effect.per_source[number]
    method = effect.do.interval_report().words if effect.do.has_interval else None
    return {
        "treatment": spec.name(effect.treatment),
        "outcome": spec.name(effect.outcome),
        "contrast": [str(states[s]) for s in effect.contrast],
        "among": {spec.name(v): str(spec.states_of(v)[s]) for v, s in effect.group.items()},
        "certainty": effect.certainty.value,
        "level": effect.level,
        "interval": method,
        "differences": {kind: _cells(found) for kind, found in kinds.items()},
    }


def _cells(found: Difference) -> list[dict[str, Any]]:
    """One entry per state of the outcome."""
    ends = found.interval() if found.has_interval else None
    return [
        {
            "state": str(state),
            "difference": float(found.values[s]),
            "low": None if ends is None else _finite(float(ends[0][s])),
            "high": None if ends is None else _finite(float(ends[1][s])),
        }
        for s, state in enumerate(found.states)
    ]


def _finite(value: float) -> float | None:
    """JSON has no nan."""
    return value if math.isfinite(value) else None
