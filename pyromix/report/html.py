"""A report as one page: plots inside as SVG, no scripts, nothing fetched."""

from __future__ import annotations

import io
import re
import warnings

import jinja2
import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes

from pyromix.errors import PyromixError, PyromixWarning
from pyromix.report.document import Drawing, Report, Section
from pyromix.report.plots.draw import DRAWERS
from pyromix.report.plots.residuals import draw_residuals

WIDTH = 720
"""Pixels that a plot is wide at most."""

PIXELS = 96 / 72
"""Of a browser per point of a drawing."""


def page(report: Report) -> str:
    """Print the sections of a report as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pyromix.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    drawn = {section.key: _drawn(report, section) for section in report.sections}
    return environment.get_template("page.html").render(
        title=report.title, sections=report.sections, drawn=drawn, badge=_badge
    )


def _badge(said: str) -> tuple[str, str, str]:
    """A verdict at the head of a fact, its class, and the rest."""
    found = re.match(r"(PASS|PASS, locally|WEAK|FAIL)  (.*)", said, re.DOTALL)
    if not found:
        return "", "", said
    return found[1], found[1][:4].lower(), found[2]


def _drawn(report: Report, section: Section) -> list[tuple[Drawing, Markup]]:
    """The plots of a section; one that cannot be drawn is left out, its section says why."""
    found = []
    for drawing in section.drawings:
        try:
            with warnings.catch_warnings():
                # The sections have said it.
                warnings.simplefilter("ignore", PyromixWarning)
                axes = _axes(report, drawing.kind)
        except PyromixError:
            continue
        found.append((drawing, svg(axes, f"{section.key}-{drawing.kind}")))
    return found


def _axes(report: Report, kind: str) -> Axes:
    if kind == "residuals":
        return draw_residuals(report.fit, None, report.checks[0])
    return DRAWERS[kind](report.fit, report.question, None)


def svg(axes: Axes, prefix: str) -> Markup:
    """Return the figure of some axes as an SVG element to stand inside a page.

    Args:
        axes: drawn on.
        prefix: of every id, so that no two figures of a page share one.
    """
    figure, stream = axes.get_figure(root=True), io.StringIO()
    assert figure is not None
    # A fixed salt makes the same figure the same text; the setting ends with the block.
    with matplotlib.rc_context({"svg.hashsalt": prefix}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Inside a page the namespaces are known.
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = text.replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    width = min(WIDTH, round(figure.get_figwidth() * 72 * PIXELS))
    head = rf'<svg viewBox="\1" width="{width}" aria-hidden="true">'
    text = re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', head, text, count=1)
    return Markup(text.strip())
