"""Certificates of large models: what sampled cells of P(V) show of one direction at a time.

A gradient g is seen by the law exactly if it is a combination of scores of cells, g = J' y (THEORY
section 7c). The best y is found by least squares with products alone (``remainder``), in
coordinates in which every parameter has scores of length one, and what is left of g decides:

    nothing                 g is seen: y says how, whatever other cells show besides;
    a part that neither     g is not seen: the part is a direction of theta along which P(V)
    these cells nor         stands still;
    further ones see
    anything else           not settled.

All of theta is seen exactly if a random direction is: of one drawn from a normal law in p
parameters a null space holds a share of about p^-1/2 or more, and less than ``CLOSE`` of it with a
probability of at most ``CLOSE p^1/2``. Many gradients are seen if a random combination of them is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.exact.least_squares import Remainder, remainder
from pyromix.exact.rows import CellIndex
from pyromix.exact.score_map import ScoreMap
from pyromix.identify.certificate import RESIDUAL_TOLERANCE, query_gradient, tables_moved
from pyromix.identify.generic import cells, generic_mixture
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import DoQuery
from pyromix.model.randomness import torch_generator
from pyromix.model.spec import MixtureSpec

MAX_SKETCHED_PARAMETERS = 50_000
"""Largest number of parameters of a sketch: half a minute."""

CLOSE = 1e-8
"""What is left of a random direction that is seen."""

ORTHOGONAL = 1e-8
"""What scores may see of a direction, relative to what they see at most, that they do not see."""

FURTHER = 1e-6
"""What further cells may see of it, relative to its length."""

MAX_STEPS = 1000
"""Products at most; generic models take one to three hundred."""

DRAWS = 2
"""Samples of cells, of about one cell a parameter each: with fewer scores are nearly dependent."""

MORE = 2
"""Times that further cells join where they see what the first did not."""


@dataclass(frozen=True)
class Sight:
    """What cells of P(V) show of a direction.

    Attributes:
        share: what is left of it, relative to its length, when all that cells show is taken away;
            at least what the law as a whole does not show.
        settled: whether it is seen, or shown not to be.
        moved: names of tables that hold most of what is left, the source for P(U); empty where
            nothing is.
    """

    share: float
    settled: bool
    moved: tuple[str, ...] = ()

    @property
    def seen(self) -> bool:
        """Whether the law shows it."""
        return self.settled and not self.moved


@dataclass(frozen=True, eq=False)
class Sketch:
    """A generic mixture and cells of its joint table.

    Attributes:
        point: the mixture.
        random_state: seed of the cells and of directions.
    """

    point: BayesNetMixture
    random_state: int

    @cached_property
    def whole(self) -> Sight:
        """What cells show of a random direction of all parameters."""
        generator = torch_generator(self.random_state)
        drawn = torch.randn(
            self.point.spec.n_parameters,
            generator=generator,
            dtype=torch.float64,
            device=generator.device,
        )
        return self._sight(drawn, CLOSE)

    def of(self, queries: tuple[DoQuery, ...]) -> Sight:
        """What cells show of the gradients of answers, all of them combined at random.

        Raises:
            ContractionSizeError: a query is too large for an exact sum.
        """
        scale = self._scale
        gradients = torch.cat([query_gradient(self.point, query) for query in queries]) * scale
        lengths = gradients.norm(dim=1)
        told = lengths > 1e-12
        if not bool(told.any()):
            return Sight(0.0, settled=True)
        generator = torch_generator(self.random_state)
        weights = torch.randn(
            int(told.sum()), generator=generator, dtype=torch.float64, device=generator.device
        )
        return self._sight(weights @ (gradients[told] / lengths[told, None]), RESIDUAL_TOLERANCE)

    # -- scores ----------------------------------------------------------------------------------

    @cached_property
    def _samples(self) -> Iterator[Int[Tensor, "m n"]]:
        return cells(self.point.spec, torch_generator(self.random_state))

    @cached_property
    def _rows(self) -> Int[Tensor, "m n"]:
        found = [rows for _, rows in zip(range(DRAWS), self._samples, strict=False)]
        return torch.cat(found)

    @cached_property
    def _scale(self) -> Float[Tensor, " p"]:
        """Of every parameter the root of its squared scores, inverse: columns of length one."""
        return (
            self._of_cells(self._rows).squares().clamp_min(torch.finfo(torch.float64).tiny).rsqrt()
        )

    def _of_cells(self, rows: Int[Tensor, "m n"]) -> ScoreMap:
        return ScoreMap(self.point, CellIndex(self.point.spec, rows))

    def _sight(self, direction: Float[Tensor, " p"], close: float) -> Sight:
        """Least squares, with more cells where further ones see what is left."""
        rows = self._rows
        for _ in range(MORE):
            found, further = self._looked(direction, close, rows)
            if found.settled or further is None:
                return found
            rows = torch.cat([rows, further])
        return self._looked(direction, close, rows)[0]

    def _looked(
        self, direction: Float[Tensor, " p"], close: float, rows: Int[Tensor, "m n"]
    ) -> tuple[Sight, Int[Tensor, "m n"] | None]:
        """What some cells show, and further ones that show more; None where that is no help."""
        left = self._remainder(self._of_cells(rows), direction, close)
        if left.share <= close:
            return Sight(left.share, settled=True), None
        moved = tables_moved(self.point.spec, left.vector)
        if left.slope > ORTHOGONAL:
            return Sight(left.share, settled=False, moved=moved), None
        further = next(self._samples, None)
        if further is not None:
            seen = self._of_cells(further).times(left.vector * self._scale).norm()
            if float(seen / left.vector.norm()) > FURTHER:
                return Sight(left.share, settled=False, moved=moved), further
        # Neither further cells nor, where there are none, all cells see it.
        return Sight(left.share, settled=True, moved=moved), None

    def _remainder(
        self, scores: ScoreMap, direction: Float[Tensor, " p"], close: float
    ) -> Remainder:
        scale = self._scale
        return remainder(
            lambda y: scores.back(y) * scale,
            lambda x: scores.times(x * scale),
            direction,
            close=close,
            level=ORTHOGONAL / 10,
            max_steps=MAX_STEPS,
        )


@lru_cache(maxsize=4)
def sketch(spec: MixtureSpec, random_state: int = 0) -> Sketch:
    """Draw a generic mixture of a structure, to look at what its law shows.

    Args:
        spec: graph, cardinalities and k.
        random_state: seed of the mixture, of the cells, and of directions.
    """
    return Sketch(generic_mixture(spec, torch_generator(random_state)), random_state)


def ancestral_part(
    spec: MixtureSpec, queries: tuple[DoQuery, ...], most: int
) -> tuple[MixtureSpec, tuple[DoQuery, ...]] | None:
    """A part of a network that is closed under parents and holds what queries name.

    All else is summed out of P(V) exactly. The part starts from the ancestors of what is named and
    grows, first by the vertices whose ancestors add least, to at most ``most`` parameters.

    Args:
        spec: graph, cardinalities and k.
        queries: what is asked.
        most: parameters at most.

    Returns:
        The part and the queries on it; None where what is named does not fit.
    """
    named = {v for q in queries for v in (*q.outcomes, *q.do, *q.evidence) if v >= 0}
    kept = spec.ancestors(named)
    sizes = [spec.n_joint(p) * (spec.card(v) - 1) for v, p in enumerate(spec.parents)]
    copies = [1 if v in spec.uninfluenced else spec.n_sources for v in range(spec.n_variables)]
    price = [a * b for a, b in zip(sizes, copies, strict=True)]
    room = most - spec.n_sources + 1 - sum(price[v] for v in kept)
    if room < 0:
        return None
    for v in range(spec.n_variables):
        more = spec.ancestors([v]) - kept
        if (cost := sum(price[w] for w in more)) <= room:
            kept |= more
            room -= cost
    part = spec.without(set(range(spec.n_variables)) - kept)
    number = {v: part.vertex(spec.name(v)) if v >= 0 else v for v in (-1, *kept)}
    return part, tuple(q.renumbered(number.__getitem__) for q in queries)
