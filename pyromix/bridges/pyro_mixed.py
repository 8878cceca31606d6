"""Mixtures with numbers as Pyro programs; the sites of numbers are in the units of the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import distributions as dist
from pyro.distributions import constraints
from pyro.poutine.runtime import InferDict
from torch import Tensor
from torch.distributions import Distribution

from pyromix.data.records import Records
from pyromix.errors import DataError, SpecError
from pyromix.model.arguments import shown, whole
from pyromix.model.families.hurdle import Hurdle
from pyromix.model.kind import Kind, Unit
from pyromix.model.memory import check_numbers
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.spec import SOURCE

ENUMERATED: InferDict = {"enumerate": "parallel"}
"""Sites of states may be enumerated; handlers that do not enumerate pass over the mark."""


@dataclass(frozen=True, eq=False)
class MixedProgram:
    """A mixture with numbers as a Pyro program: one site per vertex, named as it, and one for U.

    Values of states are state numbers (long); values of numbers stand in the units of the user:
    ``Normal``, ``StudentT``, ``LogNormal`` (kind positive), ``Poisson``, and ``ZeroOrLogNormal``
    (kind hurdle). Rows are independent under the plate ``rows`` at dim -1, and
    ``max_plate_nesting`` is 1.

    - ``program(size=1)`` generates ``size`` rows.
    - ``program(rows=rows)`` observes cells, and leaves U and missing states to be enumerated or
      sampled. Missing numbers are sampled.

    Attributes:
        mixture: the laws, and the structure.
    """

    mixture: MixedMixture

    def __call__(self, size: int = 1, *, rows: Any = None) -> dict[str, Tensor]:
        """Run the program.

        Args:
            size: how many rows to generate; without meaning when rows are given.
            rows: those of a fit (``fit.records``), or names to tensors ``(m,)``: state numbers, -1
                where missing, or numbers in the units of the user, nan where missing. Variables
                that are not named are missing.

        Returns:
            The value of every vertex and of U, ``(size,)`` when nothing is enumerated.

        Raises:
            DataError: no rows, or cells that a variable cannot have.
        """
        spec, device = self.mixture.spec, self.mixture.device
        columns = _columns(self.mixture, rows)
        size = len(next(iter(columns.values()))) if columns else size
        size = whole("size", size, 0, error=DataError)
        if not size:
            raise DataError("expected at least one row, found 0")
        numbers = size * (spec.n_variables + 1)
        check_numbers(f"{size:,} rows of a program", numbers, "take a smaller size", DataError)
        with pyro.plate("rows", size, dim=-1, device=str(device)):
            law = dist.Categorical(logits=self.mixture.weights.log())
            source = pyro.sample(spec.source, law, infer=ENUMERATED)
            raw: dict[int, Tensor] = {}
            for v in range(spec.n_variables):
                raw[v] = _site(spec, v, self._law(v, source, raw), columns.get(v))
        return {spec.source: source} | {spec.name(v): x for v, x in raw.items()}

    def _law(self, v: int, source: Tensor, raw: Mapping[int, Tensor]) -> Any:
        """The law of a vertex in every row, in the user's units."""
        spec, units = self.mixture.spec, self.mixture.units
        parents = [
            units[p].inward(raw[p]) if spec.kind(p).numeric else raw[p] for p in spec.parents[v]
        ]
        # Where U does not act, no axis of U shall appear.
        sources = torch.zeros_like(source[..., :1]).flatten()[:1] if spec.shared(v) else source
        sources, *parents = torch.broadcast_tensors(sources, *parents)
        return site_law(units[v], self.mixture.cpds[v].distribution(sources, parents))


class ZeroOrLogNormal(dist.TorchDistribution):
    """Zero with a probability, else a number whose logarithm is normal.

    Args:
        logs: log-probabilities of zero and of more, ``(*batch, 2)``.
        loc: mean of the logarithm above zero.
        scale: standard deviation of it.
    """

    arg_constraints: Any = {  # noqa: RUF012
        "logs": constraints.real_vector,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support: Any = constraints.nonnegative
    has_rsample = False

    def __init__(self, logs: Tensor, loc: Tensor, scale: Tensor, validate_args: Any = None) -> None:
        shape = torch.broadcast_shapes(logs.shape[:-1], loc.shape, scale.shape)
        self.logs, self.loc, self.scale = logs.expand(*shape, 2), loc.expand(shape), scale
        self._above = dist.LogNormal(self.loc, scale.expand(shape), validate_args=False)
        super().__init__(shape, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of zero, log-density above."""
        above = value > 0
        size = self._above.log_prob(torch.where(above, value, torch.ones_like(value)))
        return torch.where(above, self.logs[..., 1] + size, self.logs[..., 0])

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw by the global generator."""
        size: Any = self._above.sample(sample_shape)
        above = torch.rand_like(size).log() < self.logs[..., 1]
        return torch.where(above, size, torch.zeros_like(size))

    def expand(self, batch_shape: Any, _instance: Any = None) -> ZeroOrLogNormal:
        """The same law with another batch shape."""
        shape = torch.Size(batch_shape)
        return ZeroOrLogNormal(
            self.logs.expand(*shape, 2), self.loc.expand(shape), self.scale.expand(shape), False
        )


def mixed_program(mixture: MixedMixture) -> MixedProgram:
    """Return a mixture with numbers as a Pyro program; `MixedProgram` says how to call it.

    Raises:
        SpecError: a variable has the name of the plate.
    """
    spec = mixture.spec
    if "rows" in (spec.source, *spec.variables):
        raise SpecError("the program has a plate named 'rows', found a variable of this name; "
                        "rename it")  # fmt: skip
    return MixedProgram(mixture)


def site_law(unit: Unit, law: Distribution) -> Any:
    """The distribution of Pyro, in the user's units, of a law as it is reckoned with.

    Args:
        unit: of the vertex.
        law: a CPD's ``distribution``.

    Raises:
        TypeError: a family that is not known here.
    """
    match law:
        case Hurdle():
            return ZeroOrLogNormal(law.logs, *_line(unit, law.above), validate_args=False)
        case torch.distributions.Normal():
            of = dist.LogNormal if unit.logarithmic else dist.Normal
            return of(*_line(unit, law), validate_args=False)
        case torch.distributions.StudentT():
            return dist.StudentT(law.df, *_line(unit, law), validate_args=False)
        case torch.distributions.Poisson():
            return dist.Poisson(law.rate, validate_args=False)
        case torch.distributions.Categorical():
            return dist.Categorical(logits=law.logits, validate_args=False)
    raise TypeError(f"no site for {type(law).__name__}")


def _line(unit: Unit, law: Any) -> tuple[Tensor, Tensor]:
    """Location and scale in the user's units, of the logarithm where the unit is one of these."""
    return law.loc * unit.scale + unit.centre, law.scale * unit.scale


def _site(spec: MixedSpec, v: int, law: Any, column: Tensor | None) -> Tensor:
    """The sample site of a vertex under the plate of rows.

    States that are missing in some rows: a site that is pinned to the others, which a factor
    ``observed[NAME]`` scores, so that enumeration counts each once.
    """
    name, numeric = spec.name(v), spec.kind(v).numeric
    infer: InferDict = {} if numeric else ENUMERATED
    if column is None:
        return pyro.sample(name, law, infer=infer)
    missing = column.isnan() if numeric else column < 0
    if bool(missing.all()):
        return pyro.sample(name, law, infer=infer)
    if not bool(missing.any()):
        return pyro.sample(name, law, obs=column, infer=infer)
    if numeric:
        filled = torch.where(missing, torch.ones_like(column), column)
        mask: Any = ~missing
        return pyro.sample(name, law, obs=filled, obs_mask=mask)
    seen = column.clamp(min=0)
    pyro.factor(f"observed[{name}]", law.log_prob(seen).masked_fill(missing, 0.0))
    states = torch.arange(law.logits.shape[-1], device=column.device)
    pinned = torch.zeros_like(law.logits).masked_fill(states != seen.unsqueeze(-1), -torch.inf)
    logits = torch.where(missing.unsqueeze(-1), law.logits, pinned)
    return pyro.sample(name, dist.Categorical(logits=logits), infer=infer)


def _columns(mixture: MixedMixture, rows: Any) -> dict[int, Tensor]:
    """Cells ``(m,)`` by vertex, in the user's units; empty without rows.

    Raises:
        DataError: unequal lengths, or cells that a variable cannot have.
    """
    spec = mixture.spec
    if rows is None:
        return {}
    if isinstance(rows, Records):
        return {
            v: unit.outward(column) if kind.numeric else column
            for v, (unit, kind, column) in enumerate(
                zip(rows.units, rows.kinds, rows.columns, strict=True)
            )
        }
    if not isinstance(rows, Mapping) or not rows:
        raise DataError(
            "rows: expected names of variables to tensors (m,), states as their numbers, found "
            f"{shown(rows)}"
        )
    found: dict[int, Tensor] = {}
    for name, given in rows.items():
        v = spec.vertex(name)
        if v == SOURCE or not isinstance(given, Tensor) or given.ndim != 1:
            raise DataError(f"rows: expected one tensor (m,) per variable and none for "
                            f"{spec.source!r}, found {shown(given)} for {name!r}")  # fmt: skip
        found[v] = _checked(spec, v, given.to(mixture.device))
    if len({len(column) for column in found.values()}) > 1:
        raise DataError("rows: expected columns of one length, found "
                        f"{ {spec.name(v): len(c) for v, c in found.items()} }")  # fmt: skip
    return found


def _checked(spec: MixedSpec, v: int, column: Tensor) -> Tensor:
    """A column of a vertex.

    Raises:
        DataError: cells that it cannot have.
    """
    name, kind = spec.name(v), spec.kind(v)
    if not kind.numeric:
        card = spec.binned.card(v)
        if column.is_floating_point() or bool(((column < -1) | (column >= card)).any()):
            raise DataError(f"{name!r} has state numbers 0..{card - 1}, and -1 where a cell is "
                            "missing; found others")  # fmt: skip
        return column.long()
    column = column.to(torch.float64)
    seen = column[~column.isnan()]
    allowed = seen.isfinite()
    if kind is Kind.POSITIVE:
        allowed = allowed & (seen > 0)
    elif kind in (Kind.HURDLE, Kind.COUNT):
        allowed = allowed & (seen >= 0)
    if kind is Kind.COUNT:
        allowed = allowed & (seen == seen.floor())
    if not bool(allowed.all()):
        raise DataError(
            f"{name!r} has the kind {str(kind)!r}, found {float(seen[~allowed][0]):g} among its "
            "cells; nan stands for a missing one"
        )
    return column
