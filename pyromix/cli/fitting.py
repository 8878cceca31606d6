"""Commands that look at a table: fit, select, iid."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import pyromix as px
from pyromix.cli.columns import (
    Bins,
    Discretize,
    Kinds,
    States,
    as_told,
    numbers_told,
)
from pyromix.cli.common import (
    NOT_CONVERGED,
    NOT_IDENTIFIED,
    Data,
    Decimal,
    Edge,
    Encoding,
    Json,
    Latent,
    Missing,
    Model,
    Na,
    Quiet,
    Seed,
    Sep,
    Stopped,
    Weight,
    WeightsAre,
    model_of,
    numbers,
    prior_of,
    table_of,
    writable,
)
from pyromix.cli.effect import any_in_numbers
from pyromix.cli.flags import in_flags
from pyromix.cli.going_on import CheckpointFile, kept_at
from pyromix.cli.mixed import asked_mixed
from pyromix.cli.progress import working
from pyromix.cli.questions import Contrast, Outcome, OutcomeState, Treatment, asked_effect
from pyromix.criticism.effects_by_k import EffectAt, effect_lines, effects_by_k
from pyromix.data.frames import read_numbers
from pyromix.data.reading import check_columns
from pyromix.data.relation.door import read_rows
from pyromix.fitting.mixed.record import MixedRecord


def fit(
    data: Data,
    model: Model = None,
    edge: Edge = None,
    latent: Latent = "U",
    n_sources: Annotated[
        int | None, typer.Option("--n-sources", "-k", help="Number of sources k.")
    ] = None,
    method: Annotated[str, typer.Option(help="auto, moments, markov-boundary or em.")] = "auto",
    n_init: Annotated[int | None, typer.Option(help="Number of random starts.")] = None,
    prior: Annotated[
        str, typer.Option(help="pooled, none, or a pseudo-count per cell.")
    ] = "pooled",
    bins: Bins = None,
    states: States = None,
    kind: Kinds = None,
    discretize: Discretize = None,
    sample_weight: Weight = None,
    weights_are: WeightsAre = "counts",
    missing: Missing = "mar",
    na: Na = None,
    sep: Sep = "",
    encoding: Encoding = "",
    decimal: Decimal = "",
    max_iter: Annotated[int, typer.Option(help="Iteration limit of EM.")] = 2000,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    random_state: Seed = 0,
    checkpoint: CheckpointFile = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="FILE.pyromix")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a mixture to a table.

    Example: pyromix fit data.csv --model net.bif --n-sources 2 -o fit.pyromix
    """
    writable(output, (".pyromix",))
    given = model_of(model, edge, latent)
    table, told = as_told(table_of(data, na, sep, encoding, decimal), bins, states)
    as_numbers = numbers_told(table, kind, discretize)
    with kept_at(checkpoint, quiet=quiet), working("fitting", quiet=quiet, wheel=False):
        result = px.fit(
            given,
            table,
            n_sources,
            method=method,
            n_init=n_init,
            prior=prior_of(prior),
            sample_weight=sample_weight,
            weights_are=weights_are,
            missing=missing,
            state_names=told or None,
            **as_numbers,
            device=device,
            random_state=random_state,
            show_progress=False if quiet else None,
            max_iter=max_iter,
            checkpoint=checkpoint,
        )
    if output is not None:
        result.save(output)
    typer.echo(json.dumps(result.summary(), indent=1) if as_json else in_flags(str(result)))
    if not result.converged:
        raise Stopped(NOT_CONVERGED)


def select(
    data: Data,
    model: Model = None,
    edge: Edge = None,
    latent: Latent = "U",
    n_sources: Annotated[
        str, typer.Option("--n-sources", "-k", help="Candidates: 1..6 or 1,2,3.")
    ] = "1..6",
    n_folds: Annotated[int, typer.Option(help="Folds of the held-out likelihood.")] = 5,
    n_init: Annotated[int | None, typer.Option(help="Number of random starts.")] = None,
    bins: Bins = None,
    states: States = None,
    kind: Kinds = None,
    discretize: Discretize = None,
    effect: Annotated[
        bool, typer.Option("--effect", help="Also the effect under each: the model's, or as named.")
    ] = False,
    treatment: Treatment = None,
    outcome: Outcome = None,
    contrast: Contrast = None,
    outcome_state: OutcomeState = None,
    sample_weight: Weight = None,
    weights_are: WeightsAre = "counts",
    missing: Missing = "mar",
    na: Na = None,
    sep: Sep = "",
    encoding: Encoding = "",
    decimal: Decimal = "",
    random_state: Seed = 0,
    finish_all: Annotated[
        bool,
        typer.Option("--finish-all", help="Climb to the end even where no criterion but AIC may."),
    ] = False,
    checkpoint: CheckpointFile = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare numbers of sources: rank tests, BIC, ICL, held-out likelihood.

    Without --model and --edge the variables are taken to be independent within each source.

    Example: pyromix select data.csv --model net.bif --n-sources 1..3
    """
    given = model_of(model, edge, latent) if model is not None or edge else None
    table, told = as_told(table_of(data, na, sep, encoding, decimal), bins, states)
    as_numbers = numbers_told(table, kind, discretize)
    check_columns(table, [name for name in (treatment, outcome) if name is not None])
    with kept_at(checkpoint, quiet=quiet), working("fitting every number of sources", quiet=quiet):
        found = px.select_n_sources(
            given,
            table,
            numbers(n_sources),
            n_folds=n_folds,
            n_init=n_init,
            sample_weight=sample_weight,
            weights_are=weights_are,
            missing=missing,
            state_names=told or None,
            **as_numbers,
            random_state=random_state,
            finish_all=finish_all,
            checkpoint=checkpoint,
        )
    effects: tuple[EffectAt, ...] = ()
    if effect or treatment is not None or outcome is not None:
        first = found.fits[0]
        named = (treatment, outcome, contrast, outcome_state)
        if isinstance(first, MixedRecord):
            asked = asked_mixed(first, *named, needed=True)
        else:
            asked = asked_effect(first, *named, needed=True)
        with working("asking every fit", quiet=quiet):
            effects = effects_by_k(found, **asked)
    if as_json:
        content = {
            "choices": found.choices,
            "best": found.best,
            "agree": found.agree,
            "candidates": [
                {name: _finite(value) for name, value in asdict(candidate).items()}
                for candidate in found.candidates
            ],
        }
        if effects:
            content["effects"] = [
                {
                    "n_sources": at.n_sources,
                    "refused": at.refused,
                    **({} if at.found is None else any_in_numbers(at.found)),
                }
                for at in effects
            ]
        typer.echo(json.dumps(content, indent=1))
    else:
        typer.echo(in_flags(str(found)))
        if effects:
            typer.echo("\n".join(["", *effect_lines(effects)]))


def iid(
    data: Annotated[str, typer.Argument(help="Table of units: csv, parquet or arrow; - is csv.")],
    n_sources: Annotated[int, typer.Option("--n-sources", "-k", help="Number of coins k.")],
    successes: Annotated[str, typer.Option(help="Column of successes.")] = "successes",
    trials: Annotated[str, typer.Option(help="Column of trials.")] = "trials",
    sample_weight: Weight = None,
    weights_are: WeightsAre = "counts",
    na: Na = None,
    sep: Sep = "",
    encoding: Encoding = "",
    decimal: Decimal = "",
    random_state: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a mixture of k coins to successes in trials per unit.

    Example: pyromix iid units.csv -k 2 --successes x --trials n --sample-weight count
    """
    columns = [successes, trials, *([sample_weight] if sample_weight else [])]
    values = read_numbers(read_rows(table_of(data, na, sep, encoding, decimal)), columns)
    result = px.fit_iid(
        values[0],
        values[1],
        n_sources,
        sample_weight=values[2] if sample_weight else None,
        weights_are=weights_are,
        missing_values=na or None,
        random_state=random_state,
    )
    content = {
        "probs": result.probs.tolist(),
        "weights": result.weights.tolist(),
        "log_likelihood": result.log_likelihood,
        "bic": result.bic,
        "status": result.status.name,
    }
    typer.echo(json.dumps(content, indent=1) if as_json else in_flags(str(result)))
    if result.status is px.Status.NOT_CONVERGED:
        raise Stopped(NOT_CONVERGED)
    if result.status is not px.Status.OK:
        raise Stopped(NOT_IDENTIFIED)


def _finite(value: object) -> object:
    """JSON has no nan."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
