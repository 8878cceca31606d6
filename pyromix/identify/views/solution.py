"""What comes out of a k-MixProd solver: a mixture, an outcome per element, how far to trust it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.errors import IdentificationError, RankError, SeparationError, SpecError
from pyromix.model.arguments import whole
from pyromix.model.mixture import ProductMixture
from pyromix.model.status import Status


@dataclass(frozen=True, eq=False)
class ProductDiagnostics:
    """How well the data determine a mixture of products (THEORY section 9).

    Attributes:
        singular_values: canonical correlations of the first two views, descending, ``(*batch, q)``;
            the k-th is the signal.
        noise_floor: what the k-th must exceed, see ``three_views.noise_floor``; rounding where
            moments are exact.
        eigen_gap: smallest distance between two sources in the third view, in the chi-square
            metric; infinite for one source.
        separation: that distance in standard errors. Below about 3 expect mistakes, above 10 few.
        rarest: smallest weight times the number of rows; infinite where moments are exact.
        projected: largest amount by which a probability was moved to reach the simplex.
        imaginary: largest imaginary part of the eigenvalues, relative; zero where all are real.
        residual: root mean square misfit of the third moments, in units of their noise.
        standard_error: of the within-source means in whitened coordinates, root mean square, to
            first order.
    """

    singular_values: Float[Tensor, "*batch q"]
    noise_floor: Float[Tensor, "*batch"]
    eigen_gap: Float[Tensor, "*batch"]
    separation: Float[Tensor, "*batch"]
    rarest: Float[Tensor, "*batch"]
    projected: Float[Tensor, "*batch"]
    imaginary: Float[Tensor, "*batch"]
    residual: Float[Tensor, "*batch"]
    standard_error: Float[Tensor, "*batch"]


@dataclass(frozen=True, eq=False)
class ProductSolution:
    """A mixture of products recovered from moments.

    Sources come in no particular order. Where the status is not OK the tables are distributions
    all the same: a start for a likelihood method at best; where it is TOO_MANY_SOURCES,
    TOO_FEW_ROWS or INVALID_INPUT, or the numbers that were found are none, equal weights and, in
    every source, the marginal distribution.

    Attributes:
        mixture: weights ``(*batch, k)`` and one table ``(*batch, k, card)`` per variable.
        status: a ``Status`` per element.
        diagnostics: per element.
        views: the variables of each of the three views, by position among the tables.
    """

    mixture: ProductMixture
    status: Int[Tensor, "*batch"]
    diagnostics: ProductDiagnostics
    views: tuple[tuple[int, ...], ...]

    @property
    def weights(self) -> Float[Tensor, "*batch k"]:
        """P(U)."""
        return self.mixture.weights

    @property
    def lost(self) -> Bool[Tensor, "*batch"]:
        """Where the numbers that were found are none: that a table was moved by nan says so."""
        return self.diagnostics.projected.isnan()

    @property
    def tables(self) -> tuple[Float[Tensor, "*batch k _"], ...]:
        """P(X_i | U) per variable."""
        return self.mixture.tables

    @property
    def ok(self) -> bool:
        """Whether every element is OK."""
        return bool((self.status == Status.OK).all())

    def require(self) -> ProductSolution:
        """Return this solution if every element is OK.

        Raises:
            RankError: the k-th singular value lies under the noise floor.
            SeparationError: sources are equal, or eigenvalues complex.
            IdentificationError: any other outcome; the first element that failed is named.
        """
        failed = (self.status != Status.OK).nonzero()
        if not len(failed):
            return self
        index = tuple(failed[0].tolist())
        status = Status(int(self.status[index]))
        k, found = self.weights.shape[-1], self.diagnostics
        values = tuple(float(v) for v in found.singular_values[index])
        floor = float(found.noise_floor[index])
        where = f" (element {index}, {len(failed)} of {self.status.numel()})" if index else ""
        text = f"expected moments of {k} separated sources, found {status.name}{where}: "
        if status == Status.RANK_TOO_SMALL:
            text += f"singular values {_some(values)}, noise floor {floor:.3g}; {status.advice}"
            raise RankError(text, singular_values=values, floor=floor)
        if status in (Status.MERGED, Status.COMPLEX_PAIR):
            text += (
                f"smallest gap {float(found.eigen_gap[index]):.3g}, "
                f"{float(found.separation[index]):.3g} standard errors, imaginary part "
                f"{float(found.imaginary[index]):.3g}; {status.advice}"
            )
            raise SeparationError(text)
        raise IdentificationError(text + status.advice)


def placeholder(
    marginals: tuple[Float[Tensor, "*batch _"], ...],
    n_sources: int,
    status: Int[Tensor, "*batch"],
    views: tuple[tuple[int, ...], ...] = ((), (), ()),
) -> ProductSolution:
    """Every source has the marginal distributions: what is returned where nothing can be solved.

    Args:
        marginals: per variable; rows that are no distribution become uniform.
        n_sources: k.
        status: a ``Status`` per element.
        views: perhaps none.
    """
    weights = torch.full(
        (*status.shape, n_sources), 1 / n_sources, dtype=torch.float64, device=status.device
    )
    tables = tuple(
        distribution_or_uniform(m).unsqueeze(-2).expand(*m.shape[:-1], n_sources, -1).clone()
        for m in marginals
    )
    nothing = torch.full(status.shape, math.nan, dtype=torch.float64, device=status.device)
    diagnostics = ProductDiagnostics(nothing.unsqueeze(-1), *(nothing for _ in range(8)))
    return ProductSolution(ProductMixture(weights, tables), status, diagnostics, views)


def found_mixture(
    weights: Float[Tensor, "*batch k"],
    tables: tuple[Float[Tensor, "*batch k _"], ...],
    projected: Float[Tensor, "*batch"],
) -> tuple[ProductMixture, Float[Tensor, "*batch"]]:
    """Make a mixture of numbers of which some may be none.

    Returns:
        The mixture, uniform where a number is not finite; and how far tables were moved, nan there.
    """
    parts = [weights, *(t.flatten(-2) for t in tables)]
    sound = torch.stack([part.isfinite().all(-1) for part in parts]).all(0)
    mixture = ProductMixture(
        torch.where(sound.unsqueeze(-1), weights, 1 / weights.shape[-1]),
        tuple(torch.where(sound[..., None, None], t, 1 / t.shape[-1]) for t in tables),
    )
    return mixture, torch.where(sound, projected, torch.nan)


def replaced(
    solution: ProductSolution, where: Bool[Tensor, "*batch"], other: ProductSolution
) -> ProductSolution:
    """Take the mixture of another solution for some elements."""
    table = where[..., None, None]
    mixture = ProductMixture(
        torch.where(where.unsqueeze(-1), other.weights, solution.weights),
        tuple(torch.where(table, b, a) for a, b in zip(solution.tables, other.tables, strict=True)),
    )
    return ProductSolution(mixture, solution.status, solution.diagnostics, solution.views)


def selected(solution: ProductSolution, index: Int[Tensor, ...]) -> ProductSolution:
    """Take elements of a solution with one batch axis, perhaps repeatedly.

    Args:
        solution: ``(r,)``.
        index: positions; the result has the shape of it.
    """
    found = solution.diagnostics
    names = [field.name for field in fields(found)]
    return ProductSolution(
        ProductMixture(solution.weights[index], tuple(t[index] for t in solution.tables)),
        solution.status[index],
        ProductDiagnostics(**{name: getattr(found, name)[index] for name in names}),
        solution.views,
    )


def check_n_sources(n_sources: int) -> int:
    """Refuse a number of sources that is none.

    Raises:
        SpecError: not an integer of at least one.
    """
    return whole("n_sources", n_sources, 1, error=SpecError)


def distribution_or_uniform(rows: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """Scale rows to sum one; rows that cannot be scaled become uniform."""
    total = rows.sum(-1, keepdim=True)
    usable = (rows >= 0).all(-1, keepdim=True) & total.isfinite() & (total > 0)
    safe = torch.where(usable, rows, torch.ones_like(rows))
    return safe / safe.sum(-1, keepdim=True)


def _some(values: tuple[float, ...], limit: int = 12) -> str:
    text = ", ".join(f"{v:.3g}" for v in values[:limit])
    return f"[{text}{', ...' if len(values) > limit else ''}]"
