"""Structural EM from several kinds of starts, then a walk on the observed BIC (THEORY 19.1).

A step of structure may be judged on expected counts alone, and the observed penalised likelihood
never falls [friedman98]; it ends where no edge is worth changing under a stale posterior. From the
best end a tabu walk goes on, which judges the most promising neighbours by a few steps of EM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from pyromix.data.counts import Counts
from pyromix.discovery.moves import Room, State
from pyromix.discovery.starts import KINDS, RANDOM, TREE, climbed, families_of, start_of
from pyromix.estimate.families import Families
from pyromix.estimate.starts import batch_of
from pyromix.model.mixture import BayesNetMixture

ROUNDS = 60
"""Steps of structure, each followed by some of EM."""

STEPS, LAST_STEPS = 15, 300
"""EM steps between two steps of structure, and at the end."""

LOOKED_AT = 20
"""Neighbours, the best on expected counts, that a step of the walk fits."""

SHAKES = 50
"""Times in a row that the best end is shaken for nothing."""

PATIENCE = 3
"""Steps of the walk without a better graph after which it ends."""

NEARBY = "near the best"
"""Kind of the starts that are the best end shaken: they do not speak for it."""

SHAKE = 0.4
"""Share of another posterior in a shaken one."""

NEAR = 20.0
"""Nats below the best within which an end goes on with the edges of the source."""

EQUAL = 0.05
"""Nats within which two ends are one."""


@dataclass(frozen=True, eq=False)
class End:
    """Where a start ended.

    Attributes:
        kind: of the start, one of ``starts.KINDS``.
        state: its graph.
        mixture: the fit.
        score: log-likelihood less half of log N for each free probability, in nats.
        walked: whether the walk found it, from the best end of all starts.
    """

    kind: str
    state: State
    mixture: BayesNetMixture
    score: float
    walked: bool = False


def search(room: Room, counts: Counts, n_starts: int, seed: int) -> list[End]:
    """Ends of all starts, the best first.

    Edges of the source stay while starts climb; where they may move, the ends then go on with these
    moving too. From the best end a walk goes on.

    Args:
        room: where the search may go.
        counts: the table, on its variables.
        n_starts: of each kind, and as many more from near the best.
        seed: of all of them.
    """
    whole = _whole(room, counts)
    if room.spec.n_sources == 1 and counts.complete:
        ends = [_seen(room, whole, kind, seed + i) for kind in KINDS for i in range(n_starts)]
        ends.sort(key=lambda end: -end.score)
        return ends
    held = replace(room, source_moves=False)
    ends = [
        structural_em(held, counts, start_of(kind, room, whole, counts, seed + i), kind)
        for kind in KINDS
        for i in range(n_starts)
    ]
    if room.spec.n_sources > 1:
        for i in range(n_starts):
            best = max(ends, key=lambda end: end.score)
            start = _shaken(room, counts, whole, best, seed, i)
            ends.append(structural_em(held, counts, start, NEARBY))
    ends.sort(key=lambda end: -end.score)
    if room.source_moves:
        ends = [_loosened(room, counts, e) if e.score > ends[0].score - NEAR else e for e in ends]
        ends.sort(key=lambda end: -end.score)
    best = walked(room, counts, _shaken_free(room, counts, ends[0], seed))
    return [replace(best, walked=True), *ends] if best.score > ends[0].score + EQUAL else ends


def needed(room: Room, counts: Counts, ends: list[End]) -> float:
    """Score of the best end without the edges of the source that BIC does not need.

    By it numbers of sources are compared: with the source pointing at every variable, a further one
    would pay for all those that it does not move.

    Args:
        room: where the search went.
        counts: the table.
        ends: of the search, the best first.
    """
    if room.spec.n_sources == 1:
        return ends[0].score
    return _loosened(replace(room, source_moves=True), counts, ends[0]).score


def _shaken(
    room: Room, counts: Counts, whole: Families, end: End, seed: int, number: int
) -> Families:
    """The posterior of an end, mixed with that of a random graph or with noise by turns."""
    at = families_of(room, end.mixture, counts)
    if number % 2 or at.shares.shape[0] != whole.shares.shape[0]:
        rng = np.random.default_rng((seed, number, 7))
        noise = torch.from_numpy(rng.dirichlet(np.ones(room.spec.n_sources), len(at.shares)))
        other = at.shares.sum(1, keepdim=True) * noise.to(at.shares.device)
    else:
        other = start_of(RANDOM, room, whole, counts, seed + 1000 + number).shares
    return Families(room.spec, at.columns, (1 - SHAKE) * at.shares + SHAKE * other)


def _loosened(room: Room, counts: Counts, end: End) -> End:
    """An end, edges of the source moving too."""
    at = families_of(room, end.mixture, counts)
    found = structural_em(room, counts, at, end.kind, end.state)
    return found if found.score > end.score else end


def _shaken_free(room: Room, counts: Counts, end: End, seed: int) -> End:
    """An end whose graph is the best on its own expected counts, as far as many shakes tell."""
    while True:
        at, rng = families_of(room, end.mixture, counts), np.random.default_rng((seed, 11))
        state = room.iterated(at, end.state, rng, SHAKES)
        if state == end.state:
            return end
        found = structural_em(room, counts, at, end.kind, state)
        if found.score <= end.score + EQUAL:
            return end
        end = found


def structural_em(
    room: Room, counts: Counts, families: Families, kind: str, state: State | None = None
) -> End:
    """Steps of structure and of EM by turns, until neither gains.

    Args:
        room: where the search may go.
        counts: the table.
        families: expected counts to start from.
        kind: of the start.
        state: the graph to start from; that of the required edges when left out.
    """
    state = room.least if state is None else state
    best: End | None = None
    # Starts of one kind are different graphs already: only kinds need shakes of their own.
    steps, rng = STEPS, np.random.default_rng(len(kind))
    for _ in range(ROUNDS):
        state = room.climbed(families, state)
        start = families.maximised(state.parents, state.free)
        mixture, log_likelihood = climbed(counts, batch_of(start), steps)
        end = End(kind, state, mixture, log_likelihood - room.price * room.n_parameters(state))
        settled = best is not None and best.state == state and end.score <= best.score + EQUAL
        if best is None or end.score > best.score:
            best = end
        if settled:
            if steps == LAST_STEPS:
                break
            steps = LAST_STEPS
            state = room.iterated(families, state, rng)
        families = families_of(room, mixture, counts)
    assert best is not None
    return best


def walked(room: Room, counts: Counts, end: End, patience: int = PATIENCE) -> End:
    """Walk on from an end, on the observed score; the best graph on the way.

    Args:
        room: where the search may go.
        counts: the table.
        end: where to start.
        patience: steps without a better graph.
    """
    best, here, seen = end, end, {end.state}
    left = patience
    while left:
        families = families_of(room, here.mixture, counts)
        gains = sorted(room.gains(families, here.state), key=lambda pair: -pair[0])
        fresh = [state for _, state in gains if state not in seen][:LOOKED_AT]
        tried = []
        for state in fresh:
            start = families.maximised(state.parents, state.free)
            mixture, log_likelihood = climbed(counts, batch_of(start), 2 * STEPS)
            score = log_likelihood - room.price * room.n_parameters(state)
            tried.append(End(end.kind, state, mixture, score))
        if not tried:
            break
        here = max(tried, key=lambda one: one.score)
        seen.add(here.state)
        left -= 1
        if here.score > best.score + EQUAL:
            again = families_of(room, here.mixture, counts)
            here = structural_em(room, counts, again, end.kind, here.state)
            best, left = here, patience
            seen.add(here.state)
    return best


def _whole(room: Room, counts: Counts) -> Families:
    """Complete rows with their weights, missing cells filled in by what their column shows."""
    columns = counts.rows.long().T.contiguous()
    for v, column in enumerate(columns):
        lacking = column < 0
        if bool(lacking.any()):
            seen = torch.bincount(column[~lacking], counts.weights[~lacking], room.spec.cards[v])
            columns[v] = torch.where(lacking, seen.argmax(), column)
    return Families(room.spec, columns, counts.weights[:, None])


def _seen(room: Room, whole: Families, kind: str, seed: int) -> End:
    """Without a hidden source and with every cell seen, expected counts are those of the table."""
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    state = room.climbed(whole, room.least if kind == TREE else room.random(rng))
    state = room.iterated(whole, state, rng)
    mixture = whole.maximised(state.parents, state.free)
    value = sum(whole.value(v, found) for v, found in enumerate(state.parents))
    return End(kind, state, mixture, value - room.price * room.n_parameters(state))
