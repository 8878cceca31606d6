"""The naive difference, the difference under a do, and the differences within sources."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from pyromix.answers.answer import Answer, doubt_lines, interval_lines
from pyromix.answers.difference import Difference, difference_of
from pyromix.answers.do import query
from pyromix.answers.group import group_of
from pyromix.answers.heard import Hearing
from pyromix.answers.wording import certainty_line, interval_title
from pyromix.errors import QueryError
from pyromix.model.arguments import listed, shown
from pyromix.model.mixture import BayesNetMixture, Fitted, mixture_of
from pyromix.model.printed import Grid, Printed, as_html, as_text
from pyromix.model.query import Certainty
from pyromix.model.spec import SOURCE, MixtureSpec


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
        level: of the intervals that are printed.
        group: whose effect it is, as numbers of states; empty for everybody.
    """

    spec: MixtureSpec
    treatment: int
    outcome: int
    contrast: tuple[int, int]
    headline: int
    naive_arms: tuple[Answer, Answer]
    do_arms: tuple[Answer, Answer]
    source_arms: tuple[tuple[Answer, Answer], ...]
    level: float = 0.95
    group: Mapping[int, int] = field(default_factory=dict)

    @cached_property
    def naive(self) -> Difference:
        """Difference between those who have the one state and those who have the other."""
        return self._difference(self.naive_arms)

    @cached_property
    def do(self) -> Difference:
        """Difference that setting the treatment makes."""
        return self._difference(self.do_arms)

    @cached_property
    def confounding(self) -> Difference:
        """Naive difference less the difference under the do."""
        return self.naive.minus(self.do)

    @cached_property
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

    def interval(
        self, level: float | None = None, method: str = "auto"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(low, high)`` of the do difference, one entry per outcome state.

        Args:
            level: as in ``Difference.interval``.
            method: as in ``Difference.interval``.

        Raises:
            QueryError: as ``Difference.interval``.
        """
        return self.do.interval(level, method)

    def _printed(self) -> Printed:
        """Return a line per kind of difference, for the headline state or for all states."""
        spec = self.spec
        states, outcome = spec.states_of(self.treatment), spec.name(self.outcome)
        low, high = (f"{spec.name(self.treatment)}={states[s]!r}" for s in self.contrast)
        kinds = {"naive": self.naive_arms, "do": self.do_arms}
        for u, arms in zip(spec.source_states, self.source_arms, strict=False):
            kinds[f"do, {spec.source}={u!r}"] = arms
        group = [f"{spec.name(v)}={spec.states_of(v)[s]!r}" for v, s in self.group.items()]
        among = f", among {', '.join(group)}" if group else ""
        grids = []
        shown = [self.headline] if self.headline >= 0 else range(spec.card(self.outcome))
        for state in shown:
            header = [f"P({outcome}={spec.states_of(self.outcome)[state]!r})", low, high]
            header.append("difference")
            with_interval = any(self._difference(arms).has_interval for arms in kinds.values())
            if with_interval:
                header.append(interval_title(self.level))
            rows = [self._row(kind, arms, state, with_interval) for kind, arms in kinds.items()]
            grids.append(Grid(header, rows))
        lines = interval_lines(self.do._basis, self.do_arms[0].heard, self.level)
        lines.append(certainty_line(self.certainty))
        lines += doubt_lines(self.do_arms[0].heard)
        within = {arm.certainty for arms in self.source_arms for arm in arms}
        lines += [f"per source, {certainty_line(c)}" for c in within - {self.certainty}]
        return Printed(f"Effect of {low} -> {high} on {outcome}{among}", tuple(grids), tuple(lines))

    __str__ = __repr__ = as_text
    _repr_html_ = as_html

    def _row(
        self, kind: str, arms: tuple[Answer, Answer], state: int, with_interval: bool
    ) -> list[str]:
        difference = self._difference(arms)
        row = [kind, *(f"{arm.values[state]:.4f}" for arm in arms)]
        row.append(f"{difference.values[state]:+.4f}")
        if difference.has_interval:
            low, high = difference.interval()
            row.append(f"[{low[state]:+.4f}, {high[state]:+.4f}]")
        elif with_interval:
            row.append("none")
        return row

    def _difference(self, arms: tuple[Answer, Answer]) -> Difference:
        """Of two arms, made once: it remembers its intervals."""
        key = id(arms[0])
        if key not in self._known:
            self._known[key] = difference_of(arms, self.headline, self.level)
        return self._known[key]

    @cached_property
    def _known(self) -> dict[int, Difference]:
        return {}


def effect(
    mixture: BayesNetMixture | Fitted,
    treatment: str,
    outcome: str,
    *,
    contrast: Sequence[Hashable] | None = None,
    evidence: Mapping[str, Hashable] | None = None,
    among: Mapping[str, Hashable] | None = None,
    outcome_state: Any = ...,
    per_source: bool = False,
    engine: str = "auto",
    certainty: Certainty = Certainty.NONE,
    source_certainty: Certainty = Certainty.NONE,
    reached: Sequence[Tensor] | None = None,
    point: BayesNetMixture | None = None,
    heard: Hearing | None = None,
    heard_within: Hearing | None = None,
    heard_naive: Hearing | None = None,
    level: float = 0.95,
) -> Effect:
    """Compare the outcome between two states of the treatment, seen and set.

    Args:
        mixture: the tables, or a fit, whose certificate is then not asked; batch axes are draws.
        treatment: the variable seen or set.
        outcome: the variable looked at.
        contrast: ``(from, to)`` states of the treatment; a binary one goes from its first to its
            second state unless told.
        evidence: conditions of every arm, per variable a state name.
        among: the group whose effect it is: the treatment that they have by themselves, variables
            that it does not influence; everybody when left out.
        outcome_state: state that headline figures are about; the second one of a binary outcome
            unless told.
        per_source: also ask within each source.
        engine: as in ``query``.
        certainty: how firmly data determine the do difference, when somebody certified it.
        source_certainty: the same of the differences within each source.
        reached: as in ``query``; applied to the arms under the do.
        point: as in ``query``.
        heard: the question as the table of a fit was heard on it; None when nobody asked one.
        heard_within: the same within a source.
        heard_naive: the same of what is seen.
        level: of the intervals that are printed.

    Raises:
        QueryError: an unknown name or state, treatment and outcome not distinct, one of them in
            the evidence, a contrast that is missing or no pair of different states, or a group told
            by something that the treatment influences.
        PositivityError: nobody is in the group, an arm conditions on something of probability
            zero, or rests entirely on rows that no data reached.
    """
    mixture = mixture_of(mixture)
    spec = mixture.spec
    natural, evidence = group_of(spec, treatment, outcome, among, evidence)
    x, y = spec.vertex(treatment), spec.vertex(outcome)
    if x == y:
        raise QueryError(f"treatment and outcome must differ, found {treatment!r} for both")
    if both := [name for name in (treatment, outcome) if name in evidence]:
        raise QueryError(
            f"{both} stand in `evidence` and are treatment or outcome; an effect compares them, so "
            "they cannot be fixed"
        )
    pair = contrast_of(spec, x, contrast)
    arms = [spec.states_of(x)[s] for s in pair]
    headline = 1 if spec.card(y) == 2 else -1
    if outcome_state is not ...:
        headline = spec.state(y, outcome_state)
    if per_source and SOURCE in (x, y, *map(spec.vertex, evidence)):
        raise QueryError(
            f"per_source=True asks within each state of {spec.source!r}, which is treatment, "
            "outcome or evidence already"
        )

    def under_do(
        given: dict[str, Hashable], certainty: Certainty, heard: Hearing | None
    ) -> tuple[Answer, Answer]:
        if heard is not None:
            certainty = heard.verdict.level
        one, other = (
            query(
                mixture,
                outcome,
                {treatment: state},
                given,
                engine,
                natural=natural,
                certainty=certainty,
                reached=reached,
                point=point,
                heard=heard,
                level=level,
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
            heard=heard_naive,
            level=level,
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
        do_arms=under_do(evidence, certainty, heard),
        source_arms=tuple(
            under_do({**evidence, spec.source: u}, source_certainty, heard_within)
            for u in spec.source_states
            if per_source
        ),
        level=level,
        group={spec.vertex(n): spec.state(spec.vertex(n), s) for n, s in (among or {}).items()},
    )


def contrast_of(
    spec: MixtureSpec, vertex: int, contrast: Sequence[Hashable] | None
) -> tuple[int, int]:
    """Numbers of the two states to compare.

    Args:
        spec: the structure.
        vertex: the treatment.
        contrast: ``(from, to)`` states; may be left out for two states.

    Raises:
        QueryError: missing, or no pair of different states.
    """
    name, states = spec.name(vertex), list(spec.states_of(vertex))
    if contrast is None:
        if len(states) != 2:
            raise QueryError(
                f"{name!r} has {len(states)} states {states}, so the comparison must be named: "
                f"contrast=({states[0]!r}, {states[-1]!r})"
            )
        return 0, 1
    pair = () if isinstance(contrast, str) else listed("contrast", contrast, "states", QueryError)
    if len(pair) != 2:
        raise QueryError(
            f"contrast must be a pair (from, to) of states of {name!r}, found {shown(contrast)}"
        )
    one, other = (spec.state(vertex, state) for state in pair)
    if one == other:
        raise QueryError(f"contrast must name two different states, found {shown(contrast)}")
    return one, other
