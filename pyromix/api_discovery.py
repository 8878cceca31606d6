"""The door to searches for graphs: what is found holds a fit with its verbs. Experimental."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pyromix.api import MixtureFit
from pyromix.discovery import asking as searching
from pyromix.discovery.result import Discovery
from pyromix.model.randomness import RandomState


def discover(
    data: Any,
    n_sources: int | Sequence[int] | None = None,
    *,
    tiers: Sequence[Sequence[str]] | None = None,
    required: Iterable[Sequence[str]] = (),
    forbidden: Iterable[Sequence[str]] = (),
    max_parents: int = 3,
    random_state: RandomState = 0,
    **options: Any,
) -> Discovery:
    """Search a table for graphs within its hidden sources. Experimental.

    Structural EM from trees, mixtures of trees, random graphs and the strongest edges, each graph
    shaken and climbed again (THEORY section 19). Several graphs have the same laws: the class of
    them is the result, and effects are sets.

    Args:
        data: as in ``fit_product``: every column is a variable.
        n_sources: k, or several of which BIC chooses, each without the edges of the source that it
            does not need; from 1 on, up to 4, when left out.
        tiers: lists of names, the earliest first: no edge leads back. Worth more than rows.
        required: pairs ``(from, to)`` that every graph has.
        forbidden: pairs ``(from, to)`` that none has.
        max_parents: observed parents of a variable at most.
        random_state: of the starts.
        **options: ``expert_knowledge``, pgmpy's, in place of the three above; ``n_starts`` of each
            kind; ``source_moves=True`` also drops edges of the source that BIC does not need: what
            it then directs leans on their absence; ``sample_weight``, ``weights_are``, ``missing``,
            ``missing_values``, ``state_names``, ``discretize`` as in ``fit``.

    Raises:
        SpecError: tiers, edges or a number are unusable or contradict each other, or the table has
            too few rows for so many parents.
        DataError: the table is unusable, has columns of numbers that ``discretize`` does not cut,
            or two columns say the same.
        QueryError: knowledge is given twice.
    """
    found = searching.discover(
        data,
        n_sources,
        tiers=tiers,
        required=required,
        forbidden=forbidden,
        max_parents=max_parents,
        random_state=random_state,
        **options,
    )
    return replace(found, fit=MixtureFit.of(found.fit))
