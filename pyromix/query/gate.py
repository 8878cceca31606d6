"""Whether an answer of a fit may be given: certainty found against certainty required."""

from __future__ import annotations

from pyromix.errors import NotCertifiedError, QueryError
from pyromix.model.certificate import Certificate
from pyromix.model.query import Certainty, DoQuery
from pyromix.query.wording import question


def admit(certificate: Certificate, query: DoQuery, require: str) -> Certainty:
    """Return how firmly the law of the observed variables determines a query, or refuse it.

    Args:
        certificate: what graph, cardinalities and k identify.
        query: the question in numbers.
        require: least certainty, by name.

    Raises:
        QueryError: no such level.
        NotCertifiedError: the certainty falls short of it.
    """
    levels = {c.value: c for c in Certainty}
    if require not in levels:
        raise QueryError(f"require must be one of {list(levels)}, found {require!r}")
    found = certificate.admits(query)
    if found.at_least(levels[require]):
        return found
    spec = certificate.point.spec
    asked = question(spec, query)
    if found is Certainty.LOCAL:
        message = (
            f'{asked} is locally identified, and require="graphical" asks for a proof from the '
            'graph alone; pass require="local"'
        )
    else:
        message = (
            f"the law of {', '.join(spec.variables)} does not determine {asked}: with "
            f"{spec.n_sources} sources it shows {certificate.rank} of {certificate.n_parameters} "
            "parameter directions, and the unseen ones move the answer (relative residual "
            f"{certificate.residual(query):.2g}). What would help: one more observed variable that "
            f"depends on {spec.source!r} and is independent of the others given it, a sparser "
            'graph if it can be justified, or fewer sources; require="none" returns the number at '
            "this one optimum all the same"
        )
    raise NotCertifiedError(message, required=require, found=found.value)
