"""Who an effect is asked about: everybody, or those who had something before the treatment."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from pyromix.errors import QueryError
from pyromix.model.query import mapping_of
from pyromix.model.spec import MixtureSpec


def group_of(
    spec: MixtureSpec,
    treatment: str,
    outcome: str | Sequence[str],
    among: Any,
    evidence: Mapping[str, Hashable] | None,
) -> tuple[dict[str, Hashable], dict[str, Hashable]]:
    """Part a group into the treatment it has by itself, and what else was so before it.

    What the treatment does not influence is the same whether it is set or not, and is evidence like
    any other. A descendant of the treatment is not: its value as it was and its value under the
    change share causes, and no graph fixes how (THEORY section 16).

    Args:
        spec: the structure that knows the names.
        treatment: the variable that is set.
        outcome: the variable or variables looked at.
        among: per variable the state that the group has; None or empty for everybody.
        evidence: conditions of both arms.

    Returns:
        The state of the treatment, if it is named, and the evidence with the rest of the group.

    Raises:
        QueryError: an unknown name, the outcome, a descendant of the treatment, or a name that
            stands in the evidence, too.
    """
    group, evidence = mapping_of(spec, "among", among), mapping_of(spec, "evidence", evidence)
    x, outcomes = spec.vertex(treatment), [outcome] if isinstance(outcome, str) else outcome
    named = {spec.vertex(name) for name in group}
    for one in outcomes:
        if spec.vertex(one) in named:
            raise QueryError(
                f"`among` names the outcome {one!r}; a group is told by what was so before the "
                "treatment, and an effect on the outcome cannot be asked among those who have it"
            )
    if both := [name for name in group if name in evidence]:
        raise QueryError(f"{both} stand in both `among` and `evidence`; keep one of them")
    after = spec.descendants([x]) - {x}
    if later := [name for name in group if spec.vertex(name) in after]:
        raise QueryError(
            f"`among` names {', '.join(map(repr, later))}, which {treatment!r} influences: what "
            "it was and what it would be under the change are two values with common causes, and "
            "no graph fixes how they go together. What to try: a group told by "
            f"{treatment!r} and by variables that it does not influence; or, for those who would "
            "have it under the change, name it as evidence"
        )
    natural = {name: state for name, state in group.items() if name == treatment}
    before = {name: state for name, state in group.items() if name != treatment}
    return natural, {**evidence, **before}
