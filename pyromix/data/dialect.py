"""How a file of texts separates cells, encodes letters and writes decimals: told, or sniffed."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO

from pyromix.errors import DataError

SNIFFED = 2**16
"""Bytes at the head of a file that are looked at."""

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
"""Separators that are tried, in this order."""

EXPECTED = {".csv": ",", ".tsv": "\t", ".txt": "", ".dat": "", ".tab": "\t"}
"""Separator that an ending promises; none where files of that ending have any."""

_QUOTED_AFTER_BLANK = re.compile(r"[,;\t|] +\"")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+(,[0-9]+)?")


@dataclass(frozen=True)
class Dialect:
    """How a file of texts is written; empty where that is to be sniffed.

    Attributes:
        separator: between cells; a blank stands for any number of them.
        encoding: of letters, by Python's name.
        decimal: the sign before decimals, a point or a comma.
        n_extra: columns that rows have and the header has not, empty in the rows looked at.
        blank_before_quote: quotes begin after a blank.
    """

    separator: str = ""
    encoding: str = ""
    decimal: str = ""
    n_extra: int = 0
    blank_before_quote: bool = False


SNIFF = Dialect()


def sniffed(head: bytes, ending: str, asked: Dialect) -> Dialect:
    """Complete what is asked for by what the head of a file looks like.

    Args:
        head: the first bytes of the file.
        ending: of its name, with the dot.
        asked: parts that are not to be sniffed.

    Raises:
        DataError: ``asked`` names an encoding, a separator or a decimal sign that there is not.
    """
    if asked.decimal not in ("", ".", ","):
        raise DataError(f"expected '.' or ',' before decimals, found {asked.decimal!r}")
    encoding = asked.encoding or encoding_of(head)
    try:
        text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    except LookupError:
        raise DataError(
            f"expected an encoding that Python knows, found {encoding!r}; e.g. utf-8, cp1252"
        ) from None
    lines = text.splitlines(keepends=True)
    if len(head) >= SNIFFED and len(lines) > 1:
        lines.pop()  # it may be cut
    text = "".join(lines)
    separator = asked.separator or separator_of(text, ending)
    separator = {"\\t": "\t", "tab": "\t", "space": " "}.get(separator, separator)
    if len(separator) != 1 or separator in '\r\n"':
        raise DataError(f"expected one sign between cells, found {separator!r}; e.g. ';', or 'tab'")
    quoted = bool(_QUOTED_AFTER_BLANK.search(text))
    found = replace(asked, separator=separator, encoding=encoding, blank_before_quote=quoted)
    widths = [row for _, row in rows_of(StringIO(text), found)]
    return replace(found, n_extra=_extra(widths))


def encoding_of(head: bytes) -> str:
    """The encoding that the first bytes of a file are in."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    nul = [head[i : i + 200 : 2].count(0) for i in (0, 1)]
    if max(nul) > len(head[:200]) / 4:
        return "utf-16-be" if nul[0] > nul[1] else "utf-16-le"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def separator_of(text: str, ending: str) -> str:
    """The separator by which most lines have as many cells as the header.

    That which the ending promises if it does so for all lines, or if none does better.
    """
    promised = EXPECTED.get(ending, ",")
    choices = sorted(
        (s for s in SEPARATORS if s != " " or not promised), key=lambda s: s != promised
    )
    scores = [(_agreement(text, separator), separator) for separator in choices]
    best = max(score for score, _ in scores)
    return next(s for score, s in scores if score == best) if best else promised or ","


def rows_of(file: Iterable[str], dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Number of the last line of every row, from 1, and its cells; blank lines are no rows."""
    if dialect.separator == " ":
        for number, line in enumerate(file, 1):
            if cells := line.split():
                yield number, cells
        return
    lines = csv.reader(
        file, delimiter=dialect.separator, skipinitialspace=dialect.blank_before_quote
    )
    try:
        for row in lines:
            if row:
                yield lines.line_num, row
    except csv.Error:
        return  # a cell of 131,072 letters, or a NUL; whoever reads the file says what is wrong


def uses_decimal_commas(texts: Sequence[str]) -> bool:
    """Whether all texts are numbers, and one of them has a decimal comma."""
    return all(_DECIMAL_COMMA.fullmatch(text) for text in texts) and any("," in t for t in texts)


def in_words(found: Dialect, asked: Dialect, ending: str, shown: str) -> list[str]:
    """A sentence on what was sniffed and is not what the ending promises.

    Args:
        found: what the file is read by.
        asked: what was asked for.
        ending: of its name, with the dot.
        shown: the file, for people.
    """
    said = []
    if not asked.separator and found.separator != EXPECTED.get(ending, ","):
        said.append(f"{SEPARATORS.get(found.separator, repr(found.separator))} between cells")
    if not asked.encoding and found.encoding not in ("utf-8-sig", "utf-8"):
        said.append(f"letters in {found.encoding}")
    if not asked.decimal and found.decimal == ",":
        said.append("commas before decimals")
    if not said:
        return []
    listed = " and ".join([", ".join(said[:-1]), said[-1]] if said[1:] else said)
    return [f"{shown} was read with {listed}."]


def _agreement(text: str, separator: str) -> float:
    """Share of the rows with as many cells as the header; 0 where that is one cell."""
    found = Dialect(separator, blank_before_quote=bool(_QUOTED_AFTER_BLANK.search(text)))
    widths = [len(row) for _, row in rows_of(StringIO(text), found)]
    if not widths or widths[0] < 2:
        return 0.0
    return sum(width == widths[0] for width in widths) / len(widths)


def _extra(rows: list[list[str]]) -> int:
    """Cells that every row has more than the header, all of them blank."""
    if len(rows) < 2:
        return 0
    n_names = len(rows[0])
    n_extra = min(len(row) for row in rows[1:]) - n_names
    if n_extra < 1 or any(cell.strip() for row in rows[1:] for cell in row[n_names:]):
        return 0
    return n_extra
