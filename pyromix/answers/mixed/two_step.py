"""An effect in two steps, which no shape of noise can bend: views find U, raw values answer.

EM on the numbers gains precision from the laws assumed of them and is off where these are wrong;
two steps need no law of the numbers that are asked about. Both, and their distance in standard
errors, are a test of these laws [hausman78; THEORY section 18.6].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import networkx as nx
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pyromix.answers.ask import role_of
from pyromix.answers.mixed import effect
from pyromix.answers.mixed.corrected import Asked
from pyromix.answers.mixed.engines import Engine, Summary, value
from pyromix.answers.mixed.items import adjusted_for, items_for
from pyromix.answers.mixed.predict import posterior
from pyromix.answers.mixed.question import Question, Setting, setting_in_words
from pyromix.answers.mixed.spread import gradients
from pyromix.answers.mixed.weighing import Weighing, step_one
from pyromix.answers.wording import certainty_line, interval_title
from pyromix.errors import NumericalWarning, QueryError, SpecError, warn
from pyromix.estimate.mixed.information import row_scores
from pyromix.fitting.mixed.engine import bins_of
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.identify.network.separation import dependence
from pyromix.model.arguments import level_of
from pyromix.model.kind import Kind
from pyromix.model.match import best_assignments
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.printed import Grid, Printed, as_html, as_text
from pyromix.model.query import Certainty
from pyromix.model.spec import SOURCE
from pyromix.model.status import Status

LINES = (Kind.REAL, Kind.HEAVY_TAILED)
"""Numbers that are lines in the units of their columns."""

LINEAR = (*LINES, Kind.POSITIVE)
"""Numbers that are lines, or whose logarithms are, and enter other lines so."""

CONTRADICTED = 0.01
"""Level at which the distance speaks against the laws that EM assumes."""

ADVICE = {
    Status.MERGED: "these views hardly tell the sources apart, so a row would count for many",
    Status.TOO_FEW_ROWS: "weighted rows of a source have a variance that is not positive, as too "
    "few rows of it do",
}
"""What a status means here."""


@dataclass(frozen=True, eq=False)
class TwoStep:
    """The effect of a treatment on the mean of a number, in two steps and by EM.

    Attributes:
        spec: the structure that knows the names.
        treatment: vertex set.
        outcome: vertex looked at.
        contrast: what the treatment goes from and to, states as numbers.
        views: vertices whose bins weigh the rows.
        beside: further vertices whose bins helped to find the sources.
        value: the difference between both settings in two steps; nan where the status is not OK.
        error: its standard error, step one included, whatever the laws of the numbers.
        em: the same difference by the fit.
        em_error: its standard error; nan where the fit has none.
        gap_error: standard error of ``value - em``, of the same rows.
        weights: P(U) by step two, ``(k,)``, sources in the order of the fit.
        per_source: the difference within every source, ``(k,)``.
        mistakes: P(row is put into source j | U = u) on average, ``(k, k)``.
        status: OK; MERGED where views hardly tell sources apart, TOO_FEW_ROWS where a weighted
            covariance within a source is not positive definite.
        certainty: how certain step one is.
        level: of the intervals that are printed.
    """

    spec: MixedSpec
    treatment: int
    outcome: int
    contrast: tuple[Setting, Setting]
    views: tuple[int, ...]
    beside: tuple[int, ...]
    value: float
    error: float
    em: float
    em_error: float
    gap_error: float
    weights: Float[np.ndarray, " k"]
    per_source: Float[np.ndarray, " k"]
    mistakes: Float[np.ndarray, "k k"]
    status: Status
    certainty: Certainty
    level: float = 0.95

    def __float__(self) -> float:
        """The difference in two steps."""
        return self.value

    @property
    def distance(self) -> float:
        """``value - em`` in its standard errors; nan where one of them is missing."""
        return (self.value - self.em) / self.gap_error if self.gap_error > 0 else math.nan

    @property
    def p_value(self) -> float:
        """Of a distance as large where the laws assumed by the fit hold."""
        return 2 * NormalDist().cdf(-abs(self.distance))

    @property
    def laws_fail(self) -> bool:
        """Whether the distance is one that the laws assumed by the fit do not allow."""
        return self.p_value < CONTRADICTED

    def interval(self, level: float | None = None) -> tuple[float, float]:
        """Return an interval for the difference in two steps.

        Args:
            level: that of the estimate unless told.

        Raises:
            QueryError: the level does not lie between 0 and 1.
        """
        level = level_of(self.level if level is None else level)
        reach = NormalDist().inv_cdf((1 + level) / 2) * self.error
        return self.value - reach, self.value + reach

    def _printed(self) -> Printed:
        """Return both estimates, what they differ by, and the sources."""
        spec, name = self.spec, self.spec.name
        low, high = (setting_in_words(spec, self.treatment, at) for at in self.contrast)
        reach = NormalDist().inv_cdf((1 + self.level) / 2)
        rows = [
            [said, f"{at:+.4g}", f"{error:.2g}", f"[{at - reach * error:+.4g}, "
             f"{at + reach * error:+.4g}]"]
            for said, at, error in (
                ("two steps", self.value, self.error),
                ("EM", self.em, self.em_error),
                ("two steps less EM", self.value - self.em, self.gap_error),
            )
        ]  # fmt: skip
        header = [f"mean of {name(self.outcome)}", "difference", "s.e.", interval_title(self.level)]
        sources = [
            [str(u), f"{w:.3f}", f"{d:+.4g}"]
            for u, w, d in zip(
                spec.binned.source_states, self.weights, self.per_source, strict=True
            )
        ]
        lines = [f"rows weighed by {', '.join(map(name, self.views))}"]
        if self.beside:
            lines[0] += f"; sources found with {', '.join(map(name, self.beside))} too"
        if self.status is not Status.OK:
            lines.append(f"no estimate: {ADVICE[self.status]}")
        elif not math.isnan(self.distance):
            lines.append(
                f"{abs(self.distance):.1f} standard errors apart (p = {self.p_value:.2g})"
                + (": more than the laws that EM assumes allow" if self.laws_fail else "")
            )
        lines.append(certainty_line(self.certainty))
        grids = (Grid(header, rows), Grid([spec.source, "P", "difference"], sources))
        return Printed(f"Effect of {low} -> {high} on {name(self.outcome)}", grids, tuple(lines))

    __str__ = __repr__ = as_text
    _repr_html_ = as_html


def two_step(
    fit: MixedRecord,
    treatment: str | None = None,
    outcome: str | None = None,
    *,
    contrast: Sequence[Any] | None = None,
    require: str = "local",
    level: float = 0.95,
) -> TwoStep:
    """Compare the mean of a number between two settings of a treatment, in two steps and by EM.

    Step one is a latent class model of bins of variables that are independent within each source;
    step two weighs raw rows by those among them that are independent of treatment, outcome and what
    is adjusted for, parents of the treatment [bch04], and takes means, or lines where these are
    numbers. No law of the noise is assumed. Rows that lack one of these cells are left out.

    Args:
        fit: of a table with numbers, with its table.
        treatment: the variable set, by default the model's one exposure.
        outcome: a number, by default the model's one outcome.
        contrast: as in ``effect``.
        require: least certainty of step one, as in ``query``.
        level: of the intervals that are printed.

    Raises:
        QueryError: an unknown name, state or option; the outcome has states, is a cause of the
            treatment, or is no line in numbers that it would have to be.
        PlanError: no variable that tells of U is independent of these within each source.
        NotCertifiedError: the certainty of step one falls short of ``require``.
        DataError: the fit holds no table.
    """
    level = level_of(level)
    spec = fit.spec
    roles = spec.binned
    treatment = role_of(roles, "exposures", "treatment") if treatment is None else treatment
    outcome = role_of(roles, "outcomes", "outcome") if outcome is None else outcome
    x, y = effect.roles_of(spec, treatment, outcome, None)
    pair = effect.contrast_of(spec, x, contrast)
    check_question(spec, x, y)
    named = (x, y, *adjusted_for(spec, x, y))
    items = items_for(spec, named)
    records = fit.records
    codes = bins_of(spec, records, fit.edges)[:, list(items.vertices)]
    weights = records.weights
    first, certainty = step_one(items, codes, weights, require)
    kept = ~records.missing()[:, list(named)].any(1)
    asked, unit = asked_of(fit, named, pair, kept)
    weighing = Weighing(first, items, codes)
    found, slopes = weighing.answer(weights, kept, asked)
    if found.status is not Status.OK:
        warn(f"No estimate in two steps: {ADVICE[found.status]}.", NumericalWarning)
    em, em_error, em_slopes = _by_em(fit, treatment, outcome, pair)
    order = _as_in_fit(fit, weighing.shares(), weights)
    per_source = unit * (found.arms[1] - found.arms[0]) / found.weights
    return TwoStep(
        spec=spec,
        treatment=x,
        outcome=y,
        contrast=pair,
        views=items.views,
        beside=items.vertices[items.n_views :],
        value=unit * float(found.difference),
        error=_error_of(unit * slopes, weights),
        em=em,
        em_error=em_error,
        gap_error=_error_of(unit * slopes - em_slopes, weights),
        weights=found.weights[order].cpu().numpy(),
        per_source=per_source[order].cpu().numpy(),
        mistakes=found.mistakes[order][:, order].cpu().numpy(),
        status=found.status,
        certainty=certainty,
        level=level,
    )


def check_question(spec: MixedSpec, x: int, y: int) -> None:
    """Refuse what weighted means and lines do not answer.

    Raises:
        QueryError: the source is asked about, the outcome has states or is a cause of the
            treatment, or it is no line in numbers that it would have to be.
    """
    if SOURCE in (x, y) or not spec.kind(y).numeric:
        raise QueryError(
            f"two steps compare means of a number under settings of a variable, found "
            f"{spec.name(y)!r} under {spec.name(x)!r}; fit.effect answers"
        )
    if y in spec.binned.ancestors((x,)):
        raise QueryError(f"{spec.name(y)!r} is a cause of {spec.name(x)!r}, and so no effect of it")
    own, held = spec.kind(x), adjusted_for(spec, x, y)
    numbers = [p for p in held if spec.kind(p).numeric]
    if not own.numeric and not numbers:
        return
    graph = spec.binned.graph()
    graph.remove_edges_from([(p, x) for p in spec.parents[x]])
    above = nx.ancestors(graph, y)
    # A line with noise in its parents needs no line of the outcome in these.
    starts = [x] if own in LINEAR else [*numbers, *[x] * own.numeric]
    below = set[int]().union(*(nx.descendants(graph, v) for v in starts))
    around = below & above
    if own not in LINEAR:
        near = dependence(spec.binned, ())
        around |= above & set[int]().union(*(near[p] for p in numbers))
    bent = [v for v in sorted(around - {x, *held}) if v not in below or not _linear(spec, v)]
    bent += [v for v in (x, *numbers) if spec.kind(v) is Kind.HURDLE]
    bent += [y] * (spec.kind(y) not in LINES)
    if bent:
        raise QueryError(
            f"two steps take {spec.name(y)!r} for a line in {spec.name(starts[0])!r}, a number; "
            f"found {spec.name(bent[0])!r} of kind {spec.kind(bent[0]).value!r} around, so that "
            "it is none; fit.effect answers"
        )


def _linear(spec: MixedSpec, vertex: int) -> bool:
    return spec.kind(vertex) in LINEAR


def asked_of(
    fit: MixedRecord,
    named: Sequence[int],
    pair: tuple[Setting, Setting],
    kept: Bool[Tensor, " rows"],
) -> tuple[Asked, float]:
    """The regression that answers, and the unit of its outcome.

    Args:
        fit: with its table.
        named: treatment, outcome, and what is adjusted for.
        pair: settings.
        kept: rows that lack none of the cells.
    """
    spec, records, units = fit.spec, fit.records, fit.mixture.units
    (x, y, *held), columns = named, [column[kept] for column in records.columns]
    outcome = units[y].outward(columns[y])
    unit = float(outcome.std())
    unit = unit if unit > 0 else 1.0
    outcome = (outcome - outcome.mean()) / unit
    cell = torch.zeros_like(columns[y], dtype=torch.long)
    for p in held:
        if not spec.kind(p).numeric:
            cell = cell * spec.binned.card(p) + columns[p].long()
    seen, cell = cell.unique(return_inverse=True)
    cells = torch.arange(len(seen), device=cell.device)
    design = [torch.ones_like(outcome)]
    design += [columns[p] for p in held if spec.kind(p).numeric]
    if spec.kind(x).numeric:
        low, high = (float(units[x].inward(torch.tensor(float(at)))) for at in pair)
        asked = Asked(
            torch.stack([*design, columns[x]], 1), outcome, cell, cell, torch.stack([cells, cells]),
            len(design), (low, high),
        )  # fmt: skip
        return asked, unit
    group = torch.full_like(cell, -1)
    for arm, state in enumerate(pair):
        here = columns[x] == int(state)
        group[here] = 2 * cell[here] + arm
    lines = torch.stack([2 * cells, 2 * cells + 1])
    return Asked(torch.stack(design, 1), outcome, cell, group, lines, -1, (0.0, 0.0)), unit


def _by_em(
    fit: MixedRecord, treatment: str, outcome: str, pair: tuple[Setting, Setting]
) -> tuple[float, float, Float[Tensor, " rows"]]:
    """The difference by the fit, its standard error, and what each row adds to it."""
    given = Question.from_names(fit.spec, outcome)
    x = fit.spec.vertex(treatment)
    asked = [Question(given.outcome, {x: at}) for at in pair]
    settled = Engine().settled(fit.mixture, asked)

    def difference(mixture: MixedMixture, reference: MixedMixture | None) -> Tensor:
        low, high = (value(mixture, q, Summary(), settled, reference=reference) for q in asked)
        return high - low

    with torch.no_grad():
        at = float(difference(fit.mixture, None)[0])
        low, high = (settled.law(fit.mixture, q) for q in asked)
        scores = Summary().scores(high) - Summary().scores(low)
        drawn = float(low.mix.error_of(scores)[0])
    try:
        known = fit.information
    except SpecError:  # too many free coordinates
        return at, math.nan, torch.full_like(fit.records.weights, math.nan)
    slope = gradients(fit.mixture, difference)
    along = slope @ known.inverse_curvature
    error = math.hypot(float(known.errors(slope)[0]), drawn)
    return at, error, row_scores(fit.mixture, fit.records, along)[:, 0]


def _error_of(slopes: Float[Tensor, " rows"], weights: Float[Tensor, " rows"]) -> float:
    return float((weights * slopes.square()).sum().sqrt())


def _as_in_fit(
    fit: MixedRecord, shares: Float[Tensor, "rows k"], weights: Float[Tensor, " rows"]
) -> Tensor:
    """Which source of step one is which of the fit, by the rows that they share."""
    both = posterior(fit, fit.records).mT @ (shares.detach() * weights[:, None])
    return best_assignments(-both / both.sum())[0]
