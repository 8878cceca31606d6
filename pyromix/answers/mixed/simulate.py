"""Rows of states and numbers drawn from a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyromix.answers.mixed.question import Question
from pyromix.data.frames import labelled
from pyromix.errors import QueryError
from pyromix.fitting.mixed.columns import frame_of
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.model.arguments import flag, whole
from pyromix.model.memory import check_numbers
from pyromix.model.mixed import MixedMixture
from pyromix.model.only_states import without
from pyromix.model.randomness import RandomState, torch_generator

if TYPE_CHECKING:
    import pandas as pd


@without(
    evidence="draw more rows, and keep those that agree",
    posterior="rows are drawn from the estimate",
)
def simulate(
    fit: MixedRecord,
    n_samples: int,
    do: Mapping[str, Any] | None = None,
    include_latents: bool = False,
    random_state: RandomState = 0,
) -> pd.DataFrame:
    """Draw rows from P(V | do).

    Args:
        fit: of a table with numbers.
        n_samples: number of rows.
        do: per variable a state name, or a number in the units of the table.
        include_latents: add the column of the source.
        random_state: an integer or a Generator.

    Returns:
        Categorical columns and columns of float64, in the order of ``spec.variables``.

    Raises:
        QueryError: a name or state is unknown, a number is none of its kind, or ``n_samples`` is
            no positive integer.
    """
    mixture, spec = fit.mixture, fit.spec
    n = whole("n_samples", n_samples, 1)
    check_numbers(
        f"{n:,} rows of {spec.n_variables} variables",
        n * (spec.n_variables + 1),
        "take fewer rows at a time",
        QueryError,
    )
    columns, sources = drawn(mixture, n, _settings(mixture, do), torch_generator(random_state))
    further = {}
    if flag("include_latents", include_latents):
        further[spec.source] = labelled(sources, spec.binned.source_states)
    return frame_of(mixture, columns, further)


def drawn(
    mixture: MixedMixture,
    n: int,
    settings: Mapping[int, float | int],
    generator: torch.Generator,
) -> tuple[list[Tensor], Tensor]:
    """Draw columns in our units, and sources.

    Args:
        mixture: to draw from.
        n: number of rows.
        settings: per vertex a state number, or a number in our units, that it is set to.
        generator: draws.
    """
    weights = mixture.weights.to(generator.device)
    sources = torch.multinomial(weights, n, replacement=True, generator=generator)
    sources = sources.to(mixture.device)
    columns: list[Tensor] = []
    for v, cpd in enumerate(mixture.cpds):
        if v in settings:
            dtype = torch.float64 if mixture.spec.kind(v).numeric else torch.int64
            columns.append(torch.full((n,), settings[v], dtype=dtype, device=mixture.device))
            continue
        above = [columns[p] for p in mixture.spec.parents[v]]
        columns.append(cpd.sample(sources, above, generator))
    return columns, sources


def _settings(mixture: MixedMixture, do: Mapping[str, Any] | None) -> dict[int, float | int]:
    spec = mixture.spec
    if not do:
        return {}
    outcome = next((name for name in spec.variables if name not in do), spec.source)
    asked = Question.from_names(spec, outcome, do)
    return {
        v: float(mixture.units[v].inward(torch.tensor(float(x), dtype=torch.float64)))
        if spec.kind(v).numeric
        else int(x)
        for v, x in asked.do.items()
    }
