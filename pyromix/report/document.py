"""What a report is: a letter and sections made once, printed as text, as Markdown or as a page."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from pyromix.answers.mixed.effect import MixedEffect
from pyromix.criticism.discrepancy import PredictiveCheck
from pyromix.criticism.mixed_prediction import MixedPredictiveCheck
from pyromix.errors import FileError, QueryError
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.fitting.record import Fit
from pyromix.fitting.regression import Regression
from pyromix.formats.disk import write_files
from pyromix.model.arguments import path_of, shown
from pyromix.model.spec import near_matches
from pyromix.report.facts.effects import Effects
from pyromix.report.facts.question import Question
from pyromix.report.markdown import markdown
from pyromix.report.mixed.question import MixedQuestion
from pyromix.report.parts import Letter, Section
from pyromix.report.text import text

TEXT, MARKDOWN, PAGE = (".txt",), (".md",), (".html", ".htm")
"""Endings of files that a report is written to."""

ENDINGS = (*PAGE, *MARKDOWN, *TEXT)


@dataclass(frozen=True, eq=False)
class Report:
    """A report on a fit.

    Attributes:
        title: what it is about.
        about: one line on what was fitted.
        letter: the answer, and what it leans on, on one page.
        sections: everything else.
        fit: who is reported on; plots of the page ask it.
        question: the effect, where there is one.
        effects: of the question, as far as data determine it.
        check: the predictive check, where there is one.
    """

    title: str
    about: str
    letter: Letter
    sections: tuple[Section, ...]
    fit: Fit | MixedRecord | Regression
    question: Question | MixedQuestion | None
    effects: Effects | MixedEffect | None
    check: PredictiveCheck | MixedPredictiveCheck | None

    def section(self, key: str) -> Section:
        """Return one section.

        Raises:
            QueryError: there is none of this name.
        """
        found = {section.key: section for section in self.sections}
        if not isinstance(key, str) or key not in found:
            raise QueryError(
                f"unknown section {shown(key)}{near_matches(key, found)}; they are {list(found)}"
            )
        return found[key]

    def summary(self) -> dict[str, Any]:
        """Plain numbers and texts by section, the letter's first, ready for JSON."""
        sections = {section.key: dict(section.numbers) for section in self.sections}
        return {"letter": dict(self.letter.numbers), **sections}

    def to_html(self) -> str:
        """Return one page that needs nothing else: no scripts, no network, plots as SVG."""
        from pyromix.report.html import page  # imports matplotlib

        return page(self)

    def to_markdown(self) -> str:
        """Return the same without plots as Markdown."""
        return markdown(self.title, self.about, self.letter, self.sections)

    def save(self, path: str | PathLike[str]) -> None:
        """Write page (``.html``), Markdown (``.md``) or text (``.txt``), whole or not at all.

        Raises:
            FileError: another ending, or the path cannot be written to.
        """
        path = path_of(path)
        ending = check_ending(path)
        if ending in PAGE:
            content = self.to_html()
        else:
            content = f"{self.to_markdown() if ending in MARKDOWN else self}\n"
        write_files({path: content.encode()}, lambda _: None)

    def __str__(self) -> str:
        """The text."""
        return text(self.title, self.about, self.letter, self.sections)

    def __repr__(self) -> str:
        return (
            f"<Report, {self.title}: a letter and {len(self.sections)} sections; print(report), "
            "report.to_html(), report.save(path), report.summary()>"
        )


def check_ending(path: Path) -> str:
    """Return the ending of a path that a report can be written to.

    Raises:
        FileError: another ending, or a folder that does not exist.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise FileError(
            f"a report is written to a file that ends in one of {list(ENDINGS)}, found "
            f"{str(path)!r}"
        )
    if not path.parent.is_dir():
        raise FileError(
            f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}; make it first"
        )
    return ending
