"""A report as one page: plots inside as SVG, no scripts, nothing fetched."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence

import jinja2
import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes

from pyromix.criticism.discrepancy import PredictiveCheck
from pyromix.errors import PyromixError, PyromixWarning
from pyromix.fitting.record import Fit
from pyromix.report.facts.question import Question
from pyromix.report.parts import Drawing, Section
from pyromix.report.plots.draw import draw

FIGURE_WIDTH = 720
"""Pixels that a plot is wide at most."""

PIXELS = 96 / 72
"""Of a browser per point of a drawing."""


def page(
    title: str,
    sections: Sequence[Section],
    fit: Fit,
    question: Question | None,
    check: PredictiveCheck | None,
) -> str:
    """Print the sections of a report as HTML.

    Args:
        title: of the page.
        sections: in order.
        fit: who is asked for the plots.
        question: the effect that plots are about, where there is one.
        check: the predictive check, where there is one.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pyromix.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )

    def axes(kind: str) -> Axes:
        return draw(kind, fit, question, check=check)

    drawn = {section.key: _drawn(section, axes) for section in sections}
    return environment.get_template("page.html").render(title=title, sections=sections, drawn=drawn)


def _drawn(section: Section, axes_of: Callable[[str], Axes]) -> list[tuple[Drawing, Markup]]:
    """The plots of a section; one that cannot be drawn is left out, its section says why."""
    found = []
    for drawing in section.drawings:
        try:
            with warnings.catch_warnings():
                # The sections have said it.
                warnings.simplefilter("ignore", PyromixWarning)
                axes = axes_of(drawing.kind)
        except PyromixError:
            continue
        found.append((drawing, svg(axes, f"{section.key}-{drawing.kind}")))
    return found


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
    width = min(FIGURE_WIDTH, round(figure.get_figwidth() * 72 * PIXELS))
    head = rf'<svg viewBox="\1" width="{width}" aria-hidden="true">'
    text = re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', head, text, count=1)
    return Markup(text.strip())
