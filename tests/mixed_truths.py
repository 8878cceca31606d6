"""Random mixtures with numbers, tables from them with noise of any shape, and plain answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from pyromix.model.cpd import TableCPD
from pyromix.model.families.linear_gaussian import LinearGaussianCPD
from pyromix.model.families.logistic import LogisticCPD
from pyromix.model.kind import Kind, Unit
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.spec import MixtureSpec

NOISE = {
    "normal": lambda g, n: g.normal(size=n),
    "gamma": lambda g, n: (g.gamma(2.0, size=n) - 2) / np.sqrt(2),
    "t3": lambda g, n: g.standard_t(3, size=n) / np.sqrt(3),
}
"""Mean 0 and variance 1 each."""


def random_mixed_spec(
    seed: int, n: int, k: int, share: float = 0.5, edges: float = 1.0
) -> MixedSpec:
    """A random DAG in which the last two vertices, X -> Y, are numbers."""
    g = np.random.default_rng(seed)
    names = [f"V{i}" for i in range(n - 2)] + ["X", "Y"]
    parents: dict[str, list[str]] = {}
    for i, name in enumerate(names):
        many = min(i, int(g.poisson(edges * 0.5)), 2)
        parents[name] = [names[j] for j in sorted(g.choice(i, many, replace=False))] if many else []
    if "X" not in parents["Y"]:
        parents["Y"] = [*parents["Y"][:1], "X"]
    kinds = [Kind.REAL if g.random() < share else Kind.CATEGORICAL for _ in names]
    kinds[-2:] = [Kind.REAL, Kind.REAL]
    states = {
        name: [f"b{j}" for j in range(k + 1)]
        if kind.numeric
        else [f"s{j}" for j in range(int(g.integers(2, 4)))]
        for name, kind in zip(names, kinds, strict=True)
    }
    coarse = [name for name, kind in zip(names, kinds, strict=True) if kind.numeric]
    binned = MixtureSpec.from_parents(states, parents, k, coarse=coarse)
    by_name = dict(zip(names, kinds, strict=True))
    return MixedSpec(binned, tuple(by_name[name] for name in binned.variables))


def random_mixed(spec: MixedSpec, seed: int, separation: float = 1.0) -> MixedMixture:
    """Sources that differ in every vertex."""
    g = np.random.default_rng(seed)
    k = spec.n_sources
    weights = torch.from_numpy(g.dirichlet(np.full(k, 8.0)))
    cpds = []
    for v in range(spec.n_variables):
        layout = spec.layout(v)
        shape = (k, layout.n_rows, layout.n_columns)
        if spec.kind(v).numeric:
            lines = torch.from_numpy(g.normal(scale=0.4, size=shape))
            lines[..., 0] = torch.from_numpy(
                separation * 1.2 * g.normal(size=(k, 1)) + 0.5 * g.normal(size=shape[:2])
            )
            cpds.append(
                LinearGaussianCPD(lines, torch.from_numpy(g.uniform(0.5, 1.5, shape[:2])), layout)
            )
        else:
            card = spec.binned.card(v)
            lines = torch.from_numpy(0.5 * g.normal(size=(*shape, card - 1)))
            lines[..., 0, :] = torch.from_numpy(
                separation * 1.5 * g.normal(size=(k, 1, card - 1))
                + 0.5 * g.normal(size=(*shape[:2], card - 1))
            )
            if layout.n_columns > 1:
                cpds.append(LogisticCPD(lines, layout))
            else:
                scores = torch.cat([lines[..., 0, :], torch.zeros(*shape[:2], 1)], -1)
                table = scores.softmax(-1).reshape(k, *layout.cards, card)
                cpds.append(TableCPD(table, len(layout.cards)))
    return MixedMixture(spec, (Unit(),) * spec.n_variables, weights, tuple(cpds))


def table_of(
    mixture: MixedMixture, n: int, seed: int, noise: str = "normal"
) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows, and the sources they are from; numbers have noise of a shape."""
    g, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    spec = mixture.spec
    sources = torch.multinomial(mixture.weights, n, replacement=True, generator=generator)
    columns: list[torch.Tensor] = []
    found = {}
    for v, cpd in enumerate(mixture.cpds):
        above = [columns[p] for p in spec.parents[v]]
        if isinstance(cpd, LinearGaussianCPD):
            law = cpd.distribution(sources, above)
            column = law.mean + law.stddev * torch.from_numpy(NOISE[noise](g, n))
            found[spec.name(v)] = column.numpy()
        else:
            column = cpd.sample(sources, above, generator)
            states = np.array(spec.binned.states_of(v), dtype=object)
            found[spec.name(v)] = pd.Categorical.from_codes(column.numpy(), categories=states)
        columns.append(column)
    return pd.DataFrame(found), sources.numpy()


def slope(mixture: MixedMixture) -> float:
    """Mean of Y per unit of X under do(X), in the user's units: X and Y are numbers.

    X is a parent of Y, and Y a line in it: the slope is that of the sources and rows of the table,
    averaged by P(U, row | do), which is P(U, row) as X stands above no parent of Y here. By
    simulation where rows hang on numbers.
    """
    spec = mixture.spec
    x, y = spec.vertex("X"), spec.vertex("Y")
    cpd = mixture.cpds[y]
    generator = torch.Generator().manual_seed(0)
    n = 200_000
    sources = torch.multinomial(mixture.weights, n, replacement=True, generator=generator)
    columns: list[torch.Tensor] = []
    for v, law in enumerate(mixture.cpds[: max(x, y) + 1]):
        columns.append(law.sample(sources, [columns[p] for p in spec.parents[v]], generator))
        if v == y:
            break
    place = spec.parents[y].index(x)
    lines = cpd.coefficients[sources, cpd.layout.row([columns[p] for p in spec.parents[y]], (n,))]
    unit = mixture.units
    return float(lines[:, cpd.layout.column(place)].mean()) * unit[y].scale / unit[x].scale
