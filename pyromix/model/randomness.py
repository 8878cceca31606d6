"""Random states without a global seed, and random mixtures for tests and simulations."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyromix.errors import SpecError
from pyromix.model.arguments import listed, real, shown, whole
from pyromix.model.memory import check_numbers
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import MixtureSpec

LARGEST_SEED = 2**64 - 1
"""Of a generator of torch."""

RandomState = int | np.random.Generator | torch.Generator
"""What every ``random_state`` argument accepts."""


def torch_generator(
    random_state: RandomState, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a torch generator; a given torch generator is used, and advanced, as it is.

    Raises:
        SpecError: neither an integer nor a generator.
    """
    if isinstance(random_state, torch.Generator):
        return random_state
    if isinstance(random_state, np.random.Generator):
        random_state = int(random_state.integers(2**63))
    if isinstance(random_state, np.random.RandomState):
        raise SpecError(
            "random_state must be an integer or a Generator, found a RandomState, numpy's older "
            "kind; pass numpy.random.default_rng(seed), or the seed"
        )
    advice = "or pass a numpy.random.Generator or a torch.Generator"
    seed = whole("random_state", random_state, -(2**63), LARGEST_SEED, SpecError, advice)
    return torch.Generator(device=device).manual_seed(seed)


def check_seed(random_state: Any) -> None:
    """Refuse what can be no ``random_state``, before any work; no generator is advanced.

    Raises:
        SpecError: neither an integer that a generator takes nor a generator.
    """
    if not isinstance(random_state, np.random.Generator):
        torch_generator(random_state)


def branched(generator: torch.Generator) -> torch.Generator:
    """Return a generator of its own from where another one stands, which is not advanced."""
    copy = torch.Generator(device=generator.device).set_state(generator.get_state())
    # From the same state both would give the same numbers.
    seed = torch.randint(2**62, (1,), generator=copy, device=copy.device)
    return torch_generator(int(seed))


def numpy_generator(random_state: RandomState) -> np.random.Generator:
    """A generator of orders; a torch generator that was given is advanced."""
    generator = torch_generator(random_state)
    seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
    return np.random.default_rng(int(seed))


def random_mixture(
    spec: MixtureSpec,
    random_state: RandomState = 0,
    *,
    separation: float | None = None,
    batch_shape: tuple[int, ...] = (),
) -> BayesNetMixture:
    """Draw a mixture whose sources are as far apart as asked.

    With a separation, one state of every CPT row (drawn per row) has probabilities that differ by
    at least ``separation`` between any two sources, so rows differ by as much in total variation;
    for binary variables this is the zeta of [gordon21colt, Def. 3]. Without one, rows are uniform
    on the simplex. Weights are at least ``1 / (3k)``.

    Args:
        spec: the structure.
        random_state: an integer or a Generator.
        separation: zeta, at most ``1 / (k - 1)``.
        batch_shape: leading axes of the result.

    Raises:
        SpecError: the separation cannot be had with k sources.
    """
    if not isinstance(spec, MixtureSpec):
        binned = "; its binned is one" if hasattr(spec, "binned") else ""
        raise SpecError(f"expected a MixtureSpec, found {shown(spec)}{binned}")
    k = spec.n_sources
    batch_shape = tuple(
        whole("lengths in batch_shape", length, 0, error=SpecError)
        for length in listed("batch_shape", batch_shape, "lengths of axes")
    )
    if separation is not None:
        separation = real(f"separation, with k={k},", separation, error=SpecError)
        if not 0 <= separation * (k - 1) <= 1:
            raise SpecError(
                f"separation must lie in [0, 1/(k-1)] = [0, {1 / max(k - 1, 1):.4g}] with k={k}, "
                f"found {separation}"
            )
    check_numbers(
        f"tables of a mixture with k={k} and batch_shape={batch_shape}",
        spec.n_cells_of_tables * prod(batch_shape),
        "take fewer sources, fewer parents or a smaller batch",
    )
    generator = torch_generator(random_state)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, dtype=torch.float64, generator=generator, device=generator.device)

    def simplex(*shape: int) -> Tensor:
        draws = -torch.log1p(-uniform(*shape))
        return draws / draws.sum(-1, keepdim=True)

    def separated(shape: tuple[int, ...], zeta: float) -> Tensor:
        """Rows ``shape``, source axis at ``len(batch_shape)``, one state of each row separated."""
        axis, card = len(batch_shape), shape[-1]
        rows = [s for i, s in enumerate(shape[:-1]) if i != axis]
        slack = 1 - zeta * (k - 1)
        points = slack * (0.02 + 0.96 * uniform(*rows, k)).sort(-1).values
        points = points + zeta * torch.arange(k, dtype=torch.float64, device=points.device)
        points = points.gather(-1, uniform(*rows, k).argsort(-1)).movedim(-1, axis).unsqueeze(-1)
        rest = (1 - points) * simplex(*shape[:-1], card - 1)
        turn = (uniform(*rows).unsqueeze(axis).unsqueeze(-1) * card).long()
        turned = (torch.arange(card, device=points.device) + turn) % card
        return torch.cat([points, rest], -1).gather(-1, turned.expand(shape))

    weights = 0.5 + uniform(*batch_shape, k)
    cpts = []
    for v in range(spec.n_variables):
        shape = (*batch_shape, *spec.cpt_shape(v))
        if v in spec.uninfluenced:
            single = simplex(*batch_shape, 1, *spec.cpt_shape(v)[1:])
            cpts.append(single.expand(shape).clone())
        elif separation is None:
            cpts.append(simplex(*shape))
        else:
            cpts.append(separated(shape, separation))
    cpts = [c / c.sum(-1, keepdim=True) for c in cpts]
    return BayesNetMixture(spec, weights / weights.sum(-1, keepdim=True), tuple(cpts))
