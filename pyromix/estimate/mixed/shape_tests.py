"""Whether the noise of numbers has the shape that their kind assumes.

What U is leans on that shape, and where it is another one the states of U stand in for it: views
then seem to depend on each other. Within each source a number is carried to (0, 1) by the
distribution function of its law; were the law right, Legendre polynomials of that would be zero in
the mean [J. Neyman, Smooth test for goodness of fit, Skandinavisk Aktuarietidskrift 20, 1937]. They
are weighed by P(U | row), and cleared of what estimating does to them (``nested_tests``).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from scipy.special import stdtr
from torch import Tensor

from pyromix.estimate.mixed.nested_tests import Smaller, Tested, quadratic
from pyromix.estimate.mixed.step import look
from pyromix.model.families.hurdle import HurdleCPD
from pyromix.model.families.linear_gaussian import LinearGaussianCPD
from pyromix.model.families.student_t import StudentTCPD
from pyromix.model.mixed import MixedMixture

DEGREES = (1, 2, 3, 4)
"""Of the polynomials: location, spread, skewness, tails."""

UNSEEN = 1e-4
"""Share of the largest variance below which a polynomial is one of the estimate's own scores."""


def shape_tests(fit: Smaller) -> dict[int, Tested]:
    """Test the shape of every number whose law has one; counts have none here.

    Args:
        fit: an estimate on a table.

    Returns:
        Per vertex a statistic, chi-square where the shape is right.
    """
    vertices = [v for v, cpd in enumerate(fit.mixture.cpds) if _continuous(cpd) is not None]
    if not vertices:
        return {}

    def scores(mixture: MixedMixture) -> Tensor:
        return torch.cat([_polynomials(mixture, fit, v) for v in vertices], 1)

    clear, weights = fit.cleared(scores), fit.records.weights[:, None]
    found = {}
    for i, v in enumerate(vertices):
        own = clear[:, i * len(DEGREES) : (i + 1) * len(DEGREES)]
        covariance = (weights * own).mT @ own
        least = UNSEEN * float(covariance.diagonal().max())
        found[v] = quadratic((weights * own).sum(0), covariance, least)
    return found


def _continuous(cpd: Any) -> LinearGaussianCPD | None:
    """The law of a number around its line; of a hurdle that of numbers above zero."""
    own = cpd.size if isinstance(cpd, HurdleCPD) else cpd
    return own if isinstance(own, LinearGaussianCPD) else None


@torch.no_grad()
def _polynomials(mixture: MixedMixture, fit: Smaller, vertex: int) -> Float[Tensor, "rows q"]:
    """Of every row whose family has no missing cell; zero in the others."""
    spec, cpd = mixture.spec, _continuous(mixture.cpds[vertex])
    found = fit.records.weights.new_zeros(fit.records.n_rows, len(DEGREES))
    family = {vertex, *spec.parents[vertex]}
    for part in fit.records.parts():
        if cpd is None or family & set(part.missing):
            continue
        values = part.columns[vertex]
        above = [part.columns[p] for p in spec.parents[vertex]]
        known = values.isfinite()
        mean, variance = cpd.moments(above, values.shape)
        apart = (torch.where(known, values, 0.0) - mean) / variance.sqrt()
        place = 2 * _distribution(cpd, apart) - 1
        shares = look(mixture, part).posterior() * known[:, None]
        rows = [(shares * _legendre(place, degree).movedim(0, -1)).sum(-1) for degree in DEGREES]
        found[part.rows] = torch.stack(rows, 1)
    return found


def _distribution(cpd: LinearGaussianCPD, apart: Tensor) -> Tensor:
    if isinstance(cpd, StudentTCPD):
        below = stdtr(cpd.degrees, apart.cpu().numpy())
        return torch.as_tensor(below, device=apart.device)
    return torch.special.ndtr(apart)


def _legendre(x: Tensor, degree: int) -> Tensor:
    """Legendre's polynomial, of variance one over (-1, 1)."""
    before, at = torch.ones_like(x), x
    for i in range(1, degree):
        before, at = at, ((2 * i + 1) * x * at - i * before) / (i + 1)
    return (2 * degree + 1) ** 0.5 * at
