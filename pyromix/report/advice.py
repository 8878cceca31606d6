"""What a report advises its reader to do next, in the words of the door it was asked at."""

from __future__ import annotations

from dataclasses import dataclass

from pyromix.report.parts import Words


@dataclass(frozen=True)
class Advice:
    """Clauses that name a call, or a command.

    Attributes:
        ask: how to ask about an effect.
        choose: how to compare numbers of sources.
        show_choice: how to have the comparison in the report.
        iterate: how to let the iterations go on.
        start: how to start more often.
        refused: who refuses a weak answer.
        no_sensitivity: what left the sensitivity out.
        words: how sentences from below, which name arguments, are said at this door.
    """

    ask: str
    choose: str
    show_choice: str
    iterate: str
    start: str
    refused: str
    no_sensitivity: str
    words: Words


PYTHON = Advice(
    ask="fit.report(treatment=..., outcome=...)",
    choose="px.select_n_sources(model, data)",
    show_choice="fit.report(selection=...)",
    iterate="raise max_iter",
    start="raise n_init",
    refused="fit.effect refuses this answer",
    no_sensitivity="sensitivity=False",
    words=str,
)
"""Of those who call from Python."""
