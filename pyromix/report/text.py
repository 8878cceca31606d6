"""A report as text of 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from pyromix.model.printed import columns_of_text
from pyromix.report.parts import Badged, Letter, Section, Table

TEXT_WIDTH = 100


def text(title: str, about: str, letter: Letter, sections: Sequence[Section]) -> str:
    """Print a report: the letter under its title, then the sections, numbered."""
    head = "\n".join([title, "=" * len(title), about])
    parts = [head, letter_text(letter)]
    parts += [section_text(s, number) for number, s in enumerate(sections, 1)]
    return "\n\n".join(parts)


def letter_text(letter: Letter) -> str:
    """The answer, its numbers, what it leans on."""
    blocks = [_wrapped(letter.sentence)]
    if letter.headlines:
        wide = max(len(h.value) for h in letter.headlines)
        blocks.append([f"  {h.value:>{wide}}  {h.label}: {h.said}" for h in letter.headlines])
    blocks.append(["What this leans on", *_facts(letter.leaning)])
    blocks.append(
        [line for doubt in letter.doubts for line in _item(f"Doubt: {doubt}")]
        or ["No doubts were found by the checks of this report."]
    )
    if letter.cure:
        blocks.append(_wrapped(f"What would help: {letter.cure}."))
    return "\n\n".join("\n".join(lines) for lines in blocks)


def section_text(section: Section, number: int) -> str:
    """One section: its sentence, facts with hanging labels, sentences, tables."""
    title = f"{number}. {section.title}"
    lines = [title, "-" * len(title), *_wrapped(section.lead), *_facts(section.facts)]
    for sentence in section.words:
        lines += _item(sentence)
    for table in section.tables:
        lines += ["", *_table(table)]
    return "\n".join(lines)


def _facts(facts: Sequence[tuple[str, str | Badged]]) -> list[str]:
    wide = max((len(label) for label, _ in facts), default=0) + 2
    return [
        line
        for label, said in facts
        for line in textwrap.wrap(
            str(said),
            TEXT_WIDTH,
            initial_indent=label.ljust(wide),
            subsequent_indent=" " * wide,
            break_long_words=False,
        )
        or [label]
    ]


def _item(sentence: str) -> list[str]:
    return textwrap.wrap(
        sentence,
        TEXT_WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _wrapped(sentence: str) -> list[str]:
    return textwrap.wrap(sentence, TEXT_WIDTH, break_long_words=False, break_on_hyphens=False)


def _table(table: Table) -> list[str]:
    lines = columns_of_text(table.header, table.rows, n_left=table.n_left)
    return [*_wrapped(table.said), *(f"  {line}" for line in lines)]
