"""The command line: data to stdout, messages to stderr, flags named as the Python keywords."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import typer

from pyromix.cli import asking, files, fitting, looking
from pyromix.cli.common import FINE, NOT_IDENTIFIED, USAGE_OR_DATA, Stopped
from pyromix.errors import (
    IdentificationError,
    NotCertifiedError,
    PlanError,
    PyromixError,
    PyromixWarning,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Causal effects despite an unobserved global confounder with few states.",
)
for command in (
    files.demo,
    fitting.check,
    fitting.fit,
    asking.do,
    fitting.select,
    looking.report,
    looking.plot,
    asking.simulate,
    files.convert,
    fitting.iid,
):
    app.command()(command)


KEYWORDS = re.compile(
    r"\b(method|missing|n_init|n_sources|prior|require|sample_weight|weights_are)=(?:\"([^\"]*)\"|'([^']*)'|(\w+|\.\.\.))"
)
"""Keywords that are flags here, with a value."""


MARKS = re.compile(r"\bmissing_values=\[([^\]]*)\]")

ONLY_IN_PYTHON = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r",? \(?(e\.g\. )?pandas\.cut\)?", ""),
        (r",? ?(or )?(declare its states|add the state) \(state_names\)", ""),
        (r" \(state_names\)", " in the model"),
        (r" pass data\[[^\]]*\]\.astype\(\w+\)", " convert the column"),
        (r", (e\.g\. )?data(\[[^\]]*\] = data)?\[[^\]]*\]\.astype\(\w+\)", ""),
    )
)
"""Advice that a command line has no way to follow, and what stands there in its place."""


def in_flags(text: str) -> str:
    """A message that advises a keyword, as one that advises the flag of that name."""
    text = MARKS.sub(lambda found: f"--na {found[1].replace(', ', ' --na ')}", text)
    for pattern, words in ONLY_IN_PYTHON:
        text = pattern.sub(words, text)

    def flag(found: re.Match[str]) -> str:
        name, *values = found.groups()
        return f"--{name.replace('_', '-')} {next(v for v in values if v is not None)}"

    return KEYWORDS.sub(flag, text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code.

    0 fine, 1 usage or data error, 2 not identified or not shown to be, 3 not converged.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("always", PyromixWarning)
        warnings.showwarning = _silent if {"-q", "--quiet"} & set(given) else _sayer()
        raise SystemExit(_run(given))


def _run(arguments: list[str]) -> int:
    try:
        app(arguments, prog_name="pyromix")
    except Stopped as stopped:
        return stopped.code
    except (NotCertifiedError, IdentificationError, PlanError) as error:
        typer.echo(f"{type(error).__name__}: {in_flags(str(error))}", err=True)
        return NOT_IDENTIFIED
    except PyromixError as error:
        typer.echo(f"{type(error).__name__}: {in_flags(str(error))}", err=True)
        return USAGE_OR_DATA
    except SystemExit as stopped:
        # The parser says 2 for a usage error, which is 1 here.
        return USAGE_OR_DATA if stopped.code == 2 else int(stopped.code or FINE)
    return FINE


def _sayer() -> Callable[..., None]:
    """Print each warning once, however often it is given."""
    said: set[str] = set()

    def say(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        line = f"{category.__name__}: {in_flags(str(message))}"
        if line not in said:
            said.add(line)
            typer.echo(line, err=True)

    return say


def _silent(*_: Any, **__: Any) -> None:
    return
