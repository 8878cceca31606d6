"""What the command says of itself, before any other command."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer


def _print(asked: bool) -> bool:
    if asked:
        typer.echo(f"pyromix {version('pyromix')}")
        raise typer.Exit
    return asked


def pyromix(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Causal effects despite an unobserved global confounder with few states."""
