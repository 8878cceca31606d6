"""How often edges and directions come back when the search is repeated on resampled rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pyromix.data.counts import Counts
from pyromix.data.frames import to_pandas
from pyromix.data.intake_report import DataReport
from pyromix.discovery.classes import GraphClass
from pyromix.discovery.moves import Room
from pyromix.discovery.search import End, structural_em
from pyromix.discovery.starts import families_of
from pyromix.model.knowledge import Edge
from pyromix.model.spec import SOURCE

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Stability:
    """Edges of the classes that were found on resampled tables.

    Attributes:
        variables: names.
        n: resampled tables.
        edges: per pair in ascending order, in how many tables an edge connects it.
        directed: per directed edge, in how many tables it leads this way in all graphs.
    """

    variables: tuple[str, ...]
    n: int
    edges: dict[Edge, int]
    directed: dict[Edge, int]

    def to_frame(self) -> pd.DataFrame:
        """One row per pair: ``a``, ``b``, shares ``edge``, ``a_to_b``, ``b_to_a``."""
        pairs = sorted(self.edges, key=lambda pair: (-self.edges[pair], pair))
        return to_pandas(
            {
                "a": [self.variables[a] for a, _ in pairs],
                "b": [self.variables[b] for _, b in pairs],
                "edge": [self.edges[pair] / self.n for pair in pairs],
                "a_to_b": [self.directed.get((a, b), 0) / self.n for a, b in pairs],
                "b_to_a": [self.directed.get((b, a), 0) / self.n for a, b in pairs],
            }
        )


def stability(room: Room, counts: Counts, ends: Sequence[End], n: int, seed: int) -> Stability:
    """Repeat the search from its best ends on tables of rows drawn with replacement.

    Args:
        room: where the search went.
        counts: the table.
        ends: where it ended, the best of them.
        n: tables.
        seed: of these; table i is the same however many there are.
    """
    edges: Counter[Edge] = Counter()
    directed: Counter[Edge] = Counter()
    for i in range(n):
        drawn = _resampled(counts, seed, i)
        again = [
            structural_em(room, drawn, families_of(room, end.mixture, drawn), end.kind, end.state)
            for end in ends
        ]
        best = max(again, key=lambda end: end.score)
        found = GraphClass.of(best.state.parents, best.state.free, room.knowledge)
        edges.update(found.skeleton)
        directed.update(edge for edge in found.directed if edge[0] != SOURCE)
    return Stability(room.spec.variables, n, dict(edges), dict(directed))


def _resampled(counts: Counts, seed: int, number: int) -> Counts:
    """As many rows, drawn with replacement."""
    rng = np.random.default_rng((seed, number))
    weights = counts.weights.cpu().numpy()
    drawn = rng.multinomial(max(1, round(counts.n_rows)), weights / weights.sum())
    kept = torch.from_numpy(np.flatnonzero(drawn))
    report = DataReport(len(kept), counts.schema.n_variables, len(kept))
    own = torch.from_numpy(drawn[drawn > 0].astype(np.float64)).to(counts.device)
    return Counts(counts.schema, counts.rows[kept.to(counts.device)], own, report)
