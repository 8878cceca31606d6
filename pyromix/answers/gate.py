"""Whether an answer of a fit may be given: certainty found against certainty required."""

from __future__ import annotations

from collections.abc import Sequence

from pyromix.answers.wording import question
from pyromix.errors import NotCertifiedError, QueryError
from pyromix.identify.certify import size_error
from pyromix.identify.verdict import Ground, Verdict
from pyromix.model.query import Certainty
from pyromix.model.spec import SOURCE

LISTED = 12
"""Variables that a refusal names."""


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
            f'expected the graph alone to determine {asked}, as require="graphical" asks; found '
            "that it is determined locally: no continuum of other answers fits as well, but a "
            'second, isolated one might. Pass require="local" to accept that'
        )
    tables = ", ".join(
        f"P({name})" if name == spec.name(SOURCE) else f"P({name} | ...)" for name in verdict.moved
    )
    seen = ""
    if (local := verdict.certificate) is not None:
        seen = (
            f" With {spec.n_sources} sources that distribution fixes {local.rank} of "
            f"{local.n_parameters} parameter directions."
        )
    return (
        f"expected the joint distribution of {_listed(spec.variables)} to determine {asked}; found "
        f"that it does not.{seen} A direction that it leaves free, mostly in {tables}, moves the "
        f"answer (relative residual {verdict.residual:.2g}, where 0 is no move). What to try: one "
        f"more observed variable that depends on {spec.source!r} and is independent of the others "
        f"given {spec.source!r}; a sparser graph, if it can be justified; or fewer sources. "
        'require="none" returns the number at this one optimum all the same'
    )


def _listed(names: Sequence[str]) -> str:
    """The first of many names."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
