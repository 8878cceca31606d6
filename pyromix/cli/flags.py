"""Advice as the command line can follow it: flags and commands in place of keywords and calls."""

from __future__ import annotations

import re
from collections.abc import Collection

FLAGS = {
    name: f"--{name.replace('_', '-')}"
    for name in (
        "decimal",
        "encoding",
        "engine",
        "level",
        "max_iter",
        "method",
        "missing",
        "n_folds",
        "n_init",
        "n_samples",
        "n_simulated",
        "n_sources",
        "outcome_state",
        "prior",
        "random_state",
        "require",
        "sample_weight",
        "source",
        "weights_are",
    )
} | {"missing_values": "--na", "n_times": "--n-simulations"}
"""Keywords that are flags here."""

_VALUED = re.compile(rf"\b({'|'.join(FLAGS)})=(?:\"([^\"]*)\"|'([^']*)'|(-?\d[\d.]*|\w+|\.\.\.))")
_BARE = re.compile(rf"(?<![-\w'\"])({'|'.join(name for name in FLAGS if '_' in name)})(?![\w'\"=])")


def _states_flag(found: re.Match[str]) -> str:
    """The states of a column as their flag."""
    return f"--states {found[1]}={found[2].replace(', ', ',')}"


_WORDS = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"\((e\.g\. )?pandas\.cut\)(, make the column Categorical)?", "(--bins COLUMN=50,60)"),
        (r"\(state_names\)", "(--states COLUMN=A,B)"),
        (r"state_names=\{'([^']+)': \[([^\]]*)\]\}", _states_flag),
        (r"kinds=\{'([^']+)': \"([\w-]+)\"\}", r"--kind \1=\2"),
        (r"kinds=\{\.\.\.: \"([\w-]+)\"\}", r"--kind COLUMN=\1"),
        (r"discretize= of px\.fit", "pyromix fit --discretize"),
        (r"\bkinds= (declares|says)", r"--kind COLUMN=KIND \1"),
        (r"\bdiscretize= (cuts|makes)", r"--bins COLUMN=50,60 \1"),
        (r"\(discretize=\)", "(--discretize COLUMN=quantile:4)"),
        (r"^discretize( of|:)", r"--discretize\1"),
        (r"^kinds?:? (of )?(?=')", "--kind: "),
        (r"edges such as \[40, 60\], or 'quantile:4'", "edges such as 40,60, or quantile:4"),
        (r"\bby kinds \(", "by --kind ("),
        (r"pass state_names, or data", "pass a table"),
        (r" pass data\[[^\]]*\]\.astype\(\w+\)", " convert the column"),
        (r", (e\.g\. )?data(\[[^\]]*\] = data)?\[[^\]]*\]\.astype\(\w+\)", ""),
        (r",? e\.g\. (str|data|networkx)\b[\w.]*\(?[\w, ]*\)?", ""),
        (r", states=\{[^}]*\},", ""),
        (r" \((pgmpy: [^)]*|of a MixtureSpec: [^)]*\)|px\.\w+)\)", ""),
        (r"rename_states=True", "--rename-states"),
        (r"\bcontrast=\((.+?), (.+?)\)", r"--contrast \1 --contrast \2"),
        (r"; ask a fit \(fit\.\w+\(\.\.\., interval=True\)\), or one with draws \(.*?\(\)\)", ""),
        (r"interval=True", "--interval"),
        (r"interval=False", "--no-interval"),
        (r"sensitivity=False", "--no-sensitivity"),
        (r"sensitivity=True", "--sensitivity"),
        (r"\bdata= takes\b", "--data takes"),
        (r"^data( is for|: (?=expected|no variable))", r"--data\1"),
        (r"; leave data out", "; leave --data out"),
        (r"finish_all=True", "--finish-all"),
        (r"px\.load\(path\) reads it", "pyromix report reads it"),
        (r"saved with include_data=False", "saved without its table"),
        (r": save with the data, or see fit\.\w+\(\w*\)", ": save with the data"),
        (r"px\.select_n_sources\([^)]*\)", "pyromix select"),
        (r"\bfit\.predictive_check\(\)", "see pyromix report"),
        (r"\bfit\.bounds\(\.\.\.\)", "pyromix bounds"),
        (r"\bfit\.bootstrap\(\)", "pyromix effect --bootstrap 500"),
        (r"\bfit\.refine\([^)]*\)", "a refinement in Python"),
    )
)
"""Advice that a command line has no way to follow as it stands, and what stands there instead."""

_MARKS = re.compile(r"\bmissing_values=\[([^\]]*)\]")


def in_flags(text: str, spared: Collection[str] = ()) -> str:
    """A message that advises keywords and calls, as one that advises flags and commands.

    Args:
        text: the message.
        spared: names of variables; one may be called ``prior``, and ``prior=yes`` is no advice.
    """
    text = _MARKS.sub(lambda found: f"--na {found[1].replace(', ', ' --na ')}", text)
    for pattern, words in _WORDS:
        text = pattern.sub(words, text)

    def flag(found: re.Match[str]) -> str:
        name, *values = found.groups()
        if name in spared or _in_question(found.string, found.start()):
            return found[0]
        return f"{FLAGS[name]} {next(v for v in values if v is not None)}"

    def bare(found: re.Match[str]) -> str:
        return found[0] if found[1] in spared else FLAGS[found[1]]

    return _BARE.sub(bare, _VALUED.sub(flag, text))


def _in_question(text: str, at: int) -> bool:
    """Whether a place lies in the brackets of P(...) or do(...): there, names are of variables."""
    for opening in ("P(", "do("):
        opened = text.rfind(opening, 0, at)
        if opened >= 0 and text.count("(", opened, at) > text.count(")", opened, at):
            return True
    return False
