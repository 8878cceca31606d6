"""Rows from a mixture, under a do and given evidence, as a frame of state names."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from pyromix.data.frames import decode
from pyromix.errors import QueryError
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import DoQuery
from pyromix.model.randomness import RandomState
from pyromix.model.sampling import sample
from pyromix.query.do import Fitted, mixture_of

if TYPE_CHECKING:
    import pandas as pd


def simulate(
    mixture: BayesNetMixture | Fitted,
    n_samples: int,
    do: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Hashable] | None = None,
    include_latents: bool = False,
    random_state: RandomState = 0,
) -> pd.DataFrame:
    """Draw rows from P(V | do, evidence), exactly, without rejection.

    Args:
        mixture: without batch axes, or a fit.
        n_samples: number of rows.
        do: per variable a state name or a mapping from states to probabilities.
        evidence: per variable a state name.
        include_latents: add the column of the source.
        random_state: an integer or a Generator.

    Returns:
        Categorical columns, in the order of ``spec.variables``, with the states of the spec.

    Raises:
        QueryError: a name or state is unknown, ``n_samples`` is no positive integer, ``do`` asks
            for scenarios, or the mixture is batched.
        PositivityError: the evidence is impossible under the do.
    """
    mixture = mixture_of(mixture)
    spec = mixture.spec
    if isinstance(n_samples, bool) or not isinstance(n_samples, int) or n_samples < 1:
        raise QueryError(f"n_samples must be an integer >= 1, found {n_samples!r}")
    if mixture.batch_shape:
        raise QueryError(
            f"simulate expects one mixture, found a batch of shape {tuple(mixture.batch_shape)}; "
            "choose one: mixture[i]"
        )
    asked = DoQuery.from_names(spec, spec.source, do, evidence)
    if asked.n_scenarios is not None:
        raise QueryError("simulate takes one scenario; call it once per entry of the list in `do`")
    rows, sources = sample(mixture, n_samples, random_state, do=asked.do, evidence=asked.evidence)
    return decode(spec, rows, sources if include_latents else None)
