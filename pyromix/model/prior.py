"""Priors as rows that have been seen before: pseudo-counts of every source and every CPT cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.errors import QueryError, SpecError
from pyromix.model.arguments import as_number, numbers_as_tensor, shown
from pyromix.model.memory import check_numbers
from pyromix.model.spec import SOURCE, MixtureSpec

Prior = float | Mapping[str, float | Tensor]
"""A pseudo-count for every cell and source, or one (a number or a table) per named vertex."""


@dataclass(frozen=True, eq=False)
class PseudoCounts:
    """What a prior adds to the counts of every source and CPT cell.

    With counts n and pseudo-counts a, ``(n + a) / sum(n + a)`` is the posterior mean of a row of
    probabilities under the Dirichlet distribution with concentrations a, and its mode in
    log-odds.

    EM maximises ``log-likelihood + sum of a log p``. As a density of the probabilities themselves
    that is the posterior under the Dirichlet distribution with concentrations a + 1, whose mode it
    finds. Every posterior of this library (SVI, NUTS, Gibbs) is this one, so no pseudo-counts at
    all means the uniform distribution on every row; see ``concentrations``.

    Attributes:
        weights: of P(U), ``(k,)``, float64, not negative; or ``(n, k)``, others for each of n
            mixtures.
        cpts: per vertex ``(k, *card(parents), card)``, or ``(n, k, ...)``; the k slices of an
            uninfluenced vertex are equal, and count once.
        learned: per vertex how many of the pseudo-counts of a row lie at a place that was itself
            learned from the table: the row of all sources together or, for a vertex whose table
            they share, that of all parent states. What rests on it says how alike rows are, not
            where they are. Empty where all of it is prior knowledge.
    """

    weights: Float[Tensor, "*batch k"]
    cpts: tuple[Float[Tensor, ...], ...]
    learned: tuple[float, ...] = ()

    @staticmethod
    def of(
        spec: MixtureSpec, prior: Prior | str | None, device: torch.device | str = "cpu"
    ) -> PseudoCounts:
        """Read a prior as users write it.

        Args:
            spec: the structure.
            prior: None for none at all; a number for that pseudo-count in every cell and on every
                source; or a mapping from names of vertices, the source among them, to a number or a
                table that broadcasts to ``(k, *card(parents), card)``, zero for those left out.
            device: of the result.

        Raises:
            SpecError: a pseudo-count is negative or not finite, or a table does not fit.
            QueryError: an unknown name, or a text.
        """
        if not isinstance(spec, MixtureSpec):
            raise SpecError(f"expected a MixtureSpec, found {shown(spec)}")
        check_numbers(
            f"tables of {spec.n_variables} variables with k={spec.n_sources}",
            spec.n_cells_of_tables,
            "take fewer sources, or leave out parents",
        )
        if isinstance(prior, str):
            raise QueryError(
                "expected prior=None, a pseudo-count (rows per cell) or a mapping from names of "
                f"variables to pseudo-counts, found prior={prior!r}; a prior is chosen from the "
                'table by px.fit alone, with prior="pooled"'
            )
        vertices = range(SOURCE, spec.n_variables)
        shapes = [(spec.n_sources,), *map(spec.cpt_shape, vertices[1:])]
        if prior is None:
            kind = {"dtype": torch.float64, "device": device}
            return PseudoCounts.from_tables([torch.zeros(shape, **kind) for shape in shapes])
        if isinstance(prior, Mapping):
            named = {spec.vertex(name): value for name, value in prior.items()}
        else:
            value = as_number(prior)
            if not 0 < value < math.inf:
                raise SpecError(
                    "prior must be None or a positive pseudo-count (rows per cell), found "
                    f"{shown(prior)}; prior=None is maximum likelihood"
                )
            named = dict.fromkeys(vertices, value)
        tables = [
            _table(spec.name(v), named.get(v, 0.0), shape, device)
            for v, shape in zip(vertices, shapes, strict=True)
        ]
        return PseudoCounts.from_tables(tables)

    @property
    def tables(self) -> tuple[Float[Tensor, ...], ...]:
        """Those of P(U) and of all CPTs, in the order of a mixture's ``tables``."""
        return (self.weights, *self.cpts)

    @staticmethod
    def from_tables(
        tables: Sequence[Float[Tensor, ...]], learned: tuple[float, ...] = ()
    ) -> PseudoCounts:
        """The inverse of ``tables``."""
        return PseudoCounts(tables[0], tuple(tables[1:]), learned)

    def map_tables(self, change: Callable[[Tensor], Tensor]) -> PseudoCounts:
        """Return pseudo-counts with every table changed in the same way."""
        return self.from_tables([change(table) for table in self.tables], self.learned)

    @property
    def is_zero(self) -> bool:
        """Whether it adds nothing: maximum likelihood."""
        return not any(bool((t > 0).any()) for t in self.tables)

    @property
    def batched(self) -> bool:
        """Whether they are others for each of several mixtures."""
        return self.weights.ndim == 2

    def __getitem__(self, index: Tensor | slice) -> PseudoCounts:
        """Those of some mixtures."""
        return self.map_tables(lambda table: table[index])

    @property
    def concentrations(self) -> PseudoCounts:
        """Dirichlet concentrations of the density whose mode EM finds: a + 1."""
        return self.map_tables(lambda table: table + 1)

    def to(self, device: torch.device | str) -> PseudoCounts:
        """Return the same pseudo-counts on another device."""
        return self.map_tables(lambda table: table.to(device))


def prior_words(prior: Prior | PseudoCounts | None) -> str:
    """A prior as one would say it."""
    if prior is None:
        return "none"
    if isinstance(prior, PseudoCounts):
        return "none" if prior.is_zero else "pseudo-counts"
    if isinstance(prior, Mapping):
        return f"pseudo-counts of {', '.join(prior)}"
    return f"pseudo-count {float(prior):g} per cell"


def _table(
    name: str, value: float | Tensor, shape: tuple[int, ...], device: torch.device | str
) -> Tensor:
    table = numbers_as_tensor(f"prior of {name!r}", value, device)
    if not bool((table.isfinite() & (table >= 0)).all()):
        raise SpecError(
            f"prior of {name!r}: pseudo-counts must be finite and not negative, found least "
            f"{float(table.min()):.3g}; leave {name!r} out of the prior for none at all"
        )
    try:
        return table.expand(shape).clone()
    except RuntimeError:
        raise SpecError(
            f"prior of {name!r}: expected a number or a table that broadcasts to {shape}, found "
            f"{tuple(table.shape)}; its axes are sources, states of the parents and its own states"
        ) from None
