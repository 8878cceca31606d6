"""Certificates: what the graph recovers, and which directions of parameter space the law sees.

THEORY section 7: (a) a plan; (b) and (c) the Jacobian of theta -> P(V), taken in closed form at a
generic mixture: one row per cell v of the joint table, or per sampled cell where the table is
large,

    d log P(v) / d theta = sum over u of P(u | v) d log P(u, v) / d theta.

Full rank is local identification [T. J. Rothenberg, Identification in parametric models,
Econometrica 39, 1971].
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import SpecError
from pyromix.exact import linalg
from pyromix.exact.information import scores
from pyromix.identify.certificate import Certificate
from pyromix.identify.generic import cells, generic_mixture
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import RandomState, torch_generator
from pyromix.model.spec import MixtureSpec
from pyromix.model.status import refuse

MAX_CERTIFIED_PARAMETERS = 5000
"""Largest number of parameters for which the dense factorisation is done."""

MAX_DEFICIENT_PARAMETERS = 2500
"""The same where the joint table has fewer cells than there are parameters: the rank is deficient,
and the null space takes a singular value decomposition (4,119 parameters: a minute and a GiB)."""

JACOBIAN_TOLERANCE = 1e-9
"""Singular values below this share of the largest are zero."""

NEW_TOLERANCE = 1e-6
"""Largest share of further scores in the null space that counts as none; others show over 1e-4."""

POWER_STEPS = 20
"""Steps of power iteration: the condition number to within a few per cent."""


@lru_cache(maxsize=4)
def certify(spec: MixtureSpec, random_state: int = 0) -> Certificate:
    """Take the Jacobian of theta -> P(V) at a generic mixture and find its null space.

    Args:
        spec: graph, cardinalities and k.
        random_state: seed of the generic mixture and of the sampled cells.

    Returns:
        The certificate. Cost: a QR factorisation of (cells, parameters), and a singular value
        decomposition of (parameters, parameters) only where the rank is deficient.

    Raises:
        SpecError: more parameters than ``most_parameters``.
    """
    _check_size(spec)
    generator = torch_generator(random_state)
    return certify_at(generic_mixture(spec, generator), generator)


def certify_at(point: BayesNetMixture, random_state: RandomState = 0) -> Certificate:
    """Take the Jacobian at a given mixture, such as an estimate.

    Args:
        point: without batch axes; no probability should be zero, since nothing can be seen there.
        random_state: of the sampled cells.

    Raises:
        SpecError: more parameters than ``most_parameters``, or a Jacobian that is
            not finite.
    """
    spec = point.spec
    _check_size(spec)
    generator = torch_generator(random_state)
    samples = cells(spec, generator)
    seen = _triangle(scores(point, next(samples)))
    found = _certificate(point, seen, generator)
    while not found.locally_identified and (more := next(samples, None)) is not None:
        # What further cells do not see either is no accident of the sample.
        further = scores(point, more)
        if float((further @ found.null_space.T).norm() / further.norm()) <= NEW_TOLERANCE:
            break
        seen = _triangle(torch.cat([seen, further]))
        found = _certificate(point, seen, generator)
    return found


def most_parameters(spec: MixtureSpec) -> int:
    """Largest number of parameters for which the certificate of a spec is taken."""
    outnumbered = spec.n_cells <= spec.n_parameters
    return MAX_DEFICIENT_PARAMETERS if outnumbered else MAX_CERTIFIED_PARAMETERS


def _check_size(spec: MixtureSpec) -> None:
    if spec.n_parameters > (most := most_parameters(spec)):
        raise SpecError(
            f"the null space of the Jacobian is that of at most {most:,} "
            f"parameters, found {spec.n_parameters:,}: px.check(model) says what the distribution "
            "determines without it"
        )


def _triangle(scores: Float[Tensor, "m p"]) -> Float[Tensor, "rows p"]:
    """At most p rows with the row space and the singular values of all."""
    found = linalg.triangle(scores)
    _refuse(found.status)
    return found.value


def _refuse(status: Int[Tensor, ""]) -> None:
    refuse(
        status,
        SpecError,
        "a mixture at which the Jacobian of its law can be factorised",
        "look for nan, and for probabilities that are zero, in its tables",
    )


def _certificate(
    point: BayesNetMixture, scores: Float[Tensor, "rows p"], generator: torch.Generator
) -> Certificate:
    """The null space of some scores, at most as many as there are parameters."""
    if scores.shape[0] == scores.shape[1]:
        condition = _condition(scores, generator)
        if condition < 1 / JACOBIAN_TOLERANCE:
            return Certificate(point, scores.new_zeros(0, scores.shape[1]), condition)
    found = linalg.svd(scores, full_matrices=True)
    _refuse(found.status)
    values, basis = found.values, found.vh
    rank = int((values > JACOBIAN_TOLERANCE * values[0]).sum())
    return Certificate(point, basis[rank:], float(values[0] / values[rank - 1]))


def _condition(triangle: Float[Tensor, "p p"], generator: torch.Generator) -> float:
    """Condition number of a triangular matrix, by power iteration both ways; inf if singular."""
    start = torch.rand(len(triangle), 1, dtype=triangle.dtype, generator=generator,
                       device=triangle.device)  # fmt: skip
    largest = smallest = start / start.norm()
    grown = shrunk = torch.ones((), dtype=triangle.dtype, device=triangle.device)
    for _ in range(POWER_STEPS):
        largest = triangle.T @ (triangle @ largest)
        grown = largest.norm()
        largest = largest / grown
        half = linalg.solve_triangular(triangle.T, smallest, upper=False).value
        smallest = linalg.solve_triangular(triangle, half, upper=True).value
        shrunk = smallest.norm()
        smallest = smallest / shrunk
    condition = float((grown * shrunk).sqrt())
    return condition if math.isfinite(condition) else math.inf
