"""Good collections of runs: the plan of the method of Markov boundaries (THEORY section 4.3).

Graph, cardinalities and k only; no data. A run is an independent set and an assignment of what
makes it independent; given that, its members are a k-MixProd [gordon23clear, Sec. 4],

    P(x_I | cond) = sum over u of P(u | cond) product over X in I of P(x | u, cond).

A collection is good when every run shows k sources, labels can be carried from any run to any
other, and every vertex meets every assignment of its parents. ``search.plan_boundaries`` finds one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from pyromix.identify.boundary.sets import AlignmentVariable, IndependentSet, influenced
from pyromix.model.spec import MixtureSpec


@dataclass(frozen=True)
class BoundaryRun:
    """A run a = (I_a, f_a) (THEORY section 4.1).

    Attributes:
        independent: I_a, ascending.
        conditioning: COND_a, ascending, disjoint from I_a.
        assignment: f_a, a state number per vertex of COND_a.
    """

    independent: tuple[int, ...]
    conditioning: tuple[int, ...]
    assignment: tuple[int, ...]


@dataclass(frozen=True)
class RunFamily:
    """Runs that differ in their assignment only: one call of the solver.

    Attributes:
        independent: the independent set, with what each member is conditioned on.
        assignments: of its COND, one per run.
        complete: whether these are all assignments.
    """

    independent: IndependentSet
    assignments: tuple[tuple[int, ...], ...]
    complete: bool

    @property
    def runs(self) -> tuple[BoundaryRun, ...]:
        """The runs one by one."""
        members, given = self.independent.members, self.independent.conditioning
        return tuple(BoundaryRun(members, given, f) for f in self.assignments)


@dataclass(frozen=True)
class BoundaryPlan:
    """A good collection of runs.

    Attributes:
        spec: graph, cardinalities and k.
        families: the runs; the first family is that of the centres. None for one source.
        default: the state of every vertex in the default run.
    """

    spec: MixtureSpec
    families: tuple[RunFamily, ...]
    default: tuple[int, ...]

    @property
    def centres(self) -> tuple[int, ...]:
        """The independent set of the first family."""
        return self.families[0].independent.members if self.families else ()

    @property
    def default_run(self) -> BoundaryRun:
        """The centres at the default assignment: the paper's a_0."""
        given = self.families[0].independent.conditioning
        return BoundaryRun(self.centres, given, tuple(self.default[v] for v in given))

    @property
    def runs(self) -> tuple[BoundaryRun, ...]:
        """All runs, family by family."""
        return tuple(run for family in self.families for run in family.runs)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Where the runs of each family are among all runs."""
        ends = list(itertools.accumulate(len(family.assignments) for family in self.families))
        return tuple(slice(a, b) for a, b in zip([0, *ends], ends, strict=False))

    @cached_property
    def alignment_variables(self) -> tuple[AlignmentVariable, ...]:
        """All members of all families with their boundaries, each once.

        Runs that have one in common, and the same assignment of its boundary, align at it.
        """
        found = (pair for f in self.families for pair in f.independent.alignment_variables)
        return tuple(dict.fromkeys(found))

    @cached_property
    def clean(self) -> frozenset[int]:
        """Vertices that are clean in some family: its tables are rows of their CPTs."""
        return frozenset().union(*(family.independent.clean for family in self.families))

    @cached_property
    def unzipped(self) -> tuple[int, ...]:
        """The other vertices that U points at, in reverse topological order."""
        return tuple(v for v in reversed(influenced(self.spec)) if v not in self.clean)

    def boundary(self, vertex: int) -> tuple[int, ...]:
        """What a vertex's tables are used given: its parents where it is clean in some family."""
        if vertex in self.clean:
            return tuple(sorted(self.spec.parents[vertex]))
        return tuple(sorted(self.spec.markov_boundary(vertex)))

    def __str__(self) -> str:
        """The plan as a person would explain it."""
        lines = [f"{len(self.runs)} runs in {len(self.families)} families"]
        for family in self.families:
            part = "all" if family.complete else "part of the"
            found = given_text(self.spec, family.independent)
            lines.append(f"{found}: {part} assignments, {len(family.assignments)}")
        lines.append(f"clean: {set_text(self.spec, sorted(self.clean))}")
        lines.append(f"unzipped, in this order: {set_text(self.spec, self.unzipped)}")
        return "\n".join(lines)


def given_text(spec: MixtureSpec, found: IndependentSet) -> str:
    """An independent set and its COND, by name."""
    return f"{set_text(spec, found.members)} given {set_text(spec, found.conditioning)}"


def set_text(spec: MixtureSpec, vertices: Iterable[int]) -> str:
    """A set of vertices, by name."""
    return "{" + ", ".join(spec.name(v) for v in vertices) + "}"
