"""What a fit's table says of a question: the figures that the verdict hears (THEORY 15.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.answers.delta import chi_square_limit, finite_gradients
from pyromix.answers.inquiry import Inquiry, ReducedModels
from pyromix.data.counts import Counts
from pyromix.exact import elimination
from pyromix.exact.completions import n_completions
from pyromix.exact.information import (
    MAX_COMPLETIONS,
    MAX_INFORMATION_PARAMETERS,
    Known,
)
from pyromix.exact.seen import variance_if_seen
from pyromix.fitting.record import Fit
from pyromix.identify.certificate import query_gradient
from pyromix.identify.verdict import Findings, Verdict, judge
from pyromix.model.arguments import flag
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import SOURCE, MixtureSpec

CHEAP_INFORMATION = 2**31
"""Rows times squared parameters up to which the information matrix is formed: a second."""

CHEAP_PRODUCT = 2**25
"""Numbers of a product with the information up to which it is solved with unasked: seconds."""

STREAM = "what the rows leave open takes searches of the likelihood, and they were read as a stream"
"""Why an answer of a fit to a stream has no interval where the delta method does not cover it."""

ASKED_FOR = "interval=True asks for it"
"""What to try where time alone stands against an interval."""

AS_GOOD = chi_square_limit(0.95) / 2
"""Nats below the best within which a start fits about as well."""

WITHIN = "the table leaves the sources open, and with them what is within one"
"""Why weak answers within a source have no interval."""

_MODELS: WeakKeyDictionary[Fit, ReducedModels] = WeakKeyDictionary()
"""Per fit its reduced models, simulated once: questions share them."""


@dataclass(frozen=True, eq=False)
class Hearing:
    """A question, judged by graph, rank and table.

    Attributes:
        verdict: after the table was heard.
        inquiry: to ask the likelihood; None where the fit holds no table, or it is too large for
            what the verdict would ask.
        information: for standard errors; None where it is too costly unasked.
        refused: why there is no interval, where there is none; a clause.
        advice: what would give one, in Python; a clause, perhaps empty.
    """

    verdict: Verdict
    inquiry: Inquiry | None
    information: Known | None
    refused: str
    advice: str = ""

    @property
    def missing(self) -> str:
        """Why there is no interval, and what would give one."""
        return f"{self.refused}; {self.advice}" if self.advice else self.refused


def hear(fit: Fit, queries: Sequence[DoQuery], interval: bool | None) -> Hearing:
    """Judge a question to a fit, and say what gives its answers intervals.

    Args:
        fit: the estimate; its table is heard, where it holds it.
        queries: one question, or one per setting of a treatment: then their differences are what
            is asked about.
        interval: whether standard errors are wanted; None for where they are cheap.

    Raises:
        DataError, SpecError: an interval is wanted that cannot be had.
    """
    if interval is not None:
        flag("interval", interval)
    verdict = judge(fit.spec, queries)
    known, refused, advice = _known(fit)
    searches = known is not None and fit.table is not None and _dense(fit)
    models = _MODELS.setdefault(fit, ReducedModels())
    if verdict.leans_on_source:
        p_reduced = math.nan
        if fit.signal is None and searches and not verdict.facts.plans:
            tried = Inquiry(fit, verdict, models)
            if tried.excess is not None:
                p_reduced = tried.excess.p_value
        if interval and known is None:
            known = fit.implicit_information
        # What is refused must not hang on whether an interval is wanted.
        loose, error = _loose(fit, queries, known)
        findings = Findings(
            signal=fit.signal,
            stage=fit.moments,
            p_reduced=p_reduced,
            loose=loose,
            spread=_spread(fit, queries),
            error=error,
        )
        verdict = verdict.hearing(findings)
    else:
        verdict = verdict.hearing(Findings(stage=fit.moments))
    if fit.graph_was_found:
        verdict = verdict.of_found_graph
    if _labelled(queries) and not verdict.level.at_least(Certainty.DISCOVERED):
        # What fits about as well gives the sources other names: there is no "within" to follow.
        return Hearing(verdict, None, None, WITHIN)
    if interval is False:
        return Hearing(verdict, None, None, "interval=False asked for none")
    if interval and known is None:
        known = fit.implicit_information
    if known is not None and fit.table is None:
        if verdict.level.at_least(Certainty.LOCAL):
            return Hearing(verdict, None, known, "")
        return Hearing(verdict, None, None, STREAM)
    if known is None:
        return Hearing(verdict, None, None, refused, advice)
    searches |= bool(interval) and formable(fit)
    if not searches and not verdict.level.at_least(Certainty.LOCAL):
        return Hearing(verdict, None, None, *_unsearched(fit))
    return Hearing(verdict, Inquiry(fit, verdict, models, searches), known, "")


def _labelled(queries: Sequence[DoQuery]) -> bool:
    """Whether the question names a source."""
    return any(SOURCE in (*q.outcomes, *q.evidence, *q.do) for q in queries)


def formable(fit: Fit) -> bool:
    """Whether the information matrix of a fit with a table is within its limits."""
    return (
        fit.n_parameters <= MAX_INFORMATION_PARAMETERS
        and _n_complete(fit.spec, fit.counts) <= MAX_COMPLETIONS
    )


def _dense(fit: Fit) -> bool:
    """Whether the information matrix is formed unasked, and the likelihood searched."""
    work = _n_complete(fit.spec, fit.counts) * fit.n_parameters**2
    return formable(fit) and work <= CHEAP_INFORMATION


def _known(fit: Fit) -> tuple[Known | None, str, str]:
    """What standard errors need, where it is to be had unasked; else why not, and what to try."""
    if fit.summed is not None:
        return fit.summed, "", ""
    if fit.table is None:
        if fit.exact:
            return None, "the distribution is exact, there are no rows", ""
        why = "the fit holds no table: it was saved without"
        return None, why, "fit.save(path, include_data=True) keeps it"
    if fit.course.moments_alone:
        # The information is that of a maximum of the likelihood.
        why = "the estimate is that of moments alone, which is no maximum of the likelihood"
        return None, why, "fit.refine() takes it to one"
    if _dense(fit):
        return fit.information, "", ""
    if fit.implicit_information.curvature.n_numbers <= CHEAP_PRODUCT:
        return fit.implicit_information, "", ""
    rows = f"{fit.counts.n_patterns:,} distinct rows of {fit.spec.n_variables:,} variables"
    return None, f"{rows} take more than a moment, and none was asked for", ASKED_FOR


def _unsearched(fit: Fit) -> tuple[str, str]:
    """Why an answer that the delta method does not cover has no interval, and what to try."""
    of = f"{fit.n_parameters:,} parameters and {_n_complete(fit.spec, fit.counts):,.0f} rows"
    searches = "what the table leaves open takes searches of the likelihood"
    if formable(fit):
        return f"{searches}, of {of} more than a moment", ASKED_FOR
    return (
        f"{searches}, of at most {MAX_INFORMATION_PARAMETERS:,} parameters and "
        f"{MAX_COMPLETIONS:,} rows, completions of missing cells among them; this fit has {of}"
    ), ""


def _n_complete(spec: MixtureSpec, table: Counts) -> float:
    """Complete rows that the distinct rows of a table stand for."""
    if table.complete:
        return float(table.n_patterns)
    return float(n_completions(spec, table.rows).sum())


def _loose(fit: Fit, queries: Sequence[DoQuery], information: Known | None) -> tuple[float, float]:
    """Share of the largest variance from directions that only seeing U would determine; its root.

    A row of a table with few rows of data is hardly determined, too, but that is no fault of U's:
    what of the variance would be there with U seen is not counted.
    """
    if information is None or any(q.n_scenarios for q in queries):
        return 0.0, math.nan
    cells = [finite_gradients(query_gradient(fit.mixture, query)) for query in queries]
    gradients = cells[0] if len(cells) == 1 else torch.cat([c - cells[0] for c in cells[1:]])
    variances = information.variances(gradients)
    worst = int(variances.argmax())
    gradient, variance = gradients[worst], float(variances[worst])
    loose = float(information.loose_shares(gradient[None])[0])
    if not variance or not loose:
        return 0.0, math.sqrt(variance)
    seen = variance_if_seen(fit.mixture, fit.row_masses, fit.n_rows, gradient)
    return loose * (1 - min(seen / variance, 1.0)), math.sqrt(variance)


def _spread(fit: Fit, queries: Sequence[DoQuery]) -> tuple[float, float]:
    """Between what the answers of starts lie that fit about as well as the best."""
    ends = fit.ends
    # Within a source starts differ by their labels, too.
    if ends is None or _labelled(queries) or any(q.n_scenarios for q in queries):
        return 0.0, 0.0
    # Of an exact law a row is as good as very many.
    within = AS_GOOD if not fit.exact else 1e-9
    near = ends.mixtures[ends.objectives >= ends.objectives.max() - within]
    if near.batch_shape[0] < 2:
        return 0.0, 0.0
    answers = _answers(near, queries)
    low, high = answers.amin(0), answers.amax(0)
    worst = int((high - low).argmax())
    return float(low[worst]), float(high[worst])


def _answers(mixtures: BayesNetMixture, queries: Sequence[DoQuery]) -> Float[Tensor, "n values"]:
    """Cells of one question, or differences of settings."""
    with torch.no_grad():
        cells = [elimination.marginal(mixtures, query).flatten(1) for query in queries]
    return cells[0] if len(cells) == 1 else torch.cat([c - cells[0] for c in cells[1:]], 1)
