"""A report as Markdown, for a repository, a wiki or a mail; tables as GitHub reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyromix.report.parts import Badged, Letter, Section, Table

SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$])")
"""What Markdown would read as marks; names of states hold anything."""


def markdown(title: str, about: str, letter: Letter, sections: Sequence[Section]) -> str:
    """Print a report: the letter under its title, then the sections, folded."""
    blocks = [f"# {plain(title)}", plain(about), *_letter(letter)]
    for section in sections:
        # An empty line after the tag, or what follows is not read as Markdown.
        head = f"<details>\n<summary><b>{_tags(section.title)}</b>: {_tags(section.lead)}</summary>"
        blocks += [head, *_section(section), "</details>"]
    return "\n\n".join(blocks)


def plain(text: str) -> str:
    """A text that Markdown prints as it stands, on one line."""
    text = SPECIAL.sub(r"\\\1", " ".join(text.split()))
    # A number with a dot, or a dash, at the head of a line would begin a list.
    return re.sub(r"^(\d+|)([.)+-])", r"\1\\\2", _tags(text))


def _letter(letter: Letter) -> list[str]:
    blocks = [f"**{plain(letter.sentence)}**"]
    if letter.headlines:
        rows = tuple((h.label, h.value, h.said) for h in letter.headlines)
        blocks.append(_rows(("", "", ""), rows, n_left=1))
    blocks += ["## What this leans on", _facts(letter.leaning)]
    doubts = [f"- Doubt: {plain(doubt)}" for doubt in letter.doubts]
    blocks.append("\n".join(doubts) or "No doubts were found by the checks of this report.")
    if letter.cure:
        blocks.append(f"What would help: {plain(letter.cure)}.")
    return blocks


def _section(section: Section) -> list[str]:
    blocks = [_facts(section.facts)] if section.facts else []
    if section.words:
        blocks.append("\n".join(f"- {plain(sentence)}" for sentence in section.words))
    for table in section.tables:
        blocks += [plain(table.said), _table(table)]
    return blocks


def _facts(facts: Sequence[tuple[str, str | Badged]]) -> str:
    return "\n".join(f"- **{plain(label)}**: {_said(said)}" for label, said in facts)


def _said(said: str | Badged) -> str:
    if isinstance(said, Badged):
        return f"**{plain(said.badge)}** {plain(said.said)}"
    return plain(said)


def _table(table: Table) -> str:
    return _rows(table.header, table.rows, n_left=table.n_left)


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]], *, n_left: int) -> str:
    marks = [":--" if i < n_left else "--:" for i in range(len(header))]
    lines = [map(plain, header), marks, *(map(plain, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _tags(text: str) -> str:
    """No tags: a name may hold any."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
