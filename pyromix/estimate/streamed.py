"""EM on rows that come as a stream: a pass over them is what a step costs.

A pass tells where EM moves from a point, and a sample of the rows where EM is going from there
(``sampled``); the next pass is taken there. SQUAREM extrapolates what these steps leave, in cycles
of two passes: one at a point, one where its step leads; the likelihood of the extrapolated point
comes with the first pass of the next cycle. Where that is lower than the second pass found, the
point is given up for the one the step leads to, and where that is lower, for EM's own, which cannot
be: a pass is lost each time.
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
from pyromix.estimate.sampled import Sample, foreseen
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
"""Nats: the climb ends where less than this is left to gain, at the end of two cycles in a row."""

ROUNDS = 2
"""How often in a row little must be left."""

MOST_PASSES = 60
"""Passes over the rows."""

FIRST_DOUBT = 0.3
"""Rows of a cell in which a sample is not believed, see ``sampled``."""

PROMISED = 0.25
"""Share of the gain foreseen that a step must bring, or the sample is believed less."""

MORE_DOUBT = 10.0
"""How many times as many rows are then doubted."""


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
        start: the point whose step leads to ``point``, where it begins a cycle; None elsewhere.
        others: points to take in turn where ``point`` lies lower than what is known.
        limit: longest extrapolation.
        length: of that which the point is; 1 where it is none.
        doubt: of the sample, in its rows.
        foreseen: nats that the step to the point promised.
        n_small: at the ends of how many cycles in a row less than was asked for was left.
        gain: nats that the last step gained.
        log_likelihoods: of every pass so far.
    """

    point: Point
    known: tuple[Point, Step] | None = None
    start: Point | None = None
    others: tuple[Point, ...] = ()
    limit: float = FIRST_LIMIT
    length: float = 1.0
    doubt: float = FIRST_DOUBT
    foreseen: float = math.inf
    n_small: int = 0
    gain: float = math.inf
    log_likelihoods: tuple[float, ...] = ()

    def after(self, em: EMMap, sample: Sample, step: Step, left: float) -> Place:
        """Where the climb stands after a pass.

        Args:
            em: the map.
            sample: of the rows.
            step: what the pass found at ``point``.
            left: nats, see ``LEFT``.
        """
        best = int(step.objective.nan_to_num(-math.inf).argmax())
        one = slice(best, best + 1)
        point, step = self.point[one], step[one]
        told = (*self.log_likelihoods, float(step.log_likelihood))
        here = replace(self, log_likelihoods=told)
        if self.known is None:
            return here._gone_on(em, sample, point, step, left)
        # False as well where a guess has likelihood zero
        accepted = step.objective >= self.known[1].objective
        gain = float(step.objective - self.known[1].objective)
        if self.length > 1:
            limit = float(next_limit(_one(self.limit), _one(self.length), accepted))
            here = replace(here, limit=limit)
        elif self.others and not gain >= PROMISED * self.foreseen:  # nan as well
            here = replace(here, doubt=MORE_DOUBT * self.doubt)
        if self.others and not bool(accepted):
            first, *rest = self.others
            return replace(here, point=first, others=tuple(rest), start=None, length=1.0)
        return replace(here, gain=gain)._gone_on(em, sample, point, step, left)

    def _gone_on(self, em: EMMap, sample: Sample, point: Point, step: Step, left: float) -> Place:
        """From a point that is kept: along its step, or beyond it at the end of a cycle."""
        steps = (sample.aim(point, step.target, self.doubt), step.target)
        promise = foreseen(em, point, step, steps[0])
        here = replace(
            self,
            point=steps[0],
            known=(point, step),
            start=point,
            others=steps[1:],
            length=1.0,
            foreseen=promise,
        )
        if self.start is None:
            return here
        shrunk = min(float(steps[0].distance(point) / point.distance(self.start)) ** 2, 1.0)
        ahead = math.inf if shrunk == 1.0 else self.gain * shrunk / (1 - shrunk)
        here = replace(here, n_small=self.n_small + 1 if max(ahead, promise) < left else 0)
        guess, found = extrapolate(em, self.start, point, steps[0], _one(self.limit))
        if float(found) == 1.0:
            return here
        return replace(here, point=guess, others=steps, start=None, length=float(found))


def climb_stream(
    em: EMMap,
    sample: Sample,
    starts: Point,
    *,
    most_passes: int = MOST_PASSES,
    left: float = LEFT,
    run: Runner = lambda number, compute: compute(),
) -> EMResult:
    """Climb the likelihood pass by pass, and stop where little is left to gain.

    What is left after a step that gained g is ``g a / (1 - a)`` where gains shrink by a. They do by
    the square of what steps shrink by, which the two steps of a cycle show. The sample foresees a
    gain, too: the larger of the two counts.

    Args:
        em: the map, of a stream or of rows in memory.
        sample: of the rows.
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
        place = run(len(place.log_likelihoods) + 1, partial(_passed, place, em, sample, left))
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


def _passed(place: Place, em: EMMap, sample: Sample, left: float) -> Place:
    return place.after(em, sample, em(place.point), left)


def _one(number: float) -> Float[Tensor, " 1"]:
    return torch.tensor([number], dtype=torch.float64)
