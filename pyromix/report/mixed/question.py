"""The effect that a report on a fit with numbers is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pyromix.answers.mixed.effect import contrast_of, roles_of
from pyromix.answers.mixed.question import Setting, setting_in_words
from pyromix.answers.mixed.simulate import drawn
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.model.kind import Kind
from pyromix.report.facts.question import named_pair

N_DRAWN = 20_000
"""Rows drawn to see where a treatment lies."""


@dataclass(frozen=True)
class MixedQuestion:
    """Which effect.

    Attributes:
        treatment: the variable that is set.
        outcome: the variable looked at.
        contrast: from and to: numbers in the units of the table, or states.
        settings: the same in words, ``"dose=10"``.
        outcome_state: as in ``effect``.
    """

    treatment: str
    outcome: str
    contrast: tuple[Any, Any]
    settings: tuple[str, str]
    outcome_state: Any = ...

    def __str__(self) -> str:
        """The question in one line."""
        one, other = self.settings
        return f"{one} -> {other} on {self.outcome}"


def find_mixed_question(
    fit: MixedRecord,
    treatment: str | None,
    outcome: str | None,
    contrast: Sequence[Any] | None = None,
    outcome_state: Any = ...,
) -> MixedQuestion | None:
    """The effect that is asked for, or that the model declares; None where neither.

    Args:
        fit: whose model has roles.
        treatment: by default the model's one exposure.
        outcome: by default the model's one outcome.
        contrast: ``(from, to)``; of a number by default the quarters that the fit puts it in, of
            states the first and the last.
        outcome_state: as in ``effect``.

    Raises:
        QueryError: a name, number or state is unknown, both are one variable, or only one is to be
            had.
    """
    spec = fit.spec
    pair = named_pair(spec.binned, treatment, outcome)
    if pair is None:
        return None
    one, other = pair
    x, _ = roles_of(spec, one, other, None)
    ends = _ends(fit, x) if contrast is None else contrast
    settings = contrast_of(spec, x, ends)
    told = tuple(_told(fit, x, at) for at in settings)
    words = tuple(setting_in_words(spec, x, at) for at in settings)
    return MixedQuestion(one, other, (told[0], told[1]), (words[0], words[1]), outcome_state)


def _ends(fit: MixedRecord, vertex: int) -> tuple[Any, Any]:
    """Quarters of a number in round figures, first and last state."""
    spec = fit.spec
    if not spec.kind(vertex).numeric:
        states = spec.binned.states_of(vertex)
        return states[0], states[-1]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        own = drawn(fit.mixture, N_DRAWN, {}, generator)[0][vertex]
    raw = fit.mixture.units[vertex].outward(own.cpu()).sort().values
    low, high = (float(f"{float(raw[int(q * (len(raw) - 1))]):.3g}") for q in (0.25, 0.75))
    if spec.kind(vertex) is Kind.COUNT:
        low, high = round(low), round(high)
    return (low, high) if low < high else (float(raw[0]), float(raw[-1]))


def _told(fit: MixedRecord, vertex: int, setting: Setting) -> Any:
    if fit.spec.kind(vertex).numeric:
        return float(setting)
    return fit.spec.binned.states_of(vertex)[int(setting)]
