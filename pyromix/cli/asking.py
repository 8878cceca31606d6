"""Commands that ask a fit or a network: do, simulate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import pyromix as px
from pyromix.api import MixtureFit
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
from pyromix.data.frames import write_frame

TABLES = (".csv", ".tsv", ".parquet", ".pq", ".arrow", ".feather", ".ipc")


def do(
    fitted: Fitted,
    query: Annotated[list[str], typer.Option(help="Outcome variable, repeatable.")],
    do: Do = None,
    evidence: Evidence = None,
    require: Annotated[
        str, typer.Option(help="Least certainty: graphical, local, weak, unchecked, none.")
    ] = "local",
    engine: Annotated[str, typer.Option(help="auto, elimination or pyro.")] = "auto",
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
    spec = result.spec
    settings, given = assignments(spec, do, "--do"), assignments(spec, evidence, "--evidence")
    if isinstance(result, MixtureFit):
        answer = result.query(query, settings, given, require=require, engine=engine, level=level)
    else:
        answer = px.query(result, query, settings, given, engine)
    if as_json or form is Format.JSON:
        frame = answer.to_frame()
        content = {
            "certainty": answer.certainty.value,
            "interval": answer.interval_report().words if answer.has_interval else None,
            "level": answer.level,
            "cells": frame.to_dict(orient="records"),
        }
        typer.echo(json.dumps(content, indent=1, default=str))
    elif form is Format.CSV:
        typer.echo(answer.to_frame().to_csv(index=False), nl=False)
    else:
        typer.echo(str(answer))


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
    spec = result.spec
    settings, given = assignments(spec, do, "--do"), assignments(spec, evidence, "--evidence")
    mixture = result.mixture if isinstance(result, MixtureFit) else result
    frame = px.simulate(mixture, n_samples, settings, given, include_latents, random_state)
    if output is not None:
        write_frame(frame, output)
    elif as_json:
        typer.echo(frame.to_json(orient="records"))
    else:
        typer.echo(frame.to_csv(index=False), nl=False)
