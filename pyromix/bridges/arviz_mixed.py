"""Draws of mixtures with numbers as ArviZ holds them, lines in the units of the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.bridges.arviz import arviz_for, labels
from pyromix.model.cpd import TableCPD
from pyromix.model.families.hurdle import HurdleCPD
from pyromix.model.families.linear_gaussian import LinearGaussianCPD
from pyromix.model.families.logistic import LogisticCPD
from pyromix.model.kind import Unit
from pyromix.model.mixed import MixedMixture
from pyromix.model.raw_line import raw_line
from pyromix.model.spec import SOURCE

if TYPE_CHECKING:
    from xarray import DataTree

CONSTANT = "constant"


def mixed_to_arviz(
    mixture: MixedMixture, points: Float[Tensor, "n free"], n_chains: int = 1, **attributes: Any
) -> DataTree:
    """Return draws as the group ``posterior`` of an ArviZ data tree.

    Args:
        mixture: the estimate, whose units they have.
        points: free coordinates of every draw, chain after chain.
        n_chains: chains of equal length that they are from.
        **attributes: kept with the group, e.g. what drew them.

    Returns:
        A variable ``theta[NAME]`` per table, ``line[NAME]`` per line (of a number or its logarithm,
        of a log-rate, of log-odds against the last state) with a dimension ``NAME_term``,
        ``sd[NAME]`` of its noise (of Student's t the scale). Of a hurdle ``theta[NAME > 0]`` or
        ``line[NAME > 0]`` tells zeros (state 0) from numbers above (1), against which log-odds
        stand. Dimensions are U, parents with states, then states and terms; what sources share has
        no dimension U.

    Raises:
        SpecError: a name has a slash, or is that of a dimension of ArviZ.
        QueryError: ``arviz-base`` is not installed.
    """
    spec = mixture.spec
    arviz_base = arviz_for(spec.binned)
    found = _Found(mixture, n_chains)
    odds = points[:, : spec.n_sources - 1]
    weights = torch.cat([odds, odds.new_zeros(len(odds), 1)], 1).softmax(1)
    found.put(f"theta[{spec.source}]", weights, [spec.source])
    found.coords[spec.source] = labels(spec.binned, SOURCE)
    for v, cpd in enumerate(mixture.cpds):
        if not spec.kind(v).numeric:
            found.coords[spec.name(v)] = labels(spec.binned, v)
        found.law(v, spec.name(v), cpd.with_parameters(points[:, mixture.block(v)]))
    return arviz_base.from_dict(
        {"posterior": found.tables},
        coords=found.coords,
        dims=found.dims,
        attrs={"posterior": attributes},
    )


class _Found:
    """Variables, dimensions and coordinates, as they come."""

    def __init__(self, mixture: MixedMixture, n_chains: int) -> None:
        self.mixture, self.n_chains = mixture, n_chains
        self.tables: dict[str, Any] = {}
        self.dims: dict[str, list[str]] = {}
        self.coords: dict[str, list[Any]] = {}

    def put(self, name: str, values: Tensor, dims: Sequence[str]) -> None:
        """Keep one variable, draws along its first axis."""
        self.tables[name] = values.unflatten(0, (self.n_chains, -1)).cpu().numpy()
        self.dims[name] = list(dims)

    def law(self, v: int, name: str, cpd: Any) -> None:
        """Keep the variables of one law."""
        spec = self.mixture.spec
        if isinstance(cpd, HurdleCPD):
            self.coords[f"{name} > 0"] = [0, 1]
            self.law(v, f"{name} > 0", cpd.gate)
            self.law(v, name, cpd.size)
            return
        above = [p for p in spec.parents[v] if not spec.kind(p).numeric]
        names, cards = [spec.name(p) for p in above], [spec.binned.card(p) for p in above]
        heads = names if cpd.shared else [spec.source, *names]

        def own(values: Tensor) -> Tensor:
            """Rows of the table as states of the parents, of sources that share it once."""
            values = values.unflatten(2, cards) if cards else values[:, :, 0]
            return values[:, 0] if cpd.shared else values

        if isinstance(cpd, TableCPD):
            table = cpd.values[:, 0] if cpd.shared else cpd.values
            self.put(f"theta[{name}]", table, [*heads, name])
            return
        states: list[str] = []
        unit = None
        columns: Any = list(cpd.coefficients.unbind(3))  # (n, k, rows[, states])
        if isinstance(cpd, LogisticCPD):
            states, unit = [name], Unit()
            columns = [torch.cat([c, torch.zeros_like(c[..., :1])], -1) for c in columns]
        line: Any = raw_line(self.mixture, v, columns, unit)
        terms = [line.intercept, *(b for _, b in line.terms)]
        self.coords[f"{name}_term"] = [CONSTANT, *(term for term, _ in line.terms)]
        self.put(f"line[{name}]", own(torch.stack(terms, -1)), [*heads, *states, f"{name}_term"])
        if isinstance(cpd, LinearGaussianCPD):
            spread = self.mixture.units[v].scale * cpd.variances.sqrt()
            self.put(f"sd[{name}]", own(spread), heads)
