"""The effect, and what it leans on."""

from __future__ import annotations

import math

import numpy as np

from pyromix.answers.answer import Answer
from pyromix.answers.bounds import Bounds
from pyromix.answers.difference import Difference
from pyromix.answers.effect import Effect
from pyromix.answers.wording import identified_how
from pyromix.criticism.variations import CUTS, Sensitivity
from pyromix.identify.proximal import Proximal
from pyromix.model.ties import ROUNDING, first_largest
from pyromix.report.facts.doubts import assumed
from pyromix.report.facts.effects import Effects, interval_source, told_state, why_no_interval
from pyromix.report.numbers import between, braces, share, signed
from pyromix.report.parts import Drawing, Section, Table
from pyromix.report.sections.bounds import bounds_numbers, bounds_table, bounds_words
from pyromix.report.subject import Subject

Z95 = 1.96
"""Standard errors on each side of a 95% interval."""

APART = 3.0
"""Standard errors from which on two answers are said to disagree."""


def effect_section(subject: Subject) -> Section:
    """Naive against do, with intervals."""
    title = "Effect: naive against do"
    if (effects := subject.effects) is None:
        return Section(
            "effect",
            title,
            "No effect was asked about.",
            words=(
                "No treatment and outcome were named, and the model declares none: "
                f"{subject.advice.ask}.",
            ),
        )
    spec, question = subject.fit.spec, effects.question
    words = [f"Refused, {refusal}" for refusal in effects.refusals]
    if (effect := effects.found) is None:
        return Section(
            "effect",
            title,
            "Refused: data do not determine it.",
            facts=(("Question", str(question)),),
            words=(*words, *_left_open(subject)),
            tables=_bounds_tables(subject),
            numbers={"refusals": list(effects.refusals), **_bounds_numbers(subject)},
        )
    intervals = interval_source(subject.fit, effect, subject.advice.refused)
    facts = [("Question", str(question)), ("Certainty", effect.certainty.value)]
    if intervals:
        facts.append(("95% intervals", intervals))
    unsupported = max(float(arm.unsupported.max()) for arm in effect.do_arms)
    if unsupported > 1e-6:
        words.append(f"Up to {unsupported:.2g} of an answer rests on rows that no data reached.")
    if why := why_no_interval(effect):
        words.append(f"No interval: {why}.")
    words.append(
        "Naive compares those seen with one state and with the other; do compares what setting it "
        "makes of everybody. Their gap is what the source does."
    )
    if effects.groups:
        words.append(
            "Among those seen with a state of the treatment: what it does for them, one of the two "
            "arms being what happened to them."
        )
    if effects.by_proxies is not None:
        words.append(_second_answer(subject, effects.by_proxies, effect))
    outcome_states = spec.states_of(effect.outcome)
    shown = [effect.headline] if effect.headline >= 0 else range(len(outcome_states))
    tables = tuple(_table(subject, effects, effect, s) for s in shown)
    lead = "Weak: only the interval is to be believed." if effects.weak else (
        f"The difference naive and under the do, {identified_how(effect.certainty)}."
    )  # fmt: skip
    return Section(
        "effect",
        title,
        lead,
        facts=tuple(facts),
        words=tuple(words),
        tables=tables,
        drawings=(Drawing("effect", _caption(subject, effect)),) if effect.source_arms else (),
        numbers={
            "treatment": question.treatment,
            "outcome": question.outcome,
            "contrast": [str(s) for s in question.contrast],
            "certainty": effect.certainty.value,
            "naive": _numbers(effect.naive),
            "do": _numbers(effect.do),
            "among": {
                str(spec.states_of(v)[s]): _numbers(group.do)
                for group in effects.groups
                for v, s in group.group.items()
            },
            "by_proxies": None
            if effects.by_proxies is None
            else effects.by_proxies.difference(*effect.contrast).tolist(),
            "per_source": [_numbers(d) for d in effect.per_source] if effect.source_arms else [],
            "refusals": list(effects.refusals),
            **_bounds_numbers(subject),
        },
    )


def _left_open(subject: Subject) -> tuple[str, ...]:
    """Between what a refused effect lies, or why nobody can say."""
    found = subject.bounds
    return bounds_words(found) if isinstance(found, Bounds) else (f"No bounds: {found}.",)


def _bounds_tables(subject: Subject) -> tuple[Table, ...]:
    return (bounds_table(subject.bounds),) if isinstance(subject.bounds, Bounds) else ()


def _bounds_numbers(subject: Subject) -> dict[str, object]:
    found = subject.bounds
    return {"bounds": bounds_numbers(found)} if isinstance(found, Bounds) else {}


def _second_answer(subject: Subject, alone: Proximal, effect: Effect) -> str:
    """How far the answer of moments alone lies from that of the likelihood."""
    spec, state, pair = subject.fit.spec, told_state(effect), effect.contrast
    before, beside = (
        braces(map(spec.name, group)) for group in (alone.proxies.before, alone.proxies.beside)
    )
    gap = float(effect.do.values[state]) - float(alone.difference(*pair)[state])
    error = float(alone.standard_error(*pair, subject.fit.n_rows)[state])
    apart = abs(gap) / error if error else math.inf
    verdict = (
        "the two agree"
        if apart <= APART
        else "they disagree, so the graph or the number of sources may be wrong"
    )
    return (
        f"By proxies alone: a second answer of the same graph by moments of {before} and {beside}, "
        f"without a mixture. It lies {apart:.1f} of its standard errors from the first: {verdict}."
    )


def _caption(subject: Subject, effect: Effect) -> str:
    """What the plot shows that the letter does not: the effect within each source."""
    x, y = (subject.fit.spec.name(v) for v in (effect.treatment, effect.outcome))
    bars = "; bars are 95% intervals" if effect.do.has_interval else ""
    return (
        f"Differences of {y} that {x} makes: naive, under the do, and under the do within each "
        f"state of {subject.fit.spec.source}{bars}."
    )


def _table(subject: Subject, effects: Effects, effect: Effect, state: int) -> Table:
    """One outcome state: both arms and their difference, a line per comparison."""
    spec = subject.fit.spec
    x = spec.name(effect.treatment)
    one, other = (f"{x}={spec.states_of(effect.treatment)[s]}" for s in effect.contrast)
    name, label = spec.name(effect.outcome), spec.states_of(effect.outcome)[state]
    rows: list[tuple[str, ...]] = [
        ("naive, share of the rows", share(raw[0, state]), share(raw[1, state]),
         signed(raw[1, state] - raw[0, state]), "")
        for raw in ([] if effects.raw is None else [effects.raw])
    ]  # fmt: skip
    kinds: list[tuple[str, tuple[Answer, Answer], Difference]] = [
        ("naive, fitted", effect.naive_arms, effect.naive),
        ("do", effect.do_arms, effect.do),
    ]
    for number, arms in enumerate(effect.source_arms):
        u = spec.source_states[number]
        kinds.append((f"do, {spec.source}={u}", arms, effect.per_source[number]))
    for group in effects.groups:
        (seen,) = group.group.values()
        who = f"do, among {x}={spec.states_of(effect.treatment)[seen]}"
        kinds.append((who, group.do_arms, group.do))
    for kind, arms, difference in kinds:
        cells = [share(float(arm.values[state])) for arm in arms]
        cells.append(signed(float(difference.values[state])))
        if effects.weak and difference is not effect.naive:
            cells = ["-"] * 3  # the number of a weak effect means nothing
        rows.append((kind, *cells, _ends(difference, state)))
    if (alone := effects.by_proxies) is not None:
        pair = effect.contrast
        by = float(alone.difference(*pair)[state])
        reach = Z95 * float(alone.standard_error(*pair, subject.fit.n_rows)[state])
        cells = [share(float(alone.probs[arm, state])) for arm in pair]
        rows.append(("do, by proxies alone", *cells, signed(by), between(by - reach, by + reach)))
    less = "-" if effects.weak else signed(float(effect.confounding.values[state]))
    rows.append(("naive less do", "", "", less, _ends(effect.confounding, state)))
    shares = "" if effects.raw is None else " in the rows,"
    within = f", within each state of {spec.source}" if effect.source_arms else ""
    within += f", and among those seen with each state of {x}" if effects.groups else ""
    said = (
        f"The probability of {name} = {label} with {one} and with {other}:{shares} as the fit "
        f"sees it, and under the do{within}."
    )
    header = (f"P({name}={label})", one, other, "difference", "95% interval")
    return Table(said, header, tuple(rows))


def _ends(difference: Difference, state: int) -> str:
    if not difference.has_interval:
        return ""
    low, high = difference.interval()
    return between(float(low[state]), float(high[state]))


def _numbers(difference: Difference) -> dict[str, object]:
    found: dict[str, object] = {"difference": difference.values.tolist()}
    if difference.has_interval:
        low, high = difference.interval()
        found |= {"low": low.tolist(), "high": high.tolist()}
    return found


def sensitivity_section(subject: Subject) -> Section:
    """The effect under other assumptions that one could have made."""
    title = "Sensitivity"
    found, question = subject.sensitivity, subject.question
    if found is None or question is None:
        why = "Not computed: " + (
            "there is no effect to vary."
            if question is None
            else f"{subject.advice.no_sensitivity}, or the fit holds no table."
        )
        return Section("sensitivity", title, "Not computed.", words=(why,))
    first = found.variations[0].answer.values
    state = _headline(subject, first[1] - first[0])
    rows, numbers = [], []
    for v in found.variations:
        if v.found:
            one, other = (float(v.answer.values[arm, state]) for arm in (0, 1))
            rows.append((assumed(v), share(one), share(other), signed(other - one)))
            numbers.append({"kind": v.kind, "words": v.words, "difference": other - one})
        else:
            rows.append((assumed(v), "-", "-", "-"))
            numbers.append({"kind": v.kind, "words": v.words, "difference": None})
    x, (low, high) = question.treatment, question.contrast
    spec = subject.fit.spec
    label = spec.states_of(spec.vertex(question.outcome))[state]
    header = (f"P({question.outcome}={label} | do)", f"{x}={low}", f"{x}={high}", "difference")
    said = (
        f"The probability of {question.outcome} = {label} under the do, and the effect, if one "
        "assumption is changed at a time."
    )
    return Section(
        "sensitivity",
        title,
        f"The effect under other assumptions; the largest change is {share(found.largest_change)}.",
        facts=(("Largest change", f"{share(found.largest_change)} of any probability"),),
        words=(*(f"{assumed(v)}: {v.note}" for v in found.variations if v.note), *found.notes),
        tables=(Table(said, header, tuple(rows)), *_cut_elsewhere(found.of(CUTS), state)),
        numbers={"largest_change": found.largest_change, "variations": numbers},
    )


def _cut_elsewhere(found: Sensitivity, state: int) -> tuple[Table, ...]:
    """The effect with columns of numbers cut elsewhere; none where nothing was."""
    if len(found.variations) < 2:
        return ()
    rows = []
    for v in found.variations:
        told = ("-", "-")
        if v.found:
            told = (signed(float(v.difference.values[state])), _ends(v.difference, state) or "-")
        rows.append((assumed(v), *told))
    said = (
        "The effect with numbers cut into states elsewhere, with its interval; the largest change "
        f"is {share(found.largest_change_of_difference)}."
    )
    return (Table(said, ("cut points", "difference", "95% interval"), tuple(rows)),)


def _headline(subject: Subject, differences: np.ndarray) -> int:
    """The state that the effect is about; else the one that changes most."""
    effect = None if subject.effects is None else subject.effects.found
    if effect is not None:
        return told_state(effect)
    return first_largest(abs(differences).tolist(), ROUNDING)
