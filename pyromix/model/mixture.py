"""Mixtures of Bayesian networks: a spec and its probability tables, batched over leading axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import DependentSourceError, SpecError
from pyromix.model.arguments import device_of, flag, keep, listed, shown, whole
from pyromix.model.cpd import TableCPD, check_table, permuted
from pyromix.model.memory import check_numbers
from pyromix.model.mixed import MixedMixture
from pyromix.model.spec import SOURCE, MixtureSpec


@dataclass(frozen=True, eq=False)
class BayesNetMixture:
    """P(U, V) of a source U with k states and variables V on one DAG [gordon23clear, Sec. 1].

    A posterior, a bootstrap and a set of EM starts are this same type with a batch axis.

    Attributes:
        spec: the structure.
        weights: P(U), ``(*batch, k)``, float64.
        cpts: per vertex P(vertex | U, parents), ``(*batch, k, *card(parents), card(vertex))``,
            float64; the k slices of an uninfluenced vertex are equal.

    Raises:
        SpecError: a shape or dtype is wrong, or a row is not a probability distribution.
    """

    spec: MixtureSpec
    weights: Float[Tensor, "*batch k"]
    cpts: tuple[Float[Tensor, ...], ...]

    def __post_init__(self) -> None:
        spec = self.spec
        if not isinstance(spec, MixtureSpec):
            raise SpecError(f"expected the structure as a MixtureSpec, found {shown(spec)}")
        tables = (self.weights, *listed("cpts", self.cpts, "tables"))
        keep(self, "cpts", tables_of("cpts", tables)[1:])
        if len(self.cpts) != spec.n_variables:
            raise SpecError(f"expected {spec.n_variables} CPTs, found {len(self.cpts)}")
        batch = tuple(self.weights.shape[:-1])
        check_table(spec.source, self.weights, (*batch, spec.n_sources))
        for v, cpt in enumerate(self.cpts):
            check_table(spec.name(v), cpt, (*batch, *spec.cpt_shape(v)))
        for v in spec.uninfluenced:
            sources = self.cpts[v].movedim(len(batch), 0)
            if not torch.allclose(sources, sources[:1].expand_as(sources), rtol=0, atol=1e-9):
                raise SpecError(
                    f"{spec.name(v)!r} has no edge from {spec.source!r}, but its CPT differs "
                    "between sources; average them or drop it from `uninfluenced`"
                )

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the leading axes."""
        return self.weights.shape[:-1]

    @property
    def n_sources(self) -> int:
        """Number of sources k."""
        return self.spec.n_sources

    @property
    def device(self) -> torch.device:
        """Device of all tables."""
        return self.weights.device

    @property
    def tables(self) -> tuple[Float[Tensor, ...], ...]:
        """P(U) and all CPTs, in the order that ``ParameterAxis`` and ``from_tables`` take."""
        return (self.weights, *self.cpts)

    def table(self, vertex: int) -> Float[Tensor, ...]:
        """The CPT of a vertex, or P(U) for ``SOURCE``."""
        return self.weights if vertex == SOURCE else self.cpts[vertex]

    def cpd(self, vertex: int) -> TableCPD:
        """What P(vertex | U, parents) can do."""
        spec = self.spec
        return TableCPD(self.cpts[vertex], len(spec.parents[vertex]), vertex in spec.uninfluenced)

    @staticmethod
    def from_tables(spec: MixtureSpec, tables: Sequence[Float[Tensor, ...]]) -> BayesNetMixture:
        """The inverse of ``tables``.

        Raises:
            SpecError: as the constructor.
        """
        return BayesNetMixture(spec, tables[0], tuple(tables[1:]))

    @staticmethod
    def unchecked(spec: MixtureSpec, tables: Sequence[Float[Tensor, ...]]) -> BayesNetMixture:
        """The same of tables that are distributions by construction: nothing is looked at.

        For inner loops, in which looking costs more than the arithmetic.
        """
        mixture = object.__new__(BayesNetMixture)
        for name, value in (
            ("spec", spec),
            ("weights", tables[0]),
            ("cpts", tuple(tables[1:])),
        ):
            object.__setattr__(mixture, name, value)
        return mixture

    def map_tables(self, change: Callable[[Tensor], Tensor]) -> BayesNetMixture:
        """Return the mixture with P(U) and every CPT changed in the same way."""
        return self.from_tables(self.spec, [change(table) for table in self.tables])

    def to(self, device: torch.device | str) -> BayesNetMixture:
        """Return the same mixture on another device.

        Raises:
            QueryError: this machine has none of this name.
        """
        device = device_of(device)
        return self.map_tables(lambda table: table.to(device))

    def __getitem__(self, index: int | slice | Tensor) -> BayesNetMixture:
        """Select along the first batch axis."""
        if not self.batch_shape:
            raise SpecError("a mixture without batch axes cannot be indexed")
        if not isinstance(index, Tensor | slice):
            last = self.batch_shape[0] - 1
            index = whole("the place of an element", index, -last - 1, last, SpecError)
        try:
            return self.unchecked(self.spec, [table[index] for table in self.tables])
        except (IndexError, TypeError, RuntimeError, NotImplementedError) as error:
            raise SpecError(
                f"expected the place of an element among {self.batch_shape[0]}, a slice, or a "
                f"tensor of places, found {shown(index)}"
            ) from error

    def relabel(self, order: Sequence[int] | Int[Tensor, "*batch k"]) -> BayesNetMixture:
        """Return the mixture whose source j is source ``order[j]`` of this one.

        Names of sources stay with their position. Relabelling is a group action: by ``p``, then
        by ``q``, is by ``p[q]``.

        Args:
            order: a permutation of 0..k-1, one for all batch elements or ``(*batch, k)``.

        Raises:
            SpecError: not a permutation.
        """
        k = self.n_sources
        if not isinstance(order, Tensor):
            places = listed("order", order, "numbers of sources")
            numbers = [whole("a source", j, 0, k - 1, SpecError) for j in places]
            order = torch.tensor(numbers, dtype=torch.long, device=self.device)
        if order.is_floating_point() or order.is_complex() or not order.ndim:
            raise SpecError(f"expected a permutation of 0..{k - 1}, found {shown(order)}")
        index = order.to(device=self.device, dtype=torch.long)
        identity = torch.arange(k, device=self.device)
        if index.shape[-1:] != (k,) or not bool((index.sort(-1).values == identity).all()):
            raise SpecError(f"expected a permutation of 0..{k - 1}, found {index.tolist()}")
        index = index.expand(*self.batch_shape, k)

        return self.unchecked(self.spec, [permuted(table, index) for table in self.tables])

    def joint_table(self, *, with_source: bool = False) -> Float[Tensor, ...]:
        """P(V), or P(U, V), as one table.

        Args:
            with_source: keep U as the axis before the variables.

        Returns:
            ``(*batch, *cards)`` or ``(*batch, k, *cards)``; memory grows with the product.
        """
        spec, batch = self.spec, len(self.batch_shape)
        n = spec.n_variables
        check_numbers(
            f"the joint table of {n} variables with {spec.n_cells:,} cells",
            spec.n_cells * spec.n_sources * self.batch_shape.numel(),
            "ask for the joint law of fewer variables by a query",
        )
        with_source = flag("with_source", with_source)
        joint = self.weights.reshape(*self.weights.shape, *(1 for _ in range(n)))
        for v, cpt in enumerate(self.cpts):
            family = (*spec.parents[v], v)
            order = sorted(range(len(family)), key=family.__getitem__)
            cpt = cpt.permute(*range(batch + 1), *(batch + 1 + i for i in order))
            axes = [spec.card(w) if w in family else 1 for w in range(n)]
            joint = joint * cpt.reshape(*cpt.shape[: batch + 1], *axes)
        return joint if with_source else joint.sum(batch)


@dataclass(frozen=True, eq=False)
class ProductMixture:
    """A mixture of product distributions, k-MixProd [gordon24colt, Sec. 1].

    Attributes:
        weights: ``(*batch, k)``, float64.
        tables: per variable its within-source distribution, ``(*batch, k, card)``, float64.

    Raises:
        SpecError: a shape or dtype is wrong, or a row is not a probability distribution.
    """

    weights: Float[Tensor, "*batch k"]
    tables: tuple[Float[Tensor, "*batch k _"], ...]

    def __post_init__(self) -> None:
        tables = (self.weights, *listed("tables", self.tables, "tables"))
        keep(self, "tables", tables_of("tables", tables)[1:])
        check_table("U", self.weights, tuple(self.weights.shape))
        for i, table in enumerate(self.tables):
            check_table(f"X{i}", table, (*self.weights.shape, table.shape[-1]))

    def as_bayes_net(self, spec: MixtureSpec) -> BayesNetMixture:
        """Return the same distribution over the vertices of an edgeless spec.

        Raises:
            SpecError: the spec has edges, or other sizes.
        """
        if not isinstance(spec, MixtureSpec) or any(spec.parents):
            raise SpecError("a mixture of products needs a graph without edges")
        return BayesNetMixture(spec, self.weights, self.tables)


def tables_of(name: str, tables: Sequence[Any]) -> tuple[Tensor, ...]:
    """Return tables that are tensors with axes.

    Raises:
        SpecError: one is none.
    """
    for table in tables:
        if not isinstance(table, Tensor) or not table.ndim:
            raise SpecError(
                f"weights and {name} must be float64 tensors with axes, found {shown(table)}; "
                "torch.as_tensor(numbers, dtype=torch.float64) makes one"
            )
    return tuple(tables)


@runtime_checkable
class Fitted(Protocol):
    """Whatever holds an estimated mixture, such as a fit."""

    @property
    def mixture(self) -> BayesNetMixture:
        """The estimate."""
        ...


@runtime_checkable
class Conditional(Protocol):
    """A fit whose source depends on covariates: its weights are averages, and U is no root."""

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Names of the covariates."""
        ...


def mixture_of(given: BayesNetMixture | Fitted) -> BayesNetMixture:
    """Return a mixture as it is, and that of a fit.

    Raises:
        SpecError: it is neither.
        DependentSourceError: it is a fit whose source depends on covariates.
    """
    if isinstance(given, BayesNetMixture):
        return given
    if isinstance(given, Conditional):
        raise DependentSourceError(
            "expected a mixture whose source has no causes, found a fit whose source depends on "
            f"{list(given.depends_on)}: an answer would depend on how these came about. Fit "
            "without covariates, or pass fit.mixture, the sources with their average weights",
            covariates=given.depends_on,
        )
    if isinstance(getattr(given, "mixture", given), MixedMixture):
        raise SpecError(
            f"expected tables of states, found a {type(given).__name__}, in which some variables "
            "are numbers; ask the fit itself (fit.query, fit.effect, fit.simulate), keep it by "
            "fit.save(path), or make a fit of states by discretize= of px.fit"
        )
    if not isinstance(given, Fitted) or not isinstance(given.mixture, BayesNetMixture):
        raise SpecError(f"expected a mixture or a fit, found a {type(given).__name__}")
    return given.mixture
