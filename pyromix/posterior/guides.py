"""Guides in log-ratio coordinates, and the climb of their evidence bound.

The density that a guide is fitted to has its gradient in one E-step (``log_ratio``), and the three
named guides have theirs in closed form, so a step needs neither a program nor a trace of it: the
difference of the two gradients at the points drawn is carried back to the guide, and that is all.
Near the optimum the difference is nearly the same at all points, so bound and gradient have hardly
any noise there [G. Roeder, Y. Wu and D. Duvenaud, Sticking the landing, NeurIPS 2017].
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.errors import RefinementError
from pyromix.estimate.progress import Tell
from pyromix.exact import linalg
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import SOURCE, MixtureSpec
from pyromix.posterior.log_ratio import LogPosterior

INIT_SCALE = 0.05
"""Standard deviation, in free coordinates, from which a normal guide starts."""

FINAL_RATE = 0.05
"""The learning rate falls to this share of itself along the steps."""


class Family(ABC):
    """A distribution of the coordinates, with parameters to climb.

    Attributes:
        parameters: what is climbed.
    """

    parameters: tuple[Tensor, ...]

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n p"]:
        """Return n points, differentiable in the parameters."""

    @abstractmethod
    def density(self, z: Float[Tensor, "n p"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n p"]]:
        """Return the log-density at some points, and its gradient there."""


class Point(Family):
    """All mass at one point; its density is taken as one, which is the same for all points."""

    def __init__(self, at: Float[Tensor, " p"]) -> None:
        self.parameters = (at.clone().requires_grad_(),)

    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n p"]:
        """Return the point, n times."""
        return self.parameters[0].expand(n, -1)

    def density(self, z: Float[Tensor, "n p"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n p"]]:
        """Return zeros."""
        return z.new_zeros(len(z)), torch.zeros_like(z)


class Normal(Family):
    """Independent normal coordinates: means, and logarithms of standard deviations."""

    def __init__(self, at: Float[Tensor, " p"]) -> None:
        log_scale = torch.full_like(at, math.log(INIT_SCALE))
        self.parameters = (at.clone().requires_grad_(), log_scale.requires_grad_())

    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n p"]:
        """Return n draws."""
        at, log_scale = self.parameters
        return at + log_scale.exp() * _noise((n, len(at)), generator)

    @torch.no_grad()
    def density(self, z: Float[Tensor, "n p"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n p"]]:
        """Return it in closed form."""
        at, log_scale = self.parameters
        off = (z - at) / log_scale.exp()
        value = -(off**2).sum(-1) / 2 - log_scale.sum() - len(at) * LOG_ROOT_TWO_PI
        return value, -off / log_scale.exp()


class LowRank(Family):
    """Correlated normal coordinates: a diagonal covariance plus one of rank ``sqrt(p)``.

    Parameters are means, logarithms of the standard deviations of the diagonal part, and a factor
    ``(p, rank)`` of the other one.
    """

    def __init__(self, at: Float[Tensor, " p"], generator: torch.Generator) -> None:
        rank, scale = max(1, round(math.sqrt(len(at)))), INIT_SCALE * math.sqrt(0.5)
        log_own = torch.full_like(at, math.log(scale))
        common = scale / math.sqrt(rank) * _noise((len(at), rank), generator)
        self.parameters = tuple(t.requires_grad_() for t in (at.clone(), log_own, common))

    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n p"]:
        """Return n draws."""
        at, log_own, common = self.parameters
        own = log_own.exp() * _noise((n, len(at)), generator)
        return at + own + _noise((n, common.shape[1]), generator) @ common.T

    @torch.no_grad()
    def density(self, z: Float[Tensor, "n p"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n p"]]:
        """Return it by a matrix as large as the rank [M. Woodbury, 1950]."""
        at, log_own, common = self.parameters
        scaled = common / log_own.exp()[:, None]
        eye = torch.eye(common.shape[1], dtype=common.dtype, device=common.device)
        inner = linalg.eigh(eye + scaled.T @ scaled)
        off = (z - at) / log_own.exp()
        known = (off @ scaled @ inner.vectors / inner.values) @ inner.vectors.T
        pull = (off - known @ scaled.T) / log_own.exp()
        value = -(pull * (z - at)).sum(-1) / 2 - log_own.sum() - inner.values.log().sum() / 2
        return value - len(at) * LOG_ROOT_TWO_PI, -pull


LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)


def climb_bound(
    family: Family,
    densities: Sequence[Callable[[], LogPosterior]],
    order: Sequence[int],
    *,
    constant: float,
    learning_rate: float,
    num_particles: int,
    generator: torch.Generator,
    tell: Tell,
) -> tuple[float, ...]:
    """Climb the evidence bound by Adam; the parameters of the family move.

    Args:
        family: where it starts.
        densities: of the posterior in the parts of the table, each the whole in expectation.
        order: the part of every step.
        constant: nats that the densities leave out.
        learning_rate: at first; it falls to ``FINAL_RATE`` of itself.
        num_particles: points of each step.
        generator: of the points.
        tell: told of every step.

    Returns:
        The estimate of the bound at every step, in nats.

    Raises:
        RefinementError: it is not finite.
    """
    adam = torch.optim.Adam(family.parameters, lr=learning_rate)
    slower = torch.optim.lr_scheduler.ExponentialLR(adam, FINAL_RATE ** (1 / len(order)))
    bound = []
    for step, part in enumerate(order):
        adam.zero_grad()
        points = family.draw(num_particles, generator)
        values, gradients = densities[part]()(points.detach())
        own_values, own_gradients = family.density(points.detach())
        found = float((values - own_values).mean()) + constant
        if not math.isfinite(found):
            raise RefinementError(
                f"SVI: the bound must stay finite, found {found} at step {step}; lower "
                f"learning_rate (now {learning_rate:g}) or set a prior"
            )
        (points * (own_gradients - gradients)).sum().div(num_particles).backward()
        adam.step()
        slower.step()
        bound.append(found)
        tell(step + 1, f"ELBO {found:.2f}")
    return tuple(bound)


def constant_of(spec: MixtureSpec, concentrations: PseudoCounts, *, in_coordinates: bool) -> float:
    """Return what a log-density leaves out: of the Dirichlet laws, and of the coordinates.

    The volume of a row of c probabilities is the product of them times the root of c, per unit of
    log-ratio coordinates; the product is in the density there.

    Args:
        spec: the structure; tables that sources share count once.
        concentrations: of the Dirichlet law of every row.
        in_coordinates: whether the density is one of coordinates, not of probabilities.
    """
    total = 0.0
    for v, table in enumerate(concentrations.tables, SOURCE):
        a = table[:1] if v in spec.uninfluenced else table
        normaliser = a.sum(-1).lgamma() - a.lgamma().sum(-1)
        total += float(normaliser.sum())
        total += in_coordinates * normaliser.numel() * 0.5 * math.log(a.shape[-1])
    return total


def _noise(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator, device=generator.device)
