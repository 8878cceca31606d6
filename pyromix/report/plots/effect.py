"""Naive difference, difference under the do, and per source, with intervals."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from pyromix.answers.difference import Difference
from pyromix.answers.effect import Effect
from pyromix.answers.wording import identified_how
from pyromix.fitting.record import Fit
from pyromix.report.facts.effects import interval_source, required_effect
from pyromix.report.facts.question import Question
from pyromix.report.plots.canvas import axes_of, bare
from pyromix.report.plots.palette import BLACK, GREY, MARKERS, VERMILION, WITHIN

GAP = 0.16
"""Distance between the states of an outcome within one row."""


def draw_effect(fit: Fit, question: Question | None, ax: Any, effect: Effect | None = None) -> Axes:
    """Draw the differences that an effect compares, a row each.

    Args:
        fit: who is asked.
        question: which effect.
        ax: where to draw.
        effect: the same, where it is known already.

    Raises:
        QueryError: there is no treatment or outcome.
        NotCertifiedError, PositivityError: data do not determine the effect.
    """
    effect, spec = effect or required_effect(fit, question), fit.spec
    rows: list[tuple[str, Difference, str, str]] = [
        ("naive\n(seen)", effect.naive, GREY, "o"),
        ("do\n(set)", effect.do, VERMILION, "D"),
    ]
    within = effect.per_source if effect.source_arms else ()
    for number, (u, difference) in enumerate(zip(spec.source_states, within, strict=False)):
        weight = float(fit.mixture.weights[number])
        colour = WITHIN[number % len(WITHIN)]
        rows.append((f"do, {spec.source}={u}\n({weight:.0%})", difference, colour, "s"))
    states = spec.states_of(effect.outcome)
    shown = [effect.headline] if effect.headline >= 0 else list(range(len(states)))
    ax = axes_of(ax, 6.4, 1.5 + 0.55 * len(rows) + 0.25 * (len(shown) - 1) * len(rows))
    ax.axvline(0, color=BLACK, linewidth=0.8)
    for i, (_, difference, colour, marker) in enumerate(rows):
        for j, s in enumerate(shown):
            place = i + GAP * (j - (len(shown) - 1) / 2)
            value = float(difference.values[s])
            mark = marker if len(shown) == 1 else MARKERS[j % len(MARKERS)]
            label = f"{states[s]}" if len(shown) > 1 and i == 0 else None
            if difference.has_interval:
                low, high = (float(end[s]) for end in difference.interval())
                ax.plot([low, high], [place, place], "-|", color=colour, linewidth=1.5)
            ax.plot([value], [place], mark, color=colour, markersize=7, label=label)
            ax.annotate(f"{value:+.3f}", (value, place), xytext=(0, 6), ha="center",
                        textcoords="offset points", fontsize=8)  # fmt: skip
    one, other = (spec.states_of(effect.treatment)[s] for s in effect.contrast)
    x, y = spec.name(effect.treatment), spec.name(effect.outcome)
    ax.set_yticks(range(len(rows)), [row[0] for row in rows])
    ax.set_ylim(len(rows) - 0.45, -0.6)
    ax.margins(x=0.12)
    asked = f"P({y}={states[effect.headline]})" if len(shown) == 1 else f"P({y})"
    ax.set_xlabel(f"difference of {asked}, {x}={other} less {x}={one}")
    ax.set_ylabel("comparison")
    intervals = interval_source(fit, effect)
    said = f"\n95% intervals: {intervals}" if intervals else ""
    ax.set_title(f"Effect of {x} on {y}: {identified_how(effect.certainty)}{said}", fontsize=10)
    if len(shown) > 1:
        ax.legend(title=y, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    bare(ax)
    return ax
