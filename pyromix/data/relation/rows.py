"""A table with too many distinct rows to hold: moments by SQL, and rows as a stream of batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.data.gaps import dropped, gaps_refused, left_out, no_complete_row, nothing_left
from pyromix.data.intake_report import DataReport
from pyromix.data.moments import check_request
from pyromix.data.relation.digits import Packed
from pyromix.data.relation.engines import Partitioned
from pyromix.data.relation.sql import NAME, named
from pyromix.data.relation.table import RelationTable
from pyromix.data.relation.weighing import Weighing, ones
from pyromix.data.relation.workers import SCHEMA, Decoder, Summed, SumOver, added, wrapped
from pyromix.data.repairs import sentences
from pyromix.data.weights import COUNTS, SAMPLING
from pyromix.errors import DataError
from pyromix.model.schema import Schema

BATCH = 2**16
"""Rows that a stream hands out at a time."""


@dataclass(frozen=True, eq=False)
class RelationRows:
    """Moments of a relation that stays where it is, and its rows in batches.

    Satisfies ``moments.Moments``, and no ``moments.Rows``: its rows are no patterns to be listed.

    Attributes:
        schema: variables and states.
        relation: the table.
        packed: its variables as digits.
        weighing: of its rows.
        condition: SQL that its rows satisfy; empty for all.
        report: where they come from.
    """

    schema: Schema
    relation: RelationTable
    packed: Packed
    weighing: Weighing
    condition: str
    report: DataReport
    _margins: dict[tuple[int, ...], Counts] = field(default_factory=dict, repr=False)
    _passes: list[tuple[int, int]] = field(default_factory=list, repr=False)

    @property
    def n_rows(self) -> float:
        """Total weight."""
        return self.report.total_weight

    @property
    def exact(self) -> bool:
        """Never: a table is a sample."""
        return False

    def in_rows(self) -> RelationRows:
        """The same: weights are numbers of rows."""
        return self

    # -- moments ---------------------------------------------------------------------------------

    def table(
        self, variables: Sequence[int], given: Sequence[int], assignments: Int[Tensor, "r c"]
    ) -> Float[Tensor, " r *cards"]:
        """Empirical P(variables | given = assignment), available cases; see ``MomentSource``.

        Raises:
            DataError: unknown or repeated vertices, states out of range, or a table beyond memory.
        """
        check_request(self.schema, variables, given, assignments)
        margin, place = self._margin([*given, *variables])
        return margin.table([place[v] for v in variables], [place[v] for v in given], assignments)

    def mass(self, given: Sequence[int], assignments: Int[Tensor, "r c"]) -> Float[Tensor, " r"]:
        """Weight of the rows with each assignment; see ``MomentSource``.

        Raises:
            DataError: unknown or repeated vertices, or states out of range.
        """
        check_request(self.schema, (), given, assignments)
        if not len(given):
            return torch.full((len(assignments),), self.n_rows, dtype=torch.float64)
        margin, place = self._margin(given)
        return margin.mass([place[v] for v in given], assignments)

    def noise(self, given: Sequence[int], assignments: Int[Tensor, "r c"]) -> Float[Tensor, " r"]:
        """Number of rows behind each assignment: its mass.

        Raises:
            DataError: unknown or repeated vertices, or states out of range.
        """
        return self.mass(given, assignments)

    def _margin(self, vertices: Sequence[int]) -> tuple[Counts, dict[int, int]]:
        """Counts of some variables by one GROUP BY, kept; from those of more where there are any.

        Returns:
            The counts, and per vertex its column.
        """
        key = tuple(sorted(vertices))
        if key not in self._margins:
            wider = [known for known in self._margins if set(key) <= set(known)]
            names = [self.schema.variables[v] for v in key]
            schema = Schema(tuple(names), tuple(self.schema.states[v] for v in key))
            if wider:
                known = min(wider, key=lambda k: self._margins[k].n_patterns)
                self._margins[key] = self._margins[known].on(schema)
            else:
                self._margins[key] = self._counted(key, schema)
        return self._margins[key], {v: i for i, v in enumerate(key)}

    def _counted(self, columns: tuple[int, ...], schema: Schema) -> Counts:
        part = Packed(schema, tuple(self.packed.digits[v] for v in columns))
        words = part.sql(self.relation.engine.kinds)
        keys = ", ".join(words)
        weight = {"w": self.weighing.sql(self.relation.engine.kinds)} if self.weighing.name else {}
        rows = f"SELECT {', '.join(named({**words, **weight}))} FROM {NAME}{self._where()}"
        total = "SUM(w)" if weight else "COUNT(*)"
        query = f"SELECT {keys}, {total} AS w FROM ({rows}) AS t GROUP BY {keys}"
        found = self.relation.engine.answer(query)
        codes = part.codes([found.column(word).to_numpy() for word in words])
        weights = torch.from_numpy(found.column("w").to_numpy().astype(np.float64))
        return Counts.from_codes(schema, codes, weights)

    def _where(self, more: str = "") -> str:
        conditions = [f"({condition})" for condition in (self.condition, more) if condition]
        return f" WHERE {' AND '.join(conditions)}" if conditions else ""

    # -- rows ------------------------------------------------------------------------------------

    def recall(self, fingerprint: str) -> None:
        """Take the fingerprint of an earlier first pass, for later ones to be held against."""
        if not self._passes and fingerprint:
            n_rows, checksum = map(int, fingerprint.strip("()").split(","))
            self._passes.append((n_rows, checksum))

    def identity(self) -> str:
        """What tells the table from others without a pass: how often every cell occurs."""
        margins = [torch.from_numpy(digit.margin()) for digit in self.packed.digits]
        found = sha256(repr([margin.tolist() for margin in margins]).encode())
        found.update(repr((self.weighing, self.condition)).encode())
        return found.hexdigest()

    def batches(
        self, condition: str = ""
    ) -> Iterator[tuple[Int[Tensor, "b n"], Float[Tensor, " b"]]]:
        """All rows with an observed cell and a positive weight, and their weights.

        Args:
            condition: SQL that rows must satisfy besides; empty for all.

        Raises:
            DataError, FileError: the engine could not, or, at the end of a pass over all rows, the
                table is not the one of the first pass.
        """
        query, decoder = self._asked(condition)
        n_rows, checksum = 0, 0
        for batch in self.relation.engine.batches(query, BATCH):
            if not batch.num_rows:
                continue
            keys = decoder.keys(batch)
            n_rows, checksum = n_rows + batch.num_rows, wrapped(checksum, keys)
            yield decoder.rows(batch, keys)
        if not condition:
            self._check_unchanged((n_rows, checksum))

    def summed(self, total: SumOver) -> Float[np.ndarray, " m"] | None:
        """A pass of sums over all rows where they lie; None where they must come here.

        Raises:
            DataError: as of ``batches``.
        """
        engine = self.relation.engine
        if not isinstance(engine, Partitioned):
            return None
        query, decoder = self._asked()
        parts = engine.on_workers(query, Summed(decoder, total), SCHEMA)
        if parts is None:
            return None
        checksum = 0
        for part in parts:
            checksum = added(checksum, part["checksum"])
        self._check_unchanged((sum(part["n"] for part in parts), checksum))
        found = [np.array(part["sums"]) for part in parts if len(part["sums"])]
        return np.sum(found, axis=0) if found else None

    def _asked(self, condition: str = "") -> tuple[str, Decoder]:
        """SQL for a pass, and what reads its batches."""
        words = self.packed.sql(self.relation.engine.kinds)
        weight = {"w": self.weighing.sql(self.relation.engine.kinds)} if self.weighing.name else {}
        columns = ", ".join(named({**words, **weight}))
        query = f"SELECT {columns} FROM {NAME}{self._where(condition)}"
        return query, Decoder(self.packed, tuple(words), bool(weight))

    @property
    def fingerprint(self) -> str:
        """Of the table of the first pass: number of its rows, and a sum over them; empty before."""
        return repr(self._passes[0]) if self._passes else ""

    def _check_unchanged(self, found: tuple[int, int]) -> None:
        self._passes.append(found)
        if found != self._passes[0]:
            raise DataError(
                f"expected a table that stands still, found {found[0]} rows where there were "
                f"{self._passes[0][0]}, or other cells; wait for whoever writes to it, or pass a "
                "snapshot"
            )

    def sampled_patterns(self, n_rows: int) -> Int[Tensor, " rows"]:
        """Of about so many rows drawn at random the number of the pattern of each.

        Raises:
            DataError: the engine could not, or no row was drawn.
        """
        codes = self._drawn(n_rows)[0]
        return codes.unique(dim=0, return_inverse=True)[1]

    def sample(self, n_rows: int) -> Counts:
        """About so many rows drawn at random, as counts; weights are those of the rows.

        Raises:
            DataError: the engine could not, or no row was drawn.
        """
        return Counts.from_codes(self.schema, *self._drawn(n_rows))

    def _drawn(self, n_rows: int) -> tuple[Tensor, Tensor]:
        share = n_rows / self.relation.n_rows
        condition = self.relation.engine.at_random(share) if share < 1 else ""
        blocks = list(self.batches(condition))
        if not blocks:
            raise DataError(f"expected about {n_rows} rows drawn at random, found none")
        codes, weights = (torch.cat(part) for part in zip(*blocks, strict=True))
        return codes, weights


def rows_of(
    relation: RelationTable,
    packed: Packed,
    weighing: Weighing,
    missing: str = "mar",
    weights_are: str = COUNTS,
) -> RelationRows:
    """Ask a relation for moments and batches of rows.

    Args:
        relation: the table.
        packed: its variables.
        weighing: of its rows.
        missing: ``"mar"``, ``"drop"`` or ``"error"``.
        weights_are: ``"counts"`` or ``"sampling"``.

    Raises:
        DataError: no row is left, or a cell is missing and none may be.
    """
    schema, digits, n_all = packed.schema, packed.digits, relation.n_rows
    gaps = {digit.name: int(digit.margin()[0]) for digit in digits if digit.shift}
    repairs = [*relation.said, *sentences(r for digit in digits for r in digit.repairs)]
    if gaps and missing == "error":
        raise gaps_refused(gaps, n_all)
    kinds, condition = relation.engine.kinds, ""
    complete = [f"{digit.sql(kinds[digit.name])} <> 0" for digit in digits if digit.shift]
    if gaps and missing == "drop":
        condition = " AND ".join(complete)
    elif len(gaps) == len(digits):
        condition = " OR ".join(complete)
    weight = weighing.sql(kinds) if weighing.name else "1.0"
    where = f" WHERE {condition}" if condition else ""
    sums = {"n": "COUNT(*)", "p": ones("w > 0"), "w": "SUM(w)", "ww": "SUM(w * w)"}
    inner = f"SELECT {weight} AS w FROM {NAME}{where}"
    found = relation.engine.answer(f"SELECT {', '.join(named(sums))} FROM ({inner}) AS t")
    n, positive, total, squares = (found.column(name)[0].as_py() or 0 for name in sums)
    n_dropped = n_all - int(n)
    if n_dropped and not n:
        raise no_complete_row(gaps, n_all)
    if n_dropped:
        drop = missing == "drop"
        said = dropped(n_dropped, gaps, n_all) if drop else left_out(n_dropped, n_all)
        repairs.append(said)
    unit = float(squares) / float(total) if weights_are == SAMPLING and total else 1.0
    report = DataReport(
        n_rows=n_all,
        n_variables=schema.n_variables,
        n_patterns=int(positive),
        n_missing_cells=0 if missing == "drop" else sum(gaps.values()) - n_dropped * len(gaps),
        n_dropped_rows=n_dropped,
        n_zero_weight_rows=int(n) - int(positive),
        total_weight=float(total) / unit,
        repairs=tuple(repairs),
    )
    if not positive:
        raise nothing_left(report)
    weighing = replace(weighing, unit=unit)
    return RelationRows(schema, relation, packed, weighing, condition, report)
