"""Commands that show a fit to people: report, plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer

import pyromix as px
from pyromix.api_mixed import MixedFit
from pyromix.api_regression import RegressionFit
from pyromix.cli.advice import commands
from pyromix.cli.common import (
    Decimal,
    Encoding,
    Json,
    Na,
    Quiet,
    Sep,
    Source,
    Weight,
    numbers,
    table_of,
    writable,
)
from pyromix.cli.mixed import asked_mixed
from pyromix.cli.progress import working
from pyromix.cli.questions import (
    Contrast,
    FitFile,
    Outcome,
    OutcomeState,
    Treatment,
    any_fit_at,
    asked_effect,
)
from pyromix.criticism.candidates import Selection
from pyromix.criticism.graph.asking import check_fit
from pyromix.criticism.selection import select_n_sources
from pyromix.errors import QueryError
from pyromix.fitting.mixed.columns import table_of_records
from pyromix.fitting.record import Fit
from pyromix.formats.bundle import REGRESSION, read_bundle
from pyromix.formats.disk import write_files
from pyromix.report.document import Report
from pyromix.report.kinds import MIXED_PLOT_KINDS, PLOT_KINDS

FORMATS = (".svg", ".png", ".pdf")
PAGES = (".html", ".htm", ".md", ".txt")


def report(
    fitted: FitFile,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="FILE.html, one page, .md or .txt; else text to stdout."
        ),
    ] = None,
    treatment: Treatment = None,
    outcome: Outcome = None,
    contrast: Contrast = None,
    outcome_state: OutcomeState = None,
    sensitivity: Annotated[
        bool, typer.Option(help="Also vary k, views and optima: a few more fits.")
    ] = True,
    selection: Annotated[
        str | None, typer.Option(help="Also compare numbers of sources: 1..4 or 1,2,3.")
    ] = None,
    graph: Annotated[
        bool, typer.Option("--graph", help="Also test the edges of the graph.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="The table that was fitted: also cut its numbers elsewhere; - reads csv."
        ),
    ] = None,
    sample_weight: Weight = None,
    na: Na = None,
    sep: Sep = "",
    encoding: Encoding = "",
    decimal: Decimal = "",
    source: Source = "U",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Report on a fit: the answer as a letter, then everything it rests on.

    Example: pyromix report fit.pyromix -o report.html
    """
    from pyromix.report.compose import make_report

    writable(output, PAGES)
    if (found := _regression(fitted)) is not None:
        if treatment or outcome or contrast or outcome_state or selection or graph or data:
            raise QueryError(
                "--treatment, --outcome, --contrast, --outcome-state, --selection, --graph and "
                f"--data ask of fits without covariates; {fitted} has {list(found.depends_on)}"
            )
        _tell(found.report(output, show=False), output, as_json=as_json, quiet=quiet)
        return
    fit = any_fit_at(fitted, source)
    if isinstance(fit, MixedFit):
        candidates = None if selection is None else numbers(selection)
        if data is not None:
            raise QueryError(
                f"--data is for columns that were cut into states; {fitted} has numbers as they are"
            )
        told = asked_mixed(fit, treatment, outcome, contrast, outcome_state)
        with working("looking at the fit", quiet=quiet):
            names = {name: told[name] for name in ("treatment", "outcome")}
            chosen = None if candidates is None else _compared(fit, candidates)
            tested = fit.graph_check(**names) if graph else None
            made = fit.report(output, **told, selection=chosen, graph=tested, show=False)
            _tell(made, output, as_json=as_json, quiet=quiet)
        return
    asked = asked_effect(fit, treatment, outcome, contrast, outcome_state)
    candidates = None if selection is None else numbers(selection)
    with working("looking at the fit", quiet=quiet):
        chosen = None if candidates is None else select_n_sources(fit.spec, _table(fit), candidates)
        tested = None
        if graph:
            names = {name: asked[name] for name in ("treatment", "outcome")}
            tested = check_fit(fit, **names)
        made = make_report(
            fit,
            output,
            **asked,
            selection=chosen,
            graph=tested,
            sensitivity=sensitivity,
            data=None if data is None else table_of(data, na, sep, encoding, decimal),
            sample_weight=sample_weight,
            show=False,
            advice=commands(fit.spec),
        )
    _tell(made, output, as_json=as_json, quiet=quiet)


def _tell(made: Report, output: Path | None, *, as_json: bool, quiet: bool) -> None:
    """The report on standard output, or its answer beside the file it went to."""
    if as_json:
        typer.echo(json.dumps(made.summary(), indent=1, default=str))
    elif output is None:
        typer.echo(str(made))
    elif not quiet:
        typer.echo(f"{output}: {made.letter.sentence}", err=True)


def _regression(path: Path) -> RegressionFit | None:
    """The fit with covariates at a path; None where something else lies there."""
    if path.suffix != ".pyromix" or read_bundle(path).kind != REGRESSION:
        return None
    found = px.load(path)
    return found if isinstance(found, RegressionFit) else None


def plot(
    fitted: FitFile,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help=f"One of {', '.join(PLOT_KINDS)}; with numbers {', '.join(MIXED_PLOT_KINDS)}.",
            autocompletion=lambda: list({**PLOT_KINDS, **MIXED_PLOT_KINDS}),
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
    fit = any_fit_at(fitted, source)
    with working("drawing", quiet=quiet):
        if isinstance(fit, MixedFit):
            axes = fit.plot(kind, **asked_mixed(fit, treatment, outcome, contrast, outcome_state))
        else:
            asked = asked_effect(fit, treatment, outcome, contrast, outcome_state)
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


def _compared(fit: MixedFit, candidates: Sequence[int]) -> Selection:
    """Numbers of sources on the table of a fit with numbers, columns of the kinds it has.

    Raises:
        QueryError: the fit was saved without it.
    """
    rows, weights = table_of_records(fit.mixture, _table(fit))
    return select_n_sources(fit.spec, rows, candidates, sample_weight=weights)


def _table(fit: Fit | MixedFit) -> Any:
    """The table that numbers of sources are compared on.

    Raises:
        QueryError: the fit was saved without it.
    """
    if fit.table is None:
        raise QueryError("--selection: this fit holds no table; compare by pyromix select DATA")
    return fit.table
