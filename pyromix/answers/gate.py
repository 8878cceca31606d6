"""Whether an answer of a fit may be given: certainty found against certainty required."""

from __future__ import annotations

from pyromix.answers.wording import question
from pyromix.errors import NotCertifiedError, QueryError
from pyromix.identify.certify import size_error
from pyromix.identify.verdict import Ground, Verdict
from pyromix.model.query import Certainty
from pyromix.model.spec import SOURCE


def admit(verdict: Verdict, require: str) -> Certainty:
    """Return how certain an answer is, or refuse it.

    Graph and rank must reach what is required; what the table showed is told with the answer.

    Args:
        verdict: on the question; its first query is the one that messages name.
        require: least certainty, by name.

    Raises:
        QueryError: no such level.
        NotCertifiedError: the certainty falls short of it.
        SpecError: the local certificate is needed and the model too large for it.
    """
    levels = {c.value: c for c in Certainty}
    if require not in levels:
        raise QueryError(f"require must be one of {list(levels)}, found {require!r}")
    if verdict.structural.at_least(levels[require]):
        return verdict.level
    if verdict.ground is Ground.TOO_LARGE:
        raise size_error(verdict.spec)
    raise NotCertifiedError(refusal(verdict), required=require, found=verdict.structural.value)


def refusal(verdict: Verdict) -> str:
    """Why an answer is refused, and what would help."""
    spec = verdict.spec
    asked = question(spec, verdict.queries[0])
    if verdict.structural is Certainty.LOCAL:
        return (
            f'expected a proof of {asked} from the graph alone, as require="graphical" asks; found '
            "that it is identified locally: no continuum of other answers fits as well, a second "
            'isolated one might. Pass require="local"'
        )
    tables = ", ".join(
        f"P({name})" if name == spec.name(SOURCE) else f"P({name} | ...)" for name in verdict.moved
    )
    seen = (
        ""
        if verdict.certificate is None
        else (
            f"{verdict.certificate.rank} of {verdict.certificate.n_parameters} parameter directions"
        )
    )
    return (
        f"the law of {', '.join(spec.variables)} does not determine {asked}: with "
        f"{spec.n_sources} sources it shows {seen}, and an unseen one, mostly in {tables}, moves "
        f"the answer (relative residual {verdict.residual:.2g}). What would help: one more "
        f"observed variable that depends on {spec.source!r} and is independent of the others "
        f"given {spec.source!r}, a sparser graph if it can be justified, or fewer sources; "
        'require="none" returns the number at this one optimum all the same'
    )
