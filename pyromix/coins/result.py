"""What a fit of k coins is, and the units of flips it was fitted to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.coins.likelihood import Flips, log_joint
from pyromix.coins.moments import MomentSolution, as_float_tensor
from pyromix.data.marks import Marks, marks_of
from pyromix.data.weights import COUNTS, check_weights_are, doubts, row_weight
from pyromix.errors import DataError, DataRepairWarning, PositivityError, warn
from pyromix.model.status import Status

EXCESS_LEVEL = 0.01
"""Level of the one-sided test, by mu_2k, that k coins suffice."""

FEW_UNITS = 5
"""A coin that stands for fewer units than this is remarked on."""


@dataclass(frozen=True, eq=False)
class IIDDiagnostics:
    """How far the coins of a fit can be trusted.

    Attributes:
        moments: the moment stage: singular values against their noise floor, how far the moments
            had to be projected, the excess of mu_2k (nan when too few units have 2k flips).
        n_distinct: number of coins that are needed to reach the likelihood of the fit.
        gain: nats gained over the best fit found with one coin fewer; inf for k = 1.
        separation: smallest distance of two success probabilities; inf for k = 1.
        smallest_mass: smallest weight times the number of units.
        bound: log-likelihood that no mixture of any number of coins exceeds.
        bound_atoms: number of coins of the nonparametric maximum-likelihood mixture.
        start_log_likelihoods: where every start ended, the moment start first.
        n_best: how many starts reached the best optimum.
        n_iter: Newton steps.
    """

    moments: MomentSolution
    n_distinct: int
    gain: float
    separation: float
    smallest_mass: float
    bound: float
    bound_atoms: int
    start_log_likelihoods: tuple[float, ...]
    n_best: int
    n_iter: int

    @property
    def excess_p_value(self) -> float:
        """One-sided p-value of "k coins suffice" by mu_2k; nan when too few units have 2k flips."""
        z = float(self.moments.excess) / float(self.moments.excess_error)
        return 0.5 * math.erfc(z / math.sqrt(2))

    def notes(self, k: int, status: Status) -> list[str]:
        """What the numbers mean, in sentences; what the status rests on comes first."""
        lines, moments = [], self.moments
        if status is Status.MERGED:
            lines.append(
                f"n_sources={self.n_distinct} reaches the same likelihood; equal coins are repeated"
            )
        elif int(moments.status) == Status.RANK_TOO_SMALL:
            lines.append(
                f"one coin fewer fits within {self.gain:.3g} nats, and singular value {k} of the "
                f"moments, {float(moments.singular_values[-1]):.3g}, is not above its noise floor "
                f"{float(moments.floor):.3g}"
            )
        p = self.excess_p_value
        if math.isnan(p):
            lines.append(
                f"whether n_sources={k} suffices is not tested: too few units have {2 * k} flips"
            )
        elif p < EXCESS_LEVEL:
            lines.append(f"n_sources={k} is too small, by moment {2 * k}: p = {p:.2g}")
        if self.smallest_mass < FEW_UNITS:
            lines.append(f"the lightest coin stands for {self.smallest_mass:.2g} units")
        return lines


@dataclass(frozen=True, eq=False)
class IIDFit:
    """Coins fitted to flips: units draw one of k coins and flip it.

    Attributes:
        probs: success probabilities, ascending, ``(k,)``.
        weights: share of the units with each coin, ``(k,)``.
        log_likelihood: sum over units, binomial coefficients included.
        moments_start: probs and weights by moments alone, before refinement.
        status: OK; MERGED when fewer coins reach the same likelihood (equal coins are repeated);
            RANK_TOO_SMALL when neither the moments nor the likelihood show that many coins;
            NOT_CONVERGED.
        n_units: total weight of the units.
        diagnostics: what supports the status.
    """

    probs: Float[Tensor, " k"]
    weights: Float[Tensor, " k"]
    log_likelihood: float
    moments_start: tuple[Float[Tensor, " k"], Float[Tensor, " k"]]
    status: Status
    n_units: float
    diagnostics: IIDDiagnostics

    @property
    def n_parameters(self) -> int:
        """Free parameters: k probabilities and k - 1 weights."""
        return 2 * len(self.probs) - 1

    @property
    def aic(self) -> float:
        """Akaike's criterion; smaller is better."""
        return 2 * self.n_parameters - 2 * self.log_likelihood

    @property
    def bic(self) -> float:
        """Bayesian information criterion; smaller is better."""
        return self.n_parameters * math.log(self.n_units) - 2 * self.log_likelihood

    def predict_proba(self, successes: Any, trials: Any) -> Float[Tensor, "units k"]:
        """Probability of each coin for every unit.

        Args:
            successes: per unit.
            trials: per unit, or one number for all.

        Raises:
            DataError: as for ``fit_iid``.
            PositivityError: a unit is impossible under every coin.
        """
        h, n, mass = read_units(successes, trials, None)
        joint = log_joint(Flips(h, n, mass), self.probs.to(h.device), self.weights.to(h.device))
        impossible = (joint == -math.inf).all(-1)
        if bool(impossible.any()):
            i = int(impossible.nonzero()[0])
            raise PositivityError(
                "expected units that some coin can produce; found "
                f"{int(impossible.sum())} that none can, the first at {i}: successes {int(h[i])}, "
                f"trials {int(n[i])}; fit again with these units, or leave them out"
            )
        return joint.softmax(-1)

    def __str__(self) -> str:
        """Summarise as a few lines of text."""
        coins = "\n".join(
            f"  coin {j + 1}: P(success) = {p:.4f}, weight {w:.4f}"
            for j, (p, w) in enumerate(zip(self.probs.tolist(), self.weights.tolist(), strict=True))
        )
        found = self.diagnostics
        lines = [
            f"{len(self.probs)} coin(s) from {self.n_units:g} units: {self.status.name}",
            coins,
            f"log-likelihood {self.log_likelihood:.4f} ({found.n_best} of "
            f"{len(found.start_log_likelihoods)} starts), no mixture exceeds {found.bound:.4f}",
            *(f"- {note}" for note in found.notes(len(self.probs), self.status)),
        ]
        return "\n".join(lines)


def _seen(
    h: Float[Tensor, " units"], n: Float[Tensor, " units"], marks: Marks
) -> Bool[Tensor, " units"]:
    """Which units have numbers; all where no mark is named, since NaN is then an error.

    Raises:
        DataError: none has.
    """
    seen = torch.ones_like(h, dtype=torch.bool)
    if not marks:
        return seen
    for name, values in (("successes", h), ("trials", n)):
        hits = [v for v in values.unique().tolist() if marks.hit(name, v)]
        found = torch.tensor(hits, dtype=values.dtype, device=values.device)
        seen &= ~(values.isnan() | torch.isin(values, found))
    if left_out := int((~seen).sum()):
        sentence = f"{left_out} of {len(h)} units lack successes or trials, and were left out."
        if left_out == len(h):
            raise DataError(f"no unit is left: {sentence}")
        warn(sentence, DataRepairWarning)
    return seen


def read_units(
    successes: Any,
    trials: Any,
    sample_weight: Any,
    weights_are: str = COUNTS,
    missing_values: Any = None,
) -> tuple[Int[Tensor, " units"], Int[Tensor, " units"], Float[Tensor, " units"]]:
    """Read and check units of flips; tensors keep their device.

    Args:
        successes: h per unit.
        trials: n per unit, or one number for all.
        sample_weight: per unit, or None for one each.
        weights_are: what they are, see ``fit_iid``; what is doubtful is warned of.
        missing_values: values of units that are left out, see ``fit_iid``; that is warned of.

    Returns:
        Successes, trials and weights per unit, the last in units.

    Raises:
        DataError: counts are not integers with 0 <= h <= n, lengths differ, or weights are
            negative, not finite or all zero, or ``weights_are`` is set without weights.
        QueryError: ``weights_are`` is unknown.
    """
    check_weights_are(weights_are, sample_weight)
    h = as_float_tensor(successes, "successes")
    n = as_float_tensor(trials, "trials").to(h.device)
    if h.ndim != 1 or n.ndim > 1 or (n.ndim == 1 and n.shape != h.shape) or not h.numel():
        raise DataError(
            "expected one number of successes per unit, and as many trials or a single number; "
            f"found shapes {tuple(h.shape)} and {tuple(n.shape)}"
        )
    n = n.expand(h.shape)
    seen = _seen(h, n, marks_of(missing_values))
    wrong = ~((h >= 0) & (h <= n) & (h == h.round()) & (n == n.round()) & n.isfinite())
    wrong &= seen
    if bool(wrong.any()):
        i = int(wrong.nonzero()[0])
        raise DataError(
            "expected integers 0 <= successes <= trials; found "
            f"{int(wrong.sum())} units that are not, the first at {i}: successes {float(h[i]):g}, "
            f"trials {float(n[i]):g}; drop or correct them"
        )
    if sample_weight is None:
        mass = torch.ones_like(h[seen])
    else:
        mass = as_float_tensor(sample_weight, "sample_weight").to(h.device)
        if mass.shape != h.shape:
            raise DataError(
                f"expected one weight per unit, {len(h)}; found shape {tuple(mass.shape)}"
            )
        mass = mass[seen]
        wrong = ~(mass.isfinite() & (mass >= 0))
        if bool(wrong.any()) or not bool((mass > 0).any()):
            raise DataError(
                f"weights must be finite, >= 0 and not all zero; found {int(wrong.sum())} bad "
                f"ones and total {float(mass.nan_to_num(0.0).sum()):g}"
            )
        for sentence in doubts(mass, weights_are):
            warn(sentence, DataRepairWarning)
        mass = mass / row_weight(mass, weights_are)
    return h[seen].long(), n[seen].long(), mass
