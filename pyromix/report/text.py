"""A report as text of 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from pyromix.answers.wording import columns_of_text
from pyromix.report.parts import Section, Table

TEXT_WIDTH = 100


def text(title: str, sections: Sequence[Section]) -> str:
    """Print the sections of a report under its title, numbered."""
    parts = [f"{title}\n{'=' * len(title)}"]
    parts += [section_text(s, number) for number, s in enumerate(sections, 1)]
    return "\n\n".join(parts)


def section_text(section: Section, number: int) -> str:
    """One section: facts with hanging labels, sentences, tables."""
    title = f"{number}. {section.title}"
    lines = [title, "-" * len(title)]
    wide = max((len(label) for label, _ in section.facts), default=0) + 2
    for label, said in section.facts:
        lines += textwrap.wrap(
            str(said),
            TEXT_WIDTH,
            initial_indent=label.ljust(wide),
            subsequent_indent=" " * wide,
            break_long_words=False,
        ) or [label]
    for sentence in section.words:
        lines += textwrap.wrap(
            sentence,
            TEXT_WIDTH,
            initial_indent="- ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    for table in section.tables:
        lines += ["", *_table(table)]
    return "\n".join(lines)


def _table(table: Table) -> list[str]:
    lines = columns_of_text(table.header, table.rows, n_left=table.n_left)
    return [*([table.title] if table.title else []), *(f"  {line}" for line in lines)]
