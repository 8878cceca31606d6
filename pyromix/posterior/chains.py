"""What samplers share: rows that can be drawn with, arguments, and where chains begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pyromix.data.counts import Counts
from pyromix.errors import QueryError, SpecError
from pyromix.formats.checkpoint import digest
from pyromix.model.arguments import shown, whole
from pyromix.model.memory import check_numbers
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import RandomState, torch_generator
from pyromix.model.spec import MixtureSpec

MANY_PARAMETERS = 1500
"""Free probabilities from which a trajectory of NUTS costs more than it brings; its coordinates are
not turned by the curvature there."""


MAX_STEPS = 10**7
"""Steps of all chains together, or of a guide."""


def own_generator(random_state: RandomState, device: torch.device) -> torch.Generator:
    """Return a generator on a device, whatever device the given one lives on."""
    given = torch_generator(random_state)
    if isinstance(random_state, torch.Generator) and given.device == device:
        return given
    seed = torch.randint(2**62, (1,), generator=given, device=given.device)
    return torch.Generator(device).manual_seed(int(seed))


def check_start(counts: Counts, mixture: BayesNetMixture) -> None:
    """Refuse a start that is not one mixture on the variables and device of the table.

    Raises:
        SpecError: batch axes, other variables or states, another device.
    """
    spec = mixture.spec
    if mixture.batch_shape:
        raise SpecError(
            f"chains start around one mixture, found a batch {tuple(mixture.batch_shape)}; pass "
            "mixture[0]"
        )
    if not counts.schema.same_variables(spec):
        raise SpecError(
            f"the mixture is for variables {list(spec.variables)}, the data for "
            f"{list(counts.schema.variables)}, or the states differ; use counts.with_spec(spec)"
        )
    if counts.rows.device != mixture.device:
        raise SpecError(
            f"data are on {counts.rows.device} and the mixture on {mixture.device}; move one of "
            "them"
        )


def asked_of(
    counts: Counts, mixture: BayesNetMixture, prior: PseudoCounts, generator: torch.Generator
) -> dict[str, str]:
    """What chains are asked of, by which a checkpoint tells them from others."""
    return {
        "table": digest(counts.rows, counts.weights),
        "estimate": digest(*mixture.tables),
        "prior": f"{digest(*prior.tables)} {prior.learned}",
        "random_state": digest(generator.get_state()),
    }


def check_draws(spec: MixtureSpec, n: int, advice: str) -> None:
    """Refuse more draws than fit, before any is made.

    Args:
        spec: of the mixtures.
        n: how many are kept.
        advice: what to ask for instead.

    Raises:
        QueryError: names size and limit.
    """
    check_numbers(f"{n:,} draws of all tables", n * spec.n_cells_of_tables, advice, QueryError)


def check_steps(n: int) -> None:
    """Refuse more steps than anybody waits for.

    Raises:
        QueryError: names both numbers.
    """
    if n > MAX_STEPS:
        raise QueryError(
            f"expected at most {MAX_STEPS:,} steps in all, found {shown(n)}; take fewer draws, "
            "chains or steps, or less thinning"
        )


def check_whole(numbers: Mapping[str, tuple[Any, int]]) -> None:
    """Refuse options that are no whole number, or too small.

    Args:
        numbers: per name the value and the least one allowed.

    Raises:
        QueryError: naming the option.
    """
    for name, (value, least) in numbers.items():
        whole(name, value, least)
