"""Second implementations of the seams, none of them a class of the package.

A dense table in numpy that has exactly what ``px.MomentSource`` lists, a database of counted cells,
and shards of rows that a generator reads anew in each pass.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator

import numpy as np
import torch

from pyromix.data.moments import check_request


def place_of(schema, given, assignments):
    """Row-major number of each assignment."""
    place = torch.zeros(len(assignments), dtype=torch.int64, device="cpu")
    for i, v in enumerate(given):
        place = place * schema.cards[v] + assignments[:, i]
    return place


def shares(sums):
    """Every row by its sum; rows of zeros stay."""
    total = sums.sum(1, keepdim=True)
    return torch.where(total > 0, sums / total.clamp_min(1e-300), 0.0)


class DenseTable:
    """Moments of a joint table in numpy; knows its model, as objects of 0.1 did."""

    def __init__(self, spec, joint, n_rows=math.inf):
        self.spec, self.n_rows = spec, n_rows
        self.joint = np.asarray(joint, dtype=np.float64).reshape(spec.cards)
        self.joint = self.joint / self.joint.sum()

    def _sums(self, given, variables):
        rest = tuple(v for v in range(self.joint.ndim) if v not in (*given, *variables))
        kept = sorted((*given, *variables))
        order = [kept.index(v) for v in (*given, *variables)]
        return self.joint.sum(axis=rest).transpose(order)

    def _chosen(self, variables, given, assignments):
        sums = self._sums(given, variables)
        sums = sums.reshape(math.prod(sums.shape[: len(given)]), -1)
        return torch.from_numpy(sums[place_of(self.spec, given, assignments).numpy()])

    def table(self, variables, given, assignments):
        assignments = check_request(self.spec, variables, given, assignments)
        chosen = shares(self._chosen(variables, given, assignments))
        return chosen.reshape(-1, *(self.spec.cards[v] for v in variables))

    def mass(self, given, assignments):
        assignments = check_request(self.spec, (), given, assignments)
        chosen = self._chosen((), given, assignments).squeeze(1)
        return chosen if math.isinf(self.n_rows) else chosen * self.n_rows


class CellDatabase:
    """Moments of counted cells in SQL; knows variables and states only."""

    def __init__(self, schema, rows, weights):
        self.schema = schema
        names = [f"v{v}" for v in range(schema.n_variables)]
        self.base = sqlite3.connect(":memory:")
        self.base.execute(f"CREATE TABLE cells ({', '.join(names)}, w)")
        marks = ", ".join("?" for _ in (*names, "w"))
        lines = [(*r, w) for r, w in zip(rows.tolist(), weights.tolist(), strict=True)]
        self.base.executemany(f"INSERT INTO cells VALUES ({marks})", lines)
        self.n_rows = float(weights.sum())

    def _sums(self, vertices):
        cards = [self.schema.cards[v] for v in vertices]
        sums = torch.zeros(cards, dtype=torch.float64, device="cpu")
        keys = ", ".join(f"v{v}" for v in vertices)
        ask = f"SELECT {keys + ',' if keys else ''} SUM(w) FROM cells"
        for *cell, weight in self.base.execute(ask + (f" GROUP BY {keys}" if keys else "")):
            sums[tuple(cell)] = weight
        return sums

    def table(self, variables, given, assignments):
        assignments = check_request(self.schema, variables, given, assignments)
        sums = self._sums((*given, *variables))
        sums = sums.reshape(math.prod(sums.shape[: len(given)]), -1)
        chosen = shares(sums[place_of(self.schema, given, assignments)])
        return chosen.reshape(-1, *(self.schema.cards[v] for v in variables))

    def mass(self, given, assignments):
        assignments = check_request(self.schema, (), given, assignments)
        return self._sums(given).flatten()[place_of(self.schema, given, assignments)]


class Shards:
    """Rows, each of weight one, that a function reads shard by shard in every pass."""

    def __init__(self, schema, read: Callable[[], Iterator[torch.Tensor]]):
        self.schema, self.read = schema, read
        observed = [(shard >= 0).any(1) for shard in read()]
        self.n_patterns = sum(int(o.sum()) for o in observed)
        self.empty_weight = float(sum(int((~o).sum()) for o in observed))

    def blocks(self, variables):
        for shard in self.read():
            rows = shard[(shard >= 0).any(1)]
            yield rows[:, list(variables)], torch.ones(len(rows), dtype=torch.float64, device="cpu")


class AnsweringShards(Shards):
    """Shards that answer for their moments too, in one pass per question."""

    @property
    def n_rows(self):
        return float(self.n_patterns)

    def _sums(self, vertices):
        cards = [self.schema.cards[v] for v in vertices]
        sums = torch.zeros(math.prod(cards), dtype=torch.float64, device="cpu")
        for rows, weights in self.blocks(vertices):
            known = (rows >= 0).all(1)
            place = torch.zeros(int(known.sum()), dtype=torch.int64, device="cpu")
            for i, card in enumerate(cards):
                place = place * card + rows[known][:, i]
            sums.index_add_(0, place, weights[known])
        return sums.reshape(cards)

    table, mass = CellDatabase.table, CellDatabase.mass
