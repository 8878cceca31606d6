"""Commands that look at a table: check, fit, select, iid."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import pyromix as px
from pyromix.cli.columns import (
    Bins,
    Discretize,
    Kinds,
    States,
    as_told,
    kinds_told,
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
    assignments,
    model_of,
    numbers,
    prior_of,
    table_of,
    writable,
)
from pyromix.cli.effect import in_numbers
from pyromix.cli.flags import in_flags
from pyromix.cli.going_on import CheckpointFile, kept_at
from pyromix.cli.progress import working
from pyromix.cli.questions import Among, Contrast, Outcome, OutcomeState, Treatment, asked_effect
from pyromix.criticism.checking import IdentifiabilityReport
from pyromix.criticism.effects_by_k import EffectAt, effect_lines, effects_by_k
from pyromix.criticism.intake import take_in_bins
from pyromix.criticism.on_paper import spec_on_paper
from pyromix.criticism.rehearsal import N_TIMES, rehearse
from pyromix.data.frames import read_numbers
from pyromix.data.reading import check_columns
from pyromix.errors import QueryError
from pyromix.fitting import engine
from pyromix.model.printed import columns_of_text
from pyromix.model.query import Certainty
from pyromix.model.spec import MixtureSpec


def check(
    data: Annotated[
        str | None, typer.Argument(help="Table: csv, parquet or arrow; - reads csv. Not needed.")
    ] = None,
    model: Model = None,
    edge: Edge = None,
    latent: Latent = "U",
    n_sources: Annotated[
        str, typer.Option("--n-sources", "-k", help="Number of sources: 2, 2..5 or 2,4.")
    ] = "2",
    outcome: Annotated[str | None, typer.Option(help="Outcome of the effect.")] = None,
    treatment: Annotated[str | None, typer.Option(help="Treatment of the effect.")] = None,
    among: Among = None,
    simulate: Annotated[
        bool,
        typer.Option(help="Also fit, simulate from the fit, and see whether it is recovered."),
    ] = False,
    n_simulations: Annotated[int, typer.Option(help="Tables to simulate.")] = N_TIMES,
    advise: Annotated[
        bool,
        typer.Option(help="Also say what to measure next, where the effect is not identified."),
    ] = False,
    bins: Bins = None,
    states: States = None,
    kinds: Kinds = None,
    sample_weight: Weight = None,
    weights_are: WeightsAre = "counts",
    missing: Missing = "mar",
    na: Na = None,
    sep: Sep = "",
    encoding: Encoding = "",
    decimal: Decimal = "",
    random_state: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what can be learnt, before anything is fitted.

    Exits with 0 where it is identified or locally identified for the last number of sources.

    Example: pyromix check data.csv --edge 'U->X' --edge 'U->Y' --edge 'X->Y' --n-sources 2..3
    """
    given = model_of(model, edge, latent)
    if simulate and data is None:
        raise typer.BadParameter("--simulate fits a table first: give DATA")
    if data is None and (bins or states):
        raise typer.BadParameter("--bins and --states tell of the columns of a table: give DATA")
    if advise and (treatment is None or outcome is None):
        raise typer.BadParameter("--advise is about an effect: give --treatment and --outcome")
    table, told = None, {}
    if data is not None:
        table, told = as_told(table_of(data, na, sep, encoding, decimal), bins, states)
    asked = {
        "state_names": told or None,
        "sample_weight": sample_weight,
        "weights_are": weights_are,
        "missing": missing,
        "random_state": random_state,
    }
    if among and (treatment is None or outcome is None):
        raise typer.BadParameter("--among is about an effect: give --treatment and --outcome")
    effect: dict[str, Any] = {"treatment": treatment, "outcome": outcome, "among": None}
    reports, rehearsals = [], []
    for k in numbers(n_sources):
        if among:
            named = _spec_of(given, k, table, asked, kinds_told(kinds))
            effect["among"] = assignments(named, among, "--among")
        with working(f"looking at k = {k}", quiet=quiet):
            reports.append(px.check(given, k, table, **effect, **asked, kinds=kinds_told(kinds)))
            if simulate:
                _check_states(reports[-1].spec)
                fitted = engine.fit(given, table, k, **asked, show_progress=False)
                found = rehearse(
                    fitted, treatment, outcome, n_times=n_simulations, random_state=random_state
                )
                rehearsals.append(found)
    advice = []
    if treatment is not None and outcome is not None and advise:
        advice = [
            px.measure_next(
                report.spec, treatment=treatment, outcome=outcome, among=effect["among"]
            )
            for report in reports
        ]
    if as_json:
        content = [report.summary() for report in reports]
        for one, found in zip(content, advice, strict=False):
            one["measure_next"] = found.to_records()
        for one, rehearsal in zip(content, rehearsals, strict=False):
            one["rehearsal"] = rehearsal.summary()
        typer.echo(json.dumps(content, indent=1))
    else:
        typer.echo("\n".join(_table(reports)))
        for number, report in enumerate(reports):
            typer.echo(in_flags(f"\n{report}"))
            for found in advice[number : number + 1]:
                typer.echo(f"\n{found}")
            for rehearsal in rehearsals[number : number + 1]:
                typer.echo(in_flags(f"  {rehearsal}"))
    if not reports[-1].found.level.at_least(Certainty.LOCAL):
        raise Stopped(NOT_IDENTIFIED)


def _spec_of(
    model: Any, k: int, table: Any, asked: Mapping[str, Any], kinds: Mapping[str, str]
) -> MixtureSpec:
    """The names and states that a group is told in."""
    if table is None:
        return spec_on_paper(model, k, None, kinds, [])
    names = ("state_names", "sample_weight", "missing", "weights_are")
    options = {name: asked[name] for name in names}
    return take_in_bins(model, table, k, **options, missing_values=None, kinds=kinds)[0].spec


def _check_states(spec: MixtureSpec) -> None:
    """Refuse numbers where tables are simulated.

    Raises:
        QueryError: a vertex is a number.
    """
    if spec.coarse:
        names = ", ".join(map(spec.name, spec.coarse))
        raise QueryError(
            f"--simulate fits tables of states, found the numbers {names}: cut them into states, "
            "--bins COLUMN=50,60"
        )


def _table(reports: list[IdentifiabilityReport]) -> list[str]:
    """One line per number of sources."""
    rows = []
    for report in reports:
        found = report.summary()
        stage = report.found.stage
        run = None if stage is None or not stage.runs else stage.runs[0]
        noise = "-" if run is None else f"{run.signal:.3g} / {run.noise_floor:.3g}"
        size = f"{found['n_parameters']} / {found['n_cells'] - 1}"
        rows.append([str(found["n_sources"]), noise, size, report.verdict])
    return columns_of_text(["k", "signal / noise", "parameters / df", "verdict"], rows, n_left=4)


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
            random_state=random_state,
            finish_all=finish_all,
            checkpoint=checkpoint,
        )
    effects: tuple[EffectAt, ...] = ()
    if effect or treatment is not None or outcome is not None:
        asked = asked_effect(
            found.fits[0], treatment, outcome, contrast, outcome_state, needed=True
        )
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
                    **({} if at.found is None else in_numbers(at.found)),
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
    values = read_numbers(table_of(data, na, sep, encoding, decimal), columns)
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
