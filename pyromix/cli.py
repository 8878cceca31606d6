"""The command line: data to stdout, messages to stderr, flags named as the Python keywords."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Hashable, Sequence
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer

import pyromix as px
from pyromix.bridges.bundle import read_bundle
from pyromix.bridges.toml_spec import edges_to_structure
from pyromix.data.frames import read_frame, read_numbers, write_frame
from pyromix.errors import (
    IdentificationError,
    NotCertifiedError,
    PyromixError,
    PyromixWarning,
    QueryError,
)
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import MixtureSpec, near_matches
from pyromix.result import MixtureFit

FINE, USAGE_OR_DATA, NOT_IDENTIFIED, NOT_CONVERGED = 0, 1, 2, 3

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Causal effects despite an unobserved global confounder with few states.",
)


class Format(StrEnum):
    """How an answer is printed."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No messages on stderr.")]
Do = Annotated[list[str] | None, typer.Option("--do", help="VARIABLE=STATE, repeatable.")]
Evidence = Annotated[
    list[str] | None, typer.Option("--evidence", help="VARIABLE=STATE, repeatable.")
]


@app.command()
def fit(
    data: Annotated[str, typer.Argument(help="Table: csv, parquet or arrow; - reads csv.")],
    model: Annotated[
        Path | None, typer.Option(help="Network file: bif, xmlbif, xdsl, net, uai or toml.")
    ] = None,
    edge: Annotated[
        list[str] | None, typer.Option(help="An edge 'A->B', repeatable, in place of --model.")
    ] = None,
    latent: Annotated[str, typer.Option(help="Name of the source, with --edge.")] = "U",
    n_sources: Annotated[int | None, typer.Option(help="Number of sources k.")] = None,
    method: Annotated[str, typer.Option(help="auto, moments, markov-boundary or em.")] = "auto",
    n_init: Annotated[int | None, typer.Option(help="Number of random starts.")] = None,
    prior: Annotated[float | None, typer.Option(help="Pseudo-count per cell.")] = None,
    sample_weight: Annotated[str | None, typer.Option(help="Column of weights.")] = None,
    missing: Annotated[str, typer.Option(help="mar, drop or error.")] = "mar",
    max_iter: Annotated[int, typer.Option(help="Iteration limit of EM.")] = 2000,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    random_state: Annotated[int, typer.Option(help="Seed.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="FILE.pyromix")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a mixture to a table.

    Example: pyromix fit data.csv --model net.bif --n-sources 2 -o fit.pyromix
    """
    if (model is None) == (not edge):
        raise typer.BadParameter("give either --model FILE or --edge 'A->B' (repeatable)")
    result = px.fit(
        edges_to_structure(edge, latent) if edge else model,
        _table(data),
        n_sources,
        method=method,
        n_init=n_init,
        prior=prior,
        sample_weight=sample_weight,
        missing=missing,
        device=device,
        random_state=random_state,
        show_progress=False if quiet else None,
        max_iter=max_iter,
    )
    if output is not None:
        result.save(output)
    typer.echo(json.dumps(result.summary(), indent=1) if as_json else str(result))
    if not result.converged:
        raise typer.Exit(NOT_CONVERGED)


@app.command()
def do(
    fitted: Annotated[Path, typer.Argument(help="FILE.pyromix, or a network file.")],
    query: Annotated[list[str], typer.Option(help="Outcome variable, repeatable.")],
    do: Do = None,
    evidence: Evidence = None,
    require: Annotated[str, typer.Option(help="Least certainty: graphical, local, none.")] = (
        "local"
    ),
    engine: Annotated[str, typer.Option(help="auto, elimination or pyro.")] = "auto",
    source: Annotated[str, typer.Option(help="Name of the source in a network file.")] = "U",
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TEXT,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Answer P(query | do, evidence).

    Example: pyromix do fit.pyromix --query Y --do X=treated --evidence Z1=high
    """
    result = _load(fitted, source)
    spec = result.spec
    settings, given = _assignments(spec, do, "--do"), _assignments(spec, evidence, "--evidence")
    if isinstance(result, MixtureFit):
        answer = result.query(query, settings, given, require=require, engine=engine)
    else:
        answer = px.query(result, query, settings, given, engine)
    if as_json or form is Format.JSON:
        frame = answer.to_frame()
        content = {
            "certainty": answer.certainty.value,
            "cells": frame.to_dict(orient="records"),
        }
        typer.echo(json.dumps(content, indent=1, default=str))
    elif form is Format.CSV:
        typer.echo(answer.to_frame().to_csv(index=False), nl=False)
    else:
        typer.echo(str(answer))


@app.command()
def convert(
    read: Annotated[Path, typer.Argument(help="Network file or bundle.")],
    write: Annotated[Path, typer.Argument(help="File to write; its ending is the format.")],
    rename_states: Annotated[
        bool, typer.Option(help="Rename what the format cannot hold, and say so.")
    ] = False,
    source: Annotated[str, typer.Option(help="Name of the source in the file.")] = "U",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert a network file, checked by reading it back.

    Example: pyromix convert net.bif net.xdsl
    """
    mixture = px.read(read, source=source)
    px.write(mixture, write, rename_states=rename_states)
    said = {
        "read": str(read),
        "written": str(write),
        "variables": mixture.spec.n_variables,
        "n_sources": mixture.n_sources,
    }
    typer.echo(json.dumps(said) if as_json else f"{read} -> {write}: {said['variables']} variables")


@app.command()
def simulate(
    fitted: Annotated[Path, typer.Argument(help="FILE.pyromix, or a network file.")],
    n_samples: Annotated[int, typer.Option("--n-samples", "-n", help="Number of rows.")] = 1000,
    do: Do = None,
    evidence: Evidence = None,
    include_latents: Annotated[bool, typer.Option(help="Add the source's column.")] = False,
    random_state: Annotated[int, typer.Option(help="Seed.")] = 0,
    source: Annotated[str, typer.Option(help="Name of the source in a network file.")] = "U",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="csv, parquet or arrow; else stdout.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw rows from P(V | do, evidence).

    Example: pyromix simulate fit.pyromix -n 10000 --do X=treated -o sim.parquet
    """
    result = _load(fitted, source)
    spec = result.spec
    settings, given = _assignments(spec, do, "--do"), _assignments(spec, evidence, "--evidence")
    mixture = result.mixture if isinstance(result, MixtureFit) else result
    frame = px.simulate(mixture, n_samples, settings, given, include_latents, random_state)
    if output is not None:
        write_frame(frame, output)
    elif as_json:
        typer.echo(frame.to_json(orient="records"))
    else:
        typer.echo(frame.to_csv(index=False), nl=False)


@app.command()
def iid(
    data: Annotated[str, typer.Argument(help="Table of units: csv, parquet or arrow; - is csv.")],
    n_sources: Annotated[int, typer.Option("--n-sources", "-k", help="Number of coins k.")],
    successes: Annotated[str, typer.Option(help="Column of successes.")] = "successes",
    trials: Annotated[str, typer.Option(help="Column of trials.")] = "trials",
    sample_weight: Annotated[str | None, typer.Option(help="Column of weights.")] = None,
    random_state: Annotated[int, typer.Option(help="Seed.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a mixture of k coins to successes in trials per unit.

    Example: pyromix iid units.csv -k 2 --successes x --trials n --sample-weight count
    """
    columns = [successes, trials, *([sample_weight] if sample_weight else [])]
    values = read_numbers(_table(data), columns)
    result = px.fit_iid(
        values[0],
        values[1],
        n_sources,
        sample_weight=values[2] if sample_weight else None,
        random_state=random_state,
    )
    content = {
        "probs": result.probs.tolist(),
        "weights": result.weights.tolist(),
        "log_likelihood": result.log_likelihood,
        "bic": result.bic,
        "status": result.status.name,
    }
    typer.echo(json.dumps(content, indent=1) if as_json else str(result))
    if result.status is px.Status.NOT_CONVERGED:
        raise typer.Exit(NOT_CONVERGED)
    if result.status is not px.Status.OK:
        raise typer.Exit(NOT_IDENTIFIED)


@app.command()
def demo(as_json: Json = False, quiet: Quiet = False) -> None:
    """Recover causal effects whose confounder was never observed, on shipped data."""
    from pyromix.demo import run

    content = run(None if as_json or quiet else typer.echo)
    if as_json or quiet:
        typer.echo(json.dumps(content, indent=1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code.

    0 fine, 1 usage or data error, 2 not identified, 3 not converged.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("always", PyromixWarning)
        warnings.showwarning = _silent if {"-q", "--quiet"} & set(given) else _say
        raise SystemExit(_run(given))


def _run(arguments: list[str]) -> int:
    try:
        app(arguments, prog_name="pyromix")
    except (NotCertifiedError, IdentificationError) as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        return NOT_IDENTIFIED
    except PyromixError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        return USAGE_OR_DATA
    except SystemExit as stopped:
        # The parser says 2 for a usage error, which is 1 here.
        return USAGE_OR_DATA if stopped.code == 2 else int(stopped.code or FINE)
    return FINE


def _say(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    typer.echo(f"{category.__name__}: {message}", err=True)


def _silent(*_: Any, **__: Any) -> None:
    return


def _table(argument: str) -> Any:
    """A path as it is; ``-`` is csv on standard input."""
    return read_frame(BytesIO(sys.stdin.buffer.read())) if argument == "-" else Path(argument)


def _load(path: Path, source: str) -> MixtureFit | BayesNetMixture:
    if path.suffix == ".pyromix" and read_bundle(path).kind == "fit":
        return px.load(path)
    return px.read(path, source=source)


def _assignments(spec: MixtureSpec, given: Sequence[str] | None, flag: str) -> dict[str, Hashable]:
    """``VARIABLE=STATE`` texts as a dict of state names, matched by their text."""
    result: dict[str, Hashable] = {}
    for text in given or ():
        name, equals, state = text.partition("=")
        if not equals:
            raise QueryError(f"{flag} expects VARIABLE=STATE, found {text!r}")
        if name in result:
            raise QueryError(f"{flag} sets {name!r} twice")
        states = {str(s): s for s in spec.states_of(spec.vertex(name))}
        if state not in states:
            raise QueryError(
                f"{flag}: unknown state {state!r} of {name!r}{near_matches(state, states)}; "
                f"its states are {list(states)}"
            )
        result[name] = states[state]
    return result


if __name__ == "__main__":
    main()
