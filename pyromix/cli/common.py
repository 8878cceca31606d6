"""What all commands share: exit codes, options, and names read from texts."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from enum import StrEnum
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

import pyromix as px
from pyromix.api import MixtureFit
from pyromix.api_mixed import MixedFit
from pyromix.api_regression import RegressionFit
from pyromix.cli.streams import standard_input
from pyromix.data.dialect import Dialect
from pyromix.data.reading import RawTable
from pyromix.data.relation.door import read_table
from pyromix.data.relation.table import RelationTable
from pyromix.errors import DependentSourceError, FileError, QueryError
from pyromix.formats.bundle import REGRESSION, WITH_NUMBERS, read_bundle
from pyromix.formats.toml import edges_to_structure
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import MixtureSpec, near_matches

FINE, USAGE_OR_DATA, NOT_IDENTIFIED, NOT_CONVERGED = 0, 1, 2, 3
INTERRUPTED, READER_LEFT = 128 + 2, 128 + 13
"""As a shell counts programs that a signal ends: SIGINT, SIGPIPE."""

MOST_NUMBERS = 100
"""Numbers of sources that one command tries; each is a fit."""


class Stopped(Exception):  # noqa: N818 - no error: the command has printed what it had to say
    """A command is done, with an exit code of its own.

    Attributes:
        code: the exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Format(StrEnum):
    """How an answer is printed."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


Data = Annotated[str, typer.Argument(help="Table: csv, parquet or arrow; - reads csv.")]
Model = Annotated[
    Path | None, typer.Option(help="Network file: bif, xmlbif, xdsl, net, uai or toml.")
]
Edge = Annotated[
    list[str] | None, typer.Option(help="An edge 'A->B', repeatable, in place of --model.")
]
Latent = Annotated[str, typer.Option(help="Name of the source, with --edge.")]
Weight = Annotated[str | None, typer.Option(help="Column of weights.")]
WeightsAre = Annotated[str, typer.Option(help="counts or sampling.")]
Missing = Annotated[str, typer.Option(help="mar, drop or error.")]
Na = Annotated[
    list[str] | None,
    typer.Option("--na", metavar="MARK", help="A missing cell, as ? or -9; repeatable."),
]
Sep = Annotated[str, typer.Option("--sep", help="Between cells of a text file; else sniffed.")]
Encoding = Annotated[str, typer.Option(help="Of a text file, as cp1252; else sniffed.")]
Decimal = Annotated[str, typer.Option(help="Sign before decimals, . or ,; else sniffed.")]
Seed = Annotated[int, typer.Option(help="Seed.")]
Source = Annotated[str, typer.Option(help="Name of the source in a network file.")]
Fitted = Annotated[Path, typer.Argument(help="FILE.pyromix, or a network file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No messages on stderr.")]
Do = Annotated[list[str] | None, typer.Option("--do", help="VARIABLE=STATE, repeatable.")]
Evidence = Annotated[
    list[str] | None, typer.Option("--evidence", help="VARIABLE=STATE, repeatable.")
]


def model_of(model: Path | None, edge: Sequence[str] | None, latent: str) -> Any:
    """The model that ``--model`` or ``--edge`` names.

    Raises:
        typer.BadParameter: both are given, or neither.
    """
    if (model is None) == (not edge):
        raise typer.BadParameter("give either --model FILE or --edge 'A->B' (repeatable)")
    return edges_to_structure(edge, latent) if edge else model


def table_of(
    argument: str,
    na: Sequence[str] | None = None,
    sep: str = "",
    encoding: str = "",
    decimal: str = "",
) -> RawTable | RelationTable:
    """Read the table at a path, ``-`` for csv on standard input; large or several files stay there.

    Args:
        argument: the path.
        na: marks of a missing cell.
        sep: separator of a text file; like the next two sniffed where empty.
        encoding: of a text file.
        decimal: sign before the decimals of a text file.

    Raises:
        FileError: the path is missing, unreadable, or not in the format it claims.
        DataError: not a table, or there is no such encoding or separator.
    """
    data = BytesIO(standard_input()) if argument == "-" else Path(argument)
    return read_table(data, na or None, Dialect(sep, encoding, decimal))


def loaded(path: Path, source: str) -> MixtureFit | MixedFit | BayesNetMixture:
    """A fit from its bundle, a mixture from any other file.

    Raises:
        DependentSourceError: the fit has covariates, and says nothing of what a do changes.
    """
    kind = read_bundle(path).kind if path.suffix == ".pyromix" else ""
    if kind not in ("fit", REGRESSION, WITH_NUMBERS):
        return px.read(path, source=source)
    found = px.load(path)
    if isinstance(found, RegressionFit):
        raise DependentSourceError(
            f"{path}: expected a source without causes, found that {found.spec.source!r} of this "
            f"fit depends on {', '.join(map(repr, found.depends_on))}: pyromix report shows it; "
            "for do-questions fit without covariates, or draw them in a graph",
            covariates=found.depends_on,
        )
    return found


def assignments(spec: MixtureSpec, given: Sequence[str] | None, flag: str) -> dict[str, Hashable]:
    """``VARIABLE=STATE`` texts as a dict of state names, matched by their text.

    Raises:
        QueryError: no such variable or state, one is set twice, or a text can be read in two ways.
    """
    result: dict[str, Hashable] = {}
    for text in given or ():
        name, state = parted(spec, text, flag)
        if name in result:
            raise QueryError(f"{flag} sets {name!r} twice")
        result[name] = state_of(spec, name, state, flag)
    return result


def parted(spec: MixtureSpec, text: str, flag: str) -> tuple[str, str]:
    """Name and state; names and states may hold the sign between them, so all its places count."""
    parts = text.split("=")
    pairs = [("=".join(parts[:i]), "=".join(parts[i:])) for i in range(1, len(parts))]
    if not pairs:
        raise QueryError(f"{flag} expects VARIABLE=STATE, found {text!r}")
    known = [(n, s) for n, s in pairs if n in (spec.source, *spec.variables)]
    meant = [(n, s) for n, s in known if s in map(str, spec.states_of(spec.vertex(n)))]
    if len(meant) > 1:
        raise QueryError(
            f"{flag} {text!r} can be read as {' and as '.join(f'{n!r} = {s!r}' for n, s in meant)}:"
            " rename one of the variables"
        )
    return (meant or known or pairs)[0]


def state_of(spec: MixtureSpec, name: str, text: str, flag: str) -> Hashable:
    """The state of a variable that a text names.

    Raises:
        QueryError: no such variable or state; near matches are named.
    """
    states = {str(s): s for s in spec.states_of(spec.vertex(name))}
    if text not in states:
        raise QueryError(
            f"{flag}: unknown state {text!r} of {name!r}{near_matches(text, states)}; "
            f"its states are {list(states)}"
        )
    return states[text]


def writable(path: Path | None, endings: Sequence[str]) -> None:
    """Refuse a path that cannot be written to, before any work is done.

    Raises:
        FileError: another ending, or the folder does not exist.
    """
    if path is None:
        return
    if path.suffix.lower() not in endings:
        raise FileError(
            f"--output must end in {' or '.join(endings)}, found {str(path)!r}"
            f"{near_matches(path.suffix, endings)}"
        )
    if not path.parent.is_dir():
        raise FileError(
            f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}; make it first"
        )


def numbers(text: str) -> list[int]:
    """``3``, ``2..5`` or ``1,2,4`` as whole numbers.

    Raises:
        QueryError: the text is none of these, or more than ``MOST_NUMBERS``.
    """
    try:
        low, dots, high = text.partition("..")
        if dots and int(low) <= int(high):
            found: Iterable[int] = range(int(low), int(high) + 1)
        else:
            found = map(int, text.split(","))
        listed = list(islice(found, MOST_NUMBERS + 1))
    except ValueError:
        raise QueryError(
            f"--n-sources: expected a number, a range 2..5 or a list 1,2,4; found {text!r}"
        ) from None
    if len(listed) > MOST_NUMBERS:
        raise QueryError(
            f"--n-sources: expected at most {MOST_NUMBERS} numbers to try, found {text!r}; each is "
            "a fit: ask for fewer"
        )
    return listed


def prior_of(text: str) -> str | float | None:
    """``pooled``, ``none``, or a number.

    Raises:
        QueryError: the text is none of these.
    """
    if text in ("pooled", "none"):
        return None if text == "none" else text
    try:
        return float(text)
    except ValueError:
        raise QueryError(f"--prior expects pooled, none or a number, found {text!r}") from None
