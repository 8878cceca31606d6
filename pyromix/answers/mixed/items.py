"""Step one of two: variables that are independent of a question, and of each other, given U.

Their bins follow a latent class model whatever the laws of the numbers are: functions of
independent variables are independent, and nothing is conditioned on (THEORY section 18.5).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pyromix.errors import PlanError
from pyromix.identify.network.separation import dependence, tells
from pyromix.model.mixed import MixedSpec
from pyromix.model.spec import MixtureSpec


@dataclass(frozen=True)
class Items:
    """Variables that are independent within each source, pairwise and so all together.

    Attributes:
        classes: the latent class model of their bins: no edges but those from U.
        vertices: their numbers in the network, in the order of ``classes.variables``.
        n_views: so many of them, the first, are independent of the question too; the others help
            to find the classes.
    """

    classes: MixtureSpec
    vertices: tuple[int, ...]
    n_views: int

    @property
    def views(self) -> tuple[int, ...]:
        """Vertices that are independent of the question within each source."""
        return self.vertices[: self.n_views]


def adjusted_for(spec: MixedSpec, x: int, y: int) -> tuple[int, ...]:
    """What blocks every back door from a treatment to an outcome, U known: its parents, or some.

    A parent that tells nothing more of the outcome is left out. Where numbers stay, it must tell
    nothing of them either: the mean of the treatment is a line in all of its parents, and need be
    none in a few.

    Args:
        spec: the network.
        x: the treatment.
        y: the outcome, no ancestor of it.
    """
    kept = list(spec.parents[x])
    for p in spec.parents[x]:
        rest = [v for v in kept if v != p]
        numbers = any(spec.kind(v).numeric for v in rest)
        if spec.binned.d_separated([y], [p], [x, *rest]) and (
            not numbers or spec.binned.d_separated([p], rest)
        ):
            kept = rest
    return tuple(kept)


def items_for(spec: MixedSpec, asked: Collection[int]) -> Items:
    """Choose them, as many as a greedy search finds, those with few relatives first.

    Args:
        spec: the network.
        asked: vertices that the question is about.

    Raises:
        PlanError: no variable that tells of U is independent of these.
    """
    binned = spec.binned
    near, telling = dependence(binned, ()), tells(binned, ())
    around = set(asked).union(*(near[v] for v in asked))

    def apart(candidates: Collection[int], chosen: list[int]) -> list[int]:
        left = {v for v in candidates if not near[v] & set(chosen) and v not in chosen}
        found = []
        while left:
            # Of equally related ones that with more states: it tells sources apart better.
            best = min(left, key=lambda v: (len(near[v] & left), -binned.card(v), v))
            found.append(best)
            left -= near[best] | {best}
        return found

    views = apart(telling - around, [])
    if not views:
        names = ", ".join(repr(binned.name(v)) for v in sorted(asked))
        raise PlanError(
            f"expected variables that tell of {binned.source!r} and are independent of {names} "
            "within each source, whatever else is known; found none. What to try: one more "
            f"observed variable that hangs on {binned.source!r} alone; fit.effect(...) needs none "
            "where another variable with states separates views",
            uncovered=tuple(binned.name(v) for v in sorted(asked)),
        )
    vertices = (*views, *apart(telling & around, views))
    classes = MixtureSpec.from_parents(
        {binned.name(v): binned.states_of(v) for v in vertices},
        {},
        binned.n_sources,
        source=binned.source,
        source_states=binned.source_states,
        coarse=[binned.name(v) for v in vertices if spec.kind(v).numeric],
    )
    return Items(classes, vertices, len(views))
