"""Pyro for one thread at a time.

Its handlers, its parameter store and the random numbers of ``torch`` belong to the whole process:
of two threads that ran programs at once, each would see the handlers of the other. Whoever runs
Pyro here waits until no other thread does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_turns = [threading.RLock()]
"""One lock; a thread that has it may take it again."""


@contextmanager
def alone() -> Iterator[None]:
    """Wait for the other threads that run Pyro, and let them wait."""
    with _turns[0]:
        yield


def _renew() -> None:
    """A forked process has no thread that would give the lock back."""
    _turns[0] = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
