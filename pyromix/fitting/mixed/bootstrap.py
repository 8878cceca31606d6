"""Replicates of a fit to a table with numbers: the same estimator on reweighted rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import torch

from pyromix.estimate.mixed.climb import climb_mixed
from pyromix.estimate.progress import progress_bar
from pyromix.fitting.mixed.record import MixedDraws, MixedRecord
from pyromix.model.arguments import flag, whole
from pyromix.model.only_states import without
from pyromix.model.randomness import RandomState, torch_generator

R = TypeVar("R", bound=MixedRecord)

TOLERANCE = 1e-7
"""Nats per row; replicates start at the estimate."""


@without(
    data="replicates are of the table that the fit holds",
    sample_weight="replicates are of the table that the fit holds",
    weights_are="replicates are of the table that the fit holds",
    missing_values="replicates are of the table that the fit holds",
    kind="rows are drawn with replacement",
    max_iter="a replicate climbs until it gains nothing",
    checkpoint="ask for fewer replicates",
    memory_limit="rows with numbers are held in memory",
)
def bootstrap(
    fit: R, n: int = 200, *, random_state: RandomState = 0, show_progress: bool | None = None
) -> R:
    """Return the fit with draws: estimates of tables of as many rows drawn with replacement.

    Each replicate starts at the estimate and keeps the names of its sources. The prior stays as it
    was learned; intervals are those of the draws.

    Args:
        fit: with its table.
        n: replicates.
        random_state: an integer or a Generator.
        show_progress: None shows a bar on a terminal only.

    Raises:
        DataError: the fit holds no table.
        QueryError: ``n`` is no positive integer.
    """
    n, records = whole("n", n, 2), fit.records
    if show_progress is not None:
        flag("show_progress", show_progress)
    generator = torch_generator(random_state)
    law = (records.weights / records.total_weight).cpu()
    n_rows = max(round(records.total_weight), 1)
    drawn = []
    with progress_bar(show_progress, n, "bootstrap") as tell:
        for i in range(n):
            chosen = torch.multinomial(law, n_rows, replacement=True, generator=generator)
            counts = torch.bincount(chosen, minlength=records.n_rows).to(torch.float64)
            parts = list(records.weighted(counts.to(records.device)).parts())
            end = climb_mixed(fit.mixture, parts, fit.prior, tol=TOLERANCE)
            drawn.append(end.mixture.parameters)
            tell(i + 1, f"replicate {i + 1} of {n}")
    return replace(fit, sampled=MixedDraws(torch.stack(drawn), "bootstrap", f"{n}"))
