"""Networks as pyromix, pgmpy and pyAgrum hold them, in one form that shares no code with any."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pgmpy.models import DiscreteBayesianNetwork

import pyromix as px

gum = pytest.importorskip("pyagrum", reason="pyAgrum, of the group dev, has no wheel here")


States = dict[str, list[str]]
Tables = dict[str, tuple[list[str], np.ndarray]]
Raw = tuple[States, Tables]


@dataclass(frozen=True)
class Plain:
    """A network.

    Attributes:
        states: per vertex, in order of their text.
        tables: per vertex the names of its axes, parents in order of their names and itself last,
            and the probabilities.
    """

    states: dict[str, tuple[str, ...]]
    tables: dict[str, tuple[tuple[str, ...], np.ndarray]]


def plain(states: States, tables: Tables) -> Plain:
    """Axes and states put in order of their names."""
    found = {}
    for name, (axes, values) in tables.items():
        order = [*sorted(axis for axis in axes if axis != name), name]
        values = np.transpose(values, [axes.index(axis) for axis in order])
        for place, axis in enumerate(order):
            values = np.take(values, np.argsort(states[axis]), axis=place)
        found[name] = (tuple(order), values)
    return Plain({name: tuple(sorted(own)) for name, own in states.items()}, found)


def of_mixture(mixture: px.BayesNetMixture) -> Plain:
    """Of ours; a vertex that U does not reach has no such axis."""
    spec = mixture.spec
    states = {spec.name(v): list(map(str, spec.states_of(v))) for v in range(-1, spec.n_variables)}
    tables = {spec.source: ([spec.source], mixture.weights.numpy())}
    for v, name in enumerate(spec.variables):
        axes = [spec.name(p) for p in spec.parents[v]] + [name]
        values = mixture.cpts[v].numpy()
        free = v in spec.uninfluenced
        tables[name] = (axes, values[0]) if free else ([spec.source, *axes], values)
    if spec.n_sources == 1:  # a source of one state is no vertex of a file
        del states[spec.source], tables[spec.source]
        tables = {
            n: ([a for a in axes if a != spec.source], x[0] if spec.source in axes else x)
            for n, (axes, x) in tables.items()
        }
    return plain(states, tables)


def of_pgmpy(model: DiscreteBayesianNetwork) -> Raw:
    """Of pgmpy's, whose CPDs have their own axis first."""
    states, tables = {}, {}
    for cpd in model.get_cpds():
        states[cpd.variable] = list(map(str, cpd.state_names[cpd.variable]))
        tables[cpd.variable] = (list(cpd.variables), np.asarray(cpd.values))
    return states, tables


def of_agrum(net: Any) -> Raw:
    """Of pyAgrum's, whose names of axes run from the fastest to the slowest."""
    states, tables = {}, {}
    for number in net.nodes():
        variable, tensor = net.variable(number), net.cpt(number)
        states[variable.name()] = list(variable.labels())
        tables[variable.name()] = (list(tensor.names)[::-1], tensor.toarray())
    return states, tables


def read_by_pgmpy(path: Path) -> Plain:
    return plain(*named(path, *of_pgmpy(DiscreteBayesianNetwork.load(str(path)))))


def read_by_agrum(path: Path) -> Plain:
    """As pyAgrum reads it, but for what it does in its own way.

    Its ending of XMLBIF is ``.bifxml``, and the parents of its XDSL and UAI run the other way
    round: our warnings say to reverse their names.
    """
    beside = path
    if path.suffix == ".xmlbif":
        path = path.rename(path.with_suffix(".bifxml"))
    if path.suffix in REVERSED:
        path.write_text(REVERSED[path.suffix](path.read_text()))
    net = gum.loadBN(str(path))  # kept while its parts are looked at: they point into it
    return plain(*named(beside, *of_agrum(net)))


def written_by_agrum(mixture: px.BayesNetMixture, path: Path, *, as_it_is: bool = False) -> None:
    """A file of pyAgrum's own making, from tables set by the names of states.

    Args:
        mixture: what is written.
        path: where.
        as_it_is: leave parents in its order, where the format has another.
    """
    net = gum.BayesNet("net")
    for name, states in (whole := of_mixture(mixture)).states.items():
        net.add(gum.LabelizedVariable(name, name, list(states)))
    for name, (axes, _) in whole.tables.items():
        for axis in axes[:-1]:
            net.addArc(axis, name)
    for name, (axes, values) in whole.tables.items():
        for cell in np.ndindex(values.shape):
            at = {a: whole.states[a][i] for a, i in zip(axes, cell, strict=True)}
            net.cpt(name)[at] = float(values[cell])
    target = path.with_suffix(".bifxml") if path.suffix == ".xmlbif" else path
    gum.saveBN(net, str(target))
    if target != path:
        target.rename(path)
    if path.suffix in REVERSED and not as_it_is:
        path.write_text(REVERSED[path.suffix](path.read_text()))


def with_parents_reversed(text: str) -> str:
    """The text of an XDSL, the names in every list of parents the other way round."""

    def reverse(found: re.Match[str]) -> str:
        return f"<parents>{' '.join(found[1].split()[::-1])}</parents>"

    return re.sub("<parents>(.*?)</parents>", reverse, text)


def with_scopes_reversed(text: str) -> str:
    """The text of a UAI file, the parents in every scope the other way round."""
    lines = [line.partition("#")[0].rstrip() for line in text.splitlines()]
    first = 4  # after BAYES, the number of variables, their cardinalities, the number of tables
    for place in range(first, first + int(lines[first - 1])):
        size, *scope = lines[place].split()
        lines[place] = " ".join([size, *scope[-2::-1], scope[-1]])
    return "\n".join(lines) + "\n"


REVERSED = {".xdsl": with_parents_reversed, ".uai": with_scopes_reversed}
"""How a file of the format becomes one of pyAgrum's, and back."""


def named(path: Path, states: States, tables: Tables) -> Raw:
    """With the names that stand beside a UAI file, which has numbers only."""
    beside = path.with_name(f"{path.name}.names.json")
    if not beside.exists():
        return states, tables
    variables = json.loads(beside.read_text())["variables"]
    names = {own: variables[int(own.removeprefix("var_"))] for own in states}
    return (
        {names[own]["name"]: list(map(str, names[own]["states"])) for own in states},
        {
            names[own]["name"]: ([names[axis]["name"] for axis in axes], values)
            for own, (axes, values) in tables.items()
        },
    )


def assert_alike(one: Plain, other: Plain, tolerance: float = 0.0) -> None:
    """The same vertices, states, parents and probabilities."""
    assert one.states == other.states
    assert set(one.tables) == set(other.tables)
    for name, (axes, values) in one.tables.items():
        assert other.tables[name][0] == axes, name
        np.testing.assert_allclose(
            other.tables[name][1], values, rtol=0, atol=tolerance, err_msg=name
        )
