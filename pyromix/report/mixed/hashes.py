"""Hashes of a model with numbers and of its rows: whether two people had the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pyromix.data.records import Records
from pyromix.model.mixed import MixedSpec

DIGITS = 9
"""Of numbers that are hashed: the last bits are those of a processor."""


def mixed_model_hash(spec: MixedSpec) -> str:
    """Hash of variables, kinds, states, parents, k, and whom the source influences."""
    plain = spec.binned
    states = tuple(
        () if kind.numeric else own for kind, own in zip(spec.kinds, plain.states, strict=True)
    )
    content = (
        spec.variables,
        tuple(map(str, spec.kinds)),
        states,
        spec.parents,
        spec.n_sources,
        spec.source,
        sorted(plain.uninfluenced),
    )
    return hashlib.sha256(repr(content).encode()).hexdigest()


def records_hash(variables: Sequence[str], records: Records) -> str:
    """Hash of the rows, numbers as in the table, and of their weights, whatever their order."""
    columns = []
    for kind, unit, column in zip(records.kinds, records.units, records.columns, strict=True):
        cells = unit.outward(column).tolist() if kind.numeric else column.tolist()
        columns.append([f"{cell + 0.0:.{DIGITS}g}" for cell in cells])  # -0.0 is 0.0
    columns.append([f"{weight:.{DIGITS}g}" for weight in records.weights.tolist()])
    digest = hashlib.sha256(repr(tuple(variables)).encode())
    for row in sorted(zip(*columns, strict=True)):
        digest.update("\t".join(row).encode() + b"\n")
    return digest.hexdigest()
