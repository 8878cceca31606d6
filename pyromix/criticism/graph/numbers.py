"""The graph of a fit with numbers, tested edge by edge.

As for tables of states, with three differences (THEORY sections 18.6 and 19.2). Tests do not lean
on the shape of the noise (``estimate.mixed.nested_tests``). What no table shows is judged by the
stand-in of states, as certificates are. And no edge is turned: with a number at one end the two
directions differ in the shape of the noise alone.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from pyromix.criticism.graph.asked import EffectOf, effect_of_numbers
from pyromix.criticism.graph.edits import ADD, DROP, TURN, Edit, check_graph, edits
from pyromix.criticism.graph.mixed_trials import MixedBench, MixedTrial
from pyromix.criticism.graph.result import GraphCheck, Suggestion, strength
from pyromix.criticism.graph.trials import log_tail, named
from pyromix.errors import DataError, PyromixWarning
from pyromix.estimate.mixed.shape_tests import shape_tests
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.identify.product.rank import holm
from pyromix.identify.signal import SIGNAL_LEVEL
from pyromix.identify.verdict import judge
from pyromix.model.arguments import level_of
from pyromix.model.edges import parents_of
from pyromix.model.knowledge import Knowledge
from pyromix.model.query import Certainty

VERIFIED = 8
"""Added edges that are fitted though nothing demands them: the best ones."""

DIRECTIONS = (
    "no edge is turned: where a number is at one of its ends, only the shape of the noise tells "
    "which way it leads"
)


def check_numbers(
    fit: MixedRecord,
    *,
    treatment: str | None = None,
    outcome: str | None = None,
    contrast: Sequence[object] | None = None,
    tiers: Sequence[Sequence[str]] | None = None,
    forbidden: Iterable[Sequence[str]] = (),
    required: Iterable[Sequence[str]] = (),
    level: float = 0.05,
) -> GraphCheck:
    """Ask the table of this fit which edges its graph lacks, or has in vain; as ``px.graph_check``.

    Args:
        fit: to a table with numbers.
        treatment: as in ``px.graph_check``.
        outcome: as in ``px.graph_check``.
        contrast: as in ``fit.effect``; by default the quartiles of a numeric treatment, the first
            and the last of states.
        tiers: as in ``px.graph_check``.
        forbidden: as in ``px.graph_check``.
        required: as in ``px.graph_check``.
        level: as in ``px.graph_check``.

    Raises:
        SpecError: as ``px.graph_check``; or too many free numbers for standard errors.
        DataError: the fit holds no table.
        QueryError: as ``px.graph_check``; a contrast that is no pair of settings.
    """
    level, graph = level_of(level), fit.spec.binned
    knowledge = Knowledge.of(graph, tiers, required, forbidden)
    check_graph(graph, knowledge)
    asked, effect = effect_of_numbers(fit, treatment, outcome, contrast)
    bench = MixedBench(fit)
    doubts = _doubts(bench, level)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PyromixWarning)
        everything = [e for e in edits(graph, knowledge) if e.kind != TURN]
        trials, untried = _tested(bench, everything)
        p_values = {
            **_corrected({e: t for e, t in trials.items() if e.kind == ADD}),
            **_corrected({e: t for e, t in trials.items() if e.kind == DROP}),
        }
        now = effect(fit.mixture)
        rule = _Rule(level, not doubts, any(p_values[e] <= level for e in trials if e.kind == ADD))
        nearest = sorted((e for e in trials if e.kind == ADD), key=lambda e: trials[e].log_p)
        fitted = {e for e in trials if e.kind == DROP or p_values[e] <= level} | set(
            nearest[:VERIFIED]
        )
        found = [
            _suggestion(bench, edit, trials[edit], p_values[edit], edit in fitted, rule, effect)
            for edit in trials
        ]
    return GraphCheck(
        graph,
        tuple(sorted((_moved(one, now) for one in found), key=strength)),
        asked,
        now,
        level,
        fit.n_rows,
        fit.converged,
        (*doubts, *_said(bench, untried), *([DIRECTIONS] if any(parents_of(graph)) else [])),
    )


@dataclass(frozen=True)
class _Rule:
    """When a change is demanded; as for tables of states."""

    level: float
    certain: bool
    lacking: bool

    def demands(self, edit: Edit, p: float, gain: float) -> bool:
        """Whether the table asks for a change."""
        if edit.kind == ADD:
            return self.certain and p <= self.level
        return self.certain and gain > 0 and (self.lacking or p > self.level)


def _tested(
    bench: MixedBench, everything: Sequence[Edit]
) -> tuple[dict[Edit, MixedTrial], list[Edit]]:
    """Changes with their tests, and those under which missing numbers cannot be integrated out."""
    trials, untried = {}, []
    for edit in everything:
        try:
            trials[edit] = bench.tested(edit)
        except DataError:
            if not bool(bench.records.missing().any()):
                raise
            untried.append(edit)
    return trials, untried


def _said(bench: MixedBench, untried: Sequence[Edit]) -> list[str]:
    """Which changes were not tried."""
    if not untried:
        return []
    graph = bench.spec.binned
    edges = ", ".join(f"{named(graph, e.tail)} -> {named(graph, e.head)}" for e in untried)
    return [
        f"not tried, since missing numbers cannot be integrated out there: {edges}; "
        "without the rows that lack them these are tried, too"
    ]


def _corrected(trials: Mapping[Edit, MixedTrial]) -> dict[Edit, float]:
    """p-values after Holm's correction; nan where there is nothing to test."""
    found = dict.fromkeys(trials, math.nan)
    tested = [edit for edit, trial in trials.items() if trial.df]
    if tested:
        raw = [math.exp(trials[edit].log_p) for edit in tested]
        p = holm(torch.tensor(raw, dtype=torch.float64, device="cpu"))
        found |= dict(zip(tested, p.tolist(), strict=True))
    return found


def _suggestion(
    bench: MixedBench,
    edit: Edit,
    trial: MixedTrial,
    p: float,
    fitted: bool,
    rule: _Rule,
    effect: EffectOf,
) -> Suggestion:
    mixture = bench.fit.mixture
    change = len(bench.changed(edit).standard().parameters) - len(
        mixture.cpds[edit.head].parameters
    )
    if fitted:
        end = bench.fitted(edit)
        value, moved = end.log_likelihood, effect(end.mixture)
    else:
        value, moved = bench.bound(edit), math.nan
    gain = 2 * (value - bench.log_likelihood) - change * math.log(bench.fit.n_rows)
    testable = trial.df > 0
    return Suggestion(
        edit.kind,
        named(bench.spec.binned, edit.tail),
        named(bench.spec.binned, edit.head),
        testable and rule.demands(edit, p, gain),
        trial.statistic,
        trial.df,
        p,
        gain if testable else math.nan,
        moved,
        fitted=fitted,
        by_ratio=False,
    )


def _moved(one: Suggestion, now: float) -> Suggestion:
    return replace(one, effect_change=one.effect_change - now)


def _doubts(bench: MixedBench, level: float) -> tuple[str, ...]:
    """Why no change is demanded."""
    fit = bench.fit
    source, signal = fit.spec.source, fit.binned.signal
    if fit.spec.n_sources == 1:
        return ()
    if judge(fit.spec.binned).structural is Certainty.BY_SHAPE:
        return (
            f"only the shape of the noise tells the states of {source} apart in this graph, and "
            "tests would lean on it: no change is demanded",
        )
    if signal is not None and signal.p_value > SIGNAL_LEVEL:
        return (
            f"the table in bins hardly shows {source} (p = {signal.p_value:.2g}): an edge and "
            f"{source} may explain the same dependence, so no change is demanded",
        )
    tests = {v: one for v, one in shape_tests(bench.smaller).items() if one.df}
    raw = [math.exp(log_tail(one.statistic, one.df)) for one in tests.values()]
    p_values = holm(torch.tensor(raw, dtype=torch.float64, device="cpu")).tolist()
    names = [fit.spec.name(v) for v, p in zip(tests, p_values, strict=True) if p <= level]
    if not names:
        return ()
    return (
        f"the noise of {', '.join(names)} has another shape than assumed (p = {min(p_values):.2g}),"
        f" states of {source} stand in for it, and edges then seem to lack: no change is demanded; "
        "kinds= declares another shape, and discretize= cuts a column into states",
    )
