"""Missing numbers, integrated out: given source and states they are jointly normal.

THEORY section 18.3. A vertex v with line b and variance s contributes ``-(c + a'x)^2 / (2 s)``, x
the missing numbers, c what is known of its gap. Of all that have a missing number in their family,
these make a normal law of x with precision ``sum a a' / s`` and mean its inverse times
``-sum c a / s``; what is left over is the density of what was observed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.errors import DataError
from pyromix.model.families.layout import Numbers
from pyromix.model.families.linear_gaussian import LinearGaussianCPD, LinearSums
from pyromix.model.families.sweep import sweep
from pyromix.model.mixed import MixedMixture


@dataclass(frozen=True, eq=False)
class Gaps:
    """What rows say of their missing numbers.

    Attributes:
        missing: vertices whose numbers are missing.
        families: vertices that have one of them in their family, themselves included.
        log_evidence: log-density of the observed numbers of these families.
        mean: of the missing numbers.
        covariance: of them.
    """

    missing: tuple[int, ...]
    families: tuple[int, ...]
    log_evidence: Float[Tensor, "m k"]
    mean: Float[Tensor, "m k g"]
    covariance: Float[Tensor, "m k g g"]

    def sums(
        self,
        mixture: MixedMixture,
        vertex: int,
        columns: Sequence[Tensor],
        shares: Float[Tensor, "m k"],
    ) -> LinearSums:
        """Statistics of one of the families."""
        cpd, above = _line(mixture, vertex), mixture.spec.parents[vertex]
        parents = [_filled(columns[p]) for p in above]
        m, k = shares.shape
        z = cpd.layout.design(parents, (m,))
        known = torch.cat([z, _filled(columns[vertex])[:, None]], -1)
        q = known.shape[-1]
        first = known[:, None, :].expand(m, k, q).clone()
        places = {v: cpd.layout.column(i) for i, v in enumerate(above) if v in self.missing}
        if vertex in self.missing:
            places[vertex] = q - 1
        inside = [self.missing.index(v) for v in places]
        outside = list(places.values())
        first[..., outside] = self.mean[..., inside]
        covariance = first.new_zeros(m, k, q, q)
        for i, a in zip(inside, outside, strict=True):
            for j, b in zip(inside, outside, strict=True):
                covariance[..., a, b] = self.covariance[..., i, j]
        return cpd.sums_of_moments(first, covariance, parents, shares)


def filled_in(
    mixture: MixedMixture,
    columns: Sequence[Tensor],
    missing: Sequence[int],
    present: Sequence[int],
) -> Gaps:
    """Integrate missing numbers out of rows.

    Args:
        mixture: the point.
        columns: of which the states are all known.
        missing: vertices whose numbers are missing.
        present: vertices that count, the missing ones included.

    Raises:
        DataError: a number is missing whose law, or a child's, is not normal.
    """
    spec, gone = mixture.spec, tuple(missing)
    families = tuple(v for v in present if v in gone or set(spec.parents[v]) & set(gone))
    m, g = len(columns[0]), len(gone)
    precision = linear = total = None
    for v in families:
        cpd = _line(mixture, v, gone)
        parents = [_filled(columns[p]) for p in spec.parents[v]]
        mean, variance = cpd.moments(parents, (m,))  # (k, m)
        known = _filled(columns[v]) - mean
        arrow = mean.new_zeros(*mean.shape, g)
        if v in gone:
            arrow[..., gone.index(v)] = 1.0
        lines = cpd.coefficients[..., cpd.layout.row(parents, (m,)), :]
        for i, p in enumerate(spec.parents[v]):
            if p in gone:
                arrow[..., gone.index(p)] = -lines[..., cpd.layout.column(i)]
        one = arrow[..., :, None] * arrow[..., None, :] / variance[..., None, None]
        pull = -known[..., None] * arrow / variance[..., None]
        left = math.log(2 * math.pi) + variance.log() + known.square() / variance
        precision = one if precision is None else precision + one
        linear = pull if linear is None else linear + pull
        total = left if total is None else total + left
    if precision is None or linear is None or total is None:
        raise AssertionError("numbers are missing and no family has them")
    swept = sweep(precision, g)
    covariance = swept.inverted
    mean = (covariance @ linear[..., None])[..., 0]
    bent = (linear * mean).sum(-1)
    evidence = 0.5 * (bent - total + g * math.log(2 * math.pi) - swept.log_det)
    return Gaps(gone, families, evidence.mT, mean.transpose(0, 1), covariance.transpose(0, 1))


def _filled(column: Tensor) -> Tensor:
    """Something harmless where a number is missing."""
    return column.nan_to_num(nan=0.0) if column.is_floating_point() else column


def _line(mixture: MixedMixture, vertex: int, missing: Sequence[int] = ()) -> LinearGaussianCPD:
    """The law of a vertex with a missing number in its family.

    Raises:
        DataError: it is not normal.
    """
    spec, cpd = mixture.spec, mixture.cpds[vertex]
    own = [p for p in spec.parents[vertex] if p in missing]
    entries = cpd.layout.parents if isinstance(cpd, LinearGaussianCPD) else ()
    if type(cpd) is LinearGaussianCPD and Numbers.HURDLE not in [
        entries[i] for i, p in enumerate(spec.parents[vertex]) if p in missing
    ]:
        return cpd
    if vertex in missing:
        what = f"{spec.name(vertex)!r} is {spec.kind(vertex)} and has missing cells above others"
    else:
        names = ", ".join(repr(spec.name(p)) for p in own)
        what = f"{names} has missing cells and is a cause of {spec.name(vertex)!r}, which is " + (
            f"{spec.kind(vertex)}"
        )
    raise DataError(
        f"missing numbers are integrated out where all laws are normal (kinds real and positive); "
        f"{what}. Drop these rows (missing='drop'), cut the column into states "
        "(discretize=), or declare another kind"
    )
