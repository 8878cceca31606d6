"""What a user's model says about structure, before states or k need to be known."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import networkx as nx
import numpy as np

from pyromix.errors import AddedSourceWarning, DataRepairWarning, SpecError, warn
from pyromix.model.kind import Kind
from pyromix.model.mixed import MixedSpec
from pyromix.model.spec import MixtureSpec, near_matches

LATENTS = "latents"
"""The role that marks the source, as pgmpy names it."""

LINEAR_GAUSSIAN = "LinearGaussianBayesianNetwork"
"""pgmpy's class of networks of numbers; it is an extra here, and not imported to be recognised."""

DEFAULT_SOURCE = "U"
"""Name of a source that was added."""


@dataclass(frozen=True)
class Structure:
    """A graph with a source, whose states and k may still be open.

    Attributes:
        variables: names of the observed variables, in the order of the user's model.
        parents: the parents of every variable, in the order of the axes of its CPT, U left out.
        states: the state names that are known; variables may be missing.
        source: name of U.
        uninfluenced: names of the variables without an edge from U.
        n_sources: k, where the model says it.
        source_states: names of the sources, where the model says them.
        roles: names of the variables that carry each role (``exposures``, ``outcomes``, ...).
        added_source: whether U was not in the model and points at every variable.
        coarse: names of the variables whose states are bins of a number.
        real: whether the model is one of numbers alone, whatever the cells look like.
        kinds: of the variables, where the model says them; numbers have no states.

    Raises:
        SpecError: a name is no string, unknown or used twice, or the graph has a cycle.
    """

    variables: tuple[str, ...]
    parents: Mapping[str, tuple[str, ...]]
    states: Mapping[str, tuple[Hashable, ...]] = field(default_factory=dict)
    source: str = DEFAULT_SOURCE
    uninfluenced: frozenset[str] = frozenset()
    n_sources: int | None = None
    source_states: tuple[Hashable, ...] = ()
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    added_source: bool = False
    coarse: frozenset[str] = frozenset()
    real: bool = False
    kinds: Mapping[str, Kind] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_known("states", self.states)
        placeholders = {name: self.states.get(name, (0, 1)) for name in self.variables}
        MixtureSpec.from_parents(
            placeholders,
            self.parents,
            max(len(self.source_states), 1) if self.n_sources is None else self.n_sources,
            source=self.source,
            uninfluenced=self.uninfluenced,
            source_states=self.source_states,
            roles=self.roles,
            coarse=self.coarse,
        )

    @property
    def missing_states(self) -> tuple[str, ...]:
        """Names of the variables whose states the model does not say."""
        return tuple(name for name in self.variables if name not in self.states)

    def to_spec(
        self,
        n_sources: int | None = None,
        states: Mapping[str, Sequence[Hashable]] | None = None,
    ) -> MixtureSpec:
        """Fill in what is open and return the spec.

        Args:
            n_sources: k; needed where the model does not say it.
            states: state names of the variables that the model leaves open. Where the model names
                them too, they must be the same states, and the order given here holds.

        Raises:
            SpecError: states or k are missing, or contradict those of the model.
        """
        given = {name: tuple(names) for name, names in (states or {}).items()}
        self._check_known("states", given)
        for name, names in given.items():
            known = self.states.get(name, names)
            if set(known) != set(names):
                raise SpecError(
                    f"states of {name!r}: the model declares {list(known)}, but {list(names)} were "
                    "given; declared states are law: drop one of the two lists or make them agree"
                )
        known = {**self.states, **given}
        if missing := [name for name in self.variables if name not in known]:
            raise SpecError(
                f"the states of {missing} are not known: the graph carries none; give data, "
                "states={name: [...]}, or a model with CPDs"
            )
        return MixtureSpec.from_parents(
            {name: known[name] for name in self.variables},
            self.parents,
            self.agreed_n_sources(n_sources),
            source=self.source,
            uninfluenced=self.uninfluenced,
            source_states=self.source_states,
            roles=self.roles,
            coarse=self.coarse,
        )

    def agreed_n_sources(self, n_sources: int | None) -> int:
        """Return k from the caller, the model, or both where they agree.

        Raises:
            SpecError: neither says it, or they contradict each other.
        """
        asked = self.n_sources if n_sources is None else n_sources
        if asked is None:
            raise SpecError(
                f"n_sources is not known: the model gives {self.source!r} no states; "
                "pass n_sources, e.g. n_sources=2"
            )
        if self.n_sources not in (None, asked):
            raise SpecError(
                f"n_sources={asked} was asked for, but the model gives {self.source!r} "
                f"{self.n_sources} states; leave n_sources out, or change the states of "
                f"{self.source!r} (of a MixtureSpec: spec.with_n_sources({asked}))"
            )
        return asked

    def _check_known(self, label: str, names: Mapping[str, object]) -> None:
        known = set(self.variables)
        for name in names:
            if name not in known:
                raise SpecError(
                    f"{label}: {name!r} is not among the variables"
                    f"{near_matches(name, self.variables)}; they are {list(self.variables)}"
                )

    @staticmethod
    def of_spec(spec: MixtureSpec) -> Structure:
        """Return the structure of a spec: nothing is left open."""
        return Structure(
            variables=spec.variables,
            parents={
                name: tuple(spec.variables[p] for p in parents)
                for name, parents in zip(spec.variables, spec.parents, strict=True)
            },
            states=dict(zip(spec.variables, spec.states, strict=True)),
            source=spec.source,
            uninfluenced=frozenset(spec.variables[v] for v in spec.uninfluenced),
            n_sources=spec.n_sources,
            source_states=spec.source_states,
            roles={role: tuple(spec.variables[v] for v in vs) for role, vs in spec.roles},
            coarse=frozenset(spec.variables[v] for v in spec.coarse),
        )

    @staticmethod
    def of_mixed(spec: MixedSpec) -> Structure:
        """Return the structure of a spec with numbers, which have kinds and no states."""
        found = Structure.of_spec(spec.binned)
        kinds = dict(zip(spec.variables, spec.kinds, strict=True))
        states = {name: own for name, own in found.states.items() if not kinds[name].numeric}
        return replace(found, states=states, coarse=frozenset(), kinds=kinds)


def build_structure(
    parents: Mapping[Any, Sequence[Any]],
    *,
    states: Mapping[Any, Sequence[Hashable]] | None = None,
    roles: Mapping[str, Sequence[Any]] | None = None,
    source: str | None = None,
) -> Structure:
    """Split the source off a graph that may or may not show it.

    The vertex with the role ``latents`` is the source; its edges are honoured, and vertices that
    it does not point at are uninfluenced. Without such a vertex, and without one of the name
    ``source``, a source that points at every vertex is added.

    Args:
        parents: all vertices, the source included, with their parents in order.
        states: state names where known.
        roles: names of the vertices that carry each role.
        source: a vertex of this name is the source although no role says so. None: a vertex
            called ``U`` without the role is refused rather than guessed about.

    Raises:
        SpecError: two latents, a source with parents, a cycle, or a name that is no string.
    """
    check_names(parents)
    states, roles = dict(states or {}), dict(roles or {})
    latents = list(roles.pop(LATENTS, ()))
    found = find_source(parents, latents, source)
    if found is None and DEFAULT_SOURCE in parents:
        raise SpecError(
            f"the graph has a vertex {DEFAULT_SOURCE!r} that is not declared latent; declare it "
            f"(pgmpy: latents={{'{DEFAULT_SOURCE}'}}; networkx: node attribute latent=True; TOML: "
            f"latent = '{DEFAULT_SOURCE}') or rename it"
        )
    if found is not None and parents[found]:
        raise SpecError(
            f"the source {found!r} must be a root, found parents {list(parents[found])}; "
            "turn these edges round or leave them out"
        )
    observed = {name: given for name, given in parents.items() if name != found}
    source_states = tuple(states.pop(found, ()))
    return Structure(
        variables=tuple(observed),
        parents={name: tuple(p for p in given if p != found) for name, given in observed.items()},
        states={name: tuple(names) for name, names in states.items()},
        source=DEFAULT_SOURCE if found is None else found,
        uninfluenced=frozenset(
            name for name, given in observed.items() if found is not None and found not in given
        ),
        n_sources=len(source_states) or None,
        source_states=source_states,
        roles=roles_without_source(roles, found),
        added_source=found is None,
    )


def roles_without_source(
    roles: Mapping[str, Sequence[str]], source: str | None
) -> dict[str, tuple[str, ...]]:
    """Return the roles of the observed variables; a further role of the source is dropped, loudly.

    A spec has room for one role of the source, that of being latent.
    """
    if dropped := sorted(role for role, names in roles.items() if source in names):
        warn(
            f"the source {source!r} also carries the roles {dropped}; only 'latents' is kept for "
            "it, give the others to an observed variable",
            DataRepairWarning,
        )
    kept = {role: tuple(n for n in names if n != source) for role, names in roles.items()}
    return {role: names for role, names in kept.items() if names}


def find_source(
    variables: Mapping[str, Any], latents: Sequence[str], source: str | None
) -> str | None:
    """Return the vertex that is the source; None where the model shows none.

    Raises:
        SpecError: two latents, or one latent beside another vertex of the name ``source``.
    """
    if len(latents) > 1:
        raise SpecError(
            f"expected at most one latent vertex, found {sorted(latents)}; several latents with "
            "the same children are one source with more states: merge them, or declare one only"
        )
    if latents and source in variables and source != latents[0]:
        raise SpecError(
            f"{latents[0]!r} is declared latent, but a vertex {source!r} is also there; "
            f"pass source={latents[0]!r} to say which is the source"
        )
    if latents:
        return latents[0]
    return source if source in variables else None


def check_names(names: Mapping[Any, Any]) -> None:
    """Refuse names that are no non-empty strings.

    Raises:
        SpecError: names the offenders.
    """
    if offending := [name for name in names if not isinstance(name, str) or not name]:
        raise SpecError(
            f"variable names must be non-empty strings, found {offending[:5]} "
            f"({type(offending[0]).__name__}); rename them, e.g. networkx.relabel_nodes(graph, str)"
        )


def structure_of_graph(graph: nx.DiGraph) -> Structure:
    """Read a networkx graph, or a pgmpy graph, which is one too.

    Roles are read from the node attribute ``roles`` as pgmpy keeps it; a node attribute
    ``latent=True`` declares the source, and ``states`` its state names. CPDs, where the graph has
    them, bring states and the order of parents; those of a linear Gaussian network the latter
    alone.

    Raises:
        SpecError: see `build_structure`; also a CPD that is neither a discrete table nor one of a
            linear Gaussian network.
    """
    real = any(kind.__name__ == LINEAR_GAUSSIAN for kind in type(graph).__mro__)
    cpds = {cpd.variable: cpd for cpd in getattr(graph, "cpds", ())}
    states: dict[Any, tuple[Hashable, ...]] = {}
    for cpd in sorted(cpds.values(), key=lambda cpd: str(cpd.variable)):
        if real:
            continue
        if not isinstance(getattr(cpd, "state_names", None), Mapping):
            raise SpecError(
                f"the CPD of {cpd.variable!r} is a {type(cpd).__name__}, expected a TabularCPD; "
                "only discrete variables have states: cut the variable into intervals"
            )
        # A variable's own CPD decides its states; what children list fills gaps only.
        for name, names in cpd.state_names.items():
            if name == cpd.variable or name not in cpds:
                states[name] = plain_states(names)
    parents: dict[Any, Sequence[Any]] = {}
    for name, data in graph.nodes(data=True):
        if "states" in data:
            states.setdefault(name, plain_states(data["states"]))
        edges = list(graph.predecessors(name))
        evidence = list(cpds[name].variables[1:]) if name in cpds else edges
        # A CPD that contradicts the graph is refused where tables are needed, not here.
        parents[name] = evidence if set(evidence) == set(edges) else edges
    found = build_structure(parents, states=states, roles=roles_of_graph(graph))
    return replace(found, real=real)


def roles_of_graph(graph: nx.DiGraph) -> dict[str, list[Any]]:
    """Return the vertices that carry each role, in the order of the graph."""
    roles: dict[str, list[Any]] = {}
    for name, data in graph.nodes(data=True):
        carried = data.get("roles", ())
        for role in parse_roles(carried) if isinstance(carried, str) else carried:
            roles.setdefault(role, []).append(name)
        if data.get("latent") and name not in roles.get(LATENTS, ()):
            roles.setdefault(LATENTS, []).append(name)
    return {role: roles[role] for role in sorted(roles)}


def parse_roles(text: str) -> list[str]:
    """Read the text of a set of roles, ``{'latents', 'exposures'}`` or ``latents, exposures``."""
    return sorted(role for role in re.split(r"[\s,;{}'\"]+", text) if role)


def plain_states(states: Sequence[Any]) -> tuple[Hashable, ...]:
    """Return state names with numpy scalars as the Python values they equal."""
    return tuple(s.item() if isinstance(s, np.generic) else s for s in states)


def announce(structure: Structure, n_sources: int | None = None) -> None:
    """Say once that a source was added; with k = 1 there is nothing to say."""
    if structure.added_source and n_sources != 1:
        warn(
            f"the graph names no latent vertex: a source {structure.source!r} that influences all "
            f"{len(structure.variables)} variables was added; declare one to choose its edges "
            "(pgmpy: latents={'U'}; networkx: node attribute latent=True)",
            AddedSourceWarning,
        )
