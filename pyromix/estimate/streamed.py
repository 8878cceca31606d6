"""EM on rows that come as a stream: a pass over them is what a step costs.

SQUAREM with two passes a cycle: one at a point, one where EM takes it, and the likelihood of the
extrapolated point comes with the first pass of the next cycle. Where that is lower than the second
pass found, the point is given up for EM's own, at the loss of one pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from pyromix.errors import RefinementError
from pyromix.estimate.accelerate import FIRST_LIMIT, extrapolate, next_limit
from pyromix.estimate.ascent import Ascent
from pyromix.estimate.em import result_of
from pyromix.estimate.result import REACHED_ROWS, EMResult
from pyromix.estimate.step import EMMap, Point, Step
from pyromix.exact.likelihood import ExpectedCounts, expected_counts
from pyromix.exact.rows import CellIndex
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import MixtureSpec

Batches = Callable[[], Iterator[tuple[Int[Tensor, "b n"], Float[Tensor, " b"]]]]
"""Starts a pass: state numbers and weights of all rows, batch by batch."""

Total = Callable[[Iterator[tuple[Tensor, Tensor]]], ndarray | None]
"""Sums over some batches; None where there are none."""

Elsewhere = Callable[[Total], ndarray | None]
"""Takes a pass where the rows lie, and brings the sums; None where rows must come here."""

Runner = Callable[[int, Callable[[], "Place"]], "Place"]
"""Told the number of a pass, and what takes it."""

LEFT = 1.0
"""Nats: the climb ends where less than this is left to gain, twice in a row."""

ROUNDS = 2
"""How often in a row little must be left."""

MOST_PASSES = 60
"""Passes over the rows."""


@dataclass(frozen=True, eq=False)
class StreamedMap(EMMap):
    """The EM step of rows that come as a stream; in memory is one batch, and sums.

    Attributes:
        stream: starts a pass.
        n_rows: sum of the weights.
        elsewhere: takes a pass where the rows lie, if it can.
    """

    stream: Batches
    n_rows: float
    elsewhere: Elsewhere | None

    @staticmethod
    def of(
        spec: MixtureSpec,
        stream: Batches,
        n_rows: float,
        prior: PseudoCounts,
        elsewhere: Elsewhere | None = None,
    ) -> StreamedMap:
        """Make it; columns of the stream have the order of the spec."""
        none = torch.empty(0, spec.n_variables, dtype=torch.int8)
        return StreamedMap(
            spec, CellIndex(spec, none), torch.empty(0).double(), prior, stream, n_rows, elsewhere
        )

    @property
    def total_weight(self) -> float:  # type: ignore[override]
        """Number of data rows."""
        return self.n_rows

    @property
    def reached_mass(self) -> float:  # type: ignore[override]
        """Mass from which a CPT row counts as reached, where the lightest row is one."""
        return REACHED_ROWS

    def expected(self, point: Point) -> ExpectedCounts:
        """The E-step, summed over the batches of one pass."""
        if self.elsewhere is not None:
            sums = self.elsewhere(partial(_flat, self.spec, point))
            if sums is not None:
                return _unflat(sums, point)
        total = _total(self.spec, point, self.stream())
        if total is None:
            raise RefinementError("expected rows in a pass over the table, found none")
        return total


def _total(
    spec: MixtureSpec, point: Point, batches: Iterator[tuple[Tensor, Tensor]]
) -> ExpectedCounts | None:
    total: ExpectedCounts | None = None
    for rows, weights in batches:
        if not len(rows):
            continue
        found = expected_counts(point.weights, point.table, CellIndex(spec, rows), weights)
        total = found if total is None else total.plus(found)
    return total


def _flat(
    spec: MixtureSpec, point: Point, batches: Iterator[tuple[Tensor, Tensor]]
) -> ndarray | None:
    """The sums of a pass in one row; runs where the rows lie."""
    total = _total(spec, point, batches)
    if total is None:
        return None
    return torch.cat([part.flatten() for part in vars(total).values()]).numpy()


def _unflat(sums: ndarray, point: Point) -> ExpectedCounts:
    """The inverse of ``_flat``."""
    n = len(point)
    found = torch.from_numpy(sums)
    sizes = [n, point.weights.numel(), point.table.numel()]
    log_likelihood, sources, cells = found.split(sizes)
    return ExpectedCounts(
        log_likelihood, sources.view_as(point.weights), cells.view_as(point.table)
    )


@dataclass(frozen=True, eq=False)
class Place:
    """Where a climb stands before its next pass: all that it needs to go on.

    Attributes:
        point: where the next pass is taken; several points before the first one.
        known: the last point that was kept, and what a pass found there; None before the first.
        second: whether the next pass is the second of a cycle: ``point`` is EM of ``known``.
        fallback: EM's own point where ``point`` is a guess; None where it is none.
        limit: longest extrapolation.
        length: of that which the guess is.
        n_small: how often in a row less than was asked for was foreseen.
        gain: nats that the last step of EM gained.
        log_likelihoods: of every pass so far.
    """

    point: Point
    known: tuple[Point, Step] | None = None
    second: bool = False
    fallback: Point | None = None
    limit: float = FIRST_LIMIT
    length: float = 1.0
    n_small: int = 0
    gain: float = math.inf
    log_likelihoods: tuple[float, ...] = ()

    def after(self, em: EMMap, step: Step, left: float) -> Place:
        """Where the climb stands after a pass.

        Args:
            em: the map.
            step: what the pass found at ``point``.
            left: nats, see ``LEFT``.
        """
        best = int(step.objective.nan_to_num(-math.inf).argmax())
        one = slice(best, best + 1)
        point, step = self.point[one], step[one]
        told = (*self.log_likelihoods, float(step.log_likelihood))
        here = replace(self, log_likelihoods=told)
        if self.known is not None and self.second:
            return here._extrapolated(em, self.known, (point, step), left)
        if self.known is None or self.fallback is None:
            return here._begun(point, step)
        # False as well where a guess has likelihood zero
        accepted = step.objective >= self.known[1].objective
        limit = float(next_limit(_one(self.limit), _one(self.length), accepted))
        if bool(accepted):
            return replace(here, limit=limit)._begun(point, step)
        return replace(here, point=self.fallback, fallback=None, limit=limit)

    def _begun(self, point: Point, step: Step) -> Place:
        """A cycle after its first pass."""
        return replace(self, point=step.target, known=(point, step), second=True, fallback=None)

    def _extrapolated(
        self, em: EMMap, first: tuple[Point, Step], second: tuple[Point, Step], left: float
    ) -> Place:
        """A cycle after its second pass: the guess that begins the next one."""
        start, one, two = first[0], second[0], second[1].target
        gain = float(second[1].objective - first[1].objective)
        shrunk = min(float(_distance(two, one) / _distance(one, start)) ** 2, 1.0)
        foreseen = math.inf if shrunk == 1.0 else gain * shrunk / (1 - shrunk)
        guess, length = extrapolate(em, start, one, two, _one(self.limit))
        return replace(
            self,
            point=guess,
            known=second,
            second=False,
            fallback=two,
            length=float(length),
            n_small=self.n_small + 1 if foreseen < left else 0,
            gain=gain,
        )


def climb_stream(
    em: StreamedMap,
    starts: Point,
    *,
    most_passes: int = MOST_PASSES,
    left: float = LEFT,
    run: Runner = lambda number, compute: compute(),
) -> EMResult:
    """Climb the likelihood pass by pass, and stop where little is left to gain.

    What is left after a step of EM that gained g is ``g a / (1 - a)`` where gains shrink by a. They
    do by the square of what steps shrink by, which two steps of one cycle show.

    Args:
        em: the map.
        starts: points, of which the first pass finds the best.
        most_passes: limit on passes.
        left: nats, see ``LEFT``.
        run: runs a pass, or takes from a checkpoint where the climb stood after it.

    Returns:
        The estimate, a point whose likelihood a pass has found; ``n_iter`` is the number of
        passes.

    Raises:
        RefinementError: every start gives a row probability zero.
    """
    place = Place(starts)
    while place.n_small < ROUNDS and len(place.log_likelihoods) < most_passes:
        place = run(len(place.log_likelihoods) + 1, partial(_passed, place, em, left))
        if place.known is None or not bool(place.known[1].log_likelihood.isfinite()):
            raise RefinementError(
                "a start must give every row a positive probability, found rows that each of the "
                f"starts forbids, logL {place.log_likelihoods}; fit with a prior"
            )
    if place.known is None:
        raise RefinementError(f"expected at least one pass, found most_passes={most_passes}")
    point, step = place.known
    n_iter = torch.tensor([len(place.log_likelihoods)])
    converged = torch.tensor([place.n_small >= ROUNDS])
    return result_of(em, Ascent(point, step, n_iter, _one(place.gain), converged), 0, False)


def _passed(place: Place, em: StreamedMap, left: float) -> Place:
    return place.after(em, em(place.point), left)


def _one(number: float) -> Float[Tensor, " 1"]:
    return torch.tensor([number], dtype=torch.float64)


def _distance(left: Point, right: Point) -> Float[Tensor, ""]:
    weights, table = left.weights - right.weights, left.table - right.table
    return (weights.square().sum() + table.square().sum()).sqrt()
