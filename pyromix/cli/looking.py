"""Commands that show a fit to people: report, plot."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyromix.api import MixtureFit
from pyromix.cli.common import Json, Quiet, Source, loaded, state_of, writable
from pyromix.cli.flags import in_flags
from pyromix.cli.progress import working
from pyromix.errors import FileError, QueryError
from pyromix.formats.disk import write_files
from pyromix.report.kinds import PLOT_KINDS

if TYPE_CHECKING:
    from pyromix.report.document import Report

FORMATS = (".svg", ".png", ".pdf")
PAGES = (".html", ".htm", ".txt")

Fit = Annotated[Path, typer.Argument(metavar="FIT", help="FILE.pyromix, made by pyromix fit -o.")]
Treatment = Annotated[
    str | None, typer.Option(help="Variable intervened on; else the model's exposure.")
]
Outcome = Annotated[str | None, typer.Option(help="Variable looked at; else the model's outcome.")]
Contrast = Annotated[
    list[str] | None, typer.Option(help="State of the treatment, given twice: from, then to.")
]
OutcomeState = Annotated[str | None, typer.Option(help="State of the outcome that counts.")]


def report(
    fitted: Fit,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="FILE.html, one page, or .txt; else text to stdout."),
    ] = None,
    treatment: Treatment = None,
    outcome: Outcome = None,
    contrast: Contrast = None,
    outcome_state: OutcomeState = None,
    sensitivity: Annotated[
        bool, typer.Option(help="Also vary k, views and optima: a few more fits.")
    ] = True,
    source: Source = "U",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Report on a fit: verdict first, then what it rests on, what it says, how well it fits.

    Example: pyromix report fit.pyromix -o report.html
    """
    from pyromix.report.compose import make_report

    writable(output, PAGES)
    fit = _fit(fitted, source)
    asked = _question(fit, treatment, outcome, contrast, outcome_state)
    with working("looking at the fit", quiet=quiet):
        made = _spoken(make_report(fit, **asked, sensitivity=sensitivity, show=False))
        if output is not None:
            made.save(output)
    if as_json:
        typer.echo(json.dumps(made.summary(), indent=1, default=str))
    elif output is None:
        typer.echo(str(made))
    elif not quiet:
        typer.echo(f"{output}: {len(made.sections)} sections", err=True)


def plot(
    fitted: Fit,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help=f"One of {', '.join(PLOT_KINDS)}.",
            autocompletion=lambda: list(PLOT_KINDS),
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="FILE.svg, .png or .pdf: the ending decides.")
    ],
    treatment: Treatment = None,
    outcome: Outcome = None,
    contrast: Contrast = None,
    outcome_state: OutcomeState = None,
    source: Source = "U",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw a fit: its network, spectrum, sources, effect, responsibilities, residuals or trace.

    Example: pyromix plot fit.pyromix network -o network.svg
    """
    from pyromix.report.plotting import plot as draw

    writable(output, FORMATS)
    fit = _fit(fitted, source)
    asked = _question(fit, treatment, outcome, contrast, outcome_state)
    with working("drawing", quiet=quiet):
        axes = draw(fit, kind, **asked)
        figure, content = axes.get_figure(root=True), BytesIO()
        assert figure is not None
        figure.savefig(content, format=output.suffix[1:].lower(), dpi=150)
    write_files({output: content.getvalue()}, lambda _: None)
    title = " ".join(axes.get_title().split())
    if as_json:
        typer.echo(json.dumps({"kind": kind, "written": str(output), "title": title}))
    elif not quiet:
        typer.echo(f"{output}: {title}", err=True)


def _spoken(report: Report) -> Report:
    """A report whose advice works at a shell."""

    def told(said: Any) -> Any:
        return in_flags(said) if isinstance(said, str) else replace(said, said=in_flags(said.said))

    return replace(
        report,
        sections=tuple(
            replace(
                section,
                words=tuple(map(in_flags, section.words)),
                facts=tuple((label, told(said)) for label, said in section.facts),
            )
            for section in report.sections
        ),
    )


def _fit(path: Path, source: str) -> MixtureFit:
    """A fit; a network without one is refused."""
    found = loaded(path, source)
    if not isinstance(found, MixtureFit):
        raise FileError(
            f"{path}: expected a fit, found a network without data; pyromix fit DATA --model "
            f"{path} -o fit.pyromix makes one"
        )
    return found


def _question(
    fit: MixtureFit,
    treatment: str | None,
    outcome: str | None,
    contrast: Sequence[str] | None,
    outcome_state: str | None,
) -> dict[str, Any]:
    """Texts as names of states."""
    from pyromix.report.facts.question import find_question

    asked: dict[str, Any] = {"treatment": treatment, "outcome": outcome}
    found = find_question(fit, treatment, outcome)
    if (contrast or outcome_state is not None) and found is None:
        raise QueryError("--contrast and --outcome-state need --treatment and --outcome")
    if found is not None:
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
            asked["outcome_state"] = state_of(
                fit.spec, found.outcome, outcome_state, "--outcome-state"
            )
    return asked
