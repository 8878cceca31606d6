"""What a report is: sections of facts, sentences, tables and drawings, made once.

Text and page are two ways to print the same sections, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from pyromix.bridges.disk import write_files
from pyromix.errors import FileError, QueryError
from pyromix.model.spec import near_matches
from pyromix.predictive import PredictiveCheck
from pyromix.report.facts.question import Question
from pyromix.result import MixtureFit

TEXT, PAGE = (".txt",), (".html", ".htm")
"""Endings of files that a report is written to."""


@dataclass(frozen=True)
class Table:
    """Cells as they are printed.

    Attributes:
        header: titles of the columns.
        rows: as many cells each.
        n_left: how many columns, from the left, are words; the others are numbers.
        title: above the table; perhaps empty.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_left: int = 1
    title: str = ""


@dataclass(frozen=True)
class Drawing:
    """A plot of the page, and what it says to those who cannot see it.

    Attributes:
        kind: of ``fit.plot``.
        caption: one sentence.
    """

    kind: str
    caption: str


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        key: its name for programs.
        title: its name for people.
        facts: pairs of a label and what there is to say.
        words: sentences.
        tables: in order.
        drawings: on the page only.
        numbers: the same for programs, ready for JSON.
    """

    key: str
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Report:
    """A report on a fit.

    Attributes:
        title: what it is about.
        sections: verdict first.
        fit: who is reported on; plots of the page ask it.
        question: the effect, where there is one.
        checks: the predictive check, where there is one.
    """

    title: str
    sections: tuple[Section, ...]
    fit: MixtureFit
    question: tuple[Question, ...]
    checks: tuple[PredictiveCheck, ...]

    def section(self, key: str) -> Section:
        """Return one section.

        Raises:
            QueryError: there is none of this name.
        """
        found = {section.key: section for section in self.sections}
        if key not in found:
            raise QueryError(
                f"unknown section {key!r}{near_matches(key, found)}; they are {list(found)}"
            )
        return found[key]

    def summary(self) -> dict[str, Any]:
        """Plain numbers and texts by section, ready for JSON."""
        return {section.key: dict(section.numbers) for section in self.sections}

    def to_html(self) -> str:
        """Return one page that needs nothing else: no scripts, no network, plots as SVG."""
        from pyromix.report.html import page

        return page(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the page (``.html``) or the text (``.txt``), whole or not at all.

        Raises:
            FileError: another ending, or the path cannot be written to.
        """
        path = Path(path)
        ending = check_ending(path)
        content = self.to_html() if ending in PAGE else f"{self}\n"
        write_files({path: content.encode()}, lambda _: None)

    def __str__(self) -> str:
        """The text."""
        from pyromix.report.text import text

        return text(self)

    def __repr__(self) -> str:
        return (
            f"<Report, {self.title}: {len(self.sections)} sections; print(report), "
            "report.to_html(), report.save(path), report.summary()>"
        )


def check_ending(path: Path) -> str:
    """Return the ending of a path that a report can be written to.

    Raises:
        FileError: another ending, or a folder that does not exist.
    """
    ending = path.suffix.lower()
    if ending not in (*TEXT, *PAGE):
        raise FileError(
            f"a report is written to a file that ends in one of {[*PAGE, *TEXT]}, found "
            f"{str(path)!r}"
        )
    if not path.parent.is_dir():
        raise FileError(
            f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}; make it first"
        )
    return ending
