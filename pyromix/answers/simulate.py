"""Rows from a mixture, under a do and given evidence, as a frame of state names."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from pyromix.data.frames import decode
from pyromix.errors import QueryError
from pyromix.exact import elimination
from pyromix.exact.mutilated import positivity_error
from pyromix.exact.sampling import sample
from pyromix.fitting.record import Fit
from pyromix.model.arguments import flag, whole
from pyromix.model.memory import check_numbers
from pyromix.model.mixture import BayesNetMixture, mixture_of
from pyromix.model.query import DoQuery
from pyromix.model.randomness import RandomState, torch_generator
from pyromix.model.spec import MixtureSpec

if TYPE_CHECKING:
    import pandas as pd


NUMBERS_OF_DRAWS = 2**24
"""Table entries of draws that are held together, one draw per row."""


def simulate(
    mixture: BayesNetMixture | Fit,
    n_samples: int,
    do: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Hashable] | None = None,
    include_latents: bool = False,
    random_state: RandomState = 0,
    *,
    posterior: bool = False,
) -> pd.DataFrame:
    """Draw rows from P(V | do, evidence), exactly, without rejection.

    Args:
        mixture: without batch axes, or a fit.
        n_samples: number of rows.
        do: per variable a state name or a mapping from states to probabilities.
        evidence: per variable a state name.
        include_latents: add the column of the source.
        random_state: an integer or a Generator.
        posterior: every row comes from a draw of the fit, itself drawn (the posterior predictive
            distribution); without, all rows come from the estimate.

    Returns:
        Categorical columns, in the order of ``spec.variables``, with the states of the spec.

    Raises:
        QueryError: a name or state is unknown, ``n_samples`` is no positive integer, ``do`` asks
            for scenarios, the mixture is batched, or a posterior is asked for and there are no
            draws.
        PositivityError: the evidence is impossible under the do.
    """
    flag("include_latents", include_latents)
    if flag("posterior", posterior):
        if not isinstance(mixture, Fit):
            raise QueryError("posterior=True asks for the draws of a fit, found a mixture")
        draws = mixture.draws
        return simulate_draws(draws, n_samples, do, evidence, include_latents, random_state)
    mixture = mixture_of(mixture)
    spec = mixture.spec
    asked, n_samples = _asked(spec, n_samples, do, evidence)
    if mixture.batch_shape:
        raise QueryError(
            f"simulate expects one mixture, found a batch of shape {tuple(mixture.batch_shape)}; "
            "choose one: mixture[i]"
        )
    rows, sources = sample(mixture, n_samples, random_state, do=asked.do, evidence=asked.evidence)
    return decode(spec, rows, sources if include_latents else None)


def simulate_draws(
    draws: BayesNetMixture,
    n_samples: int,
    do: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Hashable] | None = None,
    include_latents: bool = False,
    random_state: RandomState = 0,
) -> pd.DataFrame:
    """Draw rows, each from a mixture that is itself drawn: the posterior predictive distribution.

    Under evidence draws are chosen in proportion to the probability that they give it.

    Args:
        draws: batch shape ``(n,)``.
        n_samples: number of rows.
        do: as for ``simulate``.
        evidence: as for ``simulate``.
        include_latents: add the column of the source.
        random_state: an integer or a Generator.

    Returns:
        As ``simulate``.

    Raises:
        QueryError: as ``simulate``.
        PositivityError: the evidence is impossible under the do in every draw.
    """
    spec = draws.spec
    asked, n_samples = _asked(spec, n_samples, do, evidence)
    generator = torch_generator(random_state, draws.device)
    likely = torch.ones(len(draws.weights), dtype=torch.float64, device=generator.device)
    if asked.evidence:
        mass = elimination.log_evidence(draws, asked).reshape(len(draws.weights))
        possible = mass > -torch.inf
        if not bool(possible.any()):
            raise positivity_error(spec, asked.do, asked.evidence, ~possible)
        likely = (mass - mass.max()).exp().to(generator.device)
    chosen = torch.multinomial(likely, n_samples, replacement=True, generator=generator)
    rows, sources = [], []
    for part in chosen.to(draws.device).split(
        max(1, NUMBERS_OF_DRAWS // sum(table[0].numel() for table in draws.tables))
    ):
        found = sample(draws[part], 1, generator, do=asked.do, evidence=asked.evidence)
        rows.append(found[0].squeeze(1))
        sources.append(found[1].squeeze(1))
    return decode(spec, torch.cat(rows), torch.cat(sources) if include_latents else None)


def _asked(
    spec: MixtureSpec,
    n_samples: int,
    do: Mapping[str, Any] | None,
    evidence: Mapping[str, Hashable] | None,
) -> tuple[DoQuery, int]:
    """The question in numbers, and the number of rows."""
    n = whole("n_samples", n_samples, 1)
    # every column of state numbers is drawn as int64, and then named
    numbers = n * (spec.n_variables + 1)
    check_numbers(
        f"{n:,} rows of {spec.n_variables} variables",
        numbers,
        "take fewer rows at a time",
        QueryError,
    )
    asked = DoQuery.from_names(spec, spec.source, do, evidence)
    if asked.n_scenarios is not None:
        raise QueryError("simulate takes one scenario; call it once per entry of the list in `do`")
    return asked, n
