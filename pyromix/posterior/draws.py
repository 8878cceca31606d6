"""Draws of several chains under one set of labels, and whether they are to be relied on.

The posterior does not know the labels of the sources: every permutation is as likely. A chain may
exchange labels on its way, and two chains may carry different ones. So every draw is brought to the
labels of a reference by itself, and only then is anything averaged or compared. Draws that had to
be brought there, and those that could nearly as well have been matched otherwise, are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.errors import QueryError
from pyromix.model.match import match_costs, match_sources
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import Note, NoteKind
from pyromix.model.parameters import ParameterAxis
from pyromix.model.spec import MixtureSpec

AMBIGUOUS = 0.5
"""A matching is ambiguous when it costs more than this share of the runner-up."""

CONVERGED = 1.05
"""Largest split R-hat that is not warned of."""

FEW = 100.0
"""Effective draws below which the ends of an interval are mostly chance."""

LEAST_DRAWS = 4
"""Draws of a chain from which half chains have a variance."""

STATISTICS_AT_ONCE = 2**22
"""Draws times parameters whose statistics are taken together."""


@dataclass(frozen=True, eq=False)
class Labels:
    """What brought draws of several chains to the labels of a reference.

    Attributes:
        order: what brought each draw there from the labels of its own chain.
        ambiguous: whose sources could nearly as well be matched otherwise.
    """

    order: Int[Tensor, "chains draws k"]
    ambiguous: Bool[Tensor, "chains draws"]

    @property
    def switched(self) -> Bool[Tensor, "chains draws"]:
        """Which draws had other labels in their own chain than the reference has."""
        identity = torch.arange(self.order.shape[-1], device=self.order.device)
        return (self.order != identity).any(-1)

    @property
    def n_exchanges(self) -> int:
        """How often labels changed from one draw of a chain to the next."""
        return int((self.order[:, 1:] != self.order[:, :-1]).any(-1).sum())


@dataclass(frozen=True, eq=False)
class Posterior(Labels):
    """Draws of several chains, labels those of a reference.

    Attributes:
        order: as in ``Labels``.
        ambiguous: as in ``Labels``.
        mixtures: batch shape ``(chains, draws)``.
        log_likelihood: of every draw, sum over rows by weight.
        divergences: transitions whose energy went astray, in all chains.
    """

    mixtures: BayesNetMixture
    log_likelihood: Float[Tensor, "chains draws"]
    divergences: int = 0

    @property
    def flat(self) -> BayesNetMixture:
        """All draws along one axis, ``(chains * draws,)``, chain after chain."""
        return self.mixtures.map_tables(lambda table: table.flatten(0, 1))


@dataclass(frozen=True)
class SamplingReport:
    """Whether draws are to be relied on; statistics are those of relabelled draws.

    Attributes:
        method: what drew them.
        n_chains: number of chains.
        n_draws: draws of each chain that were kept.
        r_hat: largest split R-hat over all free probabilities and the log-likelihood.
        r_hat_of: where it is.
        effective: smallest effective number of draws over the same, all chains together.
        effective_of: where it is.
        n_switched: draws that had other labels in their own chain than the estimate's.
        n_exchanges: how often labels changed from one draw of a chain to the next.
        n_ambiguous: draws whose sources could nearly as well be matched otherwise.
        divergences: transitions whose energy went astray.
    """

    method: str
    n_chains: int
    n_draws: int
    r_hat: float
    r_hat_of: str
    effective: float
    effective_of: str
    n_switched: int
    n_exchanges: int
    n_ambiguous: int
    divergences: int

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.method}: {self.n_chains} x {self.n_draws} draws; R-hat at most "
            f"{self.r_hat:.3f} ({self.r_hat_of}); effective draws at least {self.effective:.0f} "
            f"({self.effective_of}); {self.n_switched} with exchanged labels, "
            f"{self.n_ambiguous} ambiguous, {self.divergences} divergences"
        )


def matched(
    reference: BayesNetMixture,
    mixtures: BayesNetMixture,
    row_masses: Sequence[Float[Tensor, ...]] | None = None,
) -> tuple[BayesNetMixture, Int[Tensor, "*batch k"], Bool[Tensor, "*batch"]]:
    """Bring mixtures to the labels of a reference.

    Args:
        reference: an estimate, without batch axes.
        mixtures: any batch shape.
        row_masses: how often each source of the reference uses each CPT row, as for
            ``match_sources``: rows that no data reached then do not vote.

    Returns:
        The relabelled mixtures, the order that brought each there, and which could nearly as well
        be matched otherwise.

    Raises:
        SpecError: the mixtures differ from the reference in structure or k.
    """
    order = match_sources(reference, mixtures, row_masses=row_masses)
    best, second = match_costs(reference, mixtures, row_masses=row_masses)
    return mixtures.relabel(order), order, best > AMBIGUOUS * second


def relabelled(
    reference: BayesNetMixture,
    mixtures: BayesNetMixture,
    log_likelihood: Float[Tensor, "chains draws"],
    *,
    row_masses: Sequence[Float[Tensor, ...]] | None = None,
    divergences: int = 0,
) -> Posterior:
    """Bring every draw to the labels of a reference.

    Args:
        reference: an estimate, without batch axes.
        mixtures: the draws as they were drawn, batch shape ``(chains, draws)``.
        log_likelihood: of every draw.
        row_masses: as for ``matched``.
        divergences: of all chains.

    Raises:
        SpecError: the draws differ from the reference in structure or k.
    """
    tables, order, ambiguous = matched(reference, mixtures, row_masses)
    return Posterior(order, ambiguous, tables, log_likelihood, divergences)


def assessed(posterior: Posterior, method: str) -> SamplingReport:
    """Take split R-hat and effective numbers of draws of every free probability.

    Args:
        posterior: the draws.
        method: what drew them.

    Raises:
        QueryError: fewer draws than ``LEAST_DRAWS``.
    """
    spec = posterior.mixtures.spec
    return assessed_series(
        method,
        _series(posterior),
        lambda column: _column(spec, column),
        posterior,
        posterior.divergences,
    )


def assessed_series(
    method: str,
    series: Float[Tensor, "chains draws columns"],
    name: Callable[[int], str],
    labels: Labels,
    divergences: int = 0,
) -> SamplingReport:
    """Take split R-hat and effective numbers of draws of some numbers.

    Args:
        method: what drew them.
        series: the numbers of every draw, relabelled.
        name: of a column, for people.
        labels: of the draws.
        divergences: of all chains.

    Raises:
        QueryError: fewer draws than ``LEAST_DRAWS``.
    """
    n_chains, n_draws, _ = series.shape
    if n_draws < LEAST_DRAWS:
        raise QueryError(
            f"expected at least {LEAST_DRAWS} draws of each chain, found {n_draws}; R-hat compares "
            "the halves of every chain"
        )
    r_hat, effective = _statistics(series)
    worst, least = int(r_hat.argmax()), int(effective.argmin())
    return SamplingReport(
        method=method,
        n_chains=n_chains,
        n_draws=n_draws,
        r_hat=float(r_hat[worst]),
        r_hat_of=name(worst),
        effective=float(effective[least]),
        effective_of=name(least),
        n_switched=int(labels.switched.sum()),
        n_exchanges=labels.n_exchanges,
        n_ambiguous=int(labels.ambiguous.sum()),
        divergences=divergences,
    )


def remarks(report: SamplingReport) -> list[Note]:
    """Return what a reader of intervals from these draws must know."""
    said: list[Note] = []
    total = report.n_chains * report.n_draws
    if report.r_hat > CONVERGED:
        said.append(
            Note(
                NoteKind.SAMPLING,
                f"{report.method}: the chains disagree: split R-hat is {report.r_hat:.2f} at "
                f"{report.r_hat_of}, expected at most {CONVERGED}. Raise warmup_steps and "
                "num_samples; where it stays, the posterior has several modes: n_sources may be "
                "too large",
            )
        )
    elif report.effective < min(FEW, total / 4):
        said.append(
            Note(
                NoteKind.SAMPLING,
                f"{report.method}: {total} draws are worth {report.effective:.0f} independent "
                f"ones at {report.effective_of}, expected {min(FEW, total / 4):.0f} or more, so "
                "the ends of intervals are mostly chance. Raise num_samples",
            )
        )
    if report.divergences:
        said.append(
            Note(
                NoteKind.SAMPLING,
                f"{report.method}: {report.divergences} of {total} transitions diverged, so parts "
                "of the posterior may be missing. Raise target_accept_prob (0.95), set a prior, "
                'or take method="gibbs"',
            )
        )
    if report.n_switched:
        said.append(
            Note(
                NoteKind.DRAWS,
                f"{report.method}: in {report.n_switched} of {total} draws the sources had "
                f"exchanged labels ({report.n_exchanges} exchanges on the way); each draw was "
                "relabelled by itself before anything was averaged. Sources hardly differ, or "
                "n_sources is too large: try fewer",
            )
        )
    if report.n_ambiguous:
        said.append(
            Note(
                NoteKind.DRAWS,
                f"{report.method}: the sources of {report.n_ambiguous} of {total} draws could "
                "nearly as well be matched otherwise with those of the fit: answers about a "
                "single source are doubtful, those about P(V) and its interventions are not",
            )
        )
    return said


def _series(posterior: Posterior) -> Float[Tensor, "chains draws columns"]:
    """Log-likelihood, then the free probabilities."""
    tables = posterior.mixtures
    free = ParameterAxis(tables.spec).free(tables.tables)
    return torch.cat([posterior.log_likelihood.unsqueeze(-1), free], -1)


def _column(spec: MixtureSpec, column: int) -> str:
    """What a column of ``_series`` holds."""
    return ParameterAxis(spec).name(column - 1) if column else "the log-likelihood"


def _statistics(
    series: Float[Tensor, "chains draws p"],
) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
    """Split R-hat and effective number of draws of every column.

    A column that never moved, such as a probability of zero, has neither; it counts as settled.
    """
    from pyro.ops.stats import effective_sample_size, split_gelman_rubin

    total, r_hat, effective = series.shape[0] * series.shape[1], [], []
    for some in series.split(max(1, STATISTICS_AT_ONCE // total), -1):
        still = some.flatten(0, 1).std(0) <= 1e-12 * (1 + some.abs().amax((0, 1)))
        ratio = torch.ones_like(some[0, 0])
        number = torch.full_like(ratio, float(total))
        if not bool(still.all()):
            # One column that never moved makes all others nan in Pyro's running minimum.
            moving = some[..., ~still]
            ratio[~still] = split_gelman_rubin(moving, chain_dim=0, sample_dim=1)
            found = effective_sample_size(moving, chain_dim=0, sample_dim=1)
            # Draws that undo each other give more than there are, or a negative number.
            number[~still] = torch.where((found > 0) & (found < total), found, float(total))
        r_hat.append(ratio)
        effective.append(number)
    return torch.cat(r_hat), torch.cat(effective)
