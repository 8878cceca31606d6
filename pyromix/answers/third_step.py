"""The third step: an outcome by assigned source, corrected or not; batched over tables."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.exact import linalg
from pyromix.model.status import Status

STEPS = 1000
"""EM steps of the maximum likelihood estimator."""

SETTLED = 1e-9
"""Largest move of a probability of an assigned source at which it stops."""


@dataclass(frozen=True, eq=False)
class ThirdStep:
    """An outcome within each source, one table after the other.

    Attributes:
        estimates: ``(n, k, values)``.
        ok: tables on which every source has rows assigned to it that tell it apart.
    """

    estimates: Float[Tensor, "n k values"]
    ok: Bool[Tensor, " n"]


def third_step(
    shares: Float[Tensor, "n rows k"],
    assigned: Int[Tensor, "n rows"],
    weights: Float[Tensor, "n rows"],
    features: Float[Tensor, "rows values"],
    told: Bool[Tensor, " rows"],
    method: str,
    *,
    discrete: bool,
) -> ThirdStep:
    """Describe an outcome by source.

    Args:
        shares: P(U | row).
        assigned: the likeliest source of each row.
        weights: of the rows, for each table.
        features: the outcome.
        told: rows in which it was observed; the others still say how well rows are assigned.
        method: ``"bch"``, ``"ml"``, ``"modal"`` or ``"proportional"``.
        discrete: whether the features are indicators of states.
    """
    own = weights * told
    if method == "proportional":
        mass = shares * own[..., None]
        return _means(mass.mT @ features, mass.sum(1))
    members = torch.nn.functional.one_hot(assigned, shares.shape[-1]).to(shares.dtype)
    sums = (members * own[..., None]).mT @ features
    rows = (members * own[..., None]).sum(1)
    if method == "modal":
        return _means(sums, rows)
    mass = shares * weights[..., None]
    law = mass.mT @ members / mass.sum(1)[..., None]  # D[j, l]
    back = linalg.inv(law)
    ok = back.status == Status.OK
    inverse = torch.where(ok[:, None, None], back.value, torch.nan)
    corrected = _means(inverse.mT @ sums, (inverse.mT @ rows[..., None])[..., 0])
    if method == "bch":
        return corrected
    if discrete:
        return _likeliest_states(law, sums, rows, ok)
    return _likeliest_means(law, corrected, assigned, own, features, ok)


def _means(sums: Float[Tensor, "n k values"], mass: Float[Tensor, "n k"]) -> ThirdStep:
    found = sums / mass[..., None]
    return ThirdStep(found, found.isfinite().all(-1).all(-1))


def _likeliest_states(
    law: Float[Tensor, "n k k"],
    sums: Float[Tensor, "n k values"],
    rows: Float[Tensor, "n k"],
    ok: Bool[Tensor, " n"],
) -> ThirdStep:
    """EM for P(U, state) from the table of assigned source and state."""
    q = torch.full_like(sums, 1 / sums[0].numel())
    for _ in range(STEPS):
        expected = law.mT @ q  # P(W, state)
        ratio = torch.where(expected > 0, sums / expected, 0.0)
        moved = q * (law @ ratio) / rows.sum(1)[:, None, None]
        change = float((moved - q)[ok].abs().amax()) if bool(ok.any()) else 0.0
        q = moved
        if change <= SETTLED:
            break
    found = _means(q, q.sum(-1))
    return ThirdStep(found.estimates, found.ok & ok)


def _likeliest_means(
    law: Float[Tensor, "n k k"],
    start: ThirdStep,
    assigned: Int[Tensor, "n rows"],
    weights: Float[Tensor, "n rows"],
    features: Float[Tensor, "rows 1"],
    ok: Bool[Tensor, " n"],
) -> ThirdStep:
    """EM for normal outcomes of one variance, assigned sources observed."""
    values, total = features[:, 0], weights.sum(1)
    mean = (weights @ values / total)[:, None]
    variance = weights @ values.square() / total - mean[:, 0].square()
    floor = 1e-8 * variance
    # Row i may be from any source, as likely as it is assigned where it is.
    prior = law.gather(2, assigned[:, None, :].expand(-1, law.shape[1], -1)).mT
    sizes = torch.full_like(law[..., 0], 1 / law.shape[1])
    means = torch.where(start.ok[:, None], start.estimates[..., 0], mean)
    for _ in range(STEPS):
        gaps = values[:, None] - means[:, None, :]
        density = -gaps.square() / (2 * variance[:, None, None])
        joint = prior * sizes[:, None, :] * (density - density.amax(-1, keepdim=True)).exp()
        mass = weights[..., None] * joint / joint.sum(-1, keepdim=True)
        in_source = mass.sum(1)
        moved = (mass * values[:, None]).sum(1) / in_source
        sizes = in_source / total[:, None]
        variance = ((mass * gaps.square()).sum((1, 2)) / total).maximum(floor)
        change = (moved - means)[ok].abs() / variance[ok].sqrt()[:, None]
        means = moved
        if not change.numel() or float(change.amax()) <= SETTLED**0.75:
            break
    found = means[..., None]
    return ThirdStep(found, ok & found.isfinite().all(-1).all(-1))
