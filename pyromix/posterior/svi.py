"""Variational inference: a guide is fitted to the posterior on weighted patterns.

The sources of the rows are summed out, so only tables are left to guide, and a step costs per
distinct pattern. Named guides climb in ``guides``, several times faster than a program runs; a
guide of one's own is fitted by Pyro's SVI to the program ``to_pyro(prior=...)`` scoring
``counts=``. Pyro's global state is left as found: the parameters of a guide live in it only while
the guide is fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, cast

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoDelta
from torch import Tensor

from pyromix.bridges.alone import alone
from pyromix.bridges.pyro import PyroProgram, to_pyro
from pyromix.bridges.pyro_start import LEAST_STARTED
from pyromix.data.counts import Counts
from pyromix.errors import QueryError, RefinementError
from pyromix.estimate.progress import Tell, progress_bar
from pyromix.estimate.starts import batch_of
from pyromix.exact.rows import CellIndex
from pyromix.exact.threads import one_thread_unless
from pyromix.model.arguments import real, shown
from pyromix.model.gradients import gradients, ordinary
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import RandomState
from pyromix.model.spec import SOURCE, MixtureSpec, near_matches
from pyromix.posterior.chains import (
    check_draws,
    check_start,
    check_steps,
    check_whole,
    own_generator,
)
from pyromix.posterior.guides import (
    FINAL_RATE,
    Family,
    LowRank,
    Normal,
    Point,
    climb_bound,
    constant_of,
)
from pyromix.posterior.log_ratio import LogPosterior, LogRatios

GUIDES = ("delta", "normal", "lowrank")

Guide = str | Callable[..., Any]
"""A name of ``GUIDES``, a guide, or what makes one of the program."""


@dataclass(frozen=True, eq=False)
class Variational:
    """A fitted guide.

    Attributes:
        mixtures: draws from the guide, as they were drawn, ``(draws,)``; one for a guide that is
            a point.
        point: whether the guide is a point.
        elbo: the estimate of the evidence lower bound at every step, in nats.
    """

    mixtures: BayesNetMixture
    point: bool
    elbo: tuple[float, ...]

    @property
    def last(self) -> float:
        """Mean of the bound over the last tenth of the steps."""
        return _mean(self.elbo[-self._tenth :])

    @property
    def still_rising(self) -> float:
        """By how much the last tenth of the steps surely lies above the tenth before, in nats.

        Two standard errors of the difference are taken off.
        """
        last = self.elbo[-self._tenth :]
        before = self.elbo[-2 * self._tenth : -self._tenth] or last
        errors = sum(_variance(part) / len(part) for part in (last, before))
        return _mean(last) - _mean(before) - 2 * math.sqrt(errors)

    @property
    def _tenth(self) -> int:
        return max(1, len(self.elbo) // 10)


def svi(
    counts: Counts,
    mixture: BayesNetMixture,
    *,
    prior: PseudoCounts,
    guide: Guide = "normal",
    num_steps: int = 1000,
    learning_rate: float = 0.02,
    num_samples: int = 1000,
    num_particles: int = 1,
    batch_size: int | None = None,
    random_state: RandomState = 0,
    show_progress: bool | None = None,
) -> Variational:
    """Fit a guide to the posterior, from an estimate.

    Args:
        counts: distinct rows; fractional weights are exponents of the likelihood.
        mixture: where the guide starts, without batch axes.
        prior: pseudo-counts of the estimator; the prior is their ``concentrations``.
        guide: ``"delta"`` finds the posterior mode of the tables; ``"normal"`` is independent and
            ``"lowrank"`` correlated normal in log-ratios; or a guide (called with
            ``counts=``), or a function of the program that returns one, such as
            ``AutoMultivariateNormal``.
        num_steps: gradient steps.
        learning_rate: of Adam, at first; it falls to a twentieth.
        num_samples: draws from the fitted guide.
        num_particles: draws from the guide in each step.
        batch_size: patterns of each step, weighted so that the bound is right in expectation; all
            of them when left out.
        random_state: an integer or a Generator.
        show_progress: None shows a bar on a terminal only.

    Raises:
        SpecError: the mixture does not fit the data.
        QueryError: an unknown guide, one that leaves tables out, or a number out of range.
        RefinementError: the bound is not finite.
    """
    check_start(counts, mixture)
    _check(guide, num_steps, num_samples, num_particles, batch_size)
    spec, device = mixture.spec, mixture.device
    check_draws(spec, num_samples, "take a smaller num_samples")
    learning_rate = real("learning_rate", learning_rate, 0.0)
    generator = own_generator(random_state, device)
    parts = _parts(counts, batch_size, generator)
    order = torch.randint(
        len(parts), (num_steps,), generator=generator, device=generator.device
    ).tolist()
    work = counts.n_patterns * spec.n_variables * spec.n_sources
    with (
        gradients(),
        one_thread_unless(work),
        progress_bar(show_progress, num_steps, "SVI") as tell,
    ):
        options: dict[str, Any] = {
            "learning_rate": learning_rate,
            "num_samples": num_samples,
            "num_particles": num_particles,
            "generator": generator,
            "tell": tell,
        }
        if isinstance(guide, str):
            return _named(guide, parts, mixture, prior, order, **options)
        return _own(guide, parts, mixture, prior, order, **options)


def _named(
    guide: str,
    parts: list[Counts],
    mixture: BayesNetMixture,
    prior: PseudoCounts,
    order: list[int],
    *,
    learning_rate: float,
    num_samples: int,
    num_particles: int,
    generator: torch.Generator,
    tell: Tell,
) -> Variational:
    """Fit a guide of ``GUIDES``, in coordinates."""
    spec, point = mixture.spec, guide == "delta"
    coordinates = LogRatios(spec, mixture.device)
    concentrations = prior.concentrations
    # The mode of the probabilities: their density, without the volume of the coordinates.
    seen = prior if point else concentrations

    @cache
    def density(part: int) -> LogPosterior:
        index = CellIndex(spec, parts[part].rows)
        return LogPosterior(coordinates, index, parts[part].weights, seen)

    (start,) = coordinates.of(batch_of(_inside(mixture)))
    makes = {"delta": Point, "normal": Normal, "lowrank": partial(LowRank, generator=generator)}
    family: Family = makes[guide](start)
    elbo = climb_bound(
        family,
        [partial(density, part) for part in range(len(parts))],
        order,
        constant=constant_of(spec, concentrations, in_coordinates=not point),
        learning_rate=learning_rate,
        num_particles=num_particles,
        generator=generator,
        tell=tell,
    )
    z = family.draw(1 if point else num_samples, generator).detach()
    return Variational(coordinates.mixtures(z), point, elbo)


def _own(
    guide: Callable[..., Any],
    parts: list[Counts],
    mixture: BayesNetMixture,
    prior: PseudoCounts,
    order: list[int],
    *,
    learning_rate: float,
    num_samples: int,
    num_particles: int,
    generator: torch.Generator,
    tell: Tell,
) -> Variational:
    """Fit a guide of one's own by Pyro, to the program that scores the parts."""
    spec, device = mixture.spec, mixture.device
    named = site_concentrations(spec, prior.concentrations)
    programs = [to_pyro(mixture, prior=named) for _ in parts]

    def model(part: int = 0, counts: Counts | None = None) -> None:
        programs[part](counts=parts[part])

    chosen = _made(guide, programs[0])
    point = isinstance(chosen, AutoDelta)
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    # Clipped gradients of patterns that stand for many rows would point elsewhere.
    optim = pyro.optim.ClippedAdam(  # type: ignore[attr-defined]
        {"lr": learning_rate, "lrd": FINAL_RATE ** (1 / len(order)), "clip_norm": math.inf}
    )
    elbo = []
    with (
        alone(),
        pyro.get_param_store().scope(),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
    ):
        torch.manual_seed(seed)
        steps = SVI(
            model,
            lambda part=0, counts=None: chosen(counts=counts),
            optim,
            Trace_ELBO(num_particles=num_particles),
        )
        for step, part in enumerate(order):
            advice = f"lower learning_rate (now {learning_rate:g}) or set a prior"
            try:
                found = -float(cast(float, steps.step(part, counts=parts[part])))
            except ValueError as error:  # Pyro's validation of parameters that left their range
                said = str(error).splitlines()[0]
                raise RefinementError(f"SVI failed at step {step}: {said}; {advice}") from error
            if not math.isfinite(found):
                raise RefinementError(
                    f"SVI: the bound must stay finite, found {found} at step {step}; {advice}"
                )
            elbo.append(found)
            tell(step + 1, f"ELBO {found:.2f}")
        sites = _draws(chosen, parts[0], list(named), 1 if point else num_samples)
    return Variational(mixture_of_sites(spec, sites), point, tuple(elbo))


def _inside(mixture: BayesNetMixture) -> BayesNetMixture:
    """The start, away from the border of the simplex."""

    def lifted(table: Tensor) -> Tensor:
        table = table.clamp_min(LEAST_STARTED)
        return table / table.sum(-1, keepdim=True)

    return mixture.map_tables(lifted)


def site_concentrations(spec: MixtureSpec, prior: PseudoCounts) -> dict[str, Tensor]:
    """Concentrations per vertex as ``to_pyro`` takes them; shared tables without source axis."""
    return {
        spec.name(v): table[0] if v in spec.uninfluenced else table
        for v, table in enumerate(prior.tables, SOURCE)
    }


def mixture_of_sites(spec: MixtureSpec, sites: dict[str, Tensor]) -> BayesNetMixture:
    """Return draws of the tables, ``(draws, ...)`` per vertex name, as mixtures ``(draws,)``."""
    tables = []
    for v in range(SOURCE, spec.n_variables):
        table = sites[spec.name(v)]
        if v in spec.uninfluenced:
            table = table.unsqueeze(1).expand(-1, spec.n_sources, *table.shape[1:])
        tables.append(table / table.sum(-1, keepdim=True))
    return BayesNetMixture.from_tables(spec, tables)


def _made(guide: Callable[..., Any], program: PyroProgram) -> Any:
    """The guide to fit, called with ``counts=``."""
    if isinstance(guide, torch.nn.Module):
        return guide
    made = guide(program)
    if not callable(made):
        raise QueryError(
            f"guide must be a name, a guide, or a function of the program that returns a guide; "
            f"found one that returns {type(made).__name__}; wrap it: guide=lambda program: my_guide"
        )
    return made


def _parts(counts: Counts, batch_size: int | None, generator: torch.Generator) -> list[Counts]:
    """The table in parts of equal chance, each of them the whole in expectation.

    A pattern that stands for more than its share of a part is in all of them; the others are dealt
    out and weighted up. Dealing out heavy patterns too would drown the gradient in noise.
    """
    counts = counts.in_rows()
    counts = replace(counts, weights=ordinary(counts.weights))
    rows, n = counts.weights, counts.n_patterns
    if batch_size is None or batch_size >= n:
        return [counts]
    order = rows.argsort(descending=True, stable=True)
    sorted_rows = rows[order]
    left = sorted_rows.flip(0).cumsum(0).flip(0)
    places = batch_size - torch.arange(n, device=rows.device)
    heavy = int((sorted_rows * places >= left).long().cumprod(0).sum())
    heavy = min(heavy, batch_size - 1)
    light = order[heavy:]
    light = light[torch.randperm(len(light), generator=generator, device=generator.device)]
    parts = light.tensor_split(math.ceil(len(light) / (batch_size - heavy)))
    found = []
    for part in parts:
        chosen = torch.cat([order[:heavy], part])
        weights = rows[chosen]
        weights[heavy:] *= len(parts)
        found.append(replace(counts, rows=counts.rows[chosen], weights=weights))
    return found


@torch.no_grad()
def _draws(
    guide: Any, counts: Counts, names: list[str], n: int
) -> dict[str, Float[Tensor, " draws *table"]]:
    """Draws of every table from a guide."""
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for _ in range(n):
        nodes = poutine.trace(guide).get_trace(counts=counts).nodes
        if missing := [name for name in names if f"theta[{name}]" not in nodes]:
            raise QueryError(
                f"the guide has no sites {[f'theta[{name}]' for name in missing]}; every table of "
                "the program needs one, or take guide='normal'"
            )
        for name, draws in found.items():
            draws.append(nodes[f"theta[{name}]"]["value"])
    return {name: torch.stack(draws) for name, draws in found.items()}


def _check(
    guide: Guide,
    num_steps: int,
    num_samples: int,
    num_particles: int,
    batch_size: int | None,
) -> None:
    if isinstance(guide, str):
        known = guide in GUIDES
    elif isinstance(guide, type):
        known = issubclass(guide, torch.nn.Module)  # as Pyro's automatic guides are
    else:
        known = callable(guide)
    if not known:
        raise QueryError(
            f"guide must be one of {list(GUIDES)}, or a guide, found {shown(guide)}"
            f"{near_matches(guide, GUIDES) if isinstance(guide, str) else ''}"
        )
    whole = {
        "num_steps": (num_steps, 1),
        "num_samples": (num_samples, 2),
        "num_particles": (num_particles, 1),
    }
    check_whole(whole if batch_size is None else {**whole, "batch_size": (batch_size, 1)})
    check_steps(num_steps * num_particles)


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)


def _variance(values: tuple[float, ...]) -> float:
    mean = _mean(values)
    return sum((value - mean) ** 2 for value in values) / len(values)
