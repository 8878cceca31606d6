"""What is left of an effect that is refused: a table of ends, and what they mean."""

from __future__ import annotations

from pyromix.answers.bounds import Bounds, Range
from pyromix.answers.natural import Pair
from pyromix.report.numbers import between
from pyromix.report.parts import Table

WORDS = (
    "Bounds are no interval around a number: mixtures at both ends fit as well as any, and the "
    "truth lies between them if graph and k are right. They are found from inside, so that they "
    "are at least as wide."
)


def bounds_table(found: Bounds) -> Table:
    """One line per arm and outcome state, then the differences."""
    k = found.range.n_sources
    header = ["", f"k = {k}", *([f"k = {k}, 95%"] if found.has_interval else []), f"k = {k + 1}"]
    if found.natural is not None:
        header.append("any k")
    rows = [*_lines(found, "z.3f"), *_lines(found.difference, "+z.3f")]
    return Table(
        f"Between what {found.title}, for both settings, and their difference lie, among mixtures "
        f"with {k} and with {k + 1} sources that fit as well; with what sampling leaves open; and "
        "whatever the number of sources.",
        tuple(header),
        tuple(rows),
    )


def bounds_words(found: Bounds) -> tuple[str, ...]:
    """How firmly the ends were found, and what they are."""
    difference = found.difference
    return (f"{difference.sentence}.", f"{_reached(difference.range)}.", WORDS)


def bounds_numbers(found: Bounds) -> dict[str, object]:
    """The same in plain numbers."""
    return {"arms": found.to_records(), "difference": found.difference.to_records()}


def _reached(found: Range) -> str:
    return (
        f"Searches that ended at the ends of the difference: {int(found.n_low.ravel()[-1])} and "
        f"{int(found.n_high.ravel()[-1])} of {found.n_searches}"
    )


def _lines(found: Bounds, form: str) -> list[tuple[str, ...]]:
    """All states of the outcome; of two, the second."""
    n_states = found.range.low.shape[-1]
    rows = []
    for place in range(len(found.cells)):
        if n_states == 2 and place % 2 == 0:
            continue
        columns: list[Pair] = [(found.low, found.high)]
        if found.has_interval:
            columns.append(found.interval(0.95))
        columns.append((found.next_k.low, found.next_k.high))
        if found.natural is not None:
            columns.append(found.natural)
        ends = [
            between(float(low.ravel()[place]), float(high.ravel()[place]), form)
            for low, high in columns
        ]
        kind = "difference, " if "scenario" not in found.names else ""
        rows.append((kind + found.labelled(place), *ends))
    return rows
