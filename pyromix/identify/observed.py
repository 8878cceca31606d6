"""Questions that the law of the observed variables answers whatever the sources are."""

from __future__ import annotations

from pyromix.identify.certificate import without_group
from pyromix.model.query import DoQuery
from pyromix.model.spec import SOURCE, MixtureSpec


def observed_suffice(spec: MixtureSpec, query: DoQuery) -> bool:
    """Whether an answer is a function of P(V) alone, for any number and law of sources.

    The identification algorithm [shpitser06], [tian02], where one latent vertex U confounds all the
    vertices I that it points at: they are one c-component. Let D be the vertices that the answer
    depends on, outcomes and evidence with their ancestors once arrows into the do are cut. Factors
    of D outside I are conditionals of P(V). The factor of S = D ∩ I is identified if and only if S
    is ancestral in the graph of I: no other vertex of I is an ancestor of S within I.

    Back-door and front-door adjustment, and questions that no path from U touches, are special
    cases. With evidence this is sufficient: both P(outcomes, evidence | do) and P(evidence | do)
    are then identified. So it is among a group whose natural value of X is x': X is then one more
    vertex of D, with the value x' in its own factor and x in those of its children, which the
    factor of S may hold as long as not both are in S.

    Numbers need no care: every factor is a conditional of the law of the raw V, and is asked for at
    values, never at bins.

    Args:
        spec: the graph; its number of sources does not matter.
        query: the question; one that names the source is never of this kind.
    """
    query = without_group(spec, query)
    if SOURCE in (*query.outcomes, *query.do, *query.evidence):
        return False
    influenced = set(range(spec.n_variables)) - spec.uninfluenced
    confounded = query.relevant(spec) & influenced
    if any(v in confounded and confounded & set(spec.children[v]) for v in query.natural):
        return False
    above, stack = set(confounded), list(confounded)
    while stack:
        for p in spec.parents[stack.pop()]:
            if p in influenced and p not in above:
                above.add(p)
                stack.append(p)
    return above == confounded
