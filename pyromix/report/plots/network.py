"""The network: U dashed, views and separator filled and named, treatment and outcome marked."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import ConnectionStyle, FancyArrowPatch, Patch
from matplotlib.path import Path
from matplotlib.text import Text

from pyromix.fitting.record import Fit
from pyromix.model.spec import SOURCE
from pyromix.report.facts.plan import ViewNames, find_views
from pyromix.report.facts.question import Question
from pyromix.report.mixed.question import MixedQuestion
from pyromix.report.plots.canvas import axes_of
from pyromix.report.plots.layout import Layout, Place, lay_out
from pyromix.report.plots.palette import BLACK, GREY, VERMILION, VIEWS, tint

MANY = 16
"""Influenced variables beyond which the edges of U are told, not drawn."""

ACROSS, DOWN = 1.35, 0.95
"""Inches per unit of the layout."""

CLOSEST = 0.95
"""Inches between vertices below which their names would overlap."""

BEND = 0.3
"""Layers above and below its bend that an edge runs straight."""

WIDEST = 22.0
"""Inches of a new figure at most."""


def draw_network(fit: Fit, question: Question | MixedQuestion | None, ax: Any) -> Axes:
    """Draw the graph of a fit, treatment and outcome of the question marked."""
    spec = fit.spec
    marks = {}
    if question is not None:
        marks = {question.treatment: "treatment", question.outcome: "outcome"}
    views = find_views(fit)
    influenced = [v for v in range(spec.n_variables) if v not in spec.uninfluenced]
    drawn = len(influenced) <= MANY
    graph = spec.graph(with_source=drawn)
    layout = lay_out(graph)
    places = {v: (x * ACROSS, y * DOWN) for v, (x, y) in layout.places.items()}
    places.setdefault(SOURCE, (0.0, -1.25 * DOWN))
    ys = [y for _, y in places.values()]
    width = min(WIDEST, max(5.0, (layout.size[0] + 1.2) * ACROSS))
    least = min(WIDEST, (layout.size[0] + 1.2) * CLOSEST)
    ax = axes_of(ax, width, max(ys) - min(ys) + 1.7, least)
    boxes = {v: _box(ax, fit, v, place, views, marks) for v, place in places.items()}
    for edge in graph.edges:
        hidden = edge[0] == SOURCE
        colour = GREY if hidden else BLACK
        _arrow(ax, boxes[edge[0]], boxes[edge[1]], _bends(layout, edge), colour, dashed=hidden)
    count = "every variable" if len(influenced) == spec.n_variables else (
        f"{len(influenced)} of {spec.n_variables} variables"
    )  # fmt: skip
    told = "" if drawn else f"; its edges, to {count}, are not drawn"
    ax.set_title(f"{spec.source}, dashed, is not observed: {spec.n_sources} states{told}")
    _legend(ax, views)
    xs = [x for x, _ in places.values()]
    xs += [x for edge in layout.bends for x, _ in _bends(layout, edge)]
    ax.set_xlim(min(xs) - 0.75, max(xs) + 0.75)
    ax.set_ylim(max(ys) + 0.5, min(ys) - 0.45)
    ax.set_axis_off()
    return ax


def _box(
    ax: Axes, fit: Fit, v: int, place: Place, views: ViewNames | None, marks: dict[str, str]
) -> Text:
    """A vertex: its name, and under it its parts in the plan and in the question."""
    name = fit.spec.name(v)
    part, mark = views.role(name) if views is not None else "", marks.get(name, "")
    text = "\n".join([name, *filter(None, (part, mark))])
    style: dict[str, Any] = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": BLACK}
    if v == SOURCE:
        style |= {"linestyle": "--", "boxstyle": "circle,pad=0.4"}
    elif part:
        style["facecolor"] = tint(VIEWS[part])
        if part == "given":
            style["boxstyle"] = "square,pad=0.35"
    if mark:
        style |= {"edgecolor": VERMILION, "linewidth": 2.5}
    return ax.text(*place, text, ha="center", va="center", fontsize=9, bbox=style, zorder=3)


def _arrow(
    ax: Axes, one: Text, other: Text, bends: tuple[Place, ...], colour: str, *, dashed: bool = False
) -> None:
    """An edge between two boxes, through places on the way."""
    style: dict[str, Any] = {"color": colour, "linewidth": 0.9 if dashed else 1.3}
    style |= {"linestyle": (0, (4, 3)) if dashed else "-", "zorder": 1 if dashed else 2}
    head = {"arrowstyle": "-|>", "mutation_scale": 10, "shrinkA": 0, "shrinkB": 1}
    start, end = one.get_position(), other.get_position()
    arrow = FancyArrowPatch(
        start, end, **head, **style, patchA=one.get_bbox_patch(), patchB=other.get_bbox_patch()
    )
    if bends:
        arrow.set_connectionstyle(_Through(bends, ax))  # pyright: ignore[reportCallIssue]
    ax.add_patch(arrow)


class _Through(ConnectionStyle.Arc3):
    """A smooth connection through given places."""

    def __init__(self, bends: tuple[Place, ...], ax: Axes) -> None:
        super().__init__()
        self.bends, self.ax = bends, ax

    def connect(self, posA: Any, posB: Any) -> Path:  # noqa: N803 - matplotlib's names
        """The path in display coordinates, between the middles of two boxes."""
        points = [tuple(posA), *map(tuple, self.ax.transData.transform(self.bends)), tuple(posB)]
        places, codes = [points[0]], [Path.MOVETO]
        for i in range(1, len(points) - 1):
            (x, y), (right, down) = points[i], points[i + 1]
            last = i == len(points) - 2
            places += [points[i], points[-1] if last else ((x + right) / 2, (y + down) / 2)]
            codes += [Path.CURVE3, Path.CURVE3]
        return Path(places, codes)


def _bends(layout: Layout, edge: tuple[int, int]) -> tuple[Place, ...]:
    """In the units of the drawing: each bend twice, so that an edge keeps to its lane."""
    return tuple(
        (x * ACROSS, (y + shift) * DOWN) for x, y in layout.bends[edge] for shift in (-BEND, BEND)
    )


def _legend(ax: Axes, views: ViewNames | None) -> None:
    """What the fills mean, for those that occur."""
    parts = []
    if views is not None:
        parts = [f"view {n}" for n in range(1, len(views.views) + 1)]
        parts += ["given"] if views.given else []
    if not parts:
        return
    words = {"given": "conditioned on"}
    patches = [
        Patch(facecolor=tint(VIEWS[p]), edgecolor=BLACK, label=words.get(p, p)) for p in parts
    ]
    ax.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=len(parts),
              frameon=False, fontsize=9)  # fmt: skip
