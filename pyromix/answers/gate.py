"""Whether an answer of a fit may be given: certainty found against certainty required."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pyromix.answers.wording import addition_in_words, only_shape, question, tables_in_words
from pyromix.errors import NotCertifiedError
from pyromix.exact.information import LOOSE
from pyromix.identify.advice import smallest
from pyromix.identify.signal import SIGNAL_LEVEL
from pyromix.identify.sketch import MAX_SKETCHED_PARAMETERS
from pyromix.identify.verdict import APART, Doubt, Ground, Verdict
from pyromix.model.arguments import one_of
from pyromix.model.query import Certainty
from pyromix.model.spec import MixtureSpec

MAX_ADVISED = 150
"""Parameters up to which a refusal looks for what would help."""

LISTED = 12
"""Variables that a refusal names."""


def admit(verdict: Verdict, require: str) -> Certainty:
    """Return how certain an answer is, or refuse it.

    Args:
        verdict: on the question, after a table was heard; its first query is the one that messages
            name.
        require: least certainty, by name.

    Raises:
        QueryError: no such level.
        NotCertifiedError: the certainty falls short of it.
    """
    levels = {c.value: c for c in Certainty}
    require = one_of("require", require, levels)
    if verdict.level.at_least(levels[require]):
        return verdict.level
    raise NotCertifiedError(refusal(verdict), required=require, found=verdict.level.value)


def refusal(verdict: Verdict) -> str:
    """Why an answer is refused, and what would help."""
    spec = verdict.spec
    asked = question(spec, verdict.queries[0])
    if verdict.weak:
        return (
            f"expected this table to determine {asked}; found that it hardly does, though the "
            f"graph would: {'; '.join(figures(verdict))}. What to try: {cure(verdict)}. "
            'require="weak" answers with an interval that holds all the same'
        )
    if verdict.level is Certainty.DISCOVERED:
        return (
            f"expected a graph that somebody drew, to determine {asked}; found one that a search "
            "in the same table found: others with the same laws may answer otherwise. What to try: "
            "the effect of the discovery itself, which is the set over all of them; "
            'require="discovered" returns the answer of this one graph'
        )
    if verdict.structural is Certainty.LOCAL:
        return (
            f'expected the graph alone to determine {asked}, as require="graphical" asks; found '
            "that it is determined locally: no continuum of other answers fits as well, but a "
            'second, isolated one might. Pass require="local" to accept that'
        )
    if verdict.structural is Certainty.UNCHECKED:
        return _unchecked(verdict, asked)
    if verdict.structural is Certainty.BY_SHAPE:
        return (
            f"expected views of {spec.source!r} to determine {asked}; found that they do not: "
            f"{only_shape(spec)}. What to try: {cure(verdict)}. "
            'require="shape" returns the number that these shapes give all the same'
        )
    tables = tables_in_words(spec, verdict.moved)
    seen = ""
    if (local := verdict.certificate) is not None:
        seen = (
            f" With {spec.n_sources} sources that distribution fixes {local.rank} of "
            f"{local.n_parameters} parameter directions."
        )
    return (
        f"expected the joint distribution of {_listed(spec.variables)} to determine {asked}; found "
        f"that it does not.{seen} A direction that it leaves free, mostly in {tables}, moves the "
        f"answer (relative residual {verdict.residual:.2g}, where 0 is no move). What to try: "
        f"{cure(verdict)}. fit.bounds(...) tells between what it lies; "
        'require="none" returns the number at this one optimum all the same'
    )


def _unchecked(verdict: Verdict, asked: str) -> str:
    """Why an answer is refused of which nobody knows whether it is determined."""
    size = f"{verdict.spec.n_parameters:,} parameters"
    if verdict.ground is Ground.UNSETTLED:
        found = (
            f"that {verdict.residual:.2g} of the direction in which it moves is left by the cells "
            f"looked at, and more of them might leave less ({size})"
        )
    else:
        found = (
            f"that graph and ancestral parts do not tell, and that {size} are more than the "
            f"{MAX_SKETCHED_PARAMETERS:,} of a local certificate"
        )
    return (
        f"expected the joint distribution of {_listed(verdict.spec.variables)} to determine "
        f"{asked}; found {found}: nobody knows. What to try: a graph of the variables that matter "
        "to the question, with their ancestors; or one more observed variable that depends on "
        f"{verdict.spec.source!r} and is independent of the others given {verdict.spec.source!r}. "
        'require="unchecked" returns the answer all the same'
    )


def _listed(names: Sequence[str]) -> str:
    """The first of many names."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def figures(verdict: Verdict) -> list[str]:
    """What of a table makes an answer weak, each with its figure."""
    spec, found = verdict.spec, verdict.findings
    if found is None:
        return []
    texts = []
    for doubt in verdict.doubts:
        if doubt is Doubt.SIGNAL and spec.coarse and found.signal is None:
            texts.append(
                f"the graph has no three views of {spec.source!r}, and with numbers in the table "
                "nothing else shows whether it says anything of it, whatever the noise"
            )
        elif doubt is Doubt.SIGNAL and found.signal is not None:
            best = found.signal.triples[0]
            views = ", ".join(_set(spec, view) for view in best.views)
            given = f" given {_set(spec, best.given)}" if best.given else ""
            if found.signal.shown:
                texts.append(
                    f"the view of few states among {views} tells the sources apart by fewer than "
                    f"{APART:g} standard errors"
                )
                continue
            looked = found.signal.n_triples
            texts.append(
                f"no three views of {spec.source!r} show it beyond doubt: of {looked} triples "
                f"looked at, {views}{given} show it best, and would look so by chance with "
                f"probability {found.signal.p_value:.2g} (shown is {SIGNAL_LEVEL:g} or less)"
            )
        elif doubt is Doubt.SIGNAL and not math.isnan(found.p_reduced):
            texts.append(
                f"a model with fewer edges from {spec.source!r}, which does not determine it, fits "
                f"as well with probability {found.p_reduced:.2g} (shown is {SIGNAL_LEVEL:g} or "
                "less)"
            )
        elif doubt is Doubt.SIGNAL and found.stage is not None:
            texts.append(f"moments of the table do not show {spec.n_sources} sources")
        elif doubt is Doubt.DIRECTIONS:
            texts.append(
                f"{found.loose:.0%} of the variance comes from directions along which the table "
                f"leaves probabilities open by more than {LOOSE:g}"
            )
        elif doubt is Doubt.STARTS:
            texts.append(
                "starts that fit about as well answer otherwise, from "
                f"{found.spread[0]:+.3g} to {found.spread[1]:+.3g}"
            )
    return texts


def cure(verdict: Verdict) -> str:
    """What would help where the graph, or the table, falls short."""
    source = verdict.spec.source
    if verdict.level in (Certainty.NONE, Certainty.BY_SHAPE):
        return f"{_addition(verdict)}; a sparser graph, if it can be justified; or fewer sources"
    return (
        f"one more observed variable that depends on {source!r}, strongly, and is independent of "
        f"the others given {source!r}; more rows, where views do carry signal; or fewer sources"
    )


def _addition(verdict: Verdict) -> str:
    """The smallest addition that would do, where looking for it is quick."""
    spec = verdict.spec
    one = smallest(spec, verdict.queries) if spec.n_parameters <= MAX_ADVISED else None
    if one is not None:
        return addition_in_words(spec.source, one)
    return (
        f"one more observed variable that depends on {spec.source!r} and is independent of the "
        f"others given {spec.source!r}"
    )


def _set(spec: MixtureSpec, vertices: Sequence[int]) -> str:
    return "{" + _listed([spec.name(v) for v in vertices]) + "}"
