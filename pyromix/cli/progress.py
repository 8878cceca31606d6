"""A sign of life on stderr: a wheel on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

FIRST, THEN = 10.0, 60.0
"""Seconds until the first line where there is no terminal, and between the later ones."""


@contextmanager
def working(
    words: str, *, quiet: bool = False, wheel: bool = True, first: float = FIRST, then: float = THEN
) -> Iterator[None]:
    """Say that something runs, while it does.

    Args:
        words: what is being done.
        quiet: say nothing.
        wheel: turn a wheel on a terminal; not where something else moves there.
        first: seconds until a line, where stderr is no terminal.
        then: seconds between further lines.
    """
    if quiet:
        yield
    elif sys.stderr.isatty():
        if not wheel:
            yield
            return
        from rich.console import Console

        with Console(stderr=True).status(words):
            yield
    else:
        with _lines(words, first, then):
            yield


@contextmanager
def _lines(words: str, first: float, then: float) -> Iterator[None]:
    """Write a line now and then, from a thread that ends with the work."""
    done, stream, start = threading.Event(), sys.stderr, time.monotonic()

    def tell() -> None:
        wait = first
        while not done.wait(wait):
            seconds = time.monotonic() - start
            stream.write(f"still {words}: {seconds:.0f} s\n")
            stream.flush()
            wait = then

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
