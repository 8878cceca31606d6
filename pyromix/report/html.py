"""A report as one page: plots inside as SVG, no scripts, nothing fetched."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jinja2
import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes

from pyromix.answers.mixed.effect import MixedEffect
from pyromix.criticism.mixed_prediction import MixedPredictiveCheck
from pyromix.errors import PyromixError, PyromixWarning
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.fitting.record import Fit
from pyromix.fitting.regression import Regression
from pyromix.report.facts.headline import find_headline
from pyromix.report.mixed.plots import draw_mixed
from pyromix.report.mixed.question import MixedQuestion
from pyromix.report.parts import Drawing
from pyromix.report.plots.canvas import Sheet, wrap_texts
from pyromix.report.plots.draw import draw
from pyromix.report.plots.effect import draw_effect
from pyromix.report.plots.headline import draw_headline

if TYPE_CHECKING:
    from pyromix.report.document import Report

SHEETS = {"wide": Sheet(8.0), "narrow": Sheet(3.8)}
"""Every plot is drawn twice, for a desk or paper and for a telephone: letters keep their size."""

PIXELS = 96
"""Of a browser per inch."""


@dataclass(frozen=True)
class Picture:
    """A drawing as it stands in the page.

    Attributes:
        caption: under it.
        pictures: SVG by the name of the sheet it was drawn for.
    """

    caption: str
    pictures: dict[str, Markup]


def page(report: Report) -> str:
    """Print a report as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pyromix.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    drawing = report.letter.drawing
    drawn = {
        section.key: _drawn(report, section.drawings, section.key) for section in report.sections
    }
    return environment.get_template("page.html").render(
        report=report,
        letter=report.letter,
        headline=_drawn(report, () if drawing is None else (drawing,), "letter"),
        drawn=drawn,
    )


def _drawn(report: Report, drawings: tuple[Drawing, ...], key: str) -> list[Picture]:
    """The plots of a part; one that cannot be drawn is left out, its section says why."""
    found, fit = [], report.fit
    if isinstance(fit, Regression):
        return found  # its sections have none
    for drawing in drawings:
        pictures = {}
        try:
            with warnings.catch_warnings():
                # The sections have said it.
                warnings.simplefilter("ignore", PyromixWarning)
                for name, sheet in SHEETS.items():
                    axes = _axes(report, fit, drawing.kind, sheet)
                    wrap_texts(axes, sheet.width)
                    pictures[name] = svg(axes, f"{key}-{drawing.kind}-{name}", sheet)
        except PyromixError:
            continue
        found.append(Picture(drawing.caption, pictures))
    return found


def _axes(report: Report, fit: Fit | MixedRecord, kind: str, sheet: Sheet) -> Axes:
    """Draw, from what the report has worked out already."""
    question, effects = report.question, report.effects
    if isinstance(fit, MixedRecord):
        asked = question if isinstance(question, MixedQuestion) else None
        return draw_mixed(kind, fit, asked, sheet)
    assert not isinstance(question, MixedQuestion)
    assert not isinstance(effects, MixedEffect)
    assert not isinstance(report.check, MixedPredictiveCheck)
    if question is not None and effects is not None:
        if kind == "headline":
            return draw_headline(question, find_headline(fit.spec, effects), sheet)
        if kind == "effect":
            return draw_effect(fit, question, sheet, effects.found)
    return draw(kind, fit, question, sheet, report.check)


def svg(axes: Axes, prefix: str, sheet: Sheet) -> Markup:
    """Return the figure of some axes as an SVG element to stand inside a page.

    Args:
        axes: drawn on.
        prefix: of every id, so that no two figures of a page share one.
        sheet: what it was drawn for; a wider figure keeps its width and is scrolled.
    """
    figure, stream = axes.get_figure(root=True), io.StringIO()
    assert figure is not None
    # A fixed salt makes the same figure the same text; letters stay letters, in the reader's own
    # font: any script, and not a path each. The settings end with the block.
    with (
        matplotlib.rc_context({"svg.hashsalt": prefix, "svg.fonttype": "none"}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Inside a page the namespaces are known.
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = text.replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    width, least = figure.get_figwidth(), ""
    if width > sheet.width:
        least = f' style="min-width: {round(width * PIXELS)}px"'
    head = rf'<svg viewBox="\1" aria-hidden="true"{least}>'
    text = re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', head, text, count=1)
    return Markup(text.strip())
