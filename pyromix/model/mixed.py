"""Mixtures of networks in which some vertices are numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import SpecError
from pyromix.model.arguments import keep, listed, shown
from pyromix.model.cpd import CPD, TableCPD, check_table
from pyromix.model.families.hurdle import HurdleCPD
from pyromix.model.families.layout import Layout, Numbers, Parent
from pyromix.model.families.linear_gaussian import LinearGaussianCPD
from pyromix.model.families.logistic import LogisticCPD
from pyromix.model.families.poisson import PoissonCPD
from pyromix.model.families.student_t import StudentTCPD
from pyromix.model.kind import Kind, Unit
from pyromix.model.spec import MixtureSpec


@dataclass(frozen=True)
class MixedSpec:
    """A DAG over states and numbers, with k sources that act on some or all of them.

    Attributes:
        binned: the same graph with each number cut into bins: its stand-in wherever only states
            can be reasoned about, such as in plans and certificates.
        kinds: of each vertex, in the order of ``binned.variables``.

    Raises:
        SpecError: another number of kinds than vertices, or none of them is a number.
    """

    binned: MixtureSpec
    kinds: tuple[Kind, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.binned, MixtureSpec):
            raise SpecError(f"expected a MixtureSpec, found {shown(self.binned)}")
        keep(self, "kinds", listed("kinds", self.kinds, "kinds of variables"))
        if len(self.kinds) != self.binned.n_variables:
            raise SpecError(f"expected {self.binned.n_variables} kinds, found {len(self.kinds)}")
        if not self.numeric:
            raise SpecError("expected a variable that is a number; without one use MixtureSpec")

    @property
    def variables(self) -> tuple[str, ...]:
        """Names, in a topological order."""
        return self.binned.variables

    @property
    def parents(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of the parents of every vertex."""
        return self.binned.parents

    @property
    def n_variables(self) -> int:
        """Number of vertices."""
        return self.binned.n_variables

    @property
    def n_sources(self) -> int:
        """Number of sources k."""
        return self.binned.n_sources

    @property
    def source(self) -> str:
        """Name of U."""
        return self.binned.source

    @cached_property
    def numeric(self) -> tuple[int, ...]:
        """Vertices that are numbers."""
        return tuple(v for v, kind in enumerate(self.kinds) if kind.numeric)

    def vertex(self, name: str) -> int:
        """Number of the vertex with this name.

        Raises:
            QueryError: no such vertex; near matches are named.
        """
        return self.binned.vertex(name)

    def name(self, vertex: int) -> str:
        """Name of a vertex."""
        return self.binned.name(vertex)

    def kind(self, vertex: int) -> Kind:
        """Kind of a vertex."""
        return self.kinds[vertex]

    def shared(self, vertex: int) -> bool:
        """Whether U does not act on a vertex."""
        return vertex in self.binned.uninfluenced

    def layout(self, vertex: int) -> Layout:
        """How the parents of a vertex enter."""
        return Layout(tuple(self.entry(p) for p in self.parents[vertex]))

    def entry(self, vertex: int) -> Parent:
        """How a vertex enters where it is a parent."""
        kind = self.kinds[vertex]
        if not kind.numeric:
            return self.binned.card(vertex)
        return Numbers.HURDLE if kind is Kind.HURDLE else Numbers.VALUE

    def standard_cpd(self, vertex: int, device: torch.device | str = "cpu") -> CPD[Any]:
        """The law of a vertex that knows nothing: where an estimate may start."""
        k, layout, shared = self.n_sources, self.layout(vertex), self.shared(vertex)
        options = {"shared": shared, "device": device}
        kind = self.kinds[vertex]
        if kind is Kind.CATEGORICAL:
            card = self.binned.card(vertex)
            if layout.n_columns > 1:
                return LogisticCPD.standard(k, layout, card, **options)
            shape = (k, *layout.cards, card)
            flat = torch.full(shape, 1 / card, dtype=torch.float64, device=device)
            return TableCPD(flat, len(layout.cards), shared)
        family = {
            Kind.REAL: LinearGaussianCPD,
            Kind.POSITIVE: LinearGaussianCPD,
            Kind.HEAVY_TAILED: StudentTCPD,
            Kind.HURDLE: HurdleCPD,
            Kind.COUNT: PoissonCPD,
        }[kind]
        return family.standard(k, layout, **options)


@dataclass(frozen=True, eq=False)
class MixedMixture:
    """P(U, V) of a source U with k states, and vertices that are states or numbers.

    Numbers inside are in ``units``; the doors convert.

    Attributes:
        spec: the structure.
        units: of each vertex.
        weights: P(U), ``(k,)``, float64.
        cpds: per vertex P(vertex | U, parents).

    Raises:
        SpecError: a number of parts does not fit the spec.
    """

    spec: MixedSpec
    units: tuple[Unit, ...]
    weights: Float[Tensor, " k"]
    cpds: tuple[CPD[Any], ...]

    def __post_init__(self) -> None:
        n = self.spec.n_variables
        if len(self.units) != n or len(self.cpds) != n:
            raise SpecError(
                f"expected a unit and a distribution for each of {n} variables, found "
                f"{len(self.units)} and {len(self.cpds)}"
            )
        check_table(self.spec.source, self.weights, (self.spec.n_sources,))

    @property
    def n_sources(self) -> int:
        """Number of sources k."""
        return self.spec.n_sources

    @property
    def device(self) -> torch.device:
        """Device of all numbers."""
        return self.weights.device

    @property
    def parameters(self) -> Float[Tensor, " free"]:
        """Log-odds of P(U) against the last source, then free coordinates of every vertex."""
        logs = self.weights.log()
        return torch.cat([(logs - logs[-1])[:-1], *(cpd.parameters for cpd in self.cpds)])

    def with_parameters(self, parameters: Float[Tensor, " free"]) -> MixedMixture:
        """Return the mixture at other coordinates; differentiable in them."""
        sizes = [self.n_sources - 1, *(cpd.parameters.shape[-1] for cpd in self.cpds)]
        odds, *own = parameters.split(sizes)
        weights = torch.cat([odds, odds.new_zeros(1)]).softmax(0)
        cpds = tuple(cpd.with_parameters(part) for cpd, part in zip(self.cpds, own, strict=True))
        return replace(self, weights=weights, cpds=cpds)

    def block(self, vertex: int) -> slice:
        """Places of the coordinates of a vertex."""
        start = self.n_sources - 1
        start += sum(cpd.parameters.shape[-1] for cpd in self.cpds[:vertex])
        return slice(start, start + self.cpds[vertex].parameters.shape[-1])

    def relabel(self, order: Sequence[int] | Int[Tensor, " k"]) -> MixedMixture:
        """Return the mixture whose source j is source ``order[j]`` of this one."""
        index = torch.as_tensor(order, device=self.device, dtype=torch.long)
        cpds = tuple(cpd.relabel(index) for cpd in self.cpds)
        return replace(self, weights=self.weights[index], cpds=cpds)
