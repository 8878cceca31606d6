"""What golden texts pin: figures, names, rows of tables, options. Not how it is said.

A figure may be one unit of its last digit off: builds of LAPACK round differently. Whole numbers
must be equal. In tables figures are compared cell by cell; in sentences, whatever their order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

NUMBER = re.compile(r"(?<![\w.])[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?(?![\w])")
WORD = re.compile(r"[^\W\d][\w-]*")
OPTION = re.compile(r"--[a-z][\w-]*|(?<= )-\w(?= )|<[^>]+>|\[default: [^\]]*\]|\[required\]")


@dataclass(frozen=True)
class Figure:
    """A number as it is printed, and what its last digit is worth; nothing for whole numbers."""

    value: float
    unit: float

    @staticmethod
    def of(text: str) -> Figure:
        mantissa, _, exponent = text.replace(",", "").partition("e")
        decimals = len(mantissa.partition(".")[2])
        unit = 10.0 ** (int(exponent or 0) - decimals) if decimals or exponent else 0.0
        return Figure(float(text.replace(",", "")), unit)

    def near(self, other: Figure) -> bool:
        return abs(self.value - other.value) <= 1.01 * max(self.unit, other.unit)


def figures(text: str) -> list[Figure]:
    return [Figure.of(found) for found in NUMBER.findall(text)]


def section_differences(expected: str, found: str, names: Collection[str]) -> list[str]:
    """What a section of a report says otherwise than it did.

    Args:
        expected: a first paragraph of facts and sentences, then tables, one per paragraph.
        found: the same.
        names: of variables and states: each must be spoken of where it was.
    """
    (before, *old), (now, *new) = (re.split(r"\n\n+", t.strip()) for t in (expected, found))
    wrong = _unmatched(before, now)
    lost = {w for w in WORD.findall(before) if w in names} ^ {
        w for w in WORD.findall(now) if w in names
    }
    wrong += [f"spoken of in one of both only: {sorted(lost)}"] if lost else []
    if len(old) != len(new):
        return [*wrong, f"{len(new)} tables, not {len(old)}"]
    for one, other in zip(old, new, strict=True):
        wrong += _table_differences(one, other, names)
    return wrong


def _unmatched(expected: str, found: str) -> list[str]:
    left = figures(found)
    wrong = []
    for figure in figures(expected):
        near = [other for other in left if figure.near(other)]
        if near:
            left.remove(min(near, key=lambda other: abs(other.value - figure.value)))
        else:
            wrong.append(f"{figure.value:g} is not said any more")
    return wrong + [f"{figure.value:g} was not said" for figure in left]


def _table_differences(expected: str, found: str, names: Collection[str]) -> list[str]:
    old, new = (
        [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line[:1] == " "]
        for text in (expected, found)
    )
    if [len(row) for row in old[1:]] != [len(row) for row in new[1:]]:
        return [f"rows or columns: {new} instead of {old}"]
    wrong = []
    for one, other in zip(old[1:], new[1:], strict=True):
        for a, b in zip(one, other, strict=True):
            numbers = figures(a), figures(b)
            same = len(numbers[0]) == len(numbers[1]) and all(
                x.near(y) for x, y in zip(*numbers, strict=True)
            )
            words = [[w for w in WORD.findall(cell) if w in names] for cell in (a, b)]
            if not same or words[0] != words[1]:
                wrong.append(f"{b!r} in place of {a!r}")
    return wrong


def help_differences(expected: str, found: str) -> list[str]:
    """What a help text offers otherwise: usage, commands, options, kinds, defaults, the example."""
    wrong = []
    for what in (_usage, _commands, _options):
        old, new = what(expected), what(found)
        wrong += [f"gone: {x}" for x in (Counter(old) - Counter(new))]
        wrong += [f"new: {x}" for x in (Counter(new) - Counter(old))]
    return wrong


def _usage(text: str) -> list[str]:
    return re.findall(r"^ *((?:Usage|Example): .*?) *$", text, re.MULTILINE)


def _commands(text: str) -> list[str]:
    return re.findall(r"^│ ([a-z]\w*)  ", text, re.MULTILINE)


def _options(text: str) -> list[str]:
    """Each option or argument with its kind, default and whether it is required."""
    flat = re.sub(r"[╭╮╰╯─│\s]+", " ", text)
    found: list[str] = []
    for token in OPTION.findall(flat):
        if token.startswith("--") or not found:
            found.append(token)
        else:
            found[-1] += f" {token}"
    return found
