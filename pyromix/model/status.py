"""Outcome codes of batched identification: one per batch element, with advice."""

from __future__ import annotations

from enum import IntEnum

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from pyromix.errors import PyromixError


class Status(IntEnum):
    """What became of one identification problem.

    Batched code never raises for one bad element: it returns an int64 tensor of these codes,
    ``(*batch)``. A front door raises for the elements it was asked for.
    """

    OK = 0
    MERGED = 1
    RANK_TOO_SMALL = 2
    TOO_MANY_SOURCES = 3
    COMPLEX_PAIR = 4
    TOO_FEW_ROWS = 5
    NOT_CONVERGED = 6
    INVALID_INPUT = 7
    NO_PLAN = 8

    @property
    def advice(self) -> str:
        """What was probably wrong, and what to try."""
        return _ADVICE[self]


_ADVICE = {
    Status.OK: "nothing to do",
    Status.MERGED: (
        "two or more sources came out equal, or one with next to no weight: the data support "
        "fewer sources; ask for a smaller n_sources"
    ),
    Status.RANK_TOO_SMALL: (
        "the k-th singular value of the moment matrix is under the noise floor: the data show "
        "fewer sources than asked for; ask for a smaller n_sources, or bring more data"
    ),
    Status.TOO_MANY_SOURCES: (
        "the views have too few joint states, or the units too few draws, for this many sources; "
        "ask for a smaller n_sources, or bring more variables or longer units"
    ),
    Status.COMPLEX_PAIR: (
        "the eigenvalue problem has a complex pair, which exact moments of n_sources sources "
        "cannot give: n_sources is too large, or the data are too few; ask for a smaller "
        "n_sources, bring more data, or refine by likelihood"
    ),
    Status.TOO_FEW_ROWS: (
        "the rows are fewer than the moments need; bring more data, or condition on less"
    ),
    Status.NOT_CONVERGED: (
        "the iteration limit was reached before the tolerance; raise the limit, or ask for a "
        "smaller n_sources"
    ),
    Status.INVALID_INPUT: (
        "the moments or counts are not finite, or not those of a distribution; look for NaN, "
        "for negative weights, and for moments in the wrong order"
    ),
    Status.NO_PLAN: (
        "the graph has no three views of the source; one more variable that depends on the source "
        "and is independent of the others given it would help, or a sparser graph"
    ),
}

_FOUND = {
    Status.INVALID_INPUT: "one with entries that are not finite, or far out of range",
    Status.NOT_CONVERGED: "one for which the iteration did not converge",
    Status.RANK_TOO_SMALL: "a singular one",
}
"""What a matrix is that cannot be factorised."""


def mark(
    codes: Int[Tensor, "*batch"], where: Bool[Tensor, "*batch"], status: Status
) -> Int[Tensor, "*batch"]:
    """Return the codes with ``status`` where they were OK and ``where`` holds: the first stays."""
    return torch.where((codes == Status.OK) & where, int(status), codes)


def followed_by(
    codes: Int[Tensor, "*batch"], later: Int[Tensor, "*batch"]
) -> Int[Tensor, "*batch"]:
    """Return the codes, and those of a later step where they were OK: the first stays."""
    return torch.where(codes == Status.OK, later, codes)


def refuse(status: Int[Tensor, ""], error: type[PyromixError], expected: str, advice: str) -> None:
    """Raise where a single matrix could not be factorised.

    Args:
        status: of the matrix.
        error: what to raise.
        expected: the matrix, in the words of the caller.
        advice: what to try.

    Raises:
        PyromixError: the status is not OK.
    """
    code = Status(int(status))
    if code is not Status.OK:
        raise error(f"expected {expected}, found {_FOUND[code]}; {advice}")
