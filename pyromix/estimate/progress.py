"""A bar on a terminal, or wherever one is asked for; nothing anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyromix.model.arguments import flag

Tell = Callable[[int, str], object]
"""Told how many steps are done, and a few words."""


@contextmanager
def progress_bar(show: bool | None, total: int, title: str) -> Iterator[Tell]:
    """Show a bar on stderr while something runs.

    Args:
        show: None shows it on a terminal only, True everywhere.
        total: number of steps.
        title: what is being done.

    Yields:
        What is to be told of each step.
    """
    if not (sys.stderr.isatty() if show is None else flag("show_progress", show)):
        yield lambda done, words: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=title, unit="it", leave=False) as bar:

        def tell(done: int, words: str) -> None:
            bar.update(done - bar.n)
            if words:
                bar.set_postfix_str(words, refresh=False)

        yield tell
