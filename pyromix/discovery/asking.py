"""From names and a table to a search for every k, and what it found: under ``px.discover``."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from pyromix.data.counts import Counts
from pyromix.data.moments import Rows
from pyromix.data.weights import COUNTS
from pyromix.discovery.classes import GraphClass
from pyromix.discovery.moves import Room, State
from pyromix.discovery.result import Discovery, SearchRecord, found_edges, member_fit
from pyromix.discovery.search import LAST_STEPS, NEARBY, End, needed, search
from pyromix.discovery.starts import climbed, families_of
from pyromix.errors import DataError, PyromixWarning, QueryError, SpecError
from pyromix.estimate.starts import batch_of
from pyromix.fitting.inputs import Structure, take_in, without_edges
from pyromix.fitting.mixed.doors import numbers_in
from pyromix.model.arguments import flag, is_whole, listed, mapping, shown, whole
from pyromix.model.knowledge import Knowledge
from pyromix.model.randomness import RandomState, check_seed, numpy_generator
from pyromix.model.spec import MAX_SOURCES, MixtureSpec

N_STARTS = 5
"""Starts of each kind."""

MOST_STARTS = 1000
"""Starts of each kind that may be asked for; each takes seconds."""

ONE_END = 1.0
"""Nats within which ends in one class are one."""

KEPT = 3
"""Ends of different skeletons from which a search is repeated on resampled rows."""

CANDIDATES = (1, 2, 3, 4)
"""Numbers of sources that are tried where none is given."""


def discover(
    data: Any,
    n_sources: int | Sequence[int] | None = None,
    *,
    tiers: Sequence[Sequence[str]] | None = None,
    required: Iterable[Sequence[str]] = (),
    forbidden: Iterable[Sequence[str]] = (),
    expert_knowledge: Any = None,
    max_parents: int = 3,
    n_starts: int = N_STARTS,
    source_moves: bool = False,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing: str = "mar",
    missing_values: Any = None,
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    discretize: Mapping[str, Sequence[float] | str] | None = None,
    random_state: RandomState = 0,
) -> Discovery:
    """Search for graphs; arguments and errors of ``px.discover``."""
    check_seed(random_state)
    n_starts, source_moves = (
        whole("n_starts", n_starts, 1, MOST_STARTS),
        flag("source_moves", source_moves),
    )
    candidates = _candidates(n_sources)
    cut = mapping("discretize", discretize, "names of columns to edges, or 'quantile:4'")
    structure, table = without_edges(data, sample_weight, state_names, missing_values, list(cut))
    table, state_names = _in_states(
        structure, table, candidates[0], cut, state_names, missing_values
    )
    taken, _ = take_in(
        structure,
        table,
        candidates[0],
        state_names,
        sample_weight,
        missing,
        None,
        weights_are,
        missing_values,
    )
    if not isinstance(taken, Rows) or taken.exact:
        raise DataError(
            f"expected a table to search for graphs in, found {shown(data)}, which has no rows of "
            "a finite number; pass a table"
        )
    counts = taken.as_counts()
    spec = taken.spec
    max_parents = min(whole("max_parents", max_parents, 0, error=SpecError), spec.n_variables - 1)
    _check_columns(counts, spec)
    _check_parents(counts, spec, max_parents)
    knowledge = _known(spec, tiers, required, forbidden, expert_knowledge)
    _check_required(spec, knowledge, max_parents)
    seed = int(numpy_generator(random_state).integers(2**31))
    price = math.log(max(counts.n_rows, 2.0)) / 2
    found: list[tuple[Room, list[End], float]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PyromixWarning)
        for k in candidates:
            room = Room(spec.with_n_sources(k), knowledge, max_parents, price, source_moves)
            ends = search(room, counts, n_starts, seed)
            several = len(candidates) > 1
            found.append((room, ends, needed(room, counts, ends) if several else ends[0].score))
            if n_sources is None and len(found) > 1 and found[-1][2] < found[-2][2]:
                break
        room, ends, _ = max(found, key=lambda one: one[2])
        bic = tuple((one.spec.n_sources, -2 * score) for one, _, score in found)
        return _told(room, ends, counts, bic)


def _told(
    room: Room, ends: list[End], counts: Counts, bic: tuple[tuple[int, float], ...]
) -> Discovery:
    """The best end as a class, a fit, edges with their worth, and a record of the search."""
    best = ends[0]
    graph = GraphClass.of(best.state.parents, best.state.free, room.knowledge)
    skeletons = [_skeleton(end.state) for end in ends]
    # Where EM stopped differs by a little, and members of a class are one end.
    reached = [
        end
        for end in ends
        if not end.walked
        and end.score >= best.score - ONE_END
        and GraphClass.of(end.state.parents, end.state.free, room.knowledge) == graph
    ]
    others = [
        best.score - end.score
        for end, skeleton in zip(ends, skeletons, strict=True)
        if skeleton != skeletons[0]
    ]
    record = SearchRecord(
        n_starts=sum(not end.walked for end in ends),
        kinds=tuple(dict.fromkeys(end.kind for end in reached if end.kind != NEARBY)),
        hits=len(reached),
        runner_up=2 * min(others, default=math.inf),
        bic=bic,
        walked=best.walked,
    )
    mixture, _ = climbed(counts, batch_of(best.mixture), LAST_STEPS, 1e-4)
    edges = found_edges(graph, best.state.parents, room.spec.variables, _worth(room, best, counts))
    kept: dict[frozenset[frozenset[int]], End] = {}
    for end, skeleton in zip(ends, skeletons, strict=True):
        kept.setdefault(skeleton, end)
    return Discovery(
        graph,
        member_fit(mixture, counts),
        edges,
        record,
        room.spec.variables,
        room,
        tuple(kept.values())[:KEPT],
    )


def _worth(room: Room, best: End, counts: Counts) -> dict[tuple[int, int], float]:
    """By how much BIC is worse without each edge, the rest refitted from the best end."""
    families = families_of(room, best.mixture, counts)
    found = {}
    for v, parents in enumerate(best.state.parents):
        for p in parents:
            state = best.state.having(v, parents - {p})
            start = families.maximised(state.parents, state.free)
            _, log_likelihood = climbed(counts, batch_of(start), LAST_STEPS // 5)
            score = log_likelihood - room.price * room.n_parameters(state)
            found[p, v] = 2 * (best.score - score)
    return found


def _skeleton(state: State) -> frozenset[frozenset[int]]:
    return frozenset(frozenset((p, v)) for v, found in enumerate(state.parents) for p in found)


def _candidates(n_sources: Any) -> tuple[int, ...]:
    """Numbers of sources to try.

    Raises:
        SpecError: one is none.
    """
    if n_sources is None:
        return CANDIDATES
    given = (n_sources,) if is_whole(n_sources, 1, MAX_SOURCES) else n_sources
    if isinstance(given, int | float | str):
        given = (given,)
    numbers = listed("n_sources", given, "numbers of sources")
    return (
        tuple(sorted({whole("n_sources", k, 1, MAX_SOURCES, SpecError) for k in numbers}))
        or CANDIDATES
    )


def _in_states(
    structure: Structure,
    data: Any,
    k: int,
    cut: Mapping[str, Any],
    state_names: Mapping[str, Sequence[Hashable]] | None,
    missing_values: Any,
) -> tuple[Any, Mapping[str, Sequence[Hashable]] | None]:
    """The table, columns cut where that is asked for, and the states declared.

    Raises:
        DataError: a column is left that holds numbers.
    """
    numbers = {"kinds": None, "discretize": cut}
    data, states, mixed = numbers_in(structure, data, k, numbers, state_names, missing_values)
    if mixed is not None:
        names = [name for name, kind in mixed.kinds.items() if kind.numeric]
        raise DataError(
            f"graphs are searched for in tables of states, found numbers in {names}; discretize= "
            "cuts columns into states (a number cut into few leaves its causes and effects "
            "dependent given its states, so edges too many may be found), or px.graph_check tests "
            "a graph with numbers as they are"
        )
    return data, states


def _known(spec: MixtureSpec, tiers: Any, required: Any, forbidden: Any, expert: Any) -> Knowledge:
    """What is known, in names or as pgmpy's ExpertKnowledge.

    Raises:
        QueryError: both are given, or an object of another kind.
    """
    if expert is None:
        return Knowledge.of(spec, tiers, required, forbidden)
    if (
        tiers is not None
        or listed("required", required, "pairs")
        or listed("forbidden", forbidden, "pairs")
    ):
        raise QueryError("expert_knowledge has tiers and edges of its own; give it or these")
    names = ("temporal_order", "required_edges", "forbidden_edges", "search_space")
    if not all(hasattr(expert, name) for name in names):
        raise QueryError(f"expert_knowledge must be pgmpy's ExpertKnowledge, found {shown(expert)}")
    order, must, never, space = (getattr(expert, name) for name in names)
    never = {tuple(edge) for edge in never}
    if space:
        allowed = {tuple(edge) for edge in space}
        variables = spec.variables
        never |= {(a, b) for a in variables for b in variables if a != b} - allowed
    return Knowledge.of(spec, [tier for tier in order if tier], must, sorted(never))


def _check_columns(counts: Counts, spec: MixtureSpec) -> None:
    """Refuse two columns that say the same.

    Raises:
        DataError: the states of one tell those of the other.
    """
    rows = counts.rows
    for b in range(spec.n_variables):
        for a in range(b):
            if spec.cards[a] != spec.cards[b]:
                continue
            seen = (rows[:, a] >= 0) & (rows[:, b] >= 0)
            code = rows[seen, a].long() * spec.cards[b] + rows[seen, b].long()
            table = code.bincount(minlength=spec.cards[a] * spec.cards[b]) > 0
            table = table.view(spec.cards[a], spec.cards[b])
            once = bool((table.sum(0) <= 1).all()) and bool((table.sum(1) <= 1).all())
            if once and int(table.sum()) > 1:
                raise DataError(
                    f"columns {spec.name(a)!r} and {spec.name(b)!r} say the same: each state of "
                    "one goes with one state of the other; leave one of them out"
                )


def _check_parents(counts: Counts, spec: MixtureSpec, max_parents: int) -> None:
    """Refuse families that may have more rows of their table than the data have.

    Raises:
        SpecError: names how many parents would do.
    """
    cards = sorted(spec.cards, reverse=True)
    rows = 1
    for n, card in enumerate(cards[:max_parents], start=1):
        rows *= card
        if rows > counts.n_rows:
            raise SpecError(
                f"max_parents={max_parents} lets a variable have {rows:,} configurations of "
                f"parents, more than the {counts.n_rows:g} rows; ask for at most {n - 1}"
            )


def _check_required(spec: MixtureSpec, knowledge: Knowledge, max_parents: int) -> None:
    """Refuse more required parents than a variable may have.

    Raises:
        SpecError: names the variable.
    """
    for v in range(spec.n_variables):
        n = sum(b == v for _, b in knowledge.required)
        if n > max_parents:
            raise SpecError(
                f"required: {spec.name(v)!r} has {n} parents, more than max_parents={max_parents}"
            )
