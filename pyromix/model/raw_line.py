"""Lines of a mixture in the units of the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyromix.model.families.layout import Numbers
from pyromix.model.kind import Unit
from pyromix.model.mixed import MixedMixture


@dataclass(frozen=True)
class RawLine:
    """``y`` or its logarithm, a log-rate or log-odds, as a sum in the units of the table.

    Attributes:
        intercept: where all terms are zero.
        terms: pairs of what a coefficient multiplies (``"X"``, ``"log P"``, ``"[H > 0]"``, and
            ``"log H"`` where H is above zero) and the coefficient.
    """

    intercept: float
    terms: tuple[tuple[str, float], ...]


def raw_line(
    mixture: MixedMixture, vertex: int, coefficients: Sequence[float], own: Unit | None = None
) -> RawLine:
    """Turn a line in our units into one in the user's.

    With ``(y - c) / s = b + sum b_j (x_j - c_j) / s_j`` the slope of x_j is ``s b_j / s_j``; a
    column that is reckoned with in logarithms stays one.

    Args:
        mixture: whose units they are.
        vertex: on the left of the line.
        coefficients: the intercept first.
        own: unit of the left side; that of the vertex unless told, as in a rate or log-odds.
    """
    spec = mixture.spec
    own = mixture.units[vertex] if own is None else own
    start, *slopes = coefficients
    intercept, terms, left = own.centre + own.scale * start, [], list(slopes)
    for p, entry in zip(spec.parents[vertex], spec.layout(vertex).parents, strict=True):
        if not isinstance(entry, Numbers):
            continue
        unit, name = mixture.units[p], spec.name(p)
        above = own.scale * left.pop(0) if entry is Numbers.HURDLE else 0.0
        slope = own.scale * left.pop(0) / unit.scale
        if entry is Numbers.HURDLE:
            terms.append((f"[{name} > 0]", above - slope * unit.centre))
        else:
            intercept -= slope * unit.centre
        terms.append((f"log {name}" if unit.logarithmic else name, slope))
    return RawLine(intercept, tuple(terms))
