"""Notes: what a stage has to say, as a value that programs can sort by and people can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pyromix.errors import (
    ConvergenceWarning,
    PyromixWarning,
    SamplingWarning,
    StartsDisagreeWarning,
    WeakIdentificationWarning,
    warn,
)


class NoteKind(StrEnum):
    """What a note is about."""

    ADDED_SOURCE = "added source"
    REPAIR = "repair"
    WEIGHTS = "weights"
    UNSOLVED = "unsolved"
    UNLINKED = "unlinked"
    INCONSISTENT = "inconsistent"
    CONVERGENCE = "convergence"
    STARTS = "starts"
    SADDLE = "saddle"
    DUPLICATE = "duplicate sources"
    EMPTY = "empty source"
    PRIOR = "prior"
    DRAWS = "draws"
    SAMPLING = "sampling"
    MOMENTS_ONLY = "moments only"
    ROUTE = "route"
    SHAPE = "shape of noise"
    DISCOVERED = "discovered graph"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Note:
    """One thing that a stage says.

    Attributes:
        kind: what it is about: all that code above a stage may look at, beside ``data``.
        sentence: for people; nothing looks into it.
        data: figures of the sentence, by name.
    """

    kind: NoteKind
    sentence: str
    data: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        """The sentence."""
        return self.sentence


def sentences(notes: Iterable[Note]) -> tuple[str, ...]:
    """The sentences of some notes, each once, in order."""
    return tuple(dict.fromkeys(note.sentence for note in notes))


def distinct(notes: Iterable[Note]) -> tuple[Note, ...]:
    """Notes without those whose sentence has been said before."""
    return tuple({note.sentence: note for note in reversed([*notes])}.values())[::-1]


WARNINGS: Mapping[NoteKind, type[PyromixWarning]] = {
    NoteKind.UNSOLVED: WeakIdentificationWarning,
    NoteKind.CONVERGENCE: ConvergenceWarning,
    NoteKind.STARTS: StartsDisagreeWarning,
    NoteKind.SADDLE: StartsDisagreeWarning,
    NoteKind.DUPLICATE: WeakIdentificationWarning,
    NoteKind.EMPTY: WeakIdentificationWarning,
    NoteKind.DRAWS: WeakIdentificationWarning,
    NoteKind.SAMPLING: SamplingWarning,
}
"""What a note of a kind is given as when it must be seen at once."""


def warn_of(notes: Iterable[Note]) -> tuple[Note, ...]:
    """Give the warnings of some notes, of kinds that ``WARNINGS`` has, and hand the notes on."""
    said = tuple(notes)
    for note in said:
        warn(note.sentence, WARNINGS[note.kind])
    return said
