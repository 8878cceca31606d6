"""A fit asked one question: what gives its answers intervals by likelihood.

Which limit c the profile likelihood is cut at depends on what is known (THEORY section 14):

    the verdict is graphical or local   chi-square(1) quantile, the prior's penalty kept;
    few rows behind what is asked       -2 log(alpha / 2), no prior: by Chernoff's bound no
                                        binomial count is missed more often than alpha, and for
                                        n of n this is the Clopper-Pearson limit;
    weak                                what k sources gain over the model in which views without
                                        signal are silent (``excess``), no prior: it would be the
                                        prior that answers;
    not identified, or not checked      chi-square(1) quantile, no prior: T is zero on the whole
                                        set of answers that fit as well (14.6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.answers.delta import chi_square_limit
from pyromix.answers.excess import Excess, Reduced, excess, fit_reduced
from pyromix.answers.profile import Reach, Start, Target, profile_ends, round_maps
from pyromix.data.counts import Counts
from pyromix.estimate.em import climb_replicates
from pyromix.estimate.starts import batch_of, inside_by_rows
from pyromix.estimate.surface import Surface
from pyromix.exact.information import observed_information
from pyromix.fitting.record import Fit
from pyromix.identify.reduced import reductions
from pyromix.identify.signal import SIGNAL_LEVEL
from pyromix.identify.verdict import Verdict
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.query import Certainty
from pyromix.model.spec import MixtureSpec

MAX_BASINS = 8
"""Basins that searches begin from."""

OWN_MAPS = 200
"""Parameters up to which every basin gets coordinates of its own."""

INSIDE = 0.02
"""Rows of the uniform distribution that a start is mixed with per CPT row, for a way out of 0."""

SETTLED = 1e-4
"""Nats that a step of EM from a basin must gain."""


class Limit(StrEnum):
    """Where the profile likelihood is cut."""

    ORDINARY = "ordinary"
    FEW_ROWS = "few rows"
    WEAK = "weak"
    SET = "set"


@dataclass(frozen=True, eq=False)
class ReducedModels:
    """Reduced models of one fit, each fitted and simulated once.

    Attributes:
        fitted: per set of candidates the one that fits best.
        laws: what k sources gain over it.
    """

    fitted: dict[tuple[MixtureSpec, ...], Reduced] = field(default_factory=dict)
    laws: dict[MixtureSpec, Excess] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Inquiry:
    """A fit, and a verdict on one question.

    Attributes:
        fit: with its table.
        verdict: on the question, after the table was heard.
        models: reduced models of the fit, shared by its questions.
        searches: whether searches can be afforded; else the likelihood is only looked at.
        further: mixtures that fit about as well as the best, from elsewhere; None for none.
    """

    fit: Fit
    verdict: Verdict
    models: ReducedModels = field(default_factory=ReducedModels)
    searches: bool = True
    further: BayesNetMixture | None = None

    @property
    def limit(self) -> Limit:
        """Where the verdict says to cut."""
        if self.verdict.weak:
            return Limit.WEAK
        known = self.verdict.structural.at_least(Certainty.LOCAL)
        return Limit.ORDINARY if known else Limit.SET

    @cached_property
    def surface(self) -> Surface:
        """The log-likelihood of the table, with the prior of the estimate."""
        return Surface.of(self.fit.spec, self.counts, self.fit.prior)

    def ends(
        self,
        target: Target,
        bounds: tuple[float, float],
        error: float,
        level: float,
        limit: Limit,
    ) -> Reach:
        """Least and largest answer.

        Args:
            target: the answer of a mixture as one number.
            bounds: its range.
            error: its standard error, if only roughly.
            level: of the interval.
            limit: where to cut.
        """
        rough = error if math.isfinite(error) else (bounds[1] - bounds[0]) / 4
        if limit in (Limit.WEAK, Limit.SET):
            return self._weak_ends(target, bounds, rough, level)
        few = limit is Limit.FEW_ROWS
        # The estimate of moments alone is no maximum to start from.
        climbed = few or self.fit.course.moments_alone or self._drowned
        surface, start, best = self._plain_start if climbed else self._start
        cut = -2 * math.log((1 - level) / 2) if few else chi_square_limit(level)
        return profile_ends(
            surface, target, start, limit=cut, bounds=bounds, error=rough, best=best, explore=few
        )

    @property
    def _drowned(self) -> bool:
        """Whether a prior that was learned from the table says more of a variable than the table.

        Rows of all sources then hardly differ, and the place they are drawn to, learned from the
        same rows, is as uncertain as these: as a penalty it would stand still.
        """
        prior, total = self.fit.prior, self.fit.n_rows
        sizes = (cpt[..., 0].numel() / self.fit.spec.n_sources for cpt in prior.cpts)
        return any(a * n > total for a, n in zip(prior.learned, sizes, strict=False))

    # -- where the table suffices --------------------------------------------------------------

    @property
    def counts(self) -> Counts:
        """The table, where the tables of the mixture are."""
        return self.fit.counts.to(self.fit.mixture.device)

    @cached_property
    def _start(self) -> tuple[Surface, Start, float]:
        """The estimate, with its prior."""
        fit, surface = self.fit, self.surface
        odds = surface.odds(batch_of(fit.mixture))
        best = float(surface(odds)[0][0])
        return surface, Start(odds, self._map(fit.mixture)[None]), best

    @cached_property
    def _plain_start(self) -> tuple[Surface, Start, float]:
        """The estimate, and where likelihood alone leads from it."""
        surface, climbed, values = self.climbed(batch_of(self.fit.mixture))
        odds = surface.odds(inside_by_rows(climbed, self.fit.row_masses, 25 * INSIDE))
        return surface, Start(odds, self._map(self.fit.mixture)[None]), float(values.max())

    def climbed(
        self, starts: BayesNetMixture
    ) -> tuple[Surface, BayesNetMixture, Float[Tensor, " n"]]:
        """The likelihood alone, where EM on it ends, and how well that fits."""
        spec, counts = self.fit.spec, self.counts
        none = PseudoCounts.of(spec, None, counts.device)
        starts = inside_by_rows(starts, self.fit.row_masses, INSIDE)
        weights = counts.weights[:, None].expand(-1, starts.batch_shape[0])
        found = climb_replicates(
            counts,
            starts,
            weights,
            prior=none,
            max_iter=1000,
            tol=SETTLED / float(counts.weights.sum()),
        )
        return Surface.of(spec, counts, none), found.mixtures, found.objectives

    def _map(self, mixture: BayesNetMixture) -> Float[Tensor, "p p"]:
        """Coordinates in which the log-likelihood is about round near a mixture."""
        if mixture is self.fit.mixture:
            found = self.fit.information
        else:
            none = PseudoCounts.of(mixture.spec, None, mixture.device)
            found = observed_information(mixture, self.counts.rows, self.counts.weights, none)
        return round_maps(found.values, found.basis)

    # -- where it does not ---------------------------------------------------------------------

    def _weak_ends(
        self, target: Target, bounds: tuple[float, float], error: float, level: float
    ) -> Reach:
        """All basins within the limit for weak answers, and what the reduced model says."""
        surface, mixtures, values = self._basins
        best = float(values.max())
        ordinary = chi_square_limit(level)
        cut = max(ordinary, 0.0 if self.excess is None else self.excess.limit(level))
        with torch.no_grad():
            answers = target(mixtures)
        chosen = _chosen(answers, 2 * (best - values), cut)
        start = self._started(surface, mixtures[chosen])
        found = profile_ends(
            surface,
            target,
            start,
            limit=cut,
            bounds=bounds,
            error=error,
            best=best,
            explore=True,
        )
        if self.reduced is None or 2 * (best - self.reduced.log_likelihood) <= cut:
            return found
        if self.excess is None or self.excess.p_value <= SIGNAL_LEVEL:
            return found
        # The reduced model lies outside the limit: what it says by itself joins.
        none = PseudoCounts.of(self.reduced.spec, None, surface.em.index.device)
        alone = Surface.of(self.reduced.spec, self.counts, none)
        own = self.reduced.ends.mixtures
        with torch.no_grad():
            answers = target(own)
        top = self.reduced.log_likelihood
        chosen = _chosen(answers, 2 * (top - self.reduced.ends.objectives), ordinary)
        more = profile_ends(
            alone,
            target,
            self._started(alone, own[chosen]),
            limit=ordinary,
            bounds=bounds,
            error=error,
            best=top,
            explore=True,
        )
        return found.joined(more)

    def _started(self, surface: Surface, mixtures: BayesNetMixture) -> Start:
        """Searches from basins, a little inside."""
        n = mixtures.batch_shape[0]
        masses = self.fit.row_masses
        inner = inside_by_rows(mixtures, masses, INSIDE)
        shared = self.fit.n_parameters > OWN_MAPS or surface.em.spec != self.fit.spec
        if not shared:
            maps = torch.stack([self._map(inner[i]) for i in range(n)])
        else:
            maps = self._map(inner[0])[None]
        return Start(surface.odds(inner), maps)

    @cached_property
    def _basins(self) -> tuple[Surface, BayesNetMixture, Float[Tensor, " n"]]:
        """The likelihood alone, what fits about as well as the best, and how well."""
        fit, reduced = self.fit, self.reduced
        starts = [batch_of(fit.mixture)]
        if fit.ends is not None:
            starts.append(fit.ends.mixtures)
        if self.further is not None:
            starts.append(self.further)
        surface, climbed, values = self.climbed(batch_of(*starts))
        if reduced is None:
            return surface, climbed, values
        silent = reduced.ends.mixtures
        as_full = BayesNetMixture(fit.spec, silent.weights, silent.cpts)
        _, onwards, further = self.climbed(as_full)
        return (
            surface,
            batch_of(climbed, onwards, as_full),
            torch.cat([values, further, reduced.ends.objectives]),
        )

    @property
    def reduced(self) -> Reduced | None:
        """The model in which views without signal are silent; None where there is none."""
        specs = self._specs
        if specs and specs not in self.models.fitted:
            self.models.fitted[specs] = fit_reduced(specs, self.counts)
        return self.models.fitted[specs] if specs else None

    @cached_property
    def _specs(self) -> tuple[MixtureSpec, ...]:
        if self.limit is Limit.SET:
            return ()
        return reductions(self.fit.spec, self.verdict.queries, self.fit.signal)

    @property
    def excess(self) -> Excess | None:
        """What k sources gain over the reduced model, where that one holds."""
        reduced = self.reduced
        if reduced is None:
            return None
        laws = self.models.laws
        if reduced.spec not in laws:
            _, _, values = self._basins
            laws[reduced.spec] = excess(reduced, self.fit.spec, self.counts, float(values.max()))
        return laws[reduced.spec]


def _chosen(answers: Tensor, losses: Tensor, cut: float) -> Tensor:
    """Basins to search from: the best, then those whose answers lie farthest from the chosen."""
    left = (losses <= cut).nonzero().flatten()
    picked = [int(losses.argmin())]
    while len(picked) < MAX_BASINS:
        gaps = (answers[left, None] - answers[picked]).abs().amin(1)
        if not len(left) or float(gaps.max()) < 0.01:
            break
        picked.append(int(left[gaps.argmax()]))
    return torch.tensor(picked, device=answers.device)
