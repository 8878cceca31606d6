"""What reports are made of: a letter, then sections of facts, sentences, tables and drawings.

Text, Markdown and page are three ways to print the same parts, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Words = Callable[[str], str]
"""Says a sentence otherwise, for those who read it at another door."""


@dataclass(frozen=True)
class Table:
    """Cells as they are printed.

    Attributes:
        said: a sentence that introduces the table.
        header: titles of the columns.
        rows: as many cells each.
        n_left: how many columns, from the left, are words; the others are numbers.
    """

    said: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_left: int = 1


@dataclass(frozen=True)
class Drawing:
    """A plot of the page, and what it says to those who cannot see it.

    Attributes:
        kind: of ``fit.plot``; of a letter ``"headline"``.
        caption: one sentence.
    """

    kind: str
    caption: str


@dataclass(frozen=True)
class Badged:
    """A fact with a verdict at its head.

    Attributes:
        badge: the verdict, as it is printed.
        level: ``"pass"``, ``"weak"`` or ``"fail"``: how the page shows it.
        said: the rest.
    """

    badge: str
    level: str
    said: str

    def __str__(self) -> str:
        """Badge and rest on one line."""
        return f"{self.badge}  {self.said}"


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        key: its name for programs.
        title: its name for people.
        lead: one sentence on what this part found, read before it is unfolded.
        facts: pairs of a label and what there is to say.
        words: sentences.
        tables: in order.
        drawings: on the page only.
        numbers: the same for programs, ready for JSON.
    """

    key: str
    title: str
    lead: str
    facts: tuple[tuple[str, str | Badged], ...] = ()
    words: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def reworded(self, words: Words) -> Section:
        """The section with its sentences said otherwise; cells of tables stay."""
        return replace(
            self,
            lead=words(self.lead),
            facts=tuple((label, _reworded(said, words)) for label, said in self.facts),
            words=tuple(map(words, self.words)),
        )


@dataclass(frozen=True)
class Headline:
    """A number that is read across a room.

    Attributes:
        label: above the number: of what.
        value: the number, or a range, as it is printed.
        said: under it: unit and interval.
        level: ``"pass"``, ``"weak"``, ``"fail"``, or ``"aside"`` for what stands beside.
    """

    label: str
    value: str
    said: str
    level: str


@dataclass(frozen=True)
class Letter:
    """The first page of a report: what a colleague reads.

    Attributes:
        sentence: the answer.
        headlines: the answer as numbers, the naive one beside it.
        leaning: what the answer leans on, pairs of a label and a plain sentence.
        doubts: what should keep a reader from trusting it, the gravest first.
        cure: what would help where there is no firm answer; else empty.
        drawing: the numbers drawn; None where there are none to compare.
        numbers: the same for programs, ready for JSON.
    """

    sentence: str
    headlines: tuple[Headline, ...]
    leaning: tuple[tuple[str, str], ...]
    doubts: tuple[str, ...]
    cure: str
    drawing: Drawing | None
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def reworded(self, words: Words) -> Letter:
        """The letter with its sentences said otherwise."""
        return replace(
            self,
            sentence=words(self.sentence),
            leaning=tuple((label, words(said)) for label, said in self.leaning),
            doubts=tuple(map(words, self.doubts)),
            cure=words(self.cure),
        )


def _reworded(said: str | Badged, words: Words) -> str | Badged:
    if isinstance(said, Badged):
        return replace(said, said=words(said.said))
    return words(said)
