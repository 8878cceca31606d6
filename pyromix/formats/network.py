"""An ordinary Bayesian network with names: what pgmpy and every file format hold."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.errors import DataRepairWarning, FileError, NumericalWarning, SpecError, warn
from pyromix.formats.limits import check_cells
from pyromix.formats.structure import (
    LATENTS,
    Structure,
    build_structure,
    check_names,
    find_source,
    roles_without_source,
)
from pyromix.formats.words import shown
from pyromix.model.cpd import SUM_TOLERANCE
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import MixtureSpec

_Value = TypeVar("_Value")

SILENT_ERROR = 1e-6
"""Rows whose sum is off by at most this are rounded numbers; beyond, renormalising is said."""

LARGEST_ERROR = 1e-2
"""Rows whose sum is off by more are no distributions; pgmpy's `check_model` has the same bound."""


@dataclass(frozen=True, eq=False)
class Network:
    """A Bayesian network by names, the source being a vertex like any other.

    Attributes:
        variables: names in the order of the file or model; any order.
        states: ordered state names of every variable.
        parents: parents of every variable in the order of the axes of its table.
        tables: P(variable | parents), ``(*card(parents), card(variable))``, float64.
        roles: names of the variables that carry each role, ``latents`` included.
    """

    variables: tuple[str, ...]
    states: Mapping[str, tuple[Hashable, ...]]
    parents: Mapping[str, tuple[str, ...]]
    tables: Mapping[str, Float[Tensor, ...]]
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape that the table of a variable must have."""
        return tuple(len(self.states[n]) for n in (*self.parents[name], name))

    def structure(self, source: str | None = "U") -> Structure:
        """Return the graph, split into source and observed variables.

        Raises:
            SpecError: see `build_structure`.
        """
        return build_structure(
            {name: self.parents[name] for name in self.variables},
            states=self.states,
            roles=self.roles,
            source=source,
        )


def network_of(mixture: BayesNetMixture) -> Network:
    """Return a mixture as one network in which the source is the first vertex, a root.

    The source is the first parent of the variables that it influences; the others keep their
    order. With k = 1 there is no source vertex.

    Raises:
        SpecError: the mixture has batch axes.
    """
    if mixture.batch_shape:
        raise SpecError(
            f"a network holds one set of tables, found batch shape {tuple(mixture.batch_shape)}; "
            "pick an element, mixture[0], or write the bundle .pyromix, which keeps batches"
        )
    spec, shown = mixture.spec, mixture.n_sources > 1
    states: dict[str, tuple[Hashable, ...]] = {}
    parents: dict[str, tuple[str, ...]] = {}
    tables: dict[str, Tensor] = {}
    if shown:
        states[spec.source], parents[spec.source] = spec.source_states, ()
        tables[spec.source] = _on_cpu(mixture.weights)
    for v, name in enumerate(spec.variables):
        influenced = shown and v not in spec.uninfluenced
        states[name] = spec.states[v]
        parents[name] = (
            *((spec.source,) if influenced else ()),
            *(spec.variables[p] for p in spec.parents[v]),
        )
        table = mixture.table(v)
        tables[name] = _on_cpu(table if influenced else table[0])
    roles = {role: tuple(spec.variables[v] for v in vertices) for role, vertices in spec.roles}
    if shown:
        roles[LATENTS] = (spec.source,)
    return Network(tuple(states), states, parents, tables, roles)


def from_network(network: Network, source: str = "U") -> BayesNetMixture:
    """Return a network as a mixture over the sources of its latent vertex.

    The source is the vertex with the role ``latents``, else the vertex named ``source``; k = 1
    where there is neither. Rows whose sum is off by more than rounding explains are divided by it,
    with a NumericalWarning beyond 1e-6.

    Raises:
        SpecError: two latents, a source with parents, a table of a wrong shape or whose rows are
            no distributions, or a graph that is no DAG.
        FileError: a table for each source would be too large.
    """
    check_names(dict.fromkeys(network.variables))
    found = find_source(dict.fromkeys(network.variables), network.roles.get(LATENTS, ()), source)
    if found is not None and network.parents[found]:
        raise SpecError(
            f"the source {found!r} must be a root, found parents {list(network.parents[found])}; "
            "if another vertex is meant, pass source=NAME"
        )
    observed = [name for name in network.variables if name != found]
    source_states = network.states[found] if found is not None else ()
    parents = {n: tuple(p for p in network.parents[n] if p != found) for n in observed}
    roles = {role: names for role, names in network.roles.items() if role != LATENTS}
    spec = MixtureSpec.from_parents(
        {name: network.states[name] for name in observed},
        parents,
        max(len(source_states), 1),
        source=source if found is None else found,
        uninfluenced=[n for n in observed if found is not None and found not in network.parents[n]],
        source_states=source_states,
        roles=roles_without_source(roles, found),
    )
    held = {name: [spec.n_sources, *network.shape(name)] for name in observed}
    check_cells("the network", {n: s for n, s in held.items() if found not in network.parents[n]})
    tables = normalised(network)
    cpts = []
    for name in spec.variables:
        table = tables[name]
        order = network.parents[name]
        if found in order:
            table = table.movedim(order.index(found), 0)
        else:
            table = table.expand(spec.n_sources, *table.shape)
        cpts.append(table.contiguous().clone())
    certain = torch.ones(1, dtype=torch.float64, device="cpu")
    return BayesNetMixture(spec, certain if found is None else tables[found], tuple(cpts))


def normalised(network: Network) -> dict[str, Tensor]:
    """Return the tables with rows that sum to one.

    Rows within rounding of one are left as they are, bit for bit.

    Raises:
        SpecError: a table of a wrong shape, or a row too far from one to be a distribution.
    """
    tables: dict[str, Tensor] = {}
    off: dict[str, float] = {}
    for name in network.variables:
        table = network.tables[name]
        if tuple(table.shape) != network.shape(name):
            raise SpecError(
                f"table of {name!r}: expected shape {network.shape(name)} over "
                f"{[*network.parents[name], name]}, found {tuple(table.shape)}"
            )
        sums = table.sum(-1, keepdim=True)
        error = float((sums - 1).abs().max())
        if error > LARGEST_ERROR:
            raise SpecError(
                f"rows of the table of {name!r} must sum to one, found a row off by {error:.3g}; "
                "divide by the sum over the states, or check the order of the numbers"
            )
        if error > SILENT_ERROR:
            off[name] = error
        tables[name] = table / sums if error > SUM_TOLERANCE else table
    if off:
        worst = max(off, key=off.__getitem__)
        warn(
            f"rows of {len(off)} tables did not sum to one and were divided by their sum; the "
            f"worst is {worst!r}, off by {off[worst]:.3g}",
            NumericalWarning,
        )
    return tables


def same_states(left: Sequence[Hashable], right: Sequence[Hashable]) -> bool:
    """Whether two state lists agree in value, type and order: 1, 1.0, True and '1' differ."""
    return [(type(s), s) for s in left] == [(type(s), s) for s in right]


def difference(left: Network, right: Network) -> str:
    """Return in words where two networks differ; empty where they are the same.

    Tables are compared bit for bit.
    """
    if left.variables != right.variables:
        return f"variables {list(left.variables)} became {list(right.variables)}"
    for name in left.variables:
        if not same_states(left.states[name], right.states[name]):
            return f"states {list(left.states[name])} of {name!r} became {list(right.states[name])}"
        if left.parents[name] != right.parents[name]:
            return (
                f"parents {list(left.parents[name])} of {name!r} became {list(right.parents[name])}"
            )
        if not torch.equal(left.tables[name], right.tables[name]):
            return f"the table of {name!r} changed"
    if {r: set(n) for r, n in left.roles.items()} != {r: set(n) for r, n in right.roles.items()}:
        return f"roles {dict(left.roles)} became {dict(right.roles)}"
    return ""


def table_of_words(label: str, name: str, shape: Sequence[int], words: Sequence[str]) -> Tensor:
    """Return a table from the words of a file, in row-major order.

    Raises:
        FileError: too few or too many words, or one that is no number.
    """
    numbers = numbers_of_words(label, name, shape, words)
    return torch.tensor(numbers, dtype=torch.float64, device="cpu").reshape(list(shape))


def numbers_of_words(
    label: str, name: str, shape: Sequence[int], words: Sequence[str]
) -> list[float]:
    """Return the numbers of a table, or of a row of it.

    Raises:
        FileError: too few or too many words, or one that is no number.
    """
    if len(words) != prod(shape):
        raise FileError(
            f"{label}: the table of {name!r} needs {prod(shape)} numbers for cards {list(shape)}, "
            f"found {len(words)}; is the file cut short?"
        )
    numbers = []
    for word in words:
        try:
            numbers.append(float(word))
        except ValueError:
            raise FileError(
                f"{label}: in the table of {name!r}: expected a number, found {shown(word, 40)}"
            ) from None
    return numbers


def check_states(label: str, name: str, states: Sequence[Hashable]) -> None:
    """Refuse a list of states that is empty or says one twice.

    Raises:
        FileError: names the variable.
    """
    if not states:
        raise FileError(f"{label}: {name!r} has no states")
    if len(set(states)) != len(states):
        raise FileError(
            f"{label}: states of {name!r} must be distinct, found {shown(list(states))}"
        )


def add_once(label: str, place: dict[str, _Value], name: str, value: _Value) -> None:
    """Keep what a file says about a variable.

    Raises:
        FileError: the file says it twice.
    """
    if name in place:
        raise FileError(f"{label}: {name!r} is defined twice")
    place[name] = value


def assemble(
    label: str,
    states: Mapping[str, tuple[Hashable, ...]],
    parents: Mapping[str, tuple[str, ...]],
    tables: Mapping[str, Tensor],
    roles: Mapping[str, Sequence[str]],
) -> Network:
    """Return the network of a file.

    Raises:
        FileError: no variable, a variable without states or table, or with two states of one name.
    """
    if not states:
        raise FileError(f"{label}: the file declares no variable")
    for name, found in states.items():
        check_states(label, name, found)
    if missing := [name for name in states if name not in tables]:
        raise FileError(f"{label}: no table for {shown(missing)}; is the file cut short?")
    carriers = {role: tuple(names) for role, names in roles.items()}
    return Network(tuple(states), states, parents, tables, carriers)


def counts_as_shares(label: str, tables: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tables in which whole numbers, counts of rows, have become shares; with a warning.

    Raises:
        FileError: a row of counts holds nothing but zeros.
    """
    shares = dict(tables)
    counted = []
    for name, table in tables.items():
        sums = table.sum(-1, keepdim=True)
        whole = bool((table.isfinite() & (table >= 0) & (table == table.round())).all())
        if not whole or not table.numel() or float((sums - 1).abs().max()) <= LARGEST_ERROR:
            continue
        if bool((sums == 0).any()):
            raise FileError(
                f"{label}: the table of {name!r} holds counts, and a row of zeros; a row needs at "
                "least one count"
            )
        counted.append(name)
        shares[name] = table / sums
    if counted:
        warn(
            f"{label}: the tables of {shown(counted)} hold counts, whole numbers that do not sum "
            "to one; each row was divided by its sum",
            DataRepairWarning,
        )
    return shares


def roles_by_name(network: Network) -> dict[str, list[str]]:
    """Return the roles, sorted, of every variable that carries one."""
    carried: dict[str, list[str]] = {}
    for role in sorted(network.roles):
        for name in network.roles[role]:
            carried.setdefault(name, []).append(role)
    return carried


def without_constants(network: Network) -> Network:
    """Return the network without its variables of one state, which say nothing; with a warning.

    A source of one state stays: it says that k = 1. So does everything where nothing would be left.
    """
    latents = network.roles.get(LATENTS, ())
    constant = {n for n in network.variables if len(network.states[n]) == 1 and n not in latents}
    kept = tuple(n for n in network.variables if n not in constant)
    if not constant or not kept:
        return network
    tables = {
        name: network.tables[name].reshape(
            [len(network.states[n]) for n in (*network.parents[name], name) if n not in constant]
        )
        for name in kept
    }
    said = ", ".join(f"{n} ({network.states[n][0]})" for n in network.variables if n in constant)
    warn(
        f"variables with one state say nothing and were left out: {shown(said, 200)}; give them a "
        "second state to keep them",
        DataRepairWarning,
    )
    return Network(
        kept,
        {name: network.states[name] for name in kept},
        {name: tuple(p for p in network.parents[name] if p not in constant) for name in kept},
        tables,
        {
            role: rest
            for role, names in network.roles.items()
            if (rest := tuple(n for n in names if n not in constant))
        },
    )


def _on_cpu(table: Tensor) -> Tensor:
    return table.detach().to("cpu").contiguous()
