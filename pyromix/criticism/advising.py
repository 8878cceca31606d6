"""``px.measure_next``: which further variables would make an effect certified."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyromix.answers.wording import addition_in_words
from pyromix.criticism.checking import asked_in_words, queries_of
from pyromix.criticism.on_paper import in_bins, spec_on_paper
from pyromix.data.frames import to_pandas
from pyromix.identify.advice import Addition, additions
from pyromix.identify.verdict import WORDS, judge
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import MixtureSpec

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Additions:
    """Changes of a graph that would certify an effect, the smallest first; a sequence of them.

    Attributes:
        spec: the graph as it is.
        asked: the question, in words.
        certainty: how certain the graph makes it without any change.
        found: the changes.
        complete: whether every candidate was tried.
    """

    spec: MixtureSpec
    asked: str
    certainty: Certainty
    found: tuple[Addition, ...]
    complete: bool = True

    def __len__(self) -> int:
        """Number of changes."""
        return len(self.found)

    def __iter__(self) -> Iterator[Addition]:
        """The changes, the smallest first."""
        return iter(self.found)

    def __getitem__(self, place: int) -> Addition:
        """One change."""
        return self.found[place]

    def to_records(self) -> list[dict[str, Any]]:
        """One mapping per change, of plain texts and numbers, ready for JSON."""
        return [
            {
                "change": addition_in_words(self.spec.source, one),
                "states": [v.n_states for v in one.measured],
                "depends_on": [list(v.parents) for v in one.measured],
                "absent": [list(edge) for edge in one.absent],
                "verdict": WORDS[one.certainty],
            }
            for one in self.found
        ]

    def to_frame(self) -> pd.DataFrame:
        """One row per change: what to measure, of how many states, and what that gives."""
        records = self.to_records()
        names = ("change", "states", "depends_on", "absent", "verdict")
        return to_pandas({name: [one[name] for one in records] for name in names})

    def __str__(self) -> str:
        """The question, then a line per change."""
        k = self.spec.n_sources
        if self.certainty.at_least(Certainty.LOCAL):
            return (
                f"{self.asked} with {k} sources: {WORDS[self.certainty]} as it is; nothing more "
                "has to be measured"
            )
        lines = [f"{self.asked} with {k} sources would be certified by one of these:"]
        if not self.found:
            lines = [f"{self.asked} with {k} sources: no change that was tried would certify it"]
        for one in self.found:
            lines.append(f"  {addition_in_words(self.spec.source, one)}: {WORDS[one.certainty]}")
        if self.found and self.spec.coarse:
            lines.append("  (a number is a variable of as many states as wanted)")
        if not self.complete:
            lines.append("  (further candidates were not tried)")
        return "\n".join(lines)


def measure_next(
    model: Any,
    n_sources: int | None = None,
    *,
    outcome: str | Sequence[str],
    treatment: str,
    evidence: Mapping[str, Hashable] | None = None,
    among: Mapping[str, Hashable] | None = None,
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Additions:
    """Say which additional variables would make an effect certified, before anything is measured.

    Each candidate is drawn into the graph and certified as ``px.check`` does (THEORY section 7).

    Args:
        model: as in ``px.check``.
        n_sources: k; by default the cardinality of the model's latent vertex.
        outcome: variable or variables.
        treatment: the variable intervened on.
        evidence: per variable a state name, beside the do.
        among: the group whose effect it is, as in ``px.check``.
        state_names: as in ``px.check``; states that nothing names are taken to be two.
        kinds: as in ``px.check``.

    Returns:
        New children of the source, alone and beside an observed variable they may depend on, and
        edges that would have to be absent; the smallest first. Empty where the effect is certified
        already.

    Raises:
        SpecError: the graph, the states, the kinds or k are unusable.
        QueryError: a name or state is unknown, a variable is asked in two places, or the group is
            told by something that the treatment influences.
    """
    spec = spec_on_paper(model, n_sources, state_names, kinds, [])
    seen, group = in_bins(spec, evidence), in_bins(spec, among, "among")

    def asking(changed: MixtureSpec) -> tuple[DoQuery, ...]:
        return queries_of(changed, outcome, treatment, seen, group)

    queries = asking(spec)
    asked, level = asked_in_words(spec, queries, treatment), judge(spec, queries).level
    if level.at_least(Certainty.LOCAL):
        return Additions(spec, asked, level, ())
    found, complete = additions(spec, asking)
    return Additions(spec, asked, level, found, complete)
