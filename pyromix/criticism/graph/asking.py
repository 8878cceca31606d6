"""The door: ``px.graph_check`` and ``fit.graph_check``."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pyromix.criticism.graph.asked import EffectOf, effect_of_states
from pyromix.criticism.graph.edits import ADD, DROP, TURN, Edit, check_graph, edits
from pyromix.criticism.graph.numbers import check_numbers
from pyromix.criticism.graph.resampling import simulated_p_values
from pyromix.criticism.graph.result import GraphCheck, Suggestion, strength
from pyromix.criticism.graph.trials import Bench, Trial, named, strongest, too_many_parents
from pyromix.data.weights import COUNTS
from pyromix.errors import DataError, PyromixWarning
from pyromix.estimate.starts import batch_of
from pyromix.fitting import engine
from pyromix.fitting.mixed.doors import numbers_in
from pyromix.fitting.mixed.engine import fit_mixed
from pyromix.fitting.record import Fit
from pyromix.identify.product.rank import holm
from pyromix.identify.signal import SIGNAL_LEVEL
from pyromix.model.arguments import level_of, whole
from pyromix.model.knowledge import Knowledge
from pyromix.model.randomness import RandomState, check_seed, numpy_generator
from pyromix.model.spec import MixtureSpec

VERIFIED = 40
"""Added edges that are fitted: the best by screening; the others are known not to matter."""

FRESH_STARTS = 5
"""Random starts of the graph as it is, before an edge is demanded of it."""

SEEDS_FROM = 4
"""Changed graphs whose sources the graph as it is starts from once more."""

MOST_SIMULATED = 100_000
"""Simulated tables that may be asked for; on each the graph is fitted anew."""

ROUNDS = 3
"""Times that a better optimum of the graph as it is may be found."""

BETTER = 0.1
"""Nats by which an optimum must be better to be another."""

DECISIVE = 10.0
"""Gain from which on a turned edge is demanded: very strong evidence on the scale of
[R. E. Kass, A. E. Raftery, Bayes factors, JASA 90, 1995]."""

CLEAR = 1e-6
"""p-value so small that few rows behind a probability do not make it: no tables are simulated."""


def graph_check(
    model: Any,
    data: Any,
    n_sources: int | None = None,
    *,
    treatment: str | None = None,
    outcome: str | None = None,
    contrast: Sequence[Any] | None = None,
    tiers: Sequence[Sequence[str]] | None = None,
    forbidden: Iterable[Sequence[str]] = (),
    required: Iterable[Sequence[str]] = (),
    level: float = 0.05,
    n_simulated: int = 199,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing: str = "mar",
    missing_values: Any = None,
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    kinds: Mapping[str, str] | None = None,
    discretize: Mapping[str, Sequence[float] | str] | None = None,
    random_state: RandomState = 0,
    show_progress: bool | None = None,
) -> GraphCheck:
    """Ask a table which edges a graph lacks, which it has in vain, and which may be turned.

    Every change by one edge that leaves a DAG is a candidate, U unobserved all the while. An edge
    is tested by the likelihood ratio of the larger graph against the smaller, both by maximum
    likelihood, with as many degrees of freedom as a table of these variables shows directions of
    parameters more: none means that the edge cannot be tested, a third outcome (THEORY section
    19.2). An added edge is demanded where p, after Holm's correction over all candidates, is at
    most the level, also against the optima of the graph as it is that fresh starts find. A dropped
    edge is demanded where BIC is better without it and p is above the level (BIC alone where edges
    lack: these bend p). Turned edges are not
    nested: they are demanded where BIC and twice the log-likelihood are better by 10 at least, and
    inside the class of graphs with the same laws the table cannot tell. Where the table hardly
    shows U no edge is dropped or turned.

    A table with columns of numbers is fitted as it is. Its edges are tested by scores and by Wald's
    statistic with a variance that does not lean on the shape of the noise (``estimate.mixed.
    nested_tests``); no tables are simulated. None is turned, since with a number at one end only
    that shape tells the direction. Nothing is demanded where the noise has another shape than
    assumed, where that shape alone tells the states of U apart, or where the table in bins hardly
    shows U; ``doubts`` says which.

    Args:
        model: as in ``fit``.
        data: a table, as in ``fit``.
        n_sources: k; by default the cardinality of the model's latent vertex.
        treatment: of the effect that is told under every change; by default the model's one
            exposure.
        outcome: of that effect; by default the model's one outcome.
        contrast: ``(from, to)`` of the treatment; by default the first and the last state, the
            quartiles of a number.
        tiers: lists of names, the earliest first: no edge leads back.
        forbidden: pairs ``(from, to)`` that are no candidates.
        required: pairs ``(from, to)`` that are neither dropped nor turned.
        level: of the tests, family-wise for all added edges.
        n_simulated: tables that are drawn from the fitted graph where an added edge would be
            demanded by a chi-square that is not to be trusted: few rows behind a probability,
            sources that are weak, alike or empty. Of no account where the table has numbers.
        sample_weight: as in ``fit``.
        weights_are: as in ``fit``.
        missing: as in ``fit``.
        missing_values: as in ``fit``.
        state_names: as in ``fit``.
        kinds: as in ``fit``.
        discretize: as in ``fit``.
        random_state: of starts and simulated tables.
        show_progress: as in ``fit``.

    Raises:
        SpecError: the graph, the states or k are unusable, a name is unknown, or what is known
            contradicts itself or the graph.
        DataError: the table does not fit the model, or has no rows.
        QueryError: a treatment without an outcome, or an option out of range.
    """
    check_seed(random_state)
    level_of(level)
    whole("n_simulated", n_simulated, 1, MOST_SIMULATED)
    numbers = {"kinds": kinds, "discretize": discretize}
    data, state_names, table = numbers_in(
        model, data, n_sources, numbers, state_names, missing_values
    )
    rules = {"tiers": tiers, "forbidden": forbidden, "required": required, "level": level}
    asked = {"treatment": treatment, "outcome": outcome, "contrast": contrast}
    if table is not None:
        with_numbers = fit_mixed(
            table,
            n_sources,
            sample_weight=sample_weight,
            weights_are=weights_are,
            missing=missing,
            state_names=state_names,
            random_state=random_state,
            show_progress=show_progress,
        )
        return check_numbers(with_numbers, **asked, **rules)
    fitted = engine.fit(
        model,
        data,
        n_sources,
        sample_weight=sample_weight,
        weights_are=weights_are,
        missing=missing,
        missing_values=missing_values,
        state_names=state_names,
        random_state=random_state,
        show_progress=show_progress,
    )
    return check_fit(fitted, **asked, **rules, n_simulated=n_simulated, random_state=random_state)


def check_fit(
    fit: Fit,
    *,
    treatment: str | None = None,
    outcome: str | None = None,
    contrast: Sequence[Any] | None = None,
    tiers: Sequence[Sequence[str]] | None = None,
    forbidden: Iterable[Sequence[str]] = (),
    required: Iterable[Sequence[str]] = (),
    level: float = 0.05,
    n_simulated: int = 199,
    random_state: RandomState = 0,
) -> GraphCheck:
    """Ask the table of this fit which edges its graph lacks, or has in vain; as ``px.graph_check``.

    Args:
        fit: to a table.
        treatment: as in ``px.graph_check``.
        outcome: as in ``px.graph_check``.
        contrast: as in ``px.graph_check``.
        tiers: as in ``px.graph_check``.
        forbidden: as in ``px.graph_check``.
        required: as in ``px.graph_check``.
        level: as in ``px.graph_check``.
        n_simulated: as in ``px.graph_check``.
        random_state: as in ``px.graph_check``.

    Raises:
        SpecError: as ``px.graph_check``.
        DataError: the fit holds no table.
        QueryError: as ``px.graph_check``.
    """
    level, n_simulated = level_of(level), whole("n_simulated", n_simulated, 1, MOST_SIMULATED)
    check_seed(random_state)
    if fit.exact:
        raise DataError("expected a fit to a table, found one to a population: pass a sample of it")
    spec, counts = fit.spec, fit.counts.to(fit.mixture.device)
    knowledge = Knowledge.of(spec, tiers, required, forbidden)
    check_graph(spec, knowledge)
    asked, effect = effect_of_states(spec, treatment, outcome, contrast)
    seed = int(numpy_generator(random_state).integers(2**31))
    everything = list(edits(spec, knowledge))
    candidates = [e for e in everything if not too_many_parents(spec, e, counts.n_rows)]
    hopeless = [e for e in everything if too_many_parents(spec, e, counts.n_rows)]
    doubts = _doubts(fit)
    bench = Bench.of(counts.with_spec(spec), batch_of(fit.mixture))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PyromixWarning)
        bench, added = _added(bench, candidates, level, seed)
        others = [bench.verified(edit) for edit in candidates if edit.kind != ADD]
        p_values = _corrected(added)
        doubtful = [
            t for t in strongest(added) if p_values[t.edit] <= level
            and (bench.merged or doubts or (t.sparse and p_values[t.edit] > CLEAR))
        ]  # fmt: skip
        drawn = [e for e in candidates if e.kind == ADD]
        drawn_p = simulated_p_values(
            bench, drawn, [t.log_p for t in doubtful], n_simulated, seed
        ) if doubtful else []  # fmt: skip
        resampled = {t.edit: p for t, p in zip(doubtful, drawn_p, strict=True)}
        p_values |= resampled | _corrected([t for t in others if t.edit.kind == DROP])
        now = effect(bench.mixture)
        # What lacks bends p-values of the edges that are there; BIC alone then decides on these.
        lacking = any(p_values[trial.edit] <= level for trial in added)
        rule = _Rule(level, not doubts, lacking)
        found = [
            _suggestion(bench, trial, p_values, trial.edit in resampled, rule, effect, now)
            for trial in [*added, *others]
        ]
    found += [_impossible(spec, edit) for edit in hopeless]
    if bench.merged:
        doubts = (*doubts, "sources are empty or alike in the fit: ask for fewer (n_sources)")
    return GraphCheck(
        spec,
        tuple(sorted(found, key=strength)),
        asked,
        now,
        level,
        counts.n_rows,
        bench.converged,
        doubts,
    )


def _added(
    bench: Bench, candidates: Sequence[Edit], level: float, seed: int
) -> tuple[Bench, list[Trial]]:
    """Added edges; demanded of the best optimum of the graph as it is that fresh starts find."""
    adding = [edit for edit in candidates if edit.kind == ADD]
    trials: list[Trial] = []
    for _ in range(ROUNDS):
        screened = [bench.screened(edit) for edit in adding]
        best = {trial.edit for trial in strongest(screened)[:VERIFIED]}
        trials = [bench.verified(t.edit) if t.edit in best else t for t in screened]
        p_values = _corrected(trials)
        asked = [t for t in strongest(trials) if t.mixture and p_values[t.edit] <= level]
        if not asked:
            break
        again = bench.again(asked[:SEEDS_FROM], FRESH_STARTS, seed)
        if again.log_likelihood <= bench.log_likelihood + BETTER:
            break
        bench = again
    return bench, trials


def _corrected(trials: Sequence[Trial]) -> dict[Edit, float]:
    """p-values after Holm's correction; nan where there is nothing to test."""
    tested = [trial for trial in trials if trial.testable]
    found = {trial.edit: math.nan for trial in trials}
    if tested:
        raw = torch.tensor([t.p_value for t in tested], dtype=torch.float64, device="cpu")
        found |= {t.edit: float(p) for t, p in zip(tested, holm(raw), strict=True)}
    return found


@dataclass(frozen=True)
class _Rule:
    """When a change is demanded.

    Attributes:
        level: of the tests.
        certain: whether the table shows U; where not, nothing is dropped or turned.
        lacking: whether an edge is asked for.
    """

    level: float
    certain: bool
    lacking: bool


def _suggestion(
    bench: Bench,
    trial: Trial,
    p_values: Mapping[Edit, float],
    resampled: bool,
    rule: _Rule,
    effect: EffectOf,
    now: float,
) -> Suggestion:
    edit, gain = trial.edit, trial.bic_gain(bench.counts.n_rows)
    p = p_values.get(edit, math.nan)
    demanded = {
        ADD: p <= rule.level,
        DROP: rule.certain and gain > 0 and (rule.lacking or p > rule.level),
        TURN: rule.certain and min(gain, trial.statistic) >= DECISIVE,
    }[edit.kind]
    testable = trial.testable or edit.kind == TURN
    return Suggestion(
        edit.kind,
        named(bench.spec, edit.tail),
        named(bench.spec, edit.head),
        demanded and testable,
        trial.statistic,
        abs(trial.df) if edit.kind != TURN else trial.df,
        p,
        gain if testable else math.nan,
        effect(trial.mixture) - now if trial.mixture else math.nan,
        fitted=trial.mixture is not None,
        resampled=resampled,
    )


def _impossible(spec: MixtureSpec, edit: Edit) -> Suggestion:
    """A change with more parameters than the table has rows."""
    nothing = (False, math.nan, 0, math.nan, math.nan, math.nan)
    names = (named(spec, edit.tail), named(spec, edit.head))
    return Suggestion(edit.kind, *names, *nothing, fitted=False, possible=False)


def _doubts(fit: Fit) -> tuple[str, ...]:
    """Why chi-square is not trusted for any edge."""
    signal = fit.signal
    if signal is None or signal.p_value <= SIGNAL_LEVEL:
        return ()
    return (
        f"the table hardly shows {fit.spec.source} (p = {signal.p_value:.2g}): an edge and "
        f"{fit.spec.source} may explain the same dependence, so edges are added only where "
        "simulated tables say so too, and none is dropped or turned",
    )
