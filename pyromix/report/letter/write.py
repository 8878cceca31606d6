"""Write the letter of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyromix.answers.gate import cure
from pyromix.errors import NotCertifiedError
from pyromix.model.query import Certainty
from pyromix.report.facts.doubts import find_doubts
from pyromix.report.facts.headline import Compared, find_headline
from pyromix.report.letter.effect import effect_headlines, effect_sentence, headline_drawing
from pyromix.report.letter.groups import group_headlines, groups_sentence
from pyromix.report.letter.leaning import what_it_leans_on
from pyromix.report.parts import Letter
from pyromix.report.subject import Subject


def write_letter(subject: Subject) -> Letter:
    """Say what was found to somebody who reads one page."""
    verdict, effects = subject.identified.found, subject.effects
    leaning, doubts = what_it_leans_on(subject), tuple(find_doubts(subject))
    helps = cure(verdict) if not verdict.level.at_least(Certainty.LOCAL) else ""
    if effects is None:
        sentence = groups_sentence(subject)
        told = group_headlines(subject)
        return Letter(sentence, told, leaning, doubts, helps, None, {"sentence": sentence})
    if effects.found is None and not isinstance(effects.errors[-1], NotCertifiedError):
        doubts = (f"{effects.errors[-1]}", *doubts)
    found = find_headline(subject.fit.spec, effects)
    sentence = effect_sentence(subject, effects, found)
    return Letter(
        sentence,
        effect_headlines(subject, effects, found),
        leaning,
        doubts,
        helps,
        headline_drawing(effects, found),
        {
            "sentence": sentence,
            "certainty": found.level.value,
            "outcome_state": str(found.state),
            "naive": _numbers(found.naive),
            "do": _numbers(found.do),
        },
    )


def _numbers(found: Compared | None) -> Mapping[str, Any] | None:
    if found is None:
        return None
    low, high = found.ends or (None, None)
    return {"difference": found.value, "low": low, "high": high}
