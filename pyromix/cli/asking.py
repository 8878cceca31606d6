"""Commands that ask a fit or a network: do, simulate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import pyromix as px
from pyromix.api import MixtureFit
from pyromix.api_mixed import MixedFit
from pyromix.cli import mixed
from pyromix.cli.common import (
    Do,
    Evidence,
    Fitted,
    Format,
    Json,
    Quiet,
    Seed,
    Source,
    assignments,
    loaded,
    writable,
)
from pyromix.cli.flags import in_flags
from pyromix.cli.questions import Interval, Require
from pyromix.data.frames import write_frame
from pyromix.errors import QueryError

TABLES = (".csv", ".tsv", ".parquet", ".pq", ".arrow", ".feather", ".ipc")


def do(
    fitted: Fitted,
    query: Annotated[list[str], typer.Option(help="Outcome variable, repeatable.")],
    do: Do = None,
    evidence: Evidence = None,
    require: Require = "local",
    interval: Interval = None,
    engine: Annotated[
        str,
        typer.Option(help="auto, elimination or pyro; of numbers auto, exact, sampling, pyro."),
    ] = "auto",
    level: Annotated[float, typer.Option(help="Of the interval, between 0 and 1.")] = 0.95,
    source: Source = "U",
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TEXT,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Answer P(query | do, evidence).

    Example: pyromix do fit.pyromix --query Y --do X=treated --evidence Z1=high
    """
    result = loaded(fitted, source)
    if isinstance(result, MixedFit):
        _do_numbers(
            result, query, do, evidence, form, as_json=as_json, require=require,
            interval=interval, engine=engine, level=level,
        )  # fmt: skip
        return
    spec = result.spec
    settings, given = assignments(spec, do, "--do"), assignments(spec, evidence, "--evidence")
    if isinstance(result, MixtureFit):
        answer = result.query(
            query, settings, given, require=require, engine=engine, interval=interval, level=level
        )
    else:
        answer = px.query(result, query, settings, given, engine)
    if as_json or form is Format.JSON:
        frame = answer.to_frame()
        content = {
            "certainty": answer.certainty.value,
            "interval": in_flags(answer.interval_report().words) if answer.has_interval else None,
            "level": answer.level,
            "cells": frame.to_dict(orient="records"),
        }
        typer.echo(json.dumps(content, indent=1, default=str))
    elif form is Format.CSV:
        typer.echo(answer.to_frame().to_csv(index=False), nl=False)
    else:
        typer.echo(in_flags(str(answer), spec.variables))


def _do_numbers(
    fit: MixedFit,
    query: list[str],
    do: list[str] | None,
    evidence: list[str] | None,
    form: Format,
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """The same of a fit with numbers.

    Raises:
        QueryError: several outcomes, or another format than text and JSON.
    """
    if len(query) != 1:
        raise QueryError(
            f"--query: a fit with numbers answers for one variable at a time, found {query}"
        )
    if form is Format.CSV:
        raise QueryError("--format csv: an answer with numbers is printed as text or json")
    done = mixed.settings(fit.spec, do, "--do")
    given = mixed.settings(fit.spec, evidence, "--evidence")
    answer = fit.query(query[0], done, given, **options)
    if as_json or form is Format.JSON:
        typer.echo(json.dumps(mixed.answer_in_numbers(answer), indent=1, default=str))
    else:
        typer.echo(in_flags(str(answer), fit.spec.variables))


def simulate(
    fitted: Fitted,
    n_samples: Annotated[int, typer.Option("--n-samples", "-n", help="Number of rows.")] = 1000,
    do: Do = None,
    evidence: Evidence = None,
    include_latents: Annotated[bool, typer.Option(help="Add the source's column.")] = False,
    random_state: Seed = 0,
    source: Source = "U",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="csv, parquet or arrow; else stdout.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw rows from P(V | do, evidence).

    Example: pyromix simulate fit.pyromix -n 10000 --do X=treated -o sim.parquet
    """
    writable(output, TABLES)
    result = loaded(fitted, source)
    if isinstance(result, MixedFit):
        if evidence:
            raise QueryError(
                "--evidence: rows of a fit with numbers are drawn under --do alone; draw more, and "
                "keep those that agree"
            )
        done = mixed.settings(result.spec, do, "--do")
        frame = result.simulate(n_samples, done, include_latents, random_state)
        _write(frame, output, as_json=as_json, quiet=quiet)
        return
    spec = result.spec
    settings, given = assignments(spec, do, "--do"), assignments(spec, evidence, "--evidence")
    mixture = result.mixture if isinstance(result, MixtureFit) else result
    frame = px.simulate(mixture, n_samples, settings, given, include_latents, random_state)
    _write(frame, output, as_json=as_json, quiet=quiet)


def _write(frame: Any, output: Path | None, *, as_json: bool, quiet: bool) -> None:
    """Rows into a file, or on standard output as csv or JSON."""
    if output is not None:
        write_frame(frame, output)
        if not quiet:
            said = f"{len(frame):,} rows of {frame.shape[1]} variables"
            typer.echo(f"{output}: {said}", err=True)
    elif as_json:
        typer.echo(frame.to_json(orient="records"))
    else:
        typer.echo(frame.to_csv(index=False), nl=False)
