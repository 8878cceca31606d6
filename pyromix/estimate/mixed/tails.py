"""Whether numbers have heavier tails than the normal noise they were fitted with."""

from __future__ import annotations

import torch

from pyromix.data.records import Records
from pyromix.estimate.mixed.prior import family_rows, settled
from pyromix.estimate.mixed.step import look
from pyromix.model.families.linear_gaussian import LinearGaussianCPD
from pyromix.model.families.student_t import StudentTCPD
from pyromix.model.kind import Kind
from pyromix.model.mixed import MixedMixture


@torch.no_grad()
def heavy_tails(mixture: MixedMixture, records: Records) -> dict[int, float]:
    """What Student's t gains over normal noise at P(U | row), for every vertex that is real.

    The expected log-likelihood at the posterior of an estimate is what EM raises, so the
    log-likelihood of the table itself rises by at least as much, but for the prior.

    Args:
        mixture: the estimate.
        records: rows; a few thousand tell.

    Returns:
        Nats per row, by vertex.
    """
    shares = records.weights.new_zeros(records.n_rows, mixture.n_sources)
    for part in records.parts():
        shares[part.rows] = look(mixture, part).posterior() * part.weights[:, None]
    found = {}
    for v, cpd in enumerate(mixture.cpds):
        if mixture.spec.kind(v) is not Kind.REAL or not isinstance(cpd, LinearGaussianCPD):
            continue
        values, parents, seen = family_rows(mixture.spec, records, v)
        own = shares[seen]
        heavy = StudentTCPD(cpd.coefficients, cpd.variances / 2, cpd.layout, cpd.shared)
        heavy = settled(heavy, values, parents, own)
        gained = heavy.log_prob(values, parents) - cpd.log_prob(values, parents)
        found[v] = float((own * gained).sum() / records.weights.sum())
    return found
