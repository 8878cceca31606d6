"""What the readers of text share: comments, and how much of a file a message repeats."""

from __future__ import annotations

import json
import re
from typing import Any

from pyromix.errors import FileError

_OPENING = re.compile(r'"[^"\n]*"|/\*|//')
MOST_SHOWN = 80
"""Characters of a file that a message repeats."""


def shown(value: object, most: int = MOST_SHOWN) -> str:
    """Return a value as Python writes it, cut where it is long."""
    text = repr(value if not isinstance(value, str) else value[: most + 1])
    return text if len(text) <= most + 2 else f"{text[:most]}..."


def without_comments(label: str, text: str) -> str:
    """Return a text whose comments, ``//`` and ``/* */``, have become blanks; lines stay lines.

    What stands in double quotes, on one line, is no comment. The cost is linear in the length.

    Raises:
        FileError: a comment is opened and never closed.
    """
    pieces: list[str] = []
    at = start = 0
    while match := _OPENING.search(text, at):
        if match.group().startswith('"'):
            at = match.end()
            continue
        pieces.append(text[start : match.start()])
        if match.group() == "//":
            end = text.find("\n", match.end())
            at = start = len(text) if end < 0 else end
            continue
        at = start = comment_end(label, text, match.start())
        pieces.append(" " + "\n" * text.count("\n", match.start(), at))
    return "".join([*pieces, text[start:]])


def comment_end(label: str, text: str, at: int) -> int:
    """Return where the comment that ``/*`` opens at a place is over.

    Raises:
        FileError: it is never closed.
    """
    end = text.find("*/", at + 2)
    if end < 0:
        raise FileError(
            f"{label}: the comment opened at line {text.count(chr(10), 0, at) + 1} is never "
            "closed; is the file cut short?"
        )
    return end + 2


def json_once(content: bytes) -> Any:
    """Return what JSON says, where it says nothing twice; Python would take the last.

    Raises:
        ValueError: no JSON, or a name that stands twice in one object.
        RecursionError: brackets in brackets, a thousand and more.
    """
    return json.loads(content, object_pairs_hook=_distinct)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a name stands twice among {shown([name for name, _ in pairs])}")
    return found
