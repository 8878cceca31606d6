"""The command line: data to stdout, messages to stderr, flags named as the Python keywords."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import typer

from pyromix.cli import (
    asking,
    bounds,
    checking,
    effect,
    files,
    fitting,
    graph,
    lca,
    looking,
    version,
)
from pyromix.cli.beside import several
from pyromix.cli.common import (
    FINE,
    INTERRUPTED,
    NOT_IDENTIFIED,
    READER_LEFT,
    USAGE_OR_DATA,
    Stopped,
)
from pyromix.cli.flags import in_flags
from pyromix.cli.streams import OutputLost, guarded
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
)
for command in (
    files.demo,
    checking.check,
    fitting.fit,
    asking.do,
    effect.effect,
    bounds.bounds,
    fitting.select,
    graph.graph,
    lca.lca,
    looking.report,
    looking.plot,
    asking.simulate,
    files.convert,
    fitting.iid,
):
    app.command()(command)
app.callback()(version.pyromix)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code.

    0 fine, 1 usage or data error, 2 not identified or not shown to be, 3 not converged; 130
    interrupted, 141 nobody reads on.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("always", PyromixWarning)
        warnings.showwarning = _silent if {"-q", "--quiet"} & set(given) else _sayer()
        raise SystemExit(_run(given))


def _run(arguments: list[str]) -> int:
    with guarded():
        try:
            code = _answer(arguments)
            sys.stdout.flush()
            return code
        except OutputLost as lost:
            if lost.reader_left:
                return READER_LEFT
            typer.echo(f"FileError: {lost}", err=True)
            return USAGE_OR_DATA
        except KeyboardInterrupt:
            return INTERRUPTED


def _answer(arguments: list[str]) -> int:
    try:
        app(several(arguments), prog_name="pyromix")
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
