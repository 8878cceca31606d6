"""The command that looks before anything is fitted: check."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

import pyromix as px
from pyromix.cli.columns import (
    Bins,
    Kinds,
    States,
    as_told,
    kinds_told,
)
from pyromix.cli.common import (
    NOT_IDENTIFIED,
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
    table_of,
)
from pyromix.cli.flags import in_flags
from pyromix.cli.progress import working
from pyromix.cli.questions import Among
from pyromix.criticism.checking import IdentifiabilityReport
from pyromix.criticism.intake import take_in_bins
from pyromix.criticism.on_paper import spec_on_paper
from pyromix.criticism.rehearsal import N_TIMES, rehearse
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
