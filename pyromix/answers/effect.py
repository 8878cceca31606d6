"""The naive difference, the difference under a do, and the differences within sources."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pyromix.answers.answer import Answer, dominated_line, interval, telling
from pyromix.answers.delta import Delta, difference, difference_interval
from pyromix.answers.do import query
from pyromix.answers.wording import certainty_line, columns_of_text
from pyromix.errors import QueryError
from pyromix.exact.information import Information
from pyromix.model.mixture import BayesNetMixture, Fitted, mixture_of
from pyromix.model.query import Certainty
from pyromix.model.spec import SOURCE, MixtureSpec


@dataclass(frozen=True, eq=False)
class Difference:
    """A difference of two distributions of the outcome, state by state.

    ``float(difference)`` is the entry of the headline state: the second one of a binary outcome,
    or the ``outcome_state`` that was asked for.

    Attributes:
        outcome: name of the outcome.
        states: its state names.
        headline: number of the headline state, -1 where there is none.
        draws: ``(*batch, card)``, one difference per draw.
        point: ``(card,)``, the difference of the estimate.
        delta: standard errors of a point estimate; None where nobody asked.
    """

    outcome: str
    states: tuple[Hashable, ...]
    headline: int
    draws: Float[Tensor, "*batch card"]
    point: Float[Tensor, " card"]
    delta: Delta | None = None

    @property
    def values(self) -> np.ndarray:
        """Differences per outcome state; they sum to zero."""
        return self.point.detach().cpu().numpy()

    @property
    def has_interval(self) -> bool:
        """Whether there is one: from draws, or by the delta method."""
        return self._draws().shape[0] > 1 or self.delta is not None

    @property
    def standard_error(self) -> np.ndarray:
        """Per outcome state: of the draws, or by the delta method.

        Raises:
            QueryError: there are neither draws nor an information matrix.
        """
        if self._draws().shape[0] > 1:
            return self._draws().std(0).cpu().numpy()
        return self._delta().standard_errors

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(low, high)``, each shaped like ``values``.

        Equal-tailed from the draws where there are any; for a point estimate by the delta method.

        Raises:
            QueryError: there are neither draws nor an information matrix, or the level does not
                lie between 0 and 1.
        """
        if self._draws().shape[0] > 1:
            return interval(self._draws(), level)
        return difference_interval(self.values, self._delta().standard_errors, level)

    def minus(self, other: Difference) -> Difference:
        """The difference between two differences of one outcome."""
        return Difference(
            self.outcome,
            self.states,
            self.headline,
            self.draws - other.draws,
            self.point - other.point,
            difference(self.delta, other.delta),
        )

    def _draws(self) -> Tensor:
        return telling(self.draws.detach().reshape(-1, len(self.states)))

    def _delta(self) -> Delta:
        if self.delta is None:
            raise QueryError(
                "this difference has no interval: it is one answer of a mixture without draws; ask "
                "a fit (fit.effect(..., interval=True)), or one with draws (fit.bootstrap())"
            )
        return self.delta

    def __float__(self) -> float:
        """The entry of the headline state."""
        if self.headline < 0:
            raise QueryError(
                f"{self.outcome!r} has {len(self.states)} states {list(self.states)}, so one number"
                " needs outcome_state=...; .values has the whole vector"
            )
        return float(self.point[self.headline])

    def __repr__(self) -> str:
        entries = ", ".join(
            f"{s!r}: {d:+.4f}" for s, d in zip(self.states, self.values, strict=True)
        )
        return f"Difference({self.outcome}: {{{entries}}})"


@dataclass(frozen=True, eq=False)
class Effect:
    """What a change of the treatment does to the outcome, beside what merely goes with it.

    Every pair of arms is ``(from, to)``, the two states of the contrast.

    Attributes:
        spec: the structure that knows the names.
        treatment: vertex intervened on.
        outcome: vertex looked at.
        contrast: numbers of the two states of the treatment.
        headline: number of the outcome state that headline figures are about, -1 for none.
        naive_arms: P(outcome | treatment, evidence).
        do_arms: P(outcome | do(treatment), evidence).
        source_arms: P(outcome | do(treatment), U = u, evidence) for every source; empty unless
            asked for.
    """

    spec: MixtureSpec
    treatment: int
    outcome: int
    contrast: tuple[int, int]
    headline: int
    naive_arms: tuple[Answer, Answer]
    do_arms: tuple[Answer, Answer]
    source_arms: tuple[tuple[Answer, Answer], ...]

    @property
    def naive(self) -> Difference:
        """Difference between those who have the one state and those who have the other."""
        return self._difference(self.naive_arms)

    @property
    def do(self) -> Difference:
        """Difference that setting the treatment makes."""
        return self._difference(self.do_arms)

    @property
    def confounding(self) -> Difference:
        """Naive difference less the difference under the do."""
        return self.naive.minus(self.do)

    @property
    def per_source(self) -> tuple[Difference, ...]:
        """Difference under the do within each source.

        Raises:
            QueryError: they were not asked for.
        """
        if not self.source_arms:
            raise QueryError("differences per source were not computed; pass per_source=True")
        return tuple(self._difference(arms) for arms in self.source_arms)

    @property
    def certainty(self) -> Certainty:
        """How firmly data determine the do difference."""
        return self.do_arms[0].certainty

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(low, high)`` of the do difference, one entry per outcome state.

        Raises:
            QueryError: there are no draws, or the level does not lie between 0 and 1.
        """
        return self.do.interval(level)

    def __str__(self) -> str:
        """A line per kind of difference, for the headline state or for all states."""
        spec = self.spec
        states, outcome = spec.states_of(self.treatment), spec.name(self.outcome)
        low, high = (f"{spec.name(self.treatment)}={states[s]!r}" for s in self.contrast)
        kinds = {"naive": self.naive_arms, "do": self.do_arms}
        for u, arms in zip(spec.source_states, self.source_arms, strict=False):
            kinds[f"do, {spec.source}={u!r}"] = arms
        lines = [f"Effect of {low} -> {high} on {outcome}"]
        shown = [self.headline] if self.headline >= 0 else range(spec.card(self.outcome))
        for state in shown:
            header = [f"P({outcome}={spec.states_of(self.outcome)[state]!r})", low, high]
            header.append("difference")
            if self.do_arms[0].has_interval:
                header.append("95% interval")
            rows = [self._row(kind, arms, state) for kind, arms in kinds.items()]
            lines += columns_of_text(header, rows, n_left=1)
        lines += dominated_line(self.do.delta)
        lines.append(certainty_line(self.certainty))
        within = {arm.certainty for arms in self.source_arms for arm in arms}
        lines += [f"per source, {certainty_line(c)}" for c in within - {self.certainty}]
        return "\n".join(lines)

    __repr__ = __str__

    def _row(self, kind: str, arms: tuple[Answer, Answer], state: int) -> list[str]:
        difference = self._difference(arms)
        row = [kind, *(f"{arm.values[state]:.4f}" for arm in arms)]
        row.append(f"{difference.values[state]:+.4f}")
        if arms[0].has_interval:
            low, high = difference.interval()
            row.append(f"[{low[state]:+.4f}, {high[state]:+.4f}]")
        return row

    def _difference(self, arms: tuple[Answer, Answer]) -> Difference:
        one, other = arms
        return Difference(
            self.spec.name(self.outcome),
            self.spec.states_of(self.outcome),
            self.headline,
            other.probs - one.probs,
            other.point - one.point,
            difference(other.delta, one.delta),
        )


def effect(
    mixture: BayesNetMixture | Fitted,
    treatment: str,
    outcome: str,
    *,
    contrast: Sequence[Hashable] | None = None,
    evidence: Mapping[str, Hashable] | None = None,
    outcome_state: Any = ...,
    per_source: bool = False,
    engine: str = "auto",
    certainty: Certainty = Certainty.NONE,
    source_certainty: Certainty = Certainty.NONE,
    reached: Sequence[Tensor] | None = None,
    point: BayesNetMixture | None = None,
    information: Information | None = None,
) -> Effect:
    """Compare the outcome between two states of the treatment, seen and set.

    Args:
        mixture: the tables, or a fit, whose certificate is then not asked; batch axes are draws.
        treatment: the variable seen or set.
        outcome: the variable looked at.
        contrast: ``(from, to)`` states of the treatment; a binary one goes from its first to its
            second state unless told.
        evidence: conditions of every arm, per variable a state name.
        outcome_state: state that headline figures are about; the second one of a binary outcome
            unless told.
        per_source: also ask within each source.
        engine: as in ``query``.
        certainty: how firmly data determine the do difference, when somebody certified it.
        source_certainty: the same of the differences within each source.
        reached: as in ``query``; applied to the arms under the do.
        point: as in ``query``.
        information: as in ``query``.

    Raises:
        QueryError: an unknown name or state, treatment and outcome not distinct, one of them in
            the evidence, or a contrast that is missing or no pair of different states.
        PositivityError: an arm conditions on something of probability zero, or rests entirely on
            rows that no data reached.
    """
    mixture = mixture_of(mixture)
    spec, evidence = mixture.spec, dict(evidence or {})
    x, y = spec.vertex(treatment), spec.vertex(outcome)
    if x == y:
        raise QueryError(f"treatment and outcome must differ, found {treatment!r} for both")
    if both := [name for name in (treatment, outcome) if name in evidence]:
        raise QueryError(
            f"{both} stand in `evidence` and are treatment or outcome; an effect compares them, so "
            "they cannot be fixed"
        )
    pair = _contrast(spec, x, contrast)
    arms = [spec.states_of(x)[s] for s in pair]
    headline = 1 if spec.card(y) == 2 else -1
    if outcome_state is not ...:
        headline = spec.state(y, outcome_state)
    if per_source and SOURCE in (x, y, *map(spec.vertex, evidence)):
        raise QueryError(
            f"per_source=True asks within each state of {spec.source!r}, which is treatment, "
            "outcome or evidence already"
        )

    def under_do(given: dict[str, Hashable], certainty: Certainty) -> tuple[Answer, Answer]:
        one, other = (
            query(
                mixture,
                outcome,
                {treatment: state},
                given,
                engine,
                certainty=certainty,
                reached=reached,
                point=point,
                information=information,
            )
            for state in arms
        )
        return one, other

    seen = [
        query(
            mixture,
            outcome,
            None,
            {**evidence, treatment: state},
            engine,
            point=point,
            information=information,
        )
        for state in arms
    ]
    return Effect(
        spec=spec,
        treatment=x,
        outcome=y,
        contrast=pair,
        headline=headline,
        naive_arms=(seen[0], seen[1]),
        do_arms=under_do(evidence, certainty),
        source_arms=tuple(
            under_do({**evidence, spec.source: u}, source_certainty)
            for u in spec.source_states
            if per_source
        ),
    )


def _contrast(
    spec: MixtureSpec, vertex: int, contrast: Sequence[Hashable] | None
) -> tuple[int, int]:
    """Numbers of the two states to compare."""
    name, states = spec.name(vertex), list(spec.states_of(vertex))
    if contrast is None:
        if len(states) != 2:
            raise QueryError(
                f"{name!r} has {len(states)} states {states}, so the comparison must be named: "
                f"contrast=({states[0]!r}, {states[-1]!r})"
            )
        return 0, 1
    if isinstance(contrast, str) or len(contrast) != 2:
        raise QueryError(
            f"contrast must be a pair (from, to) of states of {name!r}, found {contrast!r}"
        )
    one, other = (spec.state(vertex, state) for state in contrast)
    if one == other:
        raise QueryError(f"contrast must name two different states, found {contrast!r}")
    return one, other
