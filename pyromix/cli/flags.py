"""Messages that advise a keyword or a call of Python, as ones that advise a flag or a command."""

from __future__ import annotations

import re
from collections.abc import Collection

KEYWORDS = re.compile(
    r"\b(method|missing|n_init|n_sources|prior|require|sample_weight|weights_are)=(?:\"([^\"]*)\"|'([^']*)'|(\w+|\.\.\.))"
)
"""Keywords that are flags here, with a value."""

MARKS = re.compile(r"\bmissing_values=\[([^\]]*)\]")

ONLY_IN_PYTHON = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"\((e\.g\. )?pandas\.cut\)(, make the column Categorical)?", "(--bins COLUMN=50,60)"),
        (r"\(state_names\)", "(--states COLUMN=A,B)"),
        (r" pass data\[[^\]]*\]\.astype\(\w+\)", " convert the column"),
        (r", (e\.g\. )?data(\[[^\]]*\] = data)?\[[^\]]*\]\.astype\(\w+\)", ""),
        (r"\(?(ask a )?fit \(fit\.(query|effect)\(\.\.\., interval=True\)\)", "pass --interval"),
        (r"(pass )?interval=True", "pass --interval"),
        (r"interval=False", "--no-interval"),
        (r"\bmax_iter\b", "--max-iter"),
        (r"fit\.bootstrap\(\)", "pyromix effect --bootstrap 500"),
        (r"(:|,)? ?(or )?fit\.refine\([^)]*\)( takes it to a maximum)?", ""),
        (r" \(fit\.predictive_check\(\)\)", " (see the report)"),
    )
)
"""Advice that a command line has no way to follow, and what stands there in its place."""


def in_flags(text: str, spared: Collection[str] = ()) -> str:
    """A message that advises a keyword, as one that advises the flag of that name.

    Args:
        text: the message.
        spared: names of variables; one may be called ``prior``, and ``prior=yes`` is no advice.
    """
    text = MARKS.sub(lambda found: f"--na {found[1].replace(', ', ' --na ')}", text)
    for pattern, words in ONLY_IN_PYTHON:
        text = pattern.sub(words, text)

    def flag(found: re.Match[str]) -> str:
        name, *values = found.groups()
        if name in spared:
            return found[0]
        return f"--{name.replace('_', '-')} {next(v for v in values if v is not None)}"

    return KEYWORDS.sub(flag, text)
