"""Flags of a question about an effect, and their texts as names of states."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pyromix.api import MixtureFit
from pyromix.api_mixed import MixedFit
from pyromix.cli.common import loaded, state_of
from pyromix.errors import FileError, QueryError
from pyromix.fitting.record import Fit
from pyromix.report.facts.question import find_question

FitFile = Annotated[
    Path, typer.Argument(metavar="FIT", help="FILE.pyromix, made by pyromix fit -o.")
]
Treatment = Annotated[
    str | None, typer.Option(help="Variable intervened on; else the model's exposure.")
]
Outcome = Annotated[str | None, typer.Option(help="Variable looked at; else the model's outcome.")]
Contrast = Annotated[
    list[str] | None,
    typer.Option(help="State of the treatment, given twice: from, then to."),
]
OutcomeState = Annotated[str | None, typer.Option(help="State of the outcome that counts.")]
Among = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VARIABLE=STATE",
        help="Group whose effect it is, repeatable: the treatment they have, what was before.",
    ),
]
Level = Annotated[float, typer.Option(help="Of the intervals, between 0 and 1.")]
Require = Annotated[
    str,
    typer.Option(
        help="Least certainty: graphical, local, discovered, shape, weak, unchecked, none."
    ),
]
Interval = Annotated[
    bool | None,
    typer.Option(
        "--interval/--no-interval", help="Ask for one, or for none; else where it is cheap."
    ),
]


def fit_at(path: Path, source: str) -> MixtureFit:
    """A fit of states; another one, and a network without one, is refused.

    Raises:
        FileError: the file holds a fit with numbers, or a network alone.
    """
    found = any_fit_at(path, source)
    if isinstance(found, MixedFit):
        raise FileError(
            f"{path}: expected a fit of states, found a fit with numbers; pyromix fit DATA "
            "--discretize COLUMN=quantile:4 -o fit.pyromix makes one"
        )
    return found


def any_fit_at(path: Path, source: str) -> MixtureFit | MixedFit:
    """A fit, with numbers or without; a network without one is refused.

    Raises:
        FileError: the file holds a network alone.
    """
    found = loaded(path, source)
    if not isinstance(found, MixtureFit | MixedFit):
        raise FileError(
            f"{path}: expected a fit, found a network without data; pyromix fit DATA --model "
            f"{path} -o fit.pyromix makes one"
        )
    return found


def asked_effect(
    fit: Fit,
    treatment: str | None,
    outcome: str | None,
    contrast: Sequence[str] | None,
    outcome_state: str | None,
    *,
    needed: bool = False,
) -> dict[str, Any]:
    """Texts as names of states, and the roles of the model for what is not given.

    Args:
        fit: whose names they are.
        treatment: as it was given.
        outcome: as it was given.
        contrast: states of the treatment.
        outcome_state: state of the outcome.
        needed: whether there must be an effect.

    Returns:
        Keywords of ``fit.effect`` and ``fit.report``; ``contrast`` and ``outcome_state`` only where
        they are given.

    Raises:
        QueryError: a name or state is unknown, or there is no effect to which states belong.
    """
    asked: dict[str, Any] = {"treatment": treatment, "outcome": outcome}
    found = find_question(fit, treatment, outcome)
    if found is None and (needed or contrast or outcome_state is not None):
        what = "an effect needs" if needed else "--contrast and --outcome-state need"
        raise QueryError(
            f"{what} --treatment and --outcome: the model names neither; its variables are "
            f"{list(fit.spec.variables)}"
        )
    if found is None:
        return asked
    asked = {"treatment": found.treatment, "outcome": found.outcome}
    if contrast:
        if len(contrast) != 2:
            raise QueryError(
                f"--contrast is given twice, from and to, found {len(contrast)}: "
                f"{', '.join(contrast)}"
            )
        pair: list[Hashable] = [
            state_of(fit.spec, found.treatment, text, "--contrast") for text in contrast
        ]
        asked["contrast"] = tuple(pair)
    if outcome_state is not None:
        asked["outcome_state"] = state_of(fit.spec, found.outcome, outcome_state, "--outcome-state")
    return asked
