"""Long work that is stopped and gone on with: ``--checkpoint``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

CheckpointFile = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="PATH",
        help="Keep what is done there; after a stop the same command goes on from it.",
    ),
]


def part_of(path: Path | None, part: str) -> Path | None:
    """The file of one part of the work, beside the path that was given."""
    return None if path is None else path.with_name(f"{path.name}.{part}")


@contextmanager
def kept_at(*paths: Path | None, quiet: bool = False) -> Iterator[None]:
    """Say where what is done is kept, should Ctrl-C come before the block ends.

    Args:
        *paths: checkpoints of this work, one after the other.
        quiet: say nothing.
    """
    try:
        yield
    except KeyboardInterrupt:
        asked = [path for path in paths if path is not None]
        there = [str(path) for path in asked if path.exists()]
        if there and not quiet:
            said = f"interrupted; what is done is in {', '.join(there)}: the same command goes on"
            typer.echo(f"{said} from there", err=True)
        elif asked and not quiet:
            typer.echo(f"interrupted before there was anything for {asked[0]} to keep", err=True)
        raise
