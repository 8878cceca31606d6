"""What a file is, by its first characters: its ending is taken where these do not say."""

from __future__ import annotations

import re

from pyromix.errors import DataRepairWarning, FileError, warn
from pyromix.formats.limits import gunzipped

BUNDLE = "pyromix"
GZIP = b"\x1f\x8b"
ZIP = b"PK\x03\x04"
HEAD = 65536
"""Bytes of a file that are looked at."""

ENDINGS = {"bifxml": "xmlbif", "xml": "xmlbif"}
"""Formats of other endings."""

LABELS = {
    "bif": "BIF",
    "xmlbif": "XMLBIF",
    "xdsl": "XDSL",
    "net": "NET",
    "uai": "UAI",
    BUNDLE: "a bundle",
}

# Blanks, and lines that begin with the comment marks of NET and BIF.
_BLANK = rb"(?:[\s\xef\xbb\xbf]++|%[^\n]*+\n|//[^\n]*+\n)*+"
_SIGNS = (
    ("bif", re.compile(_BLANK + rb"network\b[^{}]{0,200}\{|" + _BLANK + rb"variable\s")),
    ("net", re.compile(_BLANK + rb"(?:net\s*+\{|class\s|node\s)")),
    ("uai", re.compile(rb"\s*+(?:BAYES|MARKOV)\s")),
)
_ROOT = re.compile(rb"<(?:[A-Za-z_][\w.-]*:)?(BIF|smile)[\s>]")


def unzipped(suffix: str, content: bytes) -> bytes:
    """Return the content of a file, out of gzip where it or its ending says so.

    Raises:
        FileError: damaged gzip, or one that unpacks to more than the limit.
    """
    if suffix.endswith(".gz") or content.startswith(GZIP):
        return gunzipped(content)
    return content


def kind_of(suffix: str, content: bytes, *, said: bool = True) -> str:
    """Return the format of a content: what it looks like, else what its ending says.

    Args:
        suffix: ending of the file.
        content: unzipped.
        said: warn where the two differ.
    """
    named = suffix.split(".")[1]
    named = ENDINGS.get(named, named)
    found = _sign(content[:HEAD]) or named
    if said and found != named:
        warn(
            f"a file that ends in {suffix} holds {LABELS[found]}, and was read as that; rename it",
            DataRepairWarning,
        )
    return found


def _sign(head: bytes) -> str:
    if head.startswith(ZIP):
        return BUNDLE
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        root = _ROOT.search(head)
        return "" if root is None else {b"BIF": "xmlbif", b"smile": "xdsl"}[root.group(1)]
    return next((kind for kind, sign in _SIGNS if sign.match(head)), "")


def decoded_text(content: bytes, *, guess: bool = False) -> str:
    """Return the text of a file, which is UTF-8.

    Args:
        content: of the file.
        guess: read other text as Latin-1, where every byte is a character, with a warning.

    Raises:
        FileError: the content is no UTF-8, and nothing was to be guessed, or looks like no text.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at, found = error.start, content[error.start]
    if not guess or b"\0" in content:
        raise FileError(f"expected UTF-8 text, found byte {found:#04x} at position {at}")
    warn(
        f"expected UTF-8 text, found byte {found:#04x} at position {at}: the file was read as "
        "Latin-1; save it as UTF-8 where names look odd",
        DataRepairWarning,
    )
    return content.decode("latin-1")
