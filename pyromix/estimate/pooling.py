"""How alike rows of CPTs are: places that rows are drawn to, and how strongly, by empirical Bayes.

All vertices and any number of tables at once, on the stacked axis of cells. For vertex v, parent
row r and state s, with n[r, s] the counts of all sources together,

    b[s] = (n[., s] + 1/card) / (n[., .] + 1),       the marginal,
    m[r] = (n[r, .] + tau0_v b) / (n[r] + tau0_v),    the place of a row of all sources,

and a vertex that all sources share has its rows drawn to b. The strengths tau0 of rows around b,
and tau of the sources' own rows around m, maximise the likelihood of the counts under Dirichlet
laws with these means [I. J. Good, The Estimation of Probabilities, 1965, type II likelihood]:

    log P(n) = sum over rows of  log G(tau) / G(tau + n[r])  +  sum over s of
               log G(tau m[s] + n[r, s]) / G(tau m[s]).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pyromix.exact.cells import CellAxis
from pyromix.exact.incidence import Incidence
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import MixtureSpec

LEAST_PSEUDO_COUNT = 0.1
"""Pseudo-count of every cell beside the pooled ones."""

STRENGTHS = torch.logspace(-1, 5, 61, dtype=torch.float64, device="cpu")
"""Candidates for a Dirichlet strength, in rows."""

EQUAL_STRENGTHS = 1e-7
"""Nats by which a strength is likelier than a weaker one: rounding of the logarithms of the gamma
function, and where no row says anything all strengths are alike."""

NUMBERS_AT_ONCE = 2**22
"""Logarithms of the gamma function that are held at a time."""


@dataclass(frozen=True, eq=False)
class Pooling:
    """Which cells lie in one row, one state, one vertex.

    Attributes:
        spec: the structure.
        device: of the counts.
    """

    spec: MixtureSpec
    device: torch.device

    @cached_property
    def axis(self) -> CellAxis:
        """The stacked axis of CPT cells."""
        return CellAxis(self.spec)

    @cached_property
    def shared(self) -> Bool[Tensor, " cells"]:
        """Cells of tables that all sources share."""
        return self._shared_vertices.repeat_interleave(self._sizes)

    def together(self, cells: Float[Tensor, "cells b k"]) -> Float[Tensor, "cells b"]:
        """Counts of all sources; where they share a table every slice holds all of them."""
        return torch.where(self.shared[:, None], cells[..., 0], cells.sum(-1))

    def marginal(self, everything: Float[Tensor, "cells b"]) -> Float[Tensor, "cells b"]:
        """b, repeated for every parent state; uniform where there is no row."""
        cards = self._cards[:, None]
        total = self._states.gather_sums(self._states.scatter_sums(everything)) + 1 / cards
        of_vertex = self._vertices.gather_sums(self._vertices.scatter_sums(everything)) + 1
        return total / of_vertex

    def among_parent_states(self, everything: Float[Tensor, "cells b"]) -> Float[Tensor, "v b"]:
        """tau0: how alike the rows of all sources together are over parent states."""
        return self.strengths(everything[..., None], self.marginal(everything))

    def place(
        self, everything: Float[Tensor, "cells b"], among: Float[Tensor, "v b"]
    ) -> Float[Tensor, "cells b"]:
        """What the rows of every vertex are drawn to: m, or b where all sources share the table.

        Args:
            everything: counts of all sources together.
            among: tau0.
        """
        base = self.marginal(everything)
        drawn = everything + self._vertices.gather_sums(among) * base
        drawn = drawn / self._rows.gather_sums(self._rows.scatter_sums(drawn))
        return torch.where(self.shared[:, None], base, drawn)

    def strengths(
        self, counts: Float[Tensor, "cells b k"], base: Float[Tensor, "cells b"]
    ) -> Float[Tensor, "v b"]:
        """The likeliest strength of each vertex's rows around a base, among ``STRENGTHS``."""
        b, k = counts.shape[1:]
        base = base.clamp_min(1e-12)
        of_rows = self._rows.scatter_sums(counts.flatten(1)).view(-1, b, k)
        step = max(1, NUMBERS_AT_ONCE // counts.numel())
        likely = []
        for grid in STRENGTHS.to(counts.device).split(step):
            # In axes of cells, tables, sources, strengths.
            a = base[..., None, None] * grid
            own = (torch.lgamma(a + counts[..., None]) - torch.lgamma(a)).sum(2)
            rows = (torch.lgamma(grid) - torch.lgamma(grid + of_rows[..., None])).sum(2)
            found = self._vertices.scatter_sums(own.flatten(1))
            found = found + self._vertices_of_rows.scatter_sums(rows.flatten(1))
            likely.append(found.view(-1, b, len(grid)))
        values = torch.cat(likely, -1)
        near = values >= values.amax(-1, keepdim=True) - EQUAL_STRENGTHS
        weakest = (near.cumsum(-1) == 0).sum(-1)
        return STRENGTHS.to(counts.device)[weakest]

    def learned(
        self, cells: Float[Tensor, "cells b k"]
    ) -> tuple[Float[Tensor, "cells b"], Float[Tensor, "v b"]]:
        """Places, and the strengths of rows around them: tau, or tau0 where sources share tables.

        Args:
            cells: expected counts; of all sources together where they share a table.
        """
        everything = self.together(cells)
        among = self.among_parent_states(everything)
        place = self.place(everything, among)
        own = self.strengths(cells, place)
        return place, torch.where(self._shared_vertices[:, None], among, own)

    def drawn_to(
        self, place: Float[Tensor, "cells b"], learned: Float[Tensor, "v b"]
    ) -> Float[Tensor, "cells b k"]:
        """Pseudo-counts of some strength at learned places, and a few everywhere."""
        table = self._vertices.gather_sums(learned) * place + LEAST_PSEUDO_COUNT
        return table.unsqueeze(-1).expand(-1, -1, self.spec.n_sources)

    def pseudo_counts(self, table: Float[Tensor, "cells b k"]) -> PseudoCounts:
        """Pseudo-counts of one table for each of b mixtures; one on every source."""
        cpts = tuple(cpt.clone() for cpt in self.axis.unstack(table))
        ones = torch.ones(table.shape[1:], dtype=table.dtype, device=table.device)
        return PseudoCounts(ones, cpts)

    @cached_property
    def _shared_vertices(self) -> Bool[Tensor, " v"]:
        alone, shared = self.spec.n_sources == 1, self.spec.uninfluenced
        mask = [alone or v in shared for v in range(self.spec.n_variables)]
        return torch.tensor(mask, device=self.device)

    @cached_property
    def _cards(self) -> Float[Tensor, " cells"]:
        cards = torch.tensor(self.spec.cards, dtype=torch.float64, device=self.device)
        return cards.repeat_interleave(self._sizes)

    @cached_property
    def _sizes(self) -> Tensor:
        return torch.tensor(self.axis.sizes, device=self.device)

    @cached_property
    def _rows(self) -> Incidence:
        return self.axis.rows(self.device)

    @cached_property
    def _vertices(self) -> Incidence:
        return _owners(self._sizes)

    @cached_property
    def _vertices_of_rows(self) -> Incidence:
        return _owners(self._sizes // torch.tensor(self.spec.cards, device=self.device))

    @cached_property
    def _states(self) -> Incidence:
        """Which state of its vertex each cell is of, states numbered along all vertices."""
        cards = torch.tensor(self.spec.cards, device=self.device)
        first = (cards.cumsum(0) - cards).repeat_interleave(self._sizes)
        start = (self._sizes.cumsum(0) - self._sizes).repeat_interleave(self._sizes)
        place = torch.arange(self.axis.n_cells, device=self.device) - start
        state = first + place % cards.repeat_interleave(self._sizes)
        return Incidence.from_slots(state.to(torch.int32)[:, None], sum(self.spec.cards))


def _owners(lengths: Tensor) -> Incidence:
    """A matrix that says which run of these lengths each position lies in."""
    numbers = torch.arange(len(lengths), dtype=torch.int32, device=lengths.device)
    return Incidence.from_slots(numbers.repeat_interleave(lengths)[:, None], len(lengths))
