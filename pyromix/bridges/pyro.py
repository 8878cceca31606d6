"""Mixtures as Pyro programs.

This file, its neighbours ``pyro_mixed``, ``pyro_probe``, ``pyro_sites`` and ``pyro_start``,
``answers/pyro_engine.py``, ``answers/mixed/pyro_engine.py``, ``posterior/svi.py`` and
``posterior/nuts.py`` import Pyro at their top, and ``posterior/draws.py`` inside a function; all of
them are imported lazily.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, overload

import pyro
import torch
from jaxtyping import Float
from pyro.distributions import Categorical, Dirichlet
from pyro.ops.indexing import Vindex
from pyro.poutine.runtime import InferDict
from torch import Tensor

from pyromix.bridges.pyro_mixed import MixedProgram, mixed_program
from pyromix.data.counts import Counts
from pyromix.data.frames import encode, to_pandas
from pyromix.errors import DataError, SpecError
from pyromix.exact.likelihood import log_joint
from pyromix.exact.rows import CellIndex
from pyromix.model.arguments import numbers_as_tensor, shown, whole
from pyromix.model.memory import check_numbers
from pyromix.model.mixed import MixedMixture
from pyromix.model.mixture import BayesNetMixture, Fitted, mixture_of
from pyromix.model.spec import SOURCE, MixtureSpec

PARALLEL: InferDict = {"enumerate": "parallel"}
"""Every vertex site may be enumerated; handlers that do not enumerate pass over the mark."""

Prior = float | Tensor | Mapping[str, float | Tensor]
"""A concentration for every table, or one per named vertex; the others stay constant."""


@dataclass(frozen=True, eq=False)
class PyroProgram:
    """A mixture as a Pyro program: one site per vertex, named as the vertex, and one for U.

    Values are state numbers (long). Rows are independent under the plate ``rows`` at dim -1; the
    batch axes of the mixture are the plates ``batch_0``, ``batch_1``, ... to the left of it (axes
    of length one need no plate), so ``max_plate_nesting`` is ``1 + len(batch_shape)``.

    Three modes:

    - ``program(size=1)`` generates ``size`` rows.
    - ``program(rows=rows)`` observes the cells of ``rows``, a table or state numbers, and leaves U,
      and missing cells, to be enumerated or sampled. Under ``pyro.do`` the observed cells keep
      informing U: that is a counterfactual of these rows, not P(Y | do(X)).
      (``compute_marginals`` of Pyro 1.9.2 needs two rows or more.)
    - ``program(counts=counts)`` scores weighted patterns by the one factor ``data``, with U and
      missing cells summed out; there are no vertex sites, and ``Trace_ELBO`` suffices. Scaling an
      enumerated site by weights would give another posterior (pyro issue 1897).

    Attributes:
        mixture: the tables, and the structure.
        concentrations: per vertex number (``SOURCE`` for U) the Dirichlet concentration of its
            table, which is then drawn at the site ``theta[NAME]`` of the same shape:
            ``(k, *card(parents), card)``, without the axis of length k for uninfluenced vertices
            and ``(k,)`` for U. Tables of other vertices are constants.
    """

    mixture: BayesNetMixture
    concentrations: Mapping[int, Tensor] = field(default_factory=dict)
    _last_index: dict[Counts, CellIndex] = field(default_factory=dict, init=False, repr=False)

    def __call__(
        self, size: int = 1, *, rows: Any = None, counts: Counts | None = None
    ) -> dict[str, Tensor]:
        """Run the program.

        Args:
            size: how many rows to generate; without meaning when rows or counts are given.
            rows: a table with the states of every variable, whatever ``fit`` accepts or a mapping
                of names to columns; or state numbers, -1 where a cell is missing: a tensor
                ``(m, n_variables)``, or a mapping of names to tensors ``(m,)``, in which variables
                that are not named are missing.
            counts: weighted patterns.

        Returns:
            The value of every vertex and of U, ``(*batch, size)`` when nothing is enumerated;
            empty when counts are scored.

        Raises:
            DataError: no rows, rows and counts together, or cells that are no state numbers.
        """
        if rows is not None and counts is not None:
            raise DataError("expected either rows or counts, found both; score them one by one")
        tables = {v: self._table(v) for v in range(SOURCE, self.mixture.spec.n_variables)}
        with ExitStack() as plates:
            batch = self.mixture.batch_shape
            for i, length in enumerate(batch):
                if length > 1:  # compute_marginals of Pyro 1.9.2 fails on plates of length one
                    plates.enter_context(pyro.plate(f"batch_{i}", length, dim=i - 1 - len(batch)))
            if counts is not None:
                score = self._log_likelihood(tables, counts)
                pyro.factor("data", score.unsqueeze(-1) if batch else score)
                return {}
            columns = _columns(self.mixture.spec, rows, self.mixture.device)
            size = whole("size", len(columns[0]) if columns else size, 0, error=DataError)
            if not size:
                raise DataError("expected at least one row, found 0")
            numbers = size * sum(self.mixture.spec.cards)
            check_numbers(f"{size:,} rows of a program", numbers, "take a smaller size", DataError)
            with pyro.plate("rows", size, dim=-1, device=str(self.mixture.device)):
                return self._rows(tables, columns)

    def _rows(
        self, tables: Mapping[int, Tensor], columns: Mapping[int, Tensor]
    ) -> dict[str, Tensor]:
        """Sample or observe U and then every vertex given its parents."""
        spec = self.mixture.spec
        values: dict[int, Tensor] = {}
        for v in range(SOURCE, spec.n_variables):
            parents = [values[p].long() for p in _parents(spec, v)]
            # Logits, since Categorical(probs=...) lifts zeros to 2e-16.
            logits = Vindex(self._per_row(tables[v], v).log())[(..., *parents, slice(None))]
            values[v] = _site(spec.name(v), logits, columns.get(v))
        return {spec.name(v): value for v, value in values.items()}

    def _table(self, v: int) -> Tensor:
        """The table of a vertex, ``(*lead, [k,] *card(parents), card)``."""
        if v in self.concentrations:
            prior = Dirichlet(self.concentrations[v])
            name = f"theta[{self.mixture.spec.name(v)}]"
            return pyro.sample(name, prior.to_event(len(prior.batch_shape)))
        table = self.mixture.table(v)
        shared = v in self.mixture.spec.uninfluenced
        return table.select(len(self.mixture.batch_shape), 0) if shared else table

    def _per_row(self, table: Tensor, v: int) -> Tensor:
        """Give a table an axis for the plate of rows, unless its draws came with one.

        Draws under a further plate have one, except those that ``Predictive(parallel=True)`` is
        given: it passes them on as ``(draws, *table)``.
        """
        lead = len(_lead(table, self.mixture.spec, v))
        return table if v in self.concentrations and lead > 1 else table.unsqueeze(lead)

    def _log_likelihood(self, tables: Mapping[int, Tensor], counts: Counts) -> Tensor:
        """Weighted log-probability of the patterns, one number per element of the plates."""
        spec = self.mixture.spec
        lead = torch.broadcast_shapes(*(_lead(t, spec, v) for v, t in tables.items()))
        weights = tables[SOURCE].expand(*lead, spec.n_sources)
        cpts = []
        for v in range(spec.n_variables):
            table = tables[v]
            if v in spec.uninfluenced:
                table = table.unsqueeze(len(_lead(table, spec, v)))
            cpts.append(table.expand(*lead, *spec.cpt_shape(v)))
        log_prob = log_joint((weights, cpts), self._index(counts)).logsumexp(-1)
        return (counts.weights.to(log_prob.device) * log_prob).sum(-1)

    def _index(self, counts: Counts) -> CellIndex:
        """The cells behind every pattern; the last one is kept, since samplers ask for it often."""
        spec = self.mixture.spec
        if not isinstance(counts, Counts):
            raise DataError(
                f"expected counts as Counts, found {shown(counts)}; of a table "
                "px.Counts.from_frame(table, program.mixture.spec) makes them"
            )
        if not counts.schema.same_variables(spec):
            raise DataError(
                f"expected counts of {list(spec.variables)}, found counts of "
                f"{list(counts.schema.variables)}, or of other states; count again with this spec, "
                "or pass counts.with_spec(spec)"
            )
        if counts not in self._last_index:
            self._last_index.clear()
            self._last_index[counts] = CellIndex(spec, counts.rows.to(self.mixture.device))
        return self._last_index[counts]


@overload
def to_pyro(mixture: BayesNetMixture | Fitted, *, prior: Prior | None = None) -> PyroProgram: ...


@overload
def to_pyro(mixture: MixedMixture, *, prior: None = None) -> MixedProgram: ...


def to_pyro(
    mixture: BayesNetMixture | MixedMixture | Fitted, *, prior: Prior | None = None
) -> PyroProgram | MixedProgram:
    """Return a mixture as a Pyro program; `PyroProgram` says how to call it.

    One with numbers becomes a `MixedProgram`.

    Args:
        mixture: the laws of all vertices, or a fit, whose estimate is taken.
        prior: a positive number is the concentration of a symmetric Dirichlet distribution of
            every row of every table; a mapping gives one (a number, or a tensor that broadcasts
            to the table) per vertex name and leaves the other tables constant. Without it all
            tables are constants.

    Raises:
        SpecError: a concentration is not positive or does not fit its table, a prior is given for
            a mixture with batch axes, or a variable has the name of a plate.
        QueryError: the prior names an unknown vertex.
    """
    mixed: Any = getattr(mixture, "mixture", mixture)
    if isinstance(mixed, MixedMixture):
        if prior is not None:
            raise SpecError(
                "prior= draws probability tables, and this mixture has numbers, whose laws are not "
                "tables; leave it out, the program then has the estimates as constants"
            )
        return mixed_program(mixed)
    mixture = mixture_of(mixture)  # pyright: ignore[reportArgumentType]
    spec = mixture.spec
    plates = {"rows", *(f"batch_{i}" for i in range(len(mixture.batch_shape)))}
    if taken := plates & {spec.source, *spec.variables}:
        raise SpecError(
            f"the program has plates named {sorted(plates)}, found variables of these names: "
            f"{sorted(taken)}; rename them"
        )
    if prior is None:
        return PyroProgram(mixture)
    if mixture.batch_shape:
        raise SpecError(
            f"a prior stands in place of the tables, so the batch axes {tuple(mixture.batch_shape)}"
            " would carry nothing; pass one element, e.g. to_pyro(mixture[0], prior=...)"
        )
    named = prior if isinstance(prior, Mapping) else dict.fromkeys(spec.variables, prior)
    if not isinstance(prior, Mapping):
        named = {spec.source: prior, **named}
    vertices = {spec.vertex(name): value for name, value in named.items()}
    return PyroProgram(
        mixture, {v: _concentration(mixture, v, value) for v, value in vertices.items()}
    )


def _site(name: str, logits: Float[Tensor, "*shape card"], column: Tensor | None) -> Tensor:
    """The sample site of one vertex under the plate of rows.

    A column with some missing cells becomes a latent site that is pinned to the observed cells,
    and the factor ``observed[NAME]`` scores these: exact under enumeration, and a trace without
    enumeration imputes the missing cells and weighs by the observed ones.
    """
    missing = None if column is None else column < 0
    if column is None or missing is None or bool(missing.all()):
        return pyro.sample(name, Categorical(logits=logits), infer=PARALLEL)
    if not bool(missing.any()):
        return pyro.sample(name, Categorical(logits=logits), obs=column, infer=PARALLEL)
    seen = column.clamp(min=0)
    log_prob = Categorical(logits=logits).log_prob(seen)
    pyro.factor(f"observed[{name}]", log_prob.masked_fill(missing, 0.0))
    states = torch.arange(logits.shape[-1], device=logits.device)
    pinned = torch.zeros_like(logits).masked_fill(states != seen.unsqueeze(-1), -torch.inf)
    logits = torch.where(missing.unsqueeze(-1), logits, pinned)
    return pyro.sample(name, Categorical(logits=logits), infer=PARALLEL)


def _columns(spec: MixtureSpec, rows: Any, device: torch.device) -> dict[int, Tensor]:
    """The cells of every vertex as state numbers, checked; empty without rows."""
    if rows is None:
        return {}
    rows = _numbers(spec, rows)
    if rows.is_meta or rows.ndim != 2 or rows.shape[1] != spec.n_variables:
        raise DataError(
            f"expected rows as a table, or as state numbers (m, {spec.n_variables}), found a "
            f"tensor {tuple(rows.shape)} on {rows.device}"
        )
    if rows.is_floating_point() or rows.is_complex():
        raise DataError(f"expected rows of integer state numbers, found {rows.dtype}")
    rows = rows.to(device=device, dtype=torch.long)
    cards = torch.tensor(spec.joint_shape(range(spec.n_variables)), device=device)
    for v in ((rows < -1) | (rows >= cards)).any(0).nonzero().flatten().tolist():
        raise DataError(
            f"{spec.name(v)!r} has state numbers 0..{spec.card(v) - 1}, and -1 where a cell is "
            f"missing; found {sorted(set(rows[:, v].tolist()))}"
        )
    return dict(enumerate(rows.unbind(1)))


def _numbers(spec: MixtureSpec, rows: Any) -> Tensor:
    """State numbers of the rows of a table, in its order."""
    if isinstance(rows, Counts):
        raise DataError(
            "rows: expected a table or state numbers, found Counts; score them by "
            "program(counts=...), or observe rows=counts.expand()"
        )
    if isinstance(rows, Tensor):
        return rows
    if not isinstance(rows, Mapping):
        return encode(rows, spec).codes
    if not rows or not all(isinstance(column, Tensor) for column in rows.values()):
        try:
            return encode(to_pandas(rows), spec).codes
        except ValueError as error:
            raise DataError(f"rows: expected columns of one length each, {error}") from error
    numbers = {spec.vertex(name): column for name, column in rows.items()}
    shapes = {name: tuple(column.shape) for name, column in rows.items()}
    unequal = len(set(shapes.values())) > 1
    if SOURCE in numbers or {len(shape) for shape in shapes.values()} != {1} or unequal:
        raise DataError(
            "rows: expected one tensor (m,) of state numbers per variable, all of one length and "
            f"none for {spec.source!r}, found {shapes}"
        )
    missing = torch.full_like(next(iter(numbers.values())), -1)
    return torch.stack([numbers.get(v, missing) for v in range(spec.n_variables)], 1)


def _parents(spec: MixtureSpec, v: int) -> tuple[int, ...]:
    """Numbers of the sites that a site depends on, in the order of the axes of its table."""
    if v == SOURCE:
        return ()
    return spec.parents[v] if v in spec.uninfluenced else (SOURCE, *spec.parents[v])


def _lead(table: Tensor, spec: MixtureSpec, v: int) -> tuple[int, ...]:
    """Lengths of the axes of a table to the left of its own."""
    return tuple(table.shape[: table.ndim - len(_parents(spec, v)) - 1])


def _concentration(mixture: BayesNetMixture, v: int, value: float | Tensor) -> Tensor:
    """A prior in the shape of the table of a vertex."""
    spec = mixture.spec
    shape = tuple(spec.card(w) for w in (*_parents(spec, v), v))
    given = numbers_as_tensor(f"prior of {spec.name(v)!r}", value, mixture.device)
    if not bool(((given > 0) & given.isfinite()).all()):
        raise SpecError(
            f"prior of {spec.name(v)!r}: concentrations must be positive and finite, found "
            f"{shown(value)}"
        )
    try:
        return given.expand(shape).clone()
    except RuntimeError:
        raise SpecError(
            f"prior of {spec.name(v)!r}: expected a number or a tensor that broadcasts to the "
            f"table's {shape}, found {tuple(given.shape)}"
        ) from None
