"""A rehearsal: plant what was found, simulate tables of the same size, and see what comes back.

It says whether a network like the fitted one, with rows like these, would be recovered. It does not
say that the fitted one is right.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyromix.answers import ask
from pyromix.answers.effect import Effect
from pyromix.data.counts import Counts
from pyromix.errors import PositivityError, PyromixWarning
from pyromix.exact.elimination import marginal
from pyromix.exact.sampling import sample
from pyromix.fitting.engine import fit as fit_model
from pyromix.fitting.record import Fit
from pyromix.model.arguments import whole
from pyromix.model.match import match_sources
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import DoQuery
from pyromix.model.randomness import RandomState, torch_generator
from pyromix.model.spec import SOURCE
from pyromix.model.ties import ROUNDING, first_largest

N_TIMES = 10
"""Tables simulated unless told."""


@dataclass(frozen=True)
class Rehearsal:
    """What came back of a planted network.

    Attributes:
        asked: which figure, in words.
        planted: the figure in the fitted network.
        recovered: the same in every refit.
        naive: what the simulated tables say without a source; empty where no effect was asked for.
        covered: how many 95% intervals held the planted figure; -1 where there are none.
        margin_errors: of every refit the largest error of a within-source margin, in total
            variation, sources matched.
        n_rows: of every table.
    """

    asked: str
    planted: float
    recovered: tuple[float, ...]
    naive: tuple[float, ...]
    covered: int
    margin_errors: tuple[float, ...]
    n_rows: int

    def summary(self) -> dict[str, Any]:
        """Plain numbers and texts, ready for JSON."""
        return {
            "asked": self.asked,
            "planted": self.planted,
            "recovered": list(self.recovered),
            "naive": list(self.naive),
            "covered": self.covered,
            "margin_errors": list(self.margin_errors),
            "n_rows": self.n_rows,
        }

    def __str__(self) -> str:
        """Two or three lines."""
        n = len(self.margin_errors)
        lines = [f"rehearsal: {n} tables of {self.n_rows:,} rows simulated from the fitted network"]
        if self.recovered:
            found = np.array(self.recovered)
            right = int((np.sign(found) == np.sign(self.planted)).sum())
            lines.append(
                f"{self.asked}: planted {self.planted:+.3f}, recovered {found.mean():+.3f} on "
                f"average ({found.min():+.3f} to {found.max():+.3f}), the sign right in {right} of "
                f"{len(found)}; naive says {np.mean(self.naive):+.3f}"
            )
            if self.covered >= 0:
                lines.append(
                    f"95% intervals held the planted effect in {self.covered} of {len(found)}"
                )
        worst = np.array(self.margin_errors)
        lines.append(
            f"largest error of a share within a source: {worst.mean():.3f} on average, "
            f"{worst.max():.3f} at worst"
        )
        return "\n  ".join(lines)


def rehearse(
    fit: Fit,
    treatment: str | None = None,
    outcome: str | None = None,
    *,
    n_times: int = N_TIMES,
    random_state: RandomState = 0,
    **options: Any,
) -> Rehearsal:
    """Simulate from a fit as many rows as it saw, fit again, and compare.

    Args:
        fit: to a table.
        treatment: with ``outcome``, the effect to look at; its first state against its last.
        outcome: as ``treatment``.
        n_times: how often.
        random_state: of the tables and of the fits.
        **options: of ``fit``.

    Raises:
        QueryError: a name is unknown, or ``n_times`` is no positive integer.
        DataError: the fit is one to a population.
    """
    n_times = whole("n_times", n_times, 1)
    n_rows = max(round(fit.counts.n_rows), 1)
    generator = torch_generator(random_state)
    ask = _asker(fit, treatment, outcome)
    planted = ask(fit) if ask else None
    state = _headline(planted)
    recovered, naive, errors, covered = [], [], [], -1
    with warnings.catch_warnings():
        # What a refit says of its table is what the rehearsal counts.
        warnings.simplefilter("ignore", PyromixWarning)
        for _ in range(n_times):
            rows = _with_gaps(sample(fit.mixture, n_rows, generator)[0], fit.counts, generator)
            counts = Counts.from_codes(fit.spec, rows)
            again = fit_model(
                fit.spec, counts, random_state=generator, **{"show_progress": False, **options}
            )
            errors.append(_margin_error(fit.mixture, again.mixture))
            if not ask or planted is None:
                continue
            try:
                found = ask(again)
            except PositivityError:  # an arm that this table has no rows for
                continue
            recovered.append(float(found.do.values[state]))
            naive.append(float(found.naive.values[state]))
            if found.do.has_interval:
                low, high = found.interval()
                held = low[state] <= planted.do.values[state] <= high[state]
                covered = max(covered, 0) + int(held)
    return Rehearsal(
        _words(planted, state),
        float(planted.do.values[state]) if planted else 0.0,
        tuple(recovered),
        tuple(naive),
        covered,
        tuple(errors),
        n_rows,
    )


def _with_gaps(rows: Tensor, counts: Counts, generator: torch.Generator) -> Tensor:
    """Leave out the cells that rows of the table, drawn by weight, lack."""
    if counts.complete:
        return rows
    weights = counts.weights.to(generator.device)
    like = torch.multinomial(weights, len(rows), replacement=True, generator=generator)
    gaps = counts.rows[like.to(counts.device)] < 0
    return torch.where(gaps.to(rows.device), rows.new_tensor(-1), rows)


def _asker(fit: Fit, treatment: str | None, outcome: str | None) -> Callable[[Fit], Effect] | None:
    """The question that every refit is asked; None for none."""
    if treatment is None or outcome is None:
        return None
    states = fit.spec.states_of(fit.spec.vertex(treatment))
    pair = (states[0], states[-1])
    return lambda found: ask.effect(found, treatment, outcome, contrast=pair, require="none")


def _headline(effect: Effect | None) -> int:
    """The outcome state looked at: that of the effect, or the one that moves most."""
    if effect is None:
        return 0
    if effect.headline >= 0:
        return effect.headline
    return first_largest(abs(effect.do.values).tolist(), ROUNDING)


def _words(effect: Effect | None, state: int) -> str:
    if effect is None:
        return ""
    spec = effect.spec
    one, other = (spec.states_of(effect.treatment)[s] for s in effect.contrast)
    asked = f"P({spec.name(effect.outcome)}={spec.states_of(effect.outcome)[state]})"
    return f"{asked}, do({spec.name(effect.treatment)}) {other} less {one}"


def _margin_error(truth: BayesNetMixture, found: BayesNetMixture) -> float:
    """Largest total variation of a within-source margin, sources matched."""
    found = found.relabel(match_sources(truth, found))
    worst = 0.0
    for v in range(truth.spec.n_variables):
        left, right = (
            joint / joint.sum(-1, keepdim=True)
            for joint in (marginal(m, DoQuery(outcomes=(SOURCE, v))) for m in (truth, found))
        )
        worst = max(worst, float((left - right).abs().sum(-1).max() / 2))
    return worst
