"""Pyro's No-U-Turn sampler on weighted patterns, the sources of the rows summed out.

The potential is that of the program ``to_pyro(prior=...)`` scoring ``counts=``, in coordinates of
its own (see ``log_ratio``): its gradient is one E-step, some times faster than running the program.
The coordinates are turned and scaled by the curvature at the mode, so that the posterior is close
to a standard normal distribution and trajectories are short. Chains run one after the other, each
from a draw of the normal approximation; Pyro's global state is left as found.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any

import pyro
import torch
from jaxtyping import Float
from pyro.infer import MCMC, NUTS
from torch import Tensor

from pyromix.bridges.alone import alone
from pyromix.data.counts import Counts
from pyromix.errors import FileError, RefinementError
from pyromix.estimate.em import climb
from pyromix.estimate.progress import Tell, progress_bar
from pyromix.estimate.starts import batch_of, inside
from pyromix.exact import linalg
from pyromix.exact.rows import CellIndex
from pyromix.exact.threads import one_thread_unless
from pyromix.formats.checkpoint import NOT_KEPT, Step, checkpoint_of
from pyromix.model.arguments import real
from pyromix.model.gradients import gradients
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import RandomState
from pyromix.model.status import refuse
from pyromix.posterior.chains import (
    MANY_PARAMETERS,
    asked_of,
    check_draws,
    check_start,
    check_steps,
    check_whole,
    own_generator,
)
from pyromix.posterior.draws import LEAST_DRAWS, Posterior, relabelled
from pyromix.posterior.log_ratio import LogPosterior, LogRatios

LEAST_CURVATURE = 0.05
"""Of a direction; a lower one is taken for this, since it is hardly seen by rows and prior."""

SITE = "z"


def nuts(
    counts: Counts,
    mixture: BayesNetMixture,
    *,
    prior: PseudoCounts,
    row_masses: tuple[Float[Tensor, ...], ...] | None = None,
    num_samples: int = 500,
    warmup_steps: int = 300,
    num_chains: int = 4,
    target_accept_prob: float = 0.8,
    max_tree_depth: int = 10,
    random_state: RandomState = 0,
    show_progress: bool | None = None,
    checkpoint: str | PathLike[str] | None = None,
) -> Posterior:
    """Draw mixtures from the posterior by trajectories along its gradient.

    Args:
        counts: distinct rows; fractional weights are exponents of the likelihood.
        mixture: the estimate, without batch axes; gives the labels.
        prior: pseudo-counts of the estimator; the prior is their ``concentrations``.
        row_masses: as for ``draws.matched``.
        num_samples: draws of each chain that are kept.
        warmup_steps: draws before, in which steps and scales are adapted.
        num_chains: number of chains.
        target_accept_prob: of a trajectory; higher means smaller steps and fewer divergences.
        max_tree_depth: a trajectory has fewer than 2 to this power steps.
        random_state: an integer or a Generator.
        show_progress: None shows a bar on a terminal only.
        checkpoint: a file that keeps the chains that are done; where it is there, the others
            follow, and end at the same digits.

    Returns:
        Draws of batch shape ``(num_chains, num_samples)``, labels those of the estimate.

    Raises:
        DataError: missing cells have too many completions.
        SpecError: the mixture does not fit the data.
        QueryError: a number is out of range.
        RefinementError: the density is not finite where chains start, or a chain left it or
            diverged most of the time.
        FileError: the checkpoint is damaged, of another table, estimate or option, or cannot be
            written to.
    """
    check_start(counts, mixture)
    check_whole(
        {
            "num_samples": (num_samples, LEAST_DRAWS),
            "warmup_steps": (warmup_steps, 0),
            "num_chains": (num_chains, 1),
            "max_tree_depth": (max_tree_depth, 1),
        }
    )
    target_accept_prob = real("target_accept_prob", target_accept_prob, 0.0, 1.0)
    spec = mixture.spec
    check_steps(num_chains * (warmup_steps + num_samples))
    check_draws(spec, num_chains * num_samples, "take fewer draws, or fewer chains")
    generator = own_generator(random_state, mixture.device)
    kept = NOT_KEPT
    if checkpoint is not None:
        asked = {
            **asked_of(counts, mixture, prior, generator),
            "num_samples": num_samples,
            "warmup_steps": warmup_steps,
            "num_chains": num_chains,
            "target_accept_prob": target_accept_prob,
            "max_tree_depth": max_tree_depth,
        }
        kept = checkpoint_of(checkpoint, "nuts", asked)
    work = counts.n_patterns * spec.n_variables * spec.n_sources
    with alone(), gradients(), one_thread_unless(work):
        potential = Potential.at_mode(counts, mixture, prior)
        chains, divergences = [], 0
        total = num_chains * (num_samples + warmup_steps)
        with progress_bar(show_progress, total, "NUTS") as tell:
            for chain in range(num_chains):
                seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
                kernel = NUTS(
                    potential_fn=potential,
                    target_accept_prob=target_accept_prob,
                    max_tree_depth=max_tree_depth,
                )
                start = potential.start(generator)
                before = chain * (num_samples + warmup_steps)
                run = partial(
                    _one_chain, kernel, start, num_samples, warmup_steps, int(seed), tell, before
                )
                read = partial(_read, (num_samples, len(potential.centre)))
                drawn, astray = kept.step(f"chain {chain}", run, _packed, read)
                if not bool(drawn.isfinite().all()):
                    raise RefinementError(
                        f"NUTS: chain {chain} left the posterior: {int((~drawn.isfinite()).sum())} "
                        "coordinates are not finite; set a prior, or take method='gibbs'"
                    )
                if astray > num_samples / 2:
                    raise RefinementError(
                        f"NUTS: {astray} of {num_samples} transitions of chain {chain} diverged, "
                        "so its draws mean nothing; raise warmup_steps or target_accept_prob, or "
                        'take method="gibbs"'
                    )
                chains.append(potential.coordinates_of(drawn))
                divergences += astray
        z = torch.cat(chains)
        found = potential.density.coordinates.mixtures(z)
        log_likelihood = potential.density.log_likelihood(z)
    shape = (num_chains, num_samples)
    drawn = found.map_tables(lambda table: table.unflatten(0, shape))
    return relabelled(
        mixture,
        drawn,
        log_likelihood.view(shape),
        row_masses=row_masses,
        divergences=divergences,
    )


def _packed(found: tuple[Tensor, int]) -> Step:
    """The draws of a chain, and how many transitions diverged."""
    return {"drawn": found[0], "astray": torch.tensor(found[1])}, {}


def _read(
    shape: tuple[int, int], tensors: Mapping[str, Tensor], fields: Mapping[str, Any]
) -> tuple[Tensor, int]:
    """The inverse of ``_packed``.

    Raises:
        FileError: these are no draws of a chain.
    """
    drawn, astray = tensors["drawn"], tensors["astray"]
    if fields or drawn.shape != shape or drawn.dtype != torch.float64 or astray.ndim:
        raise FileError(f"expected the {shape[0]} draws of a chain")
    return drawn, int(astray)


@dataclass(frozen=True, eq=False)
class Potential:
    """Minus the log-density of the posterior, in coordinates ``z = centre + turn x``.

    Attributes:
        density: of the posterior.
        centre: its mode.
        turn: the inverse square root of its curvature there; the identity where that is too large.
    """

    density: LogPosterior
    centre: Float[Tensor, " p"]
    turn: Float[Tensor, "p p"] | None

    @staticmethod
    def at_mode(counts: Counts, mixture: BayesNetMixture, prior: PseudoCounts) -> Potential:
        """Turn and scale the coordinates by the curvature at the mode next to a mixture.

        Raises:
            RefinementError: the density is not finite there, or its curvature has no eigenvalues.
        """
        spec, counts = mixture.spec, counts.in_rows()
        concentrations = prior.concentrations
        index = CellIndex(spec, counts.rows)
        density = LogPosterior(
            LogRatios(spec, mixture.device), index, counts.weights, concentrations
        )
        # In these coordinates the mode is that of EM with the concentrations as pseudo-counts.
        mode = climb(
            counts.with_spec(spec),
            batch_of(inside(mixture)),
            prior=concentrations,
            check_saddle=False,
        ).mixture
        (centre,) = density.coordinates.of(batch_of(mode))
        value, _ = density(centre[None])
        if not bool(value.isfinite()):
            raise RefinementError(
                f"NUTS: expected a finite log-density where chains start, found {float(value)}; "
                "please report this table"
            )
        if spec.n_parameters > MANY_PARAMETERS:
            return Potential(density, centre, None)
        found = linalg.eigh(density.curvature(centre))
        refuse(
            found.status,
            RefinementError,
            "NUTS: a curvature with eigenvalues at the mode, where chains start",
            'look for nan in the weights of the rows, or take refine(method="gibbs")',
        )
        turn = found.vectors * found.values.clamp_min(LEAST_CURVATURE).rsqrt()
        return Potential(density, centre, turn)

    def start(self, generator: torch.Generator) -> Float[Tensor, " p"]:
        """Draw from the normal approximation, or a short way from the mode where there is none."""
        x = torch.randn(
            self.centre.shape, dtype=torch.float64, generator=generator, device=generator.device
        )
        return x if self.turn is not None else 0.1 * x

    def coordinates_of(self, x: Float[Tensor, "batch p"]) -> Float[Tensor, "batch p"]:
        """Return the coordinates z of some points x."""
        return self.centre + (x if self.turn is None else x @ self.turn.T)

    def __call__(self, sites: Mapping[str, Tensor]) -> Tensor:
        """Return the potential at the one site ``z``, as Pyro asks for it; differentiable."""
        return _Potential.apply(sites[SITE], self)


class _Potential(torch.autograd.Function):
    """The potential; its gradient comes with it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, potential: Potential) -> Tensor:
        value, gradient = potential.density(potential.coordinates_of(x[None]))
        ctx.gradient = gradient[0] if potential.turn is None else gradient[0] @ potential.turn
        return -value[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -grads[0] * ctx.gradient, None


def _one_chain(
    kernel: NUTS,
    start: Tensor,
    num_samples: int,
    warmup_steps: int,
    seed: int,
    tell: Tell,
    before: int,
) -> tuple[Float[Tensor, "draws p"], int]:
    """Run one chain in a copy of all global state; also the number of divergences."""
    store, steps = pyro.get_param_store(), itertools.count(before + 1)
    devices = [start.device] if start.is_cuda else []
    with (
        store.scope(),
        torch.random.fork_rng(devices=devices),
        pyro.validation_enabled(False),
    ):
        torch.manual_seed(seed)
        mcmc = MCMC(
            kernel,
            num_samples=num_samples,
            warmup_steps=warmup_steps,
            initial_params={SITE: start},
            hook_fn=lambda *_: tell(next(steps), ""),
            disable_progbar=True,
        )
        mcmc.run()
        drawn = mcmc.get_samples()[SITE]
        return drawn, len(mcmc.diagnostics()["divergences"]["chain 0"])
