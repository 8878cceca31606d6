"""A sign of life on a terminal, and nothing anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def working(words: str, *, quiet: bool = False) -> Iterator[None]:
    """Turn a wheel on stderr while something runs.

    Args:
        words: what is being done.
        quiet: no wheel.
    """
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(words):
        yield
