"""What data answer: tables and masses, and, where there are any, rows in blocks.

Two protocols, so that whoever estimates asks what an object can do and never which class it is.
``MomentSource`` is what a user's own object needs; ``Moments`` is the whole of it, and ``asking``
makes the one of the other. ``Rows`` is another capability, which an object has besides or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import DataError
from pyromix.model.arguments import is_integer, listed, shown, whole
from pyromix.model.schema import Schema
from pyromix.model.spec import MixtureSpec

MAX_TABLE_CELLS = 2**28
"""Largest number of cells of the tables returned at once."""

MAX_JOINT_CELLS = 2**20
"""Largest joint table that is turned into patterns."""


@runtime_checkable
class MomentSource(Protocol):
    """What estimators from moments ask of data: tables given assignments, and their masses.

    ``Counts`` answers from a sample, ``Population`` exactly; an object of your own needs these
    three and, beside them, ``schema`` (a ``Schema``) or ``spec`` (a ``MixtureSpec``): the variables
    in the order of their numbers, and their states. It may have ``noise`` too, see ``Moments``.
    """

    @property
    def n_rows(self) -> float:
        """Total weight behind the answers; infinite when they are exact."""
        ...

    def table(
        self, variables: Sequence[int], given: Sequence[int], assignments: Int[Tensor, "r c"]
    ) -> Float[Tensor, " r *cards"]:
        """P(variables | given = assignment) for each of r assignments.

        Args:
            variables: vertices, one axis each, in this order.
            given: vertices conditioned on, disjoint from ``variables``; perhaps none.
            assignments: ``(r, len(given))`` state numbers, perhaps repeated.

        Returns:
            ``(r, *card(variables))``, float64; zeros where the assignment has no mass.

        Raises:
            DataError: unknown or repeated vertices, states out of range, or a table beyond memory.
        """
        ...

    def mass(self, given: Sequence[int], assignments: Int[Tensor, "r c"]) -> Float[Tensor, " r"]:
        """Weight of the rows with each assignment (``Counts``), or its probability.

        Args:
            given: vertices; perhaps none.
            assignments: ``(r, len(given))`` state numbers.

        Raises:
            DataError: unknown or repeated vertices, or states out of range.
        """
        ...


@runtime_checkable
class Moments(MomentSource, Protocol):
    """Moments whole: they say what their vertices are and how noisy their answers."""

    @property
    def schema(self) -> Schema:
        """Variables in the order of their numbers, and their states."""
        ...

    @property
    def exact(self) -> bool:
        """Whether answers have no sampling noise."""
        ...

    def noise(self, given: Sequence[int], assignments: Int[Tensor, "r c"]) -> Float[Tensor, " r"]:
        """Number of rows whose sampling noise the answers given each assignment have.

        Args:
            given: vertices; perhaps none.
            assignments: ``(r, len(given))`` state numbers.

        Returns:
            ``(r,)``, float64; infinite where answers are exact.

        Raises:
            DataError: unknown or repeated vertices, or states out of range.
        """
        ...


@runtime_checkable
class Rows(Protocol):
    """What hands out patterns and their weights in blocks, twice the same."""

    @property
    def schema(self) -> Schema:
        """Variables in the order of their numbers, and their states."""
        ...

    @property
    def n_patterns(self) -> int:
        """Number of rows that are handed out, over all blocks."""
        ...

    @property
    def empty_weight(self) -> float:
        """Weight of the rows without any observed cell, which no block has."""
        ...

    def blocks(
        self, variables: Sequence[int]
    ) -> Iterator[tuple[Int[Tensor, "b c"], Float[Tensor, " b"]]]:
        """The rows of some variables and their weights, a block at a time; in each call the same.

        Args:
            variables: vertices, one column each, in this order; every row is handed out, whether
                a cell of these is observed or not.

        Returns:
            ``(b, len(variables))`` state numbers of any integer type, missing cells -1; and
            ``(b,)`` numbers of rows, float64, positive. A pattern may come in several blocks.
        """
        ...


def schema_of(data: Any) -> Schema:
    """The variables and states that moments or a table number by.

    A ``spec`` in place of a ``schema`` will do.

    Raises:
        DataError: it says of neither.
    """
    for name in ("schema", "spec"):
        found = getattr(data, name, None)
        if isinstance(found, Schema):
            return found
    raise DataError(
        "expected data that say which variables they are of, an attribute schema (a Schema) or "
        f"spec (a MixtureSpec), found a {type(data).__name__} with neither; add "
        "schema = px.Schema(variables, states) in the order of its vertices"
    )


def check_request(
    schema: Schema,
    variables: Sequence[int],
    given: Sequence[int],
    assignments: Int[Tensor, "r c"],
) -> Int[Tensor, "r c"]:
    """Refuse a question for moments that makes no sense.

    Returns:
        The assignments as int64.

    Raises:
        DataError: unknown or repeated vertices, states out of range, or a table beyond memory.
    """
    for name, vertices in (("variables", variables), ("given", given)):
        if not isinstance(vertices, Sized):  # they are walked through more than once
            raise DataError(f"{name} must be a list of vertices, found {shown(vertices)}")
    involved = [
        whole("a vertex", v, -1, schema.n_variables - 1, DataError)
        for v in (
            *listed("variables", variables, "vertices", DataError),
            *listed("given", given, "vertices", DataError),
        )
    ]
    if not isinstance(assignments, Tensor) or assignments.ndim != 2 or not is_integer(assignments):
        raise DataError(
            "expected assignments as a tensor of state numbers, a row for each, found "
            f"{shown(assignments)}"
        )
    if wrong := [v for v in involved if not 0 <= v < schema.n_variables]:
        name = f" {schema.source!r}" if isinstance(schema, MixtureSpec) else ""
        raise DataError(
            f"moments are of observed vertices, 0..{schema.n_variables - 1}, found {wrong}; the "
            f"source{name} is not one of them"
        )
    if len(set(involved)) != len(involved):
        raise DataError(
            f"vertices must be distinct, found variables {list(variables)} given {list(given)}"
        )
    if assignments.shape[1] != len(given):
        raise DataError(
            f"expected one column of assignments for each of {len(given)} given vertices, found "
            f"{assignments.shape[1]}"
        )
    for i, v in enumerate(given):
        column = assignments[:, i]
        if len(column) and (int(column.min()) < 0 or int(column.max()) >= schema.card(v)):
            raise DataError(
                f"states of {schema.name(v)!r} are 0..{schema.card(v) - 1}, found "
                f"{int(column.min())}..{int(column.max())}"
            )
    cells = schema.n_joint(variables) * max(assignments.shape[0], 1)
    if cells > MAX_TABLE_CELLS:
        raise DataError(
            f"tables of {[schema.name(v) for v in variables]} for {assignments.shape[0]} "
            f"assignments have {cells:,} cells, more than {MAX_TABLE_CELLS:,}; ask for "
            "fewer at a time"
        )
    return assignments.to(torch.int64)


def check_same_variables(known: Schema, asked: Schema) -> None:
    """Refuse a spec over other variables or states.

    Raises:
        DataError: names the variables that differ.
    """
    if not isinstance(asked, Schema):
        raise DataError(f"expected a Schema or a MixtureSpec, found {shown(asked)}")
    have = dict(zip(known.variables, known.states, strict=True))
    want = dict(zip(asked.variables, asked.states, strict=True))
    if have != want:
        names = sorted(name for name in have | want if have.get(name) != want.get(name))
        raise DataError(
            "expected a model of the same variables and states as the data were counted with, "
            f"found differences in {names}: counted {[have.get(n, 'absent') for n in names][:3]}, "
            f"asked {[want.get(n, 'absent') for n in names][:3]}; count the table with this model"
        )


def normalised(sums: Float[Tensor, "r cells"]) -> Float[Tensor, "r cells"]:
    """Divide every row by its sum; rows of zeros stay zeros."""
    total = sums.sum(1, keepdim=True)
    return torch.where(total > 0, sums / total.where(total > 0, torch.ones_like(total)), 0.0)
