"""What is done where numbers have heavier tails than the normal noise they are fitted with.

Sources stand in for heavy tails: one spends itself on them, and the effects of all are off. A real
column that nobody declared gets the noise of Student's t where that fits far better; of one that
was declared, or whose missing cells ask for normal noise, it is said only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import torch

from pyromix.data.records import Records, thinned_records
from pyromix.estimate.mixed.tails import heavy_tails
from pyromix.fitting.mixed.intake import Taken
from pyromix.model.kind import Kind
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.note import Note, NoteKind

TAIL_ROWS = 10_000
"""Rows on which the tails of numbers are looked at."""

HEAVY = 10.0
"""Nats that Student's t must gain on these rows: very strong evidence, as it has no parameter more
[R. E. Kass, A. E. Raftery, Bayes factors, JASA 90, 1995]."""


def heavier(mixture: MixedMixture, records: Records) -> dict[int, float]:
    """Numbers whose tails are heavier than normal ones, by nats that leave no doubt.

    Returns:
        Nats that Student's t gains on the table, by vertex.
    """
    some = thinned_records(records, TAIL_ROWS, torch.Generator().manual_seed(0))
    return {
        v: gain * records.total_weight
        for v, gain in heavy_tails(mixture, some).items()
        if gain * some.total_weight >= HEAVY
    }


def heaviest(mixtures: Iterable[MixedMixture], records: Records) -> dict[int, float]:
    """Numbers that are ``heavier`` under one of some estimates, by the most nats."""
    found: dict[int, float] = {}
    for mixture in mixtures:
        for v, nats in heavier(mixture, records).items():
            found[v] = max(nats, found.get(v, 0.0))
    return found


def may_change(taken: Taken, vertices: Collection[int]) -> list[int]:
    """Those that nobody declared, and of which no missing number must be integrated out.

    That is done in normal laws alone (THEORY section 18.3): of a parent, and of what has children.
    """
    spec, records = taken.spec, taken.records
    gaps = {v for v in spec.numeric if bool(records.columns[v].isnan().any())}
    above = {p for family in spec.parents for p in family}
    return [
        v
        for v in vertices
        if spec.name(v) in taken.assumed
        and not gaps & ({*spec.parents[v]} | ({v} if v in above else set()))
    ]


def with_tails(taken: Taken, nats: Mapping[int, float]) -> Taken:
    """The same table with Student's t for some numbers, and a note on what that gains."""
    spec = taken.spec
    kinds = tuple(Kind.HEAVY_TAILED if v in nats else kind for v, kind in enumerate(spec.kinds))
    gains = {spec.name(v): gain for v, gain in nats.items()}
    names = listed(gains)
    some = len(gains) > 1
    sentence = (
        f"The noise of {names} is Student's t with four degrees of freedom, which fits "
        f"{'them' if some else 'it'} better than normal noise by these many nats: sources would "
        f'stand in for the tails. kinds={{{next(iter(gains))!r}: "real"}} keeps normal noise.'
    )
    return replace(
        taken,
        spec=MixedSpec(spec.binned, kinds),
        records=replace(taken.records, kinds=kinds),
        notes=(*taken.notes, Note(NoteKind.SHAPE, sentence, gains)),
    )


def doubts(spec: MixedSpec, records: Records, mixture: MixedMixture) -> list[Note]:
    """What is said of numbers that keep normal noise though their tails are heavier."""
    gains = {spec.name(v): gain for v, gain in heavier(mixture, records).items()}
    if not gains:
        return []
    sentence = (
        f"Student's t fits the noise of {listed(gains)} better than normal noise, by these many "
        "nats: sources lean on its shape, and stand in for heavy tails. "
        f'kinds={{{next(iter(gains))!r}: "student-t"}} declares it, where no cell is missing.'
    )
    return [Note(NoteKind.SHAPE, sentence, gains)]


def listed(gains: Mapping[str, float]) -> str:
    """Names with their nats."""
    return ", ".join(f"{name!r} ({gain:+.0f})" for name, gain in gains.items())
