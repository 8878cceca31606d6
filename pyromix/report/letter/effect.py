"""The answer to a question about an effect: a sentence, and numbers to be seen from afar."""

from __future__ import annotations

from pyromix.errors import NotCertifiedError
from pyromix.model.query import Certainty
from pyromix.report.facts.effects import Effects
from pyromix.report.facts.headline import Compared, HeadlineFacts
from pyromix.report.numbers import points, points_between
from pyromix.report.parts import Drawing, Headline
from pyromix.report.subject import Subject

UNIT = "percentage points"


def effect_sentence(subject: Subject, effects: Effects, told: HeadlineFacts) -> str:
    """The effect as one says it to a colleague."""
    question = effects.question
    one, other = question.contrast
    chance = f"the chance of {question.outcome} = {told.state}"
    if told.chosen and told.level.at_least(Certainty.LOCAL):
        chance += ", of its states the one that changes most,"
    setting = f"Setting {question.treatment} to {other} instead of {one}"
    do, naive = told.do, _naive_clause(effects, told)
    if do is None:
        why = _why_none(subject, effects)
        return f"{why} what {_lower(setting)} does to {chance}{naive}."
    if told.level is Certainty.WEAK:
        if do.ends is None:
            return f"The table is too weak to say what {_lower(setting)} does to {chance}{naive}."
        low, high = do.ends
        return (
            f"The table is too weak for one number: {_lower(setting)} changes {chance} by "
            f"something between {points(low)} and {points(high)} {UNIT}{naive}."
        )
    hidden = "" if subject.fit.spec.n_sources > 1 else "If nothing hidden is at work, "
    setting = setting if not hidden else hidden + _lower(setting)
    if do.is_zero:
        way = f"the graph has no way from {question.treatment} to {question.outcome}"
        return f"{setting} leaves {chance} as it is: {way}{naive}."
    if do.sign:
        moves = "raises" if do.sign > 0 else "lowers"
        size, *ends = (f"{100 * abs(x):.1f}" for x in (do.value, *sorted(do.ends or (), key=abs)))
        interval = f" (95% interval: {' to '.join(ends)})" if ends else ""
        return f"{setting} {moves} {chance} by {size} {UNIT}{interval}{naive}."
    ends = points_between(*(do.ends or (0, 0)))
    return (
        f"{setting} changes {chance} by {points(do.value)} {UNIT} (95% interval: {ends}): whether "
        f"it raises or lowers it, this table does not tell{naive}."
    )


def effect_headlines(
    subject: Subject, effects: Effects, told: HeadlineFacts
) -> tuple[Headline, ...]:
    """The effect, and the naive difference beside it."""
    question = effects.question
    under = f"if {question.treatment} is set, for everybody"
    do = told.do
    if do is None:
        first = Headline(under, "not determined", "by this table, this graph and this k", "fail")
    elif told.level is Certainty.WEAK:
        value = "not told" if do.ends is None else f"{points(do.ends[0])} to {points(do.ends[1])}"
        said = f"{UNIT}, 95% interval: the table is too weak for one number"
        first = Headline(under, value, said, "weak")
    else:
        first = Headline(under, points(do.value), _unit(do), "pass")
    if told.naive is None:
        return (first,)
    aside = "as the table stands (naive)"
    return (first, Headline(aside, points(told.naive.value), _unit(told.naive), "aside"))


def headline_drawing(effects: Effects, told: HeadlineFacts) -> Drawing | None:
    """The numbers on one axis; None where there is nothing to compare."""
    if told.naive is None:
        return None
    question = effects.question
    one, other = question.contrast
    what = {
        Certainty.WEAK: "the dashed bar all that the table leaves possible",
        Certainty.NONE: "the hatched band that no number can be told",
    }.get(told.level, "the diamond what setting it makes of everybody")
    bars = "" if told.naive.ends is None else "; bars are 95% intervals"
    return Drawing(
        "headline",
        f"Change of the chance of {question.outcome} = {told.state} from {question.treatment} = "
        f"{one} to {other}: the grey circle compares those seen with each, {what}{bars}.",
    )


def _unit(found: Compared) -> str:
    return UNIT if found.ends is None else f"{UNIT}, 95% interval {points_between(*found.ends)}"


def _naive_clause(effects: Effects, told: HeadlineFacts) -> str:
    """What merely comparing shows."""
    if told.naive is None:
        return ""
    one, other = effects.question.contrast
    return (
        f"; merely comparing those seen with {other} and with {one} shows "
        f"{points(told.naive.value)}"
    )


def _why_none(subject: Subject, effects: Effects) -> str:
    last, spec = effects.errors[-1], subject.fit.spec
    if not isinstance(last, NotCertifiedError):
        return "No figure is given for"
    hidden = f"With a hidden {spec.source} of {spec.n_sources} states"
    if last.found == Certainty.BY_SHAPE.value:
        return f"{hidden} only the shapes assumed of the numbers could tell"
    if last.found != Certainty.NONE.value:
        return f"{hidden} nobody knows whether the data can tell"
    return f"{hidden} the data cannot tell"


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
