"""What each source looks like, in one frame: its size, and every state's probability within it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyromix.answers import ask
from pyromix.answers.answer import Answer
from pyromix.data.frames import to_pandas
from pyromix.fitting.record import Fit

if TYPE_CHECKING:
    import pandas as pd


def profiles(fit: Fit, *, level: float = 0.95) -> pd.DataFrame:
    """Return sizes of the sources, and P(state | source) of every variable, a row each.

    The first rows are the sizes: ``variable`` and ``state`` name the source itself, and
    ``probability`` is its share. Certainty is not asked for: ``px.check`` says whether the sources
    are determined.

    Args:
        fit: whose sources are described.
        level: of the intervals.

    Returns:
        Columns ``source``, ``variable``, ``state``, ``probability``, ``low``, ``high``; the ends
        are nan where there is no interval.

    Raises:
        QueryError: the level does not lie between 0 and 1.
    """
    spec = fit.spec
    sizes = ask.query(fit, spec.source, require="none", level=level)
    rows = [
        (u, spec.source, u, *cells)
        for u, cells in zip(spec.source_states, _cells(sizes), strict=True)
    ]
    for u in spec.source_states:
        for v in range(spec.n_variables):
            within = ask.query(
                fit, spec.name(v), evidence={spec.source: u}, require="none", level=level
            )
            states = zip(spec.states_of(v), _cells(within), strict=True)
            rows += [(u, spec.name(v), state, *cells) for state, cells in states]
    names = ("source", "variable", "state", "probability", "low", "high")
    return to_pandas({name: [row[i] for row in rows] for i, name in enumerate(names)})


def _cells(answer: Answer) -> list[tuple[Any, ...]]:
    """Probability and ends, state by state."""
    values = answer.values
    low, high = answer.interval() if answer.has_interval else (np.full_like(values, np.nan),) * 2
    return list(zip(values.tolist(), low.tolist(), high.tolist(), strict=True))
