"""The same question under other assumptions that one could have made.

k is a choice, every view of U is an assumption (that it is independent of the others given U), a
likelihood may have several optima, and numbers could have been cut into other states. What moves
the answer is what it leans on.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from pyromix.answers import ask
from pyromix.answers.answer import Answer
from pyromix.answers.do import query
from pyromix.answers.wording import question
from pyromix.criticism.other_cuts import Recut, cut_variables, recut
from pyromix.criticism.variations import (
    CUTS,
    FIT,
    N_SOURCES,
    OPTIMUM,
    VIEW,
    Sensitivity,
    Variation,
)
from pyromix.data.counts import Counts
from pyromix.errors import PyromixError, PyromixWarning
from pyromix.estimate.em import climb_replicates, random_starts
from pyromix.estimate.pooled_prior import POOLED, choice_of
from pyromix.estimate.result import SAME_OPTIMUM
from pyromix.estimate.starts import batch_of, inside
from pyromix.fitting.engine import fit as fit_model
from pyromix.fitting.record import Fit
from pyromix.identify.graphical import graph_facts
from pyromix.identify.verdict import judge
from pyromix.model.arguments import real, whole
from pyromix.model.match import match_sources
from pyromix.model.prior import Prior
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.randomness import RandomState, check_seed, torch_generator
from pyromix.model.spec import SOURCE, MixtureSpec
from pyromix.model.ties import ordered

WITHIN_NATS = 2.0
"""Nats below the best up to which an optimum fits as well: a likelihood ratio of 7."""

MAX_STARTS = 10_000
"""Random starts that may be asked for; each is an EM of its own."""

SAME_ANSWER = 1e-3
"""Answers that differ by less in every cell are one."""

MAX_START_WORK = 2**22
"""Distinct rows times sources times starts beyond which fewer starts look for other optima."""

MAX_INHERITED_CELLS = 2**10
"""Cells of a CPT within a source, up to which parents of a vertex left out go to its child."""


def sensitivity(
    fit: Fit,
    variables: str | Sequence[str],
    do: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Hashable] | None = None,
    *,
    n_starts: int = 20,
    within: float = WITHIN_NATS,
    data: Any = None,
    sample_weight: Any = None,
    missing_values: Any = None,
    random_state: RandomState = 0,
) -> Sensitivity:
    """Ask the same question under other assumptions that one could have made.

    With one source less and one more, without each of the views of U (as far as it can be left
    out), and at other optima that fit as well. Where columns of numbers were cut into states, and
    the table of numbers is given, also with each of them cut elsewhere: a quarter of the rows
    between two cut points lower, as much higher, and into one state less and one more; k, graph
    and the kind of prior stay, EM goes on from the sources of the fit, and states in the question
    are those of the same place.

    Args:
        fit: to a table.
        variables: as in ``query``.
        do: as in ``query``.
        evidence: as in ``query``.
        n_starts: random starts that look for other optima.
        within: nats of the best up to which an optimum counts as fitting as well.
        data: the table that was fitted, with its numbers, which a fit of states does not hold.
        sample_weight: as in the fit.
        missing_values: as in the fit.
        random_state: of the starts and of the refits.

    Raises:
        QueryError: a name, state or option is unknown, or there is ``data`` and no column of it was
            cut into states.
        DataError: the fit holds no table, or ``data`` is another one or holds states.
    """
    n_starts = whole("n_starts", n_starts, 0, MAX_STARTS, advice="a few dozen will do")
    within = real("within", within, 0.0, ends=True, advice="nats below the best")
    check_seed(random_state)
    spec, counts = fit.spec, fit.counts
    asked = DoQuery.from_names(spec, variables, do, evidence)
    question_ = (variables, do, evidence)
    generator = torch_generator(random_state)
    with warnings.catch_warnings():
        # Fits with too many or too few sources have much to say; here only their answers count.
        warnings.simplefilter("ignore", PyromixWarning)
        # Another table is refused before the work.
        others = [] if data is None else list(recut(fit, data, sample_weight, missing_values))
        own = ask.query(fit, *question_, require="none")
        found = [Variation(FIT, f"as fitted, n_sources={spec.n_sources}", own)]
        found += _other_numbers(fit, counts, asked, question_, generator)
        found += _without_views(fit, counts, asked, question_, generator)
        found += _other_optima(fit, counts, own, question_, n_starts, within, generator)
        found += [_cut_elsewhere(fit, other, question_, generator) for other in others]
    notes = () if data is not None else _uncut(spec)
    return Sensitivity(question(spec, asked), tuple(found), notes)


def _cut_elsewhere(
    fit: Fit, other: Recut, question_: tuple, generator: torch.Generator
) -> Variation:
    """Fit a column in other states and ask."""
    try:
        asked = other.asked(question_)
        # Another choice of the prior would be another assumption.
        prior = choice_of(fit.chosen_prior.choice) or _prior_of(fit)
        found = other.fitted(fit, prior, generator)
        return _answered(CUTS, other.words, found, asked, [])
    except PyromixError as error:
        return Variation(CUTS, other.words, None, str(error))


def _uncut(spec: MixtureSpec) -> tuple[str, ...]:
    """Say that cut points were not varied, where there are some."""
    names = cut_variables(spec)
    if not names:
        return ()
    was = "was" if len(names) == 1 else "were"
    return (
        f"where {', '.join(names)} {was} cut was not varied: a fit of states does not hold the "
        "numbers; data= takes the table that does",
    )


def _other_numbers(
    fit: Fit, counts: Counts, asked: DoQuery, question_: tuple, generator: torch.Generator
) -> Iterator[Variation]:
    """One source less, one more."""
    k = fit.spec.n_sources
    if _about_source(asked):
        return
    for other in (k - 1, k + 1):
        if other >= 1:
            spec = fit.spec.with_n_sources(other)
            words = f"n_sources={other}" + (" (nothing hidden)" if other == 1 else "")
            yield _refitted(N_SOURCES, words, spec, fit, counts, question_, generator)


def _about_source(asked: DoQuery) -> bool:
    """Whether labels of sources are part of the question: another fit has others."""
    return SOURCE in (*asked.outcomes, *asked.do, *asked.evidence)


def _without_views(
    fit: Fit, counts: Counts, asked: DoQuery, question_: tuple, generator: torch.Generator
) -> Iterator[Variation]:
    """What can be left out of each view; effects of it that nobody asks about go with it."""
    spec = fit.spec
    if spec.n_sources == 1 or _about_source(asked):
        return
    for view in _views(fit):
        dropped = _droppable(spec, view, asked)
        if not set(dropped) & set(view):
            note = "none of it can be left out: it is asked about, or a cause of several variables"
            yield Variation(VIEW, f"without {_set(spec, view)}", None, note)
            continue
        words = f"without {_set(spec, dropped)}"
        found = _refitted(VIEW, words, spec.without(dropped), fit, counts, question_, generator)
        yield replace(found, dropped=tuple(spec.name(v) for v in dropped))


def _droppable(spec: MixtureSpec, view: Sequence[int], asked: DoQuery) -> list[int]:
    """Vertices that can be summed out without touching the question, see ``spec.without``."""
    named = {*asked.outcomes, *asked.do, *asked.evidence}
    needed = spec.ancestors(named)
    candidates = (set(view) | (spec.descendants(view) - needed)) - named
    parents = {v: set(found) for v, found in enumerate(spec.parents)}
    dropped = []
    for v in sorted(candidates, reverse=True):
        children = [c for c, found in parents.items() if v in found]
        grown = [(parents[c] | parents[v]) - {v} for c in children]
        sizes = [spec.n_joint((*found, c)) for found, c in zip(grown, children, strict=True)]
        if len(children) > 1 or any(size > MAX_INHERITED_CELLS for size in sizes):
            continue
        for c, found in zip(children, grown, strict=True):
            parents[c] = found
        del parents[v]
        dropped.append(v)
    return sorted(dropped)


def _set(spec: MixtureSpec, vertices: Sequence[int], limit: int = 6) -> str:
    names = [spec.name(v) for v in vertices[:limit]]
    more = f", and {len(vertices) - limit} more" if len(vertices) > limit else ""
    return "{" + ", ".join(names) + more + "}"


def _views(fit: Fit) -> list[list[int]]:
    """The views that moments used, or those of a plan where there was no moment stage."""
    spec = fit.spec
    if fit.moments is not None and fit.moments.runs:
        return [[spec.vertex(name) for name in view] for view in fit.moments.runs[0].views]
    plan = graph_facts(spec).plan
    return [] if plan is None else [list(view) for view in plan.runs[0].views]


def _refitted(
    kind: str,
    words: str,
    spec: MixtureSpec,
    fit: Fit,
    counts: Counts,
    question_: tuple,
    generator: torch.Generator,
) -> Variation:
    """Fit another spec to the same rows and ask."""
    try:
        asked = DoQuery.from_names(spec, *question_)
        verdict = judge(spec, (asked,))
        if verdict.structural is Certainty.UNCHECKED:
            return Variation(
                kind, words, None, "not checked: nobody knows whether it is identified"
            )
        if not verdict.structural.at_least(Certainty.LOCAL):
            shape = verdict.structural is Certainty.BY_SHAPE
            note = "identified by shape alone" if shape else "not identified"
            note += ", so the answer leans on it" if kind == VIEW else ""
            return Variation(kind, words, None, note, identified=False)
        prior = _prior_of(fit)
        other = fit_model(
            spec, counts.on(spec), prior=prior, random_state=generator, show_progress=False
        )
        notes = []
        if prior == POOLED and not fit.chosen_prior.was_chosen:
            notes.append('fitted with prior="pooled": that of the fit is for its own tables')
        n = len(other.climb.log_likelihoods)
        if n > 1 and spec.n_sources > 1 and other.climb.n_best == 1:
            notes.append(_found_once(n))
        return _answered(kind, words, other, question_, notes)
    except PyromixError as error:
        return Variation(kind, words, None, str(error))


def _answered(kind: str, words: str, fit: Fit, question_: tuple, notes: list[str]) -> Variation:
    """What a fit under another assumption answers."""
    answer = ask.query(fit, *question_, require="weak")
    if answer.certainty is Certainty.WEAK:
        notes = [*notes, "weak: the graph would do, this table does not show it"]
    return Variation(kind, words, answer, "; ".join(notes))


def _found_once(n_starts: int) -> str:
    """What a reader must know of an optimum that may not be the best, nor there another time."""
    return f"its optimum was reached by one of {n_starts} starts"


def _prior_of(fit: Fit) -> str | Prior | None:
    """The prior of a fit, for another number of sources."""
    if fit.chosen_prior.was_chosen:
        return POOLED
    if fit.prior.is_zero:
        return None
    values = torch.cat([t.flatten() for t in fit.prior.tables]).unique()
    return float(values[0]) if len(values) == 1 else POOLED


def _other_optima(
    fit: Fit,
    counts: Counts,
    own: Answer,
    question_: tuple,
    n_starts: int,
    within: float,
    generator: torch.Generator,
) -> Iterator[Variation]:
    """Optima within some nats of the fit that answer otherwise, best first."""
    spec, k = fit.spec, fit.spec.n_sources
    n = min(n_starts, max(2, MAX_START_WORK // (counts.n_patterns * k))) if n_starts else 0
    if k == 1 or not n:
        return
    counts = counts.to(fit.mixture.device)
    drawn = random_starts(spec, n, random_state=generator, device=counts.device, counts=counts)
    starts = batch_of(inside(fit.mixture), drawn)
    weights = counts.weights.unsqueeze(1).expand(-1, n + 1)
    ends = climb_replicates(counts, starts, weights, prior=fit.prior)
    gaps = (ends.objectives[0] - ends.objectives).tolist()
    same = SAME_OPTIMUM * counts.n_rows
    # Starts in one optimum end a hair apart: their order decides which of them stands for it.
    near = [i for i in ordered([[gap] for gap in gaps], same) if i and gaps[i] <= within + same]
    seen = [(own, 0.0, 0)]
    for i in near:
        end = ends.mixtures[i]
        end = end.relabel(match_sources(fit.mixture, end))
        answer = query(end, *question_, certainty=own.certainty)
        for place, (other, gap, times) in enumerate(seen):
            if abs(other.values - answer.values).max() < SAME_ANSWER:
                seen[place] = (other, gap, times + 1)
                break
        else:
            seen.append((answer, gaps[i], 1))
    for answer, gap, times in seen[1:]:
        note = _found_once(n) if times == 1 else ""
        yield Variation(OPTIMUM, _apart(gap, same), answer, note)
    if len(seen) == 1:
        note = f"{seen[0][2]} of {n} random starts end within {within:g} nats, all with this answer"
        yield Variation(OPTIMUM, "other optima", own, note)


def _apart(gap: float, same: float) -> str:
    """How far an optimum lies below the fit, or above it."""
    if abs(gap) <= same:
        return "another optimum, as likely"
    return f"another optimum, {abs(gap):.2g} nats {'lower' if gap > 0 else 'higher'}"
