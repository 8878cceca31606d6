"""What sources look like: margins within each, and the tables in which they differ most."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.answers import ask
from pyromix.exact.elimination import marginal
from pyromix.fitting.record import Fit
from pyromix.model.query import DoQuery
from pyromix.model.spec import SOURCE
from pyromix.model.ties import ROUNDING, first_largest, ordered


@dataclass(frozen=True, eq=False)
class Margin:
    """P(variable | U = u) for every source.

    Attributes:
        vertex: the variable.
        values: ``(k, card)``.
        interval: lower and upper ends of 95% intervals, each of the same shape; None where there
            are none.
        distance: total variation between the two sources that differ most.
    """

    vertex: int
    values: np.ndarray
    interval: tuple[np.ndarray, np.ndarray] | None
    distance: float


_MARGINS: WeakKeyDictionary[Fit, dict[int, Margin]] = WeakKeyDictionary()
"""Per fit the margins whose intervals were worked out: letter, section and plots show the same."""


@dataclass(frozen=True)
class TableDifference:
    """How much the CPT of a variable differs between sources.

    Attributes:
        vertex: the variable.
        mean: total variation between the rows of two sources, averaged over the rows as the data
            use them; of the pair of sources that differs most.
        largest: of any row that data reached in both sources.
        where: states of the parents in that row.
    """

    vertex: int
    mean: float
    largest: float
    where: tuple[int, ...]


def margins(fit: Fit, limit: int) -> tuple[Margin, ...]:
    """Within-source margins of the variables that differ most, those first.

    Args:
        fit: with draws or an information matrix there are intervals.
        limit: how many variables.
    """
    spec = fit.spec
    plain = []
    for v in range(spec.n_variables):
        joint = marginal(fit.mixture, DoQuery(outcomes=(SOURCE, v)))
        values = joint / joint.sum(-1, keepdim=True)
        plain.append((_distance(values), v, values))
    order = ordered([[-distance] for distance, _, _ in plain], ROUNDING)
    known = _MARGINS.setdefault(fit, {})
    chosen = [plain[i] for i in order[:limit]]
    for distance, v, values in chosen:
        if v not in known:
            known[v] = _with_interval(fit, v, values, distance)
    return tuple(known[v] for _, v, _ in chosen)


def table_differences(fit: Fit) -> tuple[TableDifference, ...]:
    """Every variable's CPT, those that differ most between sources first."""
    spec, found = fit.spec, []
    for v, (cpt, masses, reached) in enumerate(
        zip(fit.mixture.cpts, fit.row_masses, fit.reached, strict=True)
    ):
        if v in spec.uninfluenced:
            found.append(TableDifference(v, 0.0, 0.0, ()))
            continue
        best = TableDifference(v, 0.0, 0.0, ())
        for one, other in itertools.combinations(range(spec.n_sources), 2):
            apart = (cpt[one] - cpt[other]).abs().sum(-1) / 2
            mass = masses[one] + masses[other]
            mean = float((apart * mass).sum() / mass.sum().clamp_min(1e-300))
            seen = torch.where(reached[one] & reached[other], apart, -1.0).flatten()
            first = first_largest(seen.tolist(), ROUNDING)
            place = np.unravel_index(first, apart.shape) if apart.ndim else ()
            if mean > best.mean + ROUNDING:
                where = tuple(int(i) for i in place)
                best = TableDifference(v, mean, max(float(seen.max()), 0.0), where)
        found.append(best)
    return tuple(found[i] for i in ordered([[-t.mean] for t in found], ROUNDING))


def _distance(values: Float[Tensor, "k card"]) -> float:
    """Total variation between the two rows that differ most."""
    return float((values[:, None] - values[None, :]).abs().sum(-1).max() / 2)


def _with_interval(fit: Fit, v: int, values: Tensor, distance: float) -> Margin:
    spec, table = fit.spec, values.cpu().numpy()
    answers = [
        ask.query(fit, spec.name(v), evidence={spec.source: u}, require="none")
        for u in spec.source_states
    ]
    if not all(answer.has_interval for answer in answers):
        return Margin(v, table, None, distance)
    ends = [answer.interval() for answer in answers]
    low, high = (np.stack([pair[i] for pair in ends]) for i in (0, 1))
    return Margin(v, table, (low, high), distance)
