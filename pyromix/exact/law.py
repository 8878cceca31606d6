"""The law of rows as a function of square roots of probabilities, with its Jacobian.

In the roots s, theta_i = s_i^2 / sum of s_j^2 over the row of its table, probabilities of zero are
points like others: along s_i the end of a search that needs theta_i = 0 is an ordinary minimum,
where in log-odds it lies at infinity. With n_i the expected number of times that cell i is used in
a row, given what is observed of it, and roots of length one in every row of a table,

    d log P(row) / d s_i = 2 (n_i / s_i - s_i sum of n_j over the row of its table).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.exact.completions import Completions, completed
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import SOURCE, MixtureSpec

LEAST = 1e-100
"""A root in place of zero, so that one may be divided by it."""


@dataclass(frozen=True)
class RootAxis:
    """Places of the roots of P(U) and of every CPT; a table that sources share stands once.

    Attributes:
        spec: the structure.
    """

    spec: MixtureSpec

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the table of U, then of every vertex: ``(copies, *card(parents), card)``."""
        spec = self.spec
        own = tuple(
            (1 if v in spec.uninfluenced else spec.n_sources, *spec.cpt_shape(v)[1:])
            for v in range(spec.n_variables)
        )
        return ((spec.n_sources,), *own)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of roots of each table."""
        return tuple(prod(shape) for shape in self.shapes)

    @property
    def size(self) -> int:
        """Length of the axis."""
        return sum(self.sizes)

    @cached_property
    def distributions(self) -> Int[Tensor, " size"]:
        """Which row of which table each root belongs to, on the CPU."""
        cpu = torch.device("cpu")
        cards = torch.tensor([shape[-1] for shape in self.shapes], device=cpu)
        rows = torch.tensor(self.sizes, device=cpu) // cards
        lengths = cards.repeat_interleave(rows)
        return torch.arange(len(lengths), device=cpu).repeat_interleave(lengths)

    @cached_property
    def n_distributions(self) -> int:
        """Rows of all tables."""
        return int(self.distributions[-1]) + 1

    def sums(self, numbers: Float[Tensor, "*lead size"]) -> Float[Tensor, "*lead size"]:
        """Per root the sum of numbers over the row of its table."""
        rows = self.distributions.to(numbers.device)
        totals = numbers.new_zeros(*numbers.shape[:-1], self.n_distributions)
        return totals.index_add(-1, rows, numbers)[..., rows]

    def normalised(self, points: Float[Tensor, "b size"]) -> Float[Tensor, "b size"]:
        """The same mixtures with positive roots whose squares sum to one in every row."""
        points = points.abs().clamp_min(LEAST)
        return points / self.sums(points.square()).sqrt()

    def points(self, mixtures: BayesNetMixture) -> Float[Tensor, "b size"]:
        """Roots of mixtures with one batch axis."""
        parts = [
            table.narrow(1, 0, shape[0]).flatten(1)
            for table, shape in zip(mixtures.tables, self.shapes, strict=True)
        ]
        return self.normalised(torch.cat(parts, -1).clamp_min(0).sqrt())

    def mixtures(self, points: Float[Tensor, "b size"]) -> BayesNetMixture:
        """Mixtures with these roots, of any length; differentiable."""
        squares = points.square()
        shares = squares / self.sums(squares)
        tables = []
        for v, part in enumerate(shares.split(self.sizes, -1), SOURCE):
            shape = (self.spec.n_sources,) if v == SOURCE else self.spec.cpt_shape(v)
            table = part.reshape(len(points), *self.shapes[v + 1])
            tables.append(table.expand(len(points), *shape))
        return BayesNetMixture.unchecked(self.spec, tables)


@dataclass(frozen=True, eq=False)
class LawMap:
    """How far the law of a mixture is from a given one, on some rows.

    Attributes:
        spec: the structure of the mixtures.
        rows: state numbers, -1 for a missing cell: what of it is seen has the probability.
        law: the given probability of each row, positive.
    """

    spec: MixtureSpec
    rows: Int[Tensor, "m n"]
    law: Float[Tensor, " m"]

    @cached_property
    def axis(self) -> RootAxis:
        """Places of the roots."""
        return RootAxis(self.spec)

    @cached_property
    def _completions(self) -> Completions:
        return completed(self.spec, self.rows)

    @cached_property
    def _slots(self) -> Int[Tensor, "k c used"]:
        """Places of the roots that a complete row uses with each source.

        One past the end stands for the cell of a vertex that says nothing.
        """
        spec, rows = self.spec, self._completions.rows
        sources = torch.arange(spec.n_sources, device=rows.device)[:, None]
        used, start = [sources.expand(-1, len(rows))], spec.n_sources
        for v in range(spec.n_variables):
            cell = torch.zeros_like(rows[:, v])
            for w in (*spec.parents[v], v):
                cell = cell * spec.cards[w] + rows[:, w]
            shape = self.axis.shapes[v + 1]
            copy = sources * (shape[0] > 1) * prod(shape[1:])
            used.append(torch.where(rows[:, v] < 0, self.axis.size, start + copy + cell))
            start += prod(shape)
        return torch.stack(used, -1)

    def _looked(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities: of rows, and of rows with source and completion, ``(b, k, c)``."""
        logs = torch.cat([2 * points.log(), points.new_zeros(len(points), 1)], -1)
        joint = logs[:, self._slots].sum(-1)
        flat = torch.logsumexp(joint, 1)
        owner = self._completions.owner
        if len(owner) == len(self.law):
            rows = flat
        else:
            top = flat.new_full((len(points), len(self.law)), -torch.inf)
            top = top.scatter_reduce(1, owner.expand_as(flat), flat, "amax")
            shares = (flat - top[:, owner]).exp()
            rows = top + torch.zeros_like(top).index_add(1, owner, shares).log()
        return rows, joint

    def gaps(self, points: Float[Tensor, "b size"]) -> Float[Tensor, "b m"]:
        """sqrt(p) log(P(row) / p): squares sum to about twice the divergence from the given law.

        Args:
            points: normalised roots.
        """
        rows, _ = self._looked(points)
        return self.law.sqrt() * (rows - self.law.log())

    def jacobian(self, points: Float[Tensor, "b size"]) -> Float[Tensor, "b m size"]:
        """How the gaps move with the roots.

        Args:
            points: normalised roots.
        """
        (b, n), m = points.shape, len(self.law)
        rows, joint = self._looked(points)
        shares = (joint - rows[:, self._completions.owner][:, None]).exp()
        places = self._completions.owner[:, None] * (n + 1) + self._slots
        each = shares[..., None].expand(-1, -1, -1, self._slots.shape[-1])
        used = points.new_zeros(b, m * (n + 1))
        used = used.index_add(1, places.flatten(), each.flatten(1)).view(b, m, n + 1)[..., :n]
        at = points[:, None]
        moved = 2 * (used / at - at * self.axis.sums(used))
        return moved * self.law.sqrt()[:, None]
