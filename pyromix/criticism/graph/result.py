"""What a graph check found: changes by one edge, the strongest first, and what they would do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyromix.criticism.graph.edits import ADD, DROP, TURN
from pyromix.data.frames import to_pandas
from pyromix.model.printed import Grid, Printed, as_html, as_text
from pyromix.model.spec import MixtureSpec

if TYPE_CHECKING:
    import pandas as pd

UNTESTABLE = "untestable"

COLUMNS = (
    "action", "from", "to", "demanded", "statistic", "df", "p", "bic_gain", "effect_change"
)  # fmt: skip

PRINTED = 8
"""Lines of the printed table."""

TOLD = 3
"""Sentences on edges that lack; further ones mostly follow from these."""

LEAST_P = 1e-6
"""p-values are told down to this one."""

SHOWN = 5e-4
"""Change of an effect that is told where several edges would do."""

EQUAL_STATISTICS = 0.02
"""Difference of two statistics up to which graphs fit equally well: EM ends by a tolerance."""

ALIKE = 1e-6
"""Gain in BIC, in nats, up to which an edge turned is one that the table cannot tell."""


@dataclass(frozen=True)
class Suggestion:
    """One change of the graph, and what the table says to it.

    Attributes:
        kind: ``"add"``, ``"drop"`` or ``"turn"``.
        tail: name of the vertex where the edge begins, as it is or would be added.
        head: name of the one where it ends.
        demanded: whether the table asks for the change.
        statistic: twice the log-likelihood of the larger graph less that of the smaller, nats, at
            least zero; of a turned edge, whose graphs are not nested, twice the gain of turning it;
            in a table with numbers that of the test by scores, or Wald's.
        df: degrees of freedom: how many directions of parameters more a table of these variables
            shows in the larger graph; 0 where the change makes no difference to any table.
        p: p-value of the smaller graph, after Holm's correction over all changes of the kind; by
            simulated tables where ``resampled``; nan for turned edges and where ``df`` is 0.
        bic_gain: by how much BIC improves; positive speaks for the change.
        effect_change: effect after the change less the effect as it is, as differences of
            probabilities, or of means in the units of the outcome; nan where no effect was asked
            about, or the change was not fitted.
        fitted: whether the changed graph was fitted; if not, ``bic_gain`` (and a ``statistic`` that
            is a ratio of likelihoods) is a lower bound by expected counts, and far from what would
            matter.
        resampled: whether the p-value is from simulated tables.
        possible: False where the table has fewer rows than the change would have parameters.
        by_ratio: whether ``statistic`` is a ratio of likelihoods.
    """

    kind: str
    tail: str
    head: str
    demanded: bool
    statistic: float
    df: int
    p: float
    bic_gain: float
    effect_change: float
    fitted: bool = True
    resampled: bool = False
    possible: bool = True
    by_ratio: bool = True

    @property
    def action(self) -> str:
        """The kind, or ``"untestable"`` where no table tells the two graphs apart."""
        return UNTESTABLE if self.kind != TURN and not self.df else self.kind

    @property
    def edge(self) -> str:
        """The edge in a word."""
        return f"{self.tail} -> {self.head}"

    def to_record(self) -> dict[str, Any]:
        """The columns of the frame."""
        values = (
            self.action, self.tail, self.head, self.demanded, self.statistic, self.df, self.p,
            self.bic_gain, self.effect_change,
        )  # fmt: skip
        return dict(zip(COLUMNS, values, strict=True))


@dataclass(frozen=True, eq=False)
class GraphCheck:
    """Changes of a graph by one edge; a sequence of them, the strongest first.

    Attributes:
        spec: the graph.
        suggestions: demanded ones first, then by gain in BIC.
        asked: the effect that was asked about, in words; empty for none.
        effect: its value in the graph as it is, a difference of probabilities, or of means in the
            units of the outcome; nan for none.
        level: of the tests.
        n_rows: of the table.
        converged: whether the fit of the graph ended by its tolerance.
        doubts: why chi-square was not trusted for the graph as a whole, or nothing demanded;
            perhaps none.
    """

    spec: MixtureSpec
    suggestions: tuple[Suggestion, ...]
    asked: str
    effect: float
    level: float
    n_rows: float
    converged: bool
    doubts: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of changes."""
        return len(self.suggestions)

    def __iter__(self) -> Iterator[Suggestion]:
        """The changes, the strongest first."""
        return iter(self.suggestions)

    def __getitem__(self, place: int) -> Suggestion:
        """One change."""
        return self.suggestions[place]

    @property
    def demanded(self) -> tuple[Suggestion, ...]:
        """What the table asks for."""
        return tuple(one for one in self.suggestions if one.demanded)

    def to_records(self) -> list[dict[str, Any]]:
        """One mapping per change, with the columns of ``to_frame``."""
        return [one.to_record() for one in self.suggestions]

    def to_frame(self) -> pd.DataFrame:
        """One row per change, the strongest first.

        Columns ``action`` (``"add"``, ``"drop"``, ``"turn"``, ``"untestable"``), ``from``, ``to``,
        ``demanded``, ``statistic``, ``df``, ``p``, ``bic_gain``, ``effect_change``: see
        ``Suggestion``.
        """
        records = self.to_records()
        return to_pandas({name: [one[name] for one in records] for name in COLUMNS})

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the table asks for, in words; one sentence where it asks for nothing."""
        groups = _alike([one for one in self.demanded if one.kind == ADD])
        found = [self._asked_for(group) for group in groups[:TOLD]]
        if len(groups) > 1:
            more = len(groups) - TOLD
            found.append(
                (f"it asks for {more} more; " if more > 0 else "")
                + "one edge that lacks makes others seem to lack: add the first that makes sense, "
                "and ask again"
            )
        found += [self._in_words(one) for one in self.demanded if one.kind != ADD]
        if not any(one.demanded and one.kind == ADD for one in self.suggestions):
            found.insert(0, self._none_added())
        alike = [one for one in self.suggestions if _undecided(one)]
        if alike:
            edges = ", ".join(one.edge for one in alike)
            moved = [one for one in alike if abs(one.effect_change) > 0]
            effects = "; ".join(
                f"with {one.head} -> {one.tail} the effect would be {self._after(one)}"
                for one in moved
            )
            found.append(
                f"the table cannot tell which way these lead: {edges}"
                + (f"; {effects}" if effects else "")
            )
        lost = [one.edge for one in self.suggestions if one.action == UNTESTABLE]
        if lost:
            found.append(
                f"no table of these variables shows {_few(lost)}: with {self.spec.source} "
                "unobserved, the graph with and the graph without such an edge have the same laws, "
                "or the table too few rows"
            )
        return (*found, *self.doubts)

    def _none_added(self) -> str:
        """Why no edge is demanded: none is strong, or what is strong may be something else."""
        adding = [one for one in self.suggestions if one.action == ADD]
        held = [one for one in adding if one.p <= self.level]
        if not held:
            return f"the table asks for no further edge ({len(adding)} tested)"
        strongest = f"{held[0].edge} (p {_p(held[0])}, BIC {held[0].bic_gain:+.1f})"
        return f"no further edge is demanded, for the doubt below; the strongest is {strongest}"

    def _asked_for(self, group: Sequence[Suggestion]) -> str:
        """Edges that lack, of which any would do."""
        first = group[0]
        p = f"p {_p(first)}"
        by = ", by simulated tables" if first.resampled else ""
        said = f"the table asks for {' or '.join(one.edge for one in group)}"
        said += ", and cannot tell which" if len(group) > 1 else ""
        said += f" ({p}{by}, BIC {first.bic_gain:+.1f})"
        for one in group:
            if abs(one.effect_change) >= SHOWN or (len(group) == 1 and self.asked):
                which = f"with {one.edge} " if len(group) > 1 else ""
                said += f"; {which}the effect would move from {self.effect:+.3f} to "
                said += self._after(one)
        return said

    def _in_words(self, one: Suggestion) -> str:
        """An edge to drop or to turn."""
        effect = ""
        if not math.isnan(one.effect_change):
            effect = f"; the effect would move from {self.effect:+.3f} to {self._after(one)}"
        gain = f"BIC {one.bic_gain:+.1f}"
        if one.kind == TURN:
            return f"the table prefers {one.head} -> {one.tail} to {one.edge} ({gain}){effect}"
        return f"the table does not need {one.edge} (p = {one.p:.2g}, {gain}){effect}"

    def _after(self, one: Suggestion) -> str:
        return f"{self.effect + one.effect_change:+.3f}"

    def _printed(self) -> Printed:
        """Return the sentences, and the strongest changes."""
        header = ["action", "edge", "demanded", "statistic", "df", "p", "BIC gain", "effect change"]
        rows = [
            [
                one.action,
                one.edge,
                "yes" if one.demanded else "no",
                _number(one.statistic, ".2f", bound=one.by_ratio and not one.fitted),
                f"{one.df}",
                _number(one.p, ".3g"),
                _number(one.bic_gain, "+.1f", bound=not one.fitted),
                _number(one.effect_change, "+.3f"),
            ]
            for one in self.suggestions[:PRINTED]
        ]
        more = len(self) - len(rows)
        lines = (f"... and {more} more, weaker",) if more > 0 else ()
        about = f", and {self.asked}" if self.asked else ""
        title = f"The graph, tested with {self.spec.n_sources} sources{about}"
        said = tuple(f"- {sentence}" for sentence in self.sentences)
        return Printed(title, (Grid(header, rows, n_left=3),), (*lines, *said))

    __str__ = __repr__ = as_text
    _repr_html_ = as_html


def _alike(demanded: Sequence[Suggestion]) -> list[list[Suggestion]]:
    """Edges that lack, those whose graphs fit the table equally well together."""
    groups: list[list[Suggestion]] = []
    for one in demanded:
        last = groups[-1][0] if groups else None
        same = last is not None and last.df == one.df
        if same and last and abs(last.statistic - one.statistic) <= EQUAL_STATISTICS:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _p(one: Suggestion) -> str:
    return f"{'<' if one.p < LEAST_P else '='} {max(one.p, LEAST_P):.2g}"


def _undecided(one: Suggestion) -> bool:
    """Whether the table cannot tell which way an edge leads."""
    return one.kind == TURN and not one.df and abs(one.bic_gain) <= ALIKE


def _number(value: float, form: str, *, bound: bool = False) -> str:
    if math.isnan(value):
        return "-"
    return f"{'>' if bound else ''}{value:{form}}"


def _few(edges: list[str], limit: int = 6) -> str:
    rest = len(edges) - limit
    return ", ".join(edges[:limit]) + (f" and {rest} more" if rest > 0 else "")


def strength(one: Suggestion) -> tuple[bool, float]:
    """Sorts suggestions, the strongest first."""
    gain = -math.inf if math.isnan(one.bic_gain) else one.bic_gain
    return (not one.demanded, -gain)


__all__ = ["ADD", "DROP", "TURN", "UNTESTABLE", "GraphCheck", "Suggestion", "strength"]
