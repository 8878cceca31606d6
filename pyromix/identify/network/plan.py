r"""Plans: from a graph, cardinalities and k to views, conditioning sets and what they cover.

A plan sees no data. THEORY section 5 in the order in which a plan uses it: a run of three views A,
B, C given a separator Z (5.1, 5.2), which determine the sources for each z [kruskal77] [amr09],

    P(a, b, c | z) = sum over u of P(u | z) P(a | u, z) P(b | u, z) P(c | u, z),

constructively where two of them have rank k and the third has distinct columns [leurgans93]; links
that align the labels of its assignments (5.4); the families that the views cover (5.3). The rest of
the network is covered in layers, from the roots down:

    Let K be an ancestral set of vertices whose CPTs are known, and v another vertex with its
    parents in K. Then v is independent of K \ PA(v) given (U, PA(v)), so that

        P(v | x_K) = sum over u of P(u | x_K) P(v | u, pa(v)),

    linear in the CPT of v, and solvable as soon as P(K \ PA(v) | u, pa(v)) has rank k. It needs
    neither a separator nor an alignment: labels come with K.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pyromix.model.spec import MixtureSpec

Views = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Run:
    """Three views of U, mutually d-separated given U and the conditioning set.

    Attributes:
        views: vertices of each view; the first two can show k sources, the third tells them apart.
        conditioning: Z, ascending.
        covers: vertices whose family the views cover: what of it lies outside Z is d-separated
            from enough of the views.
    """

    views: Views
    conditioning: tuple[int, ...]
    covers: tuple[int, ...]


@dataclass(frozen=True)
class Link:
    """How labels are carried over a change of one conditioning variable.

    Attributes:
        run: position of the run.
        vertex: the conditioning variable that changes.
        aligners: vertices whose law within a source does not depend on it, given the rest of Z.
    """

    run: int
    vertex: int
    aligners: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """How a mixture of Bayesian networks is recovered from moments.

    Attributes:
        spec: graph, cardinalities and k.
        runs: what is decomposed.
        links: one per conditioning variable of each run.
        layers: vertices covered from known ancestors, round after round.
        uncovered: vertices whose CPT no step covers.
    """

    spec: MixtureSpec
    runs: tuple[Run, ...]
    links: tuple[Link, ...]
    layers: tuple[tuple[int, ...], ...]
    uncovered: tuple[int, ...]

    @property
    def unlinked(self) -> tuple[int, ...]:
        """Conditioning variables over whose change nothing carries labels.

        Their labels can be permuted one state at a time without any view noticing: the graph alone
        does not identify the mixture.
        """
        return tuple(link.vertex for link in self.links if not link.aligners)

    @property
    def complete(self) -> bool:
        """Whether every CPT is covered and all labels are aligned."""
        return not self.uncovered and not self.unlinked

    @cached_property
    def n_assignments(self) -> int:
        """Assignments over all runs."""
        return sum(self.spec.n_joint(run.conditioning) for run in self.runs)

    def __str__(self) -> str:
        """The plan as a person would explain it."""
        lines = []
        source = self.spec.source
        for run in self.runs:
            given = f"{source} and {self._set(run.conditioning)}" if run.conditioning else source
            views = "  ".join(self._set(view) for view in run.views)
            lines.append(f"three views of {source}, independent given {given}: {views}")
            covered = "all" if len(run.covers) == self.spec.n_variables else len(run.covers)
            lines.append(f"they cover {covered} of {self.spec.n_variables} CPTs")
        for link in self.links:
            name = self.spec.name(link.vertex)
            lines.append(
                f"labels over {name} are carried by {self._set(link.aligners)}"
                if link.aligners
                else f"nothing carries labels over {name}: they are chosen by likelihood"
            )
        lines += [f"then, from known ancestors: {self._set(layer)}" for layer in self.layers]
        if self.uncovered:
            lines.append(f"not covered, left to likelihood: {self._set(self.uncovered)}")
        return "\n".join(lines)

    def _set(self, vertices: tuple[int, ...], limit: int = 8) -> str:
        names = [self.spec.name(v) for v in vertices[:limit]]
        more = f", and {len(vertices) - limit} more" if len(vertices) > limit else ""
        return "{" + ", ".join(names) + more + "}"
