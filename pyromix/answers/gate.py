"""Whether an answer of a fit may be given: certainty found against certainty required."""

from __future__ import annotations

from collections.abc import Callable

from pyromix.answers.wording import question
from pyromix.errors import NotCertifiedError, QueryError
from pyromix.identify.certificate import Certificate, graph_covers
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import MixtureSpec


def admit(
    spec: MixtureSpec,
    graphical: frozenset[int],
    certificate: Callable[[], Certificate],
    query: DoQuery,
    require: str,
) -> Certainty:
    """Return how firmly the law of the observed variables determines a query, or refuse it.

    Args:
        spec: the structure.
        graphical: vertices whose CPTs the graph alone recovers.
        certificate: makes the local certificate; called only where the graph does not suffice and
            something is required.
        query: the question in numbers.
        require: least certainty, by name.

    Raises:
        QueryError: no such level.
        NotCertifiedError: the certainty falls short of it.
        SpecError: the local certificate is needed and the model too large for it.
    """
    levels = {c.value: c for c in Certainty}
    if require not in levels:
        raise QueryError(f"require must be one of {list(levels)}, found {require!r}")
    if graph_covers(spec, graphical, query):
        return Certainty.GRAPHICAL
    local = certificate()
    found = local.admits(query)
    if found.at_least(levels[require]):
        return found
    asked = question(spec, query)
    if found is Certainty.LOCAL:
        message = (
            f'{asked} is locally identified, and require="graphical" asks for a proof from the '
            'graph alone; pass require="local"'
        )
    else:
        moved = local.moved_by(query)
        tables = ", ".join(
            f"P({name})" if name == spec.source else f"P({name} | ...)" for name in moved
        )
        message = (
            f"the law of {', '.join(spec.variables)} does not determine {asked}: with "
            f"{spec.n_sources} sources it shows {local.rank} of {local.n_parameters} parameter "
            f"directions, and an unseen one, mostly in {tables}, moves the answer (relative "
            f"residual {local.residual(query):.2g}). What would help: one more observed variable "
            f"that depends on {spec.source!r} and is independent of the others given it, a sparser "
            'graph if it can be justified, or fewer sources; require="none" returns the number at '
            "this one optimum all the same"
        )
    raise NotCertifiedError(message, required=require, found=found.value)
