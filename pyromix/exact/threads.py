"""Small products on one thread: waiting for a second one costs more than it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

MANY_OPERATIONS = 2**24
"""Multiplications of a product, or numbers in a table, from which several threads are worth it.

On two cores that another program keeps busy, a sparse product of 3,000 rows took 40 times as long
with two threads as with one, one of 30 rows 300 times, and a fit of 10,000 rows of 20 variables by
moments and EM 16 times; on idle cores two threads gain at most half.
"""


@contextmanager
def one_thread_unless(n_operations: int) -> Iterator[None]:
    """Run on one torch thread below ``MANY_OPERATIONS``; the number is as found afterwards."""
    n_threads = torch.get_num_threads()
    if n_operations >= MANY_OPERATIONS or n_threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
