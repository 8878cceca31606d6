"""What a change of the treatment does to an outcome, where one of them may be a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pyromix.answers.mixed.answer import (
    MixedAnswer,
    NumericAnswer,
    answer_of,
    ends_of,
    engine_lines,
    fit_lines,
    is_numeric,
)
from pyromix.answers.mixed.engines import Engine, Summary, mixed_of
from pyromix.answers.mixed.question import Question, Setting, setting_in_words, setting_of
from pyromix.answers.mixed.sampling import N_SAMPLES
from pyromix.answers.mixed.spread import Spread
from pyromix.answers.wording import interval_title
from pyromix.errors import QueryError
from pyromix.model.arguments import listed, shown
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.mixture import Fitted
from pyromix.model.printed import Grid, Printed, as_html, as_text
from pyromix.model.query import Certainty, mapping_of
from pyromix.model.randomness import RandomState
from pyromix.model.spec import SOURCE


@dataclass(frozen=True, eq=False)
class Change:
    """Two answers about one outcome, and what lies between them.

    Attributes:
        arms: answers before and after.
        summary: what of them is compared.
        headline: number of the outcome state that one number is about, -1 for none; 0 for numbers.
    """

    arms: tuple[MixedAnswer, MixedAnswer]
    summary: Summary
    headline: int

    @property
    def values(self) -> np.ndarray:
        """Differences, one for a number, one per state otherwise."""
        low, high = self.ends
        return high - low

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """What is compared, before and after."""
        low, high = (self.summary.of(arm.law).detach().cpu().numpy() for arm in self.arms)
        return low, high

    @property
    def monte_carlo_error(self) -> np.ndarray:
        """Standard errors of the differences by sampling, both arms drawn by the same numbers."""
        low, high = (self.summary.scores(arm.law) for arm in self.arms)
        return self.arms[0].law.mix.error_of(high - low).cpu().numpy()

    def __float__(self) -> float:
        """The difference; of an outcome with states that of the headline state.

        Raises:
            QueryError: there are several states, and none was named.
        """
        if self.headline < 0:
            raise QueryError("the outcome has several states, so one number needs "
                             "outcome_state=...; .values has the whole vector")  # fmt: skip
        return float(self.values[self.headline])

    def __repr__(self) -> str:
        return f"Change({', '.join(f'{x:+.4g}' for x in self.values)})"


@dataclass(frozen=True, eq=False)
class MixedEffect:
    """The difference that goes with a treatment, and the one that it makes.

    Attributes:
        spec: the structure that knows the names.
        treatment: vertex set, or seen.
        outcome: vertex looked at.
        contrast: what the treatment goes from and to, states as numbers.
        naive: between those seen with the one and with the other.
        do: between both settings.
        per_source: under the do within every source; empty unless asked for.
        notes: further lines to be printed.
        certainty: how certain graph and table make the difference under the do; None for the
            effect in a mixture.
        spread: how far the differences under the do may be off; None for the effect in a mixture.
        spread_naive: how far the naive differences may be off.
        level: of the intervals that are printed.
    """

    spec: MixedSpec
    treatment: int
    outcome: int
    contrast: tuple[Setting, Setting]
    naive: Change
    do: Change
    per_source: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    certainty: Certainty | None = None
    spread: Spread | None = None
    spread_naive: Spread | None = None
    level: float = 0.95

    def __float__(self) -> float:
        """The difference under the do.

        Raises:
            QueryError: the outcome has several states, and none was named.
        """
        return float(self.do)

    def interval(self, level: float | None = None) -> tuple[Any, Any]:
        """Return an interval for the difference under the do.

        Args:
            level: that of the effect unless told.

        Returns:
            ``(low, high)``: numbers, or a number per state where none was named.

        Raises:
            QueryError: there is none; it says why.
        """
        title = f"the effect of {self.spec.name(self.treatment)!r}"
        low, high = ends_of(self.spread, title, self.level if level is None else level)
        if self.do.headline < 0:
            return low, high
        return float(low[self.do.headline]), float(high[self.do.headline])

    @property
    def confounding(self) -> np.ndarray:
        """Naive difference less the difference under the do."""
        return self.naive.values - self.do.values

    def _printed(self) -> Printed:
        """Return a line per kind of difference."""
        spec, outcome = self.spec, self.spec.name(self.outcome)
        low, high = (setting_in_words(spec, self.treatment, at) for at in self.contrast)
        kinds = {"naive": self.naive, "do": self.do}
        names = spec.binned.source_states
        kinds |= {f"do, {spec.source}={names[u]!r}": c for u, c in enumerate(self.per_source)}
        numeric = is_numeric(spec, self.outcome)
        cells = range(len(self.do.values)) if self.do.headline < 0 else [self.do.headline]
        grids = []
        for cell in cells:
            what = f"{self.do.summary.words} of {outcome}"
            if not numeric:
                what = f"P({outcome}={spec.binned.states_of(self.outcome)[cell]!r})"
            rows = [[kind, *_row(change, cell)] for kind, change in kinds.items()]
            header = [what, low, high, "difference"]
            if self.spread is not None and not self.spread.refused:
                header.append(interval_title(self.level))
                spreads = [self.spread_naive, self.spread, *(None for _ in self.per_source)]
                for row, spread in zip(rows, spreads, strict=True):
                    row.append(_interval(spread, cell, self.level))
            grids.append(Grid(header, rows))
        arm = self.do.arms[1]
        error = float(self.do.monte_carlo_error[max(self.do.headline, 0)])
        lines = fit_lines(self.certainty, self.spread)
        lines += engine_lines(arm.engine, arm.law.mix, "the difference", error)
        if numeric and self.do.summary.quantile is None and _rests_on_few(self.do):
            lines.insert(0, "a mean lies beyond its 90% quantile: it rests on few, very large "
                            "numbers; compare medians (quantile=0.5)")  # fmt: skip
        title = f"Effect of {low} -> {high} on {outcome}"
        return Printed(title, tuple(grids), (*lines, *self.notes))

    __str__ = __repr__ = as_text
    _repr_html_ = as_html


def effect(
    mixture: MixedMixture | Fitted,
    treatment: str,
    outcome: str,
    *,
    contrast: Sequence[Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
    quantile: float | None = None,
    outcome_state: Any = ...,
    per_source: bool = False,
    engine: str = "auto",
    n_samples: int = N_SAMPLES,
    random_state: RandomState = 0,
) -> MixedEffect:
    """Compare an outcome between two settings of the treatment, seen and set.

    Args:
        mixture: the laws of all vertices, or a fit.
        treatment: the variable seen or set.
        outcome: the variable looked at: means of a number, probabilities of states.
        contrast: ``(from, to)``: numbers in the units of the treatment, or states; a treatment with
            two states goes from the first to the second unless told.
        evidence: conditions of every arm.
        quantile: compare this quantile of a numeric outcome instead of means, e.g. ``0.5``.
        outcome_state: state that the one number is about; the second of two unless told.
        per_source: also ask within each source.
        engine: as in ``query``; one for all arms.
        n_samples: as in ``query``.
        random_state: as in ``query``; all arms meet the same random numbers.

    Raises:
        QueryError: as ``query``; treatment and outcome not distinct, one of them in the evidence,
            a contrast that is missing or no pair of different settings, or a quantile of states.
        PositivityError: an arm conditions on something impossible.
    """
    mixture = mixed_of(mixture)
    spec = mixture.spec
    x, y = roles_of(spec, treatment, outcome, evidence)
    pair = contrast_of(spec, x, contrast)
    numeric = is_numeric(spec, y)
    summary = Summary.of_argument(quantile, numeric=numeric)
    headline = headline_of(spec, y, outcome_state)
    given = Question.from_names(spec, outcome, None, evidence)
    if per_source and SOURCE in (x, y, *given.evidence):
        raise QueryError(
            f"per_source=True asks within each state of {spec.source!r}, which is treatment, "
            "outcome or evidence already"
        )
    seen = [replace(given, evidence={**given.evidence, x: at}) for at in pair]
    done = [replace(given, do={x: at}) for at in pair]
    within = [
        [replace(q, evidence={**q.evidence, SOURCE: u}) for q in done]
        for u in range(spec.n_sources)
        if per_source
    ]
    how = Engine(engine, n_samples, random_state)

    def change(questions: list[Question]) -> Change:
        settled = how.settled(mixture, questions)
        with torch.no_grad():
            laws = [settled.law(mixture, q) for q in questions]
        one, other = (
            answer_of(spec, q, law, settled) for q, law in zip(questions, laws, strict=True)
        )
        return Change((one, other), summary, headline)

    return MixedEffect(
        spec, x, y, pair, change(seen), change(done), tuple(change(arms) for arms in within)
    )


def roles_of(
    spec: MixedSpec, treatment: str, outcome: str, evidence: Mapping[str, Any] | None
) -> tuple[int, int]:
    """Vertices of treatment and outcome.

    Raises:
        QueryError: they are the same, unknown, or in the evidence.
    """
    x, y = spec.vertex(treatment), spec.vertex(outcome)
    if x == y:
        raise QueryError(f"treatment and outcome must differ, found {treatment!r} for both")
    given = mapping_of(spec.binned, "evidence", evidence)
    if both := [name for name in (treatment, outcome) if name in given]:
        raise QueryError(
            f"{both} stand in `evidence` and are treatment or outcome; an effect compares them, so "
            "they cannot be fixed"
        )
    return x, y


def headline_of(spec: MixedSpec, outcome: int, outcome_state: Any) -> int:
    """Number of the state that one number is about; -1 for none, 0 for an outcome with numbers.

    Raises:
        QueryError: no such state, or the outcome has none.
    """
    if is_numeric(spec, outcome):
        if outcome_state is not ...:
            raise QueryError(f"{spec.name(outcome)!r} is a number and has no states; leave "
                             "outcome_state out")  # fmt: skip
        return 0
    if outcome_state is not ...:
        return spec.binned.state(outcome, outcome_state)
    return 1 if spec.binned.card(outcome) == 2 else -1


def contrast_of(
    spec: MixedSpec, vertex: int, contrast: Sequence[Any] | None
) -> tuple[Setting, Setting]:
    """The two settings to compare.

    Raises:
        QueryError: missing, or no pair of different settings.
    """
    name = spec.name(vertex)
    if contrast is None:
        if is_numeric(spec, vertex):
            raise QueryError(
                f"{name!r} is a number: say from where to where it goes, contrast=(from, to), in "
                "the units of its column"
            )
        states = list(spec.binned.states_of(vertex))
        if len(states) != 2:
            raise QueryError(f"{name!r} has {len(states)} states {states}; pass "
                             "contrast=(from, to)")  # fmt: skip
        return 0, 1
    pair = () if isinstance(contrast, str) else listed("contrast", contrast, "two settings",
                                                       QueryError)  # fmt: skip
    if len(pair) != 2:
        raise QueryError(f"contrast must be a pair (from, to), found {shown(contrast)}")
    one, other = (setting_of(spec, vertex, at, "contrast") for at in pair)
    if one == other:
        raise QueryError(f"contrast must name two different settings of {name!r}, found "
                         f"{shown(pair[0])} twice")  # fmt: skip
    return one, other


def _interval(spread: Spread | None, cell: int, level: float) -> str:
    if spread is None or spread.refused:
        return ""
    low, high = spread.interval(level)
    return f"[{low[cell]:+.4g}, {high[cell]:+.4g}]"


def _row(change: Change, cell: int) -> list[str]:
    (low, high), difference = change.ends, change.values
    return [f"{low[cell]:.4g}", f"{high[cell]:.4g}", f"{difference[cell]:+.4g}"]


def _rests_on_few(change: Change) -> bool:
    arms = [arm for arm in change.arms if isinstance(arm, NumericAnswer)]
    return any(arm.rests_on_few for arm in arms)
