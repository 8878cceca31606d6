"""Commands on files and shipped data: convert, demo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import pyromix as px
from pyromix.cli.common import Json, Quiet


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


def demo(as_json: Json = False, quiet: Quiet = False) -> None:
    """Recover causal effects whose confounder was never observed, on shipped data."""
    from pyromix.cli.demo import run

    content = run(None if as_json or quiet else typer.echo)
    if as_json or quiet:
        typer.echo(json.dumps(content, indent=1))
