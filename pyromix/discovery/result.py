"""What a search found: a class of graphs, one fit, effects as sets, and how settled it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyromix.answers.ask import effect as effect_of
from pyromix.answers.effect import Effect
from pyromix.bridges.pgmpy import to_pdag
from pyromix.data.frames import to_pandas
from pyromix.discovery.classes import GraphClass
from pyromix.discovery.moves import Room
from pyromix.discovery.search import End
from pyromix.discovery.stability import Stability, stability
from pyromix.errors import QueryError
from pyromix.estimate.em import evaluate
from pyromix.estimate.families import Families
from pyromix.fitting.assembly import from_em
from pyromix.fitting.journal import ChosenPrior, Course
from pyromix.fitting.record import Fit
from pyromix.model.arguments import whole
from pyromix.model.edges import Parents, parents_of
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import Note, NoteKind
from pyromix.model.printed import Grid, Printed, as_html, as_text
from pyromix.model.prior import PseudoCounts, prior_words
from pyromix.model.query import Certainty
from pyromix.model.randomness import RandomState, numpy_generator
from pyromix.model.spec import SOURCE, MixtureSpec
from pyromix.model.ties import first_smallest

if TYPE_CHECKING:
    import pandas as pd
    from pgmpy.base import PDAG

    from pyromix.data.counts import Counts

FOUND = Note(
    NoteKind.DISCOVERED,
    "The graph was found by a search in the same table: others with the same laws may answer "
    "otherwise, and intervals take it as given.",
)

COURSE = Course("discover", ("structural EM",))


@dataclass(frozen=True)
class FoundEdge:
    """An edge of the class.

    Attributes:
        tail: name of the vertex where it begins; of an undirected one, in the fitted member.
        head: name of the one where it ends.
        directed: whether it leads this way in all graphs of the class.
        worth: by how much BIC is worse without it, the rest refitted.
    """

    tail: str
    head: str
    directed: bool
    worth: float

    def __str__(self) -> str:
        """The edge in a word."""
        return f"{self.tail} {'->' if self.directed else '--'} {self.head}"


@dataclass(frozen=True)
class SearchRecord:
    """How settled a search is.

    Attributes:
        n_starts: starts that climbed, of all kinds.
        kinds: kinds of starts that reached the best end; shaken copies of it are none.
        hits: starts that reached it.
        runner_up: by how much BIC is worse at the best end with another skeleton; infinite where
            there is none.
        bic: per number of sources that was tried, the best BIC; where there are several, without
            the edges of the source that it does not need.
        walked: whether the best graph was found by the walk alone, from the best end.
    """

    n_starts: int
    kinds: tuple[str, ...]
    hits: int
    runner_up: float
    bic: tuple[tuple[int, float], ...]
    walked: bool

    @property
    def settled(self) -> bool:
        """Whether two kinds of starts reached the best end and no other skeleton is within 3.

        Agreement is no certificate: independent starts have agreed on a wrong end (THEORY 19.4).
        """
        return len(self.kinds) > 1 and self.runner_up > NEAR

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not settled; empty where it is."""
        found = []
        if len(self.kinds) < 2:
            by = self.kinds[0] if self.kinds else "none but the walk"
            found.append(f"one kind of starts at most reached the best end ({by})")
        if self.runner_up <= NEAR:
            found.append(
                f"a graph with another skeleton is worse by {self.runner_up:.2g} in BIC alone"
            )
        return tuple(found)


NEAR = 3.0
"""Difference in BIC within which another skeleton leaves a search unsettled (THEORY 19.4)."""


@dataclass(frozen=True, eq=False)
class EffectSet:
    """An effect under every graph of a class: one value for each set of parents of the treatment.

    Attributes:
        treatment: name of the variable that is set.
        outcome: name of the one looked at.
        parents: sets of parents of the treatment, names.
        effects: per set the effect, of a graph of the class that has it.
    """

    treatment: str
    outcome: str
    parents: tuple[tuple[str, ...], ...]
    effects: tuple[Effect, ...]

    def __len__(self) -> int:
        """Number of sets of parents."""
        return len(self.effects)

    def __iter__(self) -> Iterator[Effect]:
        """The effects."""
        return iter(self.effects)

    @property
    def values(self) -> tuple[float, ...]:
        """Differences under the do, of the headline state of the outcome, else the last one."""
        return tuple(float(e.do.values[e.headline]) for e in self.effects)

    @property
    def low(self) -> float:
        """Least of them."""
        return min(self.values)

    @property
    def high(self) -> float:
        """Largest of them."""
        return max(self.values)

    @property
    def certainty(self) -> Certainty:
        """The worst over the graphs, never above ``DISCOVERED``."""
        levels = [e.certainty for e in self.effects]
        order = list(Certainty)
        return levels[first_smallest(float(order.index(level)) for level in levels)]

    def interval(self, level: float | None = None) -> tuple[float, float]:
        """Return the least low and the largest high end over all graphs.

        It takes each graph as given, and is too short by what the search leaves open.

        Args:
            level: as in ``Effect.interval``.

        Raises:
            QueryError: an effect has no interval.
        """
        ends = [e.interval(level) for e in self.effects]
        places = [e.headline for e in self.effects]
        lows = [float(low[s]) for (low, _), s in zip(ends, places, strict=True)]
        highs = [float(high[s]) for (_, high), s in zip(ends, places, strict=True)]
        return min(lows), max(highs)

    def to_frame(self) -> pd.DataFrame:
        """One row per set of parents: ``parents``, ``effect``, ``certainty``."""
        return to_pandas(
            {
                "parents": [", ".join(names) for names in self.parents],
                "effect": list(self.values),
                "certainty": [e.certainty.value for e in self.effects],
            }
        )

    def _printed(self) -> Printed:
        """Return the range, then a line per set of parents."""
        first = self.effects[0]
        one, other = (first.spec.states_of(first.treatment)[s] for s in first.contrast)
        rows = [
            [", ".join(names) or "none", f"{value:+.4f}", e.certainty.value]
            for names, value, e in zip(self.parents, self.values, self.effects, strict=True)
        ]
        n = len(self)
        return Printed(
            f"Effect of {self.treatment}={one!r} -> {self.treatment}={other!r} on {self.outcome}: "
            f"{self.low:+.4f} to {self.high:+.4f} over {n} set{'s' * (n != 1)} of parents",
            (Grid([f"parents of {self.treatment}", "effect", "certainty"], rows),),
        )

    __str__ = __repr__ = as_text
    _repr_html_ = as_html


@dataclass(frozen=True, eq=False)
class Discovery:
    """A class of graphs that a table allows, with a hidden source: experimental.

    Attributes:
        graph: the class, in vertex numbers of ``variables``; the source is vertex -1.
        fit: of one member; members have the same law P(U, V), so that one fit serves all.
        edges: of the class, the one worth most first.
        search: ends, hits, and how settled they are.
        variables: names, in the order of the table.
        room: where the search went.
        ends: the best ends, one of each skeleton.
    """

    graph: GraphClass
    fit: Fit
    edges: tuple[FoundEdge, ...]
    search: SearchRecord
    variables: tuple[str, ...]
    room: Room
    ends: tuple[End, ...]

    @property
    def spec(self) -> MixtureSpec:
        """The fitted member."""
        return self.fit.spec

    @property
    def n_sources(self) -> int:
        """k, given or chosen by BIC."""
        return self.spec.n_sources

    @property
    def settled(self) -> bool:
        """Whether the search is, see ``SearchRecord.settled``; no certificate."""
        return self.search.settled

    def effect(self, treatment: str, outcome: str, **options: Any) -> EffectSet:
        """Ask every graph of the class for an effect, by the sets of parents of the treatment.

        Args:
            treatment: the variable that is set.
            outcome: the one looked at.
            **options: ``contrast``, ``outcome_state``, ``interval``, ``level`` as in
                ``fit.effect``; the last state of the outcome counts unless told.

        Raises:
            QueryError: a name, state or option is unknown.
            SpecError: too many edges at the treatment have no direction.
        """
        for name in (treatment, outcome):
            if name not in self.variables:
                self.fit.spec.schema.vertex(name)
        if treatment == outcome:
            raise QueryError(f"treatment and outcome must differ, found {treatment!r} for both")
        x = self.variables.index(treatment)
        options.setdefault("require", "none")
        if "outcome_state" not in options:
            states = self.fit.spec.states_of(self.fit.spec.vertex(outcome))
            options["outcome_state"] = states[-1]
        treated = self.fit.spec.states_of(self.fit.spec.vertex(treatment))
        options.setdefault("contrast", (treated[0], treated[-1]))
        sets, effects = [], []
        for chosen in self.graph.parent_sets(x):
            member = self._member(x, chosen)
            fit = member_fit(member, self.fit.counts)
            effects.append(effect_of(fit, treatment, outcome, **options))
            sets.append(tuple(self.variables[p] for p in sorted(chosen)))
        return EffectSet(treatment, outcome, tuple(sets), tuple(effects))

    def bootstrap(self, n: int = 50, random_state: RandomState = 0) -> Stability:
        """Repeat the search from its best ends on resampled rows.

        Args:
            n: tables of rows drawn with replacement; each takes about as long as a few starts.
            random_state: of these.

        Returns:
            How often each edge, and each direction, came back.

        Raises:
            QueryError: n is no positive whole number.
        """
        n = whole("n", n, 1, 10_000)
        seed = int(numpy_generator(random_state).integers(2**31))
        counts = self.fit.counts.with_spec(self.room.spec)
        return stability(self.room, counts, self.ends, n, seed)

    def to_pgmpy(self) -> PDAG:
        """Return the class as pgmpy's PDAG, the source a latent vertex."""
        name = self._name
        return to_pdag(
            [(name(a), name(b)) for a, b in sorted(self.graph.directed)]
            if self.n_sources > 1
            else [(name(a), name(b)) for a, b in sorted(self.graph.directed) if a != SOURCE],
            [(name(a), name(b)) for a, b in sorted(self.graph.undirected)],
            self.spec.source,
        )

    def to_frame(self) -> pd.DataFrame:
        """One row per edge: ``from``, ``to``, ``directed``, ``worth``."""
        return to_pandas(
            {
                "from": [e.tail for e in self.edges],
                "to": [e.head for e in self.edges],
                "directed": [e.directed for e in self.edges],
                "worth": [e.worth for e in self.edges],
            }
        )

    def report(self) -> str:
        """What was found and how settled it is, in words."""
        return str(self)

    def _member(self, vertex: int, parents: frozenset[int]) -> BayesNetMixture:
        """The fit as tables of a member in which a vertex has these parents."""
        near = self.graph.neighbours[vertex]
        edges = [(v, vertex) if v in parents else (vertex, v) for v in near]
        smaller = self.graph.directed_by(edges)
        member = None if smaller is None else smaller.member
        assert member is not None
        counts = self.fit.counts
        own = Families.at(self.fit.mixture, counts)
        numbers = [self.fit.spec.vertex(name) for name in self.variables]
        of_fit: list[frozenset[int]] = [frozenset()] * len(numbers)
        for v, found in enumerate(member):
            of_fit[numbers[v]] = frozenset(numbers[p] for p in found)
        if tuple(of_fit) == parents_of(self.fit.spec):
            return self.fit.mixture
        return own.maximised(tuple(of_fit), self.fit.spec.uninfluenced)

    def _name(self, vertex: int) -> str:
        return self.spec.source if vertex == SOURCE else self.variables[vertex]

    def _printed(self) -> Printed:
        """Return size, edges, and how settled the search is."""
        rows = [[str(e), "yes" if e.directed else "no", f"{e.worth:.1f}"] for e in self.edges]
        k, free = self.n_sources, [self.spec.name(v) for v in sorted(self.spec.uninfluenced)]
        title = (
            f"Graphs found (experimental): {len(self.edges)} edges among {len(self.variables)} "
            f"variables, {k} source{'s' * (k != 1)}"
        )
        lines = []
        if free and k > 1:
            lines.append(f"no edge from {self.spec.source}: {', '.join(free)}")
        if len(self.search.bic) > 1:
            lines.append("BIC by k: " + ", ".join(f"{k} {b:.1f}" for k, b in self.search.bic))
        record = self.search
        lines.append(
            f"search {'settled' if record.settled else 'NOT settled'}: {record.hits} of "
            f"{record.n_starts} starts reached the best end"
        )
        lines += [f"  {reason}" for reason in record.reasons]
        lines.append("Undirected edges lead either way: ask .effect(x, y) for the set over all.")
        grid = (Grid(["edge", "directed", "BIC lost without it"], rows),) if rows else ()
        return Printed(title, grid, tuple(lines))

    __str__ = __repr__ = as_text
    _repr_html_ = as_html


def member_fit(mixture: BayesNetMixture, counts: Counts) -> Fit:
    """A fit of one graph of a class, whose tables stand.

    Args:
        mixture: the estimate.
        counts: the table it was fitted to.
    """
    own = counts.with_spec(mixture.spec)
    none = ChosenPrior(PseudoCounts.of(mixture.spec, None, counts.device), prior_words(None))
    return from_em(evaluate(own, mixture), own, COURSE, none, notes=(FOUND,))


def found_edges(
    graph: GraphClass,
    member: Parents,
    variables: tuple[str, ...],
    worth: Mapping[tuple[int, int], float],
) -> tuple[FoundEdge, ...]:
    """Edges of a class as its fitted member has them, the one worth most first.

    Args:
        graph: the class.
        member: parents of every vertex.
        variables: names.
        worth: of every edge of the member.
    """
    edges = [
        FoundEdge(variables[p], variables[v], (p, v) in graph.directed, worth[p, v])
        for v, found in enumerate(member)
        for p in sorted(found)
    ]
    return tuple(sorted(edges, key=lambda e: -e.worth))
