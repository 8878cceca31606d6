"""The free parameters of a mixture on one axis: which number stands where, and what it is called.

The order is that of P(U), then vertex after vertex the rows of its CPT by source and parent states,
the last state of every row left out. An uninfluenced vertex has one table for all sources, which
counts once. Whatever lives on this axis (gradients, information, null spaces, draws, coordinates of
a sampler) takes its places from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import SpecError
from pyromix.model.cpd import logits
from pyromix.model.spec import SOURCE, MixtureSpec


@dataclass(frozen=True)
class ParameterAxis:
    """Positions of the free parameters of every table of one structure.

    Tables come and go as ``(P(U), CPT of vertex 0, CPT of vertex 1, ..)`` in the shapes that a
    mixture holds them, with any leading axes.

    Attributes:
        spec: the structure.
    """

    spec: MixtureSpec

    # -- the layout --------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Length of the axis."""
        return self.spec.n_parameters

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of parameters of P(U), then of every vertex: what ``Tensor.split`` takes."""
        spec = self.spec
        return tuple(prod(spec.free_shape(v)) for v in range(SOURCE, spec.n_variables))

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        return tuple(accumulate(self.sizes, initial=0))

    def block(self, vertex: int) -> slice:
        """Where the parameters of a vertex, or of ``SOURCE``, stand."""
        return slice(self._starts[vertex + 1], self._starts[vertex + 2])

    def copies(self, vertex: int) -> int:
        """How many tables a vertex has: k, or one where the sources share it."""
        return self.spec.free_shape(vertex)[0]

    def slots(self, vertex: int) -> Int[Tensor, "k free"]:
        """Positions of a vertex's parameters as each source uses them, on the CPU.

        Where sources share the table, its positions are repeated for each.
        """
        block = self.block(vertex)
        numbers = torch.arange(block.start, block.stop, device=torch.device("cpu"))
        return numbers.view(self.copies(vertex), -1).expand(self.spec.n_sources, -1)

    def of_source(self, source: int) -> Int[Tensor, " q"]:
        """Positions of P(U) and of the tables of one source, on the CPU, ascending."""
        head = torch.arange(self.spec.n_sources - 1, device=torch.device("cpu"))
        own = (self.slots(v)[source] for v in range(self.spec.n_variables))
        return torch.cat([head, *own])

    # -- names -------------------------------------------------------------------------------

    def vertex(self, position: int) -> int:
        """The vertex whose table holds a parameter, ``SOURCE`` for P(U).

        Raises:
            IndexError: no such position.
        """
        if not 0 <= position < self.size:
            raise IndexError(
                f"expected a position on an axis of {self.size} parameters, found {position}"
            )
        return next(
            v for v in range(SOURCE, self.spec.n_variables) if position < self._starts[v + 2]
        )

    def name(self, position: int) -> str:
        """A parameter as one would write it: ``P(Y=1 | U=0, X=2)``.

        Raises:
            IndexError: no such position.
        """
        spec, v = self.spec, self.vertex(position)
        shared = v == SOURCE or v in spec.uninfluenced
        above = (*(() if shared else (SOURCE,)), *(() if v == SOURCE else spec.parents[v]))
        row, state = divmod(position - self.block(v).start, spec.card(v) - 1)
        given = []
        for w in reversed(above):
            row, number = divmod(row, spec.card(w))
            given.append(f"{spec.name(w)}={spec.states_of(w)[number]}")
        condition = f" | {', '.join(reversed(given))}" if given else ""
        return f"P({spec.name(v)}={spec.states_of(v)[state]}{condition})"

    def table_name(self, vertex: int) -> str:
        """A table as one would write it: ``P(Y | ...)``, and ``P(U)``."""
        name = self.spec.name(vertex)
        return f"P({name})" if vertex == SOURCE else f"P({name} | ...)"

    # -- tables to vectors and back ----------------------------------------------------------

    def free(self, tables: Sequence[Float[Tensor, ...]]) -> Float[Tensor, "*lead size"]:
        """Join tables of numbers, one per cell, such as free probabilities.

        Args:
            tables: ``(*lead, k)`` and ``(*lead, *cpt_shape)``; of a shared one, the first source's
                copy is taken, and it may be the only one.

        Returns:
            The cells of all but the last state of every row.
        """
        lead = tables[0].ndim - 1
        parts = [
            table if v == SOURCE else table.narrow(lead, 0, self.copies(v))
            for v, table in enumerate(tables, SOURCE)
        ]
        return torch.cat([part[..., :-1].flatten(lead) for part in parts], -1)

    def gradients(self, tables: Sequence[Float[Tensor, ...]]) -> Float[Tensor, "*lead size"]:
        """Join gradients in the logarithms of cells to gradients in log-odds.

        Args:
            tables: ``(*lead, k)`` and ``(*lead, *cpt_shape)``; every row sums to zero, so its last
                entry is redundant. The copies of a shared table move together: theirs add.
        """
        lead = tables[0].ndim - 1
        return self.free(
            [
                table.sum(lead, keepdim=True) if v in self.spec.uninfluenced else table
                for v, table in enumerate(tables, SOURCE)
            ]
        )

    def tables(self, free: Float[Tensor, "*lead size"]) -> tuple[Float[Tensor, ...], ...]:
        """Return P(U) and all CPTs from free probabilities, the inverse of ``free``."""
        return self._filled(free, lambda part: torch.cat([part, 1 - part.sum(-1, True)], -1))

    def log_odds(self, tables: Sequence[Float[Tensor, ...]]) -> Float[Tensor, "*lead size"]:
        """Log-odds against the last state of every row; zeros count as ``cpd.TINY``."""
        return self.free([logits(table) for table in tables])

    def tables_of_log_odds(self, odds: Float[Tensor, "*lead size"]) -> tuple[Tensor, ...]:
        """Return P(U) and all CPTs, the inverse of ``log_odds``; differentiable."""

        def complete(part: Tensor) -> Tensor:
            return torch.cat([part, part.new_zeros(*part.shape[:-1], 1)], -1).softmax(-1)

        return self._filled(odds, complete)

    def padded(self, vector: Float[Tensor, "*lead size"]) -> tuple[Float[Tensor, ...], ...]:
        """Return one number per cell of all tables, zero for the last state of every row."""
        return self._filled(
            vector, lambda part: torch.cat([part, part.new_zeros(*part.shape[:-1], 1)], -1)
        )

    def _filled(self, vector: Tensor, complete: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        """Split a vector, complete its rows, and repeat what sources share."""
        lead = vector.shape[:-1]
        if vector.shape[-1] != self.size:
            raise SpecError(
                f"expected {self.size} parameters on the last axis, found {vector.shape[-1]}; "
                "ParameterAxis(spec).free(tables) makes such a vector"
            )
        found = []
        for v, part in enumerate(vector.split(self.sizes, -1), SOURCE):
            table = complete(part.reshape(*lead, *self.spec.free_shape(v)))
            shape = (self.spec.n_sources,) if v == SOURCE else self.spec.cpt_shape(v)
            found.append(table.expand(*lead, *shape))
        return tuple(found)
