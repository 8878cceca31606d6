"""pgmpy models in and out; the only place that turns pgmpy's axis order round.

pgmpy keeps a CPD with its own states first, ``(card, *card(parents))``; a CPT here has them last.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, SupportsIndex, overload
from weakref import finalize

import networkx as nx
import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.errors import LostFitWarning, SpecError, warn
from pyromix.formats.files import read_structure
from pyromix.formats.network import Network, from_network, network_of
from pyromix.formats.structure import (
    Structure,
    announce,
    plain_states,
    roles_of_graph,
    structure_of_graph,
)
from pyromix.model.arguments import name_of, path_of
from pyromix.model.kind import Kind
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.mixture import BayesNetMixture, Fitted, mixture_of
from pyromix.model.raw_line import raw_line
from pyromix.model.spec import MixtureSpec, sources_of

if TYPE_CHECKING:
    from pgmpy.base import PDAG
    from pgmpy.factors.discrete import DiscreteFactor
    from pgmpy.models import DiscreteBayesianNetwork, LinearGaussianBayesianNetwork


@contextmanager
def quiet_import() -> Iterator[None]:
    """Silence the one deprecation that importing pgmpy sets off inside pgmpy itself.

    Nothing else is filtered, and only while the block runs.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"`pgmpy\.estimators\.StructureScore`", category=FutureWarning
        )
        yield


def parameter_estimator_base() -> type:
    """Return pgmpy's base class of estimators, which `model.fit(estimator=...)` insists on."""
    with quiet_import():
        from pgmpy.parameter_estimator import DiscreteParameterEstimator
    return DiscreteParameterEstimator


def structure_of(model: Any, n_sources: int | None = None) -> Structure:
    """Read the structure out of whatever a user has.

    Edges of the latent vertex are honoured, and vertices that it does not point at are
    uninfluenced. Without a latent vertex a source ``U`` over every vertex is added, and said so.

    Args:
        model: a pgmpy DiscreteBayesianNetwork or DAG; a networkx.DiGraph, where the node attribute
            ``latent=True`` declares the source; a path to a network file or TOML spec; a
            MixtureSpec or MixedSpec; a mixture on one.
        n_sources: k where the caller knows it; with k = 1 an added source is not worth a word.

    Raises:
        SpecError: two latents, a source with parents, a cycle, a name that is no string, a model
            of another kind, or k is no number.
        FileError: a path is missing or unreadable.
    """
    if n_sources is not None and not isinstance(n_sources, SupportsIndex | float):
        raise SpecError(
            f"n_sources must be a whole number, found a {type(n_sources).__name__}; the order is "
            "px.fit(model, data, n_sources), and px.check(model, n_sources, data)"
        )
    if n_sources is not None:
        n_sources = sources_of(n_sources)
    if isinstance(model, BayesNetMixture | MixedMixture):
        model = model.spec
    if isinstance(model, MixtureSpec):
        return Structure.of_spec(model)
    if isinstance(model, MixedSpec):
        return Structure.of_mixed(model)
    if isinstance(model, Structure):
        structure = model
    elif isinstance(model, str | os.PathLike):
        structure = read_structure(path_of(model))
    elif isinstance(model, nx.DiGraph):
        structure = structure_of_graph(model)
    else:
        raise SpecError(
            "expected a pgmpy DiscreteBayesianNetwork or DAG, a networkx.DiGraph, a path or a "
            f"MixtureSpec, found {type(model).__module__}.{type(model).__qualname__}"
            + ("; its spec is one" if hasattr(model, "spec") else "")
        )
    announce(structure, n_sources)
    return structure


def from_pgmpy(model: Any, n_sources: int | None = None) -> MixtureSpec:
    """Return the spec of a model whose states are known.

    Args:
        model: as for `structure_of`.
        n_sources: k; not needed where the latent vertex has states.

    Raises:
        SpecError: states or k are unknown or contradict the model; see `structure_of`.
    """
    return structure_of(model, n_sources).to_spec(n_sources)


def mixture_from_pgmpy(bn: DiscreteBayesianNetwork, source: str = "U") -> BayesNetMixture:
    """Return a pgmpy network with all its CPDs as a mixture.

    The source is the latent vertex, else the vertex named ``source``; k = 1 where there is
    neither. States are matched by name: a CPD may list the states of a parent in another order
    than the parent does.

    A network of tables has no certainty and no intervals. Where its CPDs are those that
    ``to_pgmpy`` or ``MixtureEstimator`` made of a fit, a LostFitWarning says so: ask the fit, which
    is ``estimator.fit_``.

    Raises:
        SpecError: a CPD is missing or contradicts the graph or the states of a parent, the source
            is no root, or a row is no distribution.
    """
    source = name_of("source", source)
    mixture = from_network(_network_from_pgmpy(bn), source)
    if any(id(cpd) in _of_fits for cpd in bn.cpds):
        warn(
            "these CPDs are those of a pyromix fit; a network of tables keeps neither its "
            "certainty nor its intervals nor the data. Ask the fit for these: estimator.fit_ of a "
            "MixtureEstimator, or the fit that to_pgmpy was called on",
            LostFitWarning,
        )
    return mixture


@overload
def to_pgmpy(mixture: MixedMixture) -> dict[Hashable, LinearGaussianBayesianNetwork]: ...


@overload
def to_pgmpy(mixture: BayesNetMixture | Fitted) -> DiscreteBayesianNetwork: ...


def to_pgmpy(mixture: Any) -> Any:
    """Return a mixture, or that of a fit, as a pgmpy network with ``latents={source}``.

    It has every CPD; states, roles and the order of vertices and parents are kept. Evidence lists
    the source first, then the parents in the order of the spec. With k = 1 there is no source
    vertex.

    Where all variables are real numbers, the answer is a dict from the sources to a
    ``LinearGaussianBayesianNetwork`` each, in the units of the table: pgmpy has no network of
    numbers with a hidden state. How probable the sources are stays in ``fit.mixture.weights``.

    Raises:
        SpecError: the mixture has batch axes, or has numbers of which one is not real, or beside
            states: pgmpy has no network for these.
    """
    found = getattr(mixture, "mixture", mixture)
    if isinstance(found, MixedMixture):
        return _linear_networks(found)
    network = network_of(mixture_of(mixture))
    with quiet_import():
        from pgmpy.factors.discrete import TabularCPD
        from pgmpy.models import DiscreteBayesianNetwork
    model = DiscreteBayesianNetwork()
    model.add_nodes_from(network.variables)
    model.add_edges_from((p, name) for name in network.variables for p in network.parents[name])
    for role, names in network.roles.items():
        model.with_role(role, names, inplace=True)
    model.add_cpds(
        *(
            TabularCPD(
                name,
                len(network.states[name]),
                own_state_first(network.tables[name]).numpy(),
                evidence=list(network.parents[name]) or None,
                evidence_card=[len(network.states[p]) for p in network.parents[name]] or None,
                state_names={n: list(network.states[n]) for n in (name, *network.parents[name])},
            )
            for name in network.variables
        )
    )
    model.check_model()
    if not isinstance(mixture, BayesNetMixture):
        for cpd in model.cpds:
            finalize(cpd, _of_fits.discard, id(cpd)).atexit = False
            _of_fits.add(id(cpd))
    return model


def _linear_networks(mixture: MixedMixture) -> dict[Hashable, LinearGaussianBayesianNetwork]:
    """One network per source, in the units of the table."""
    spec = mixture.spec
    others = [v for v, kind in enumerate(spec.kinds) if kind is not Kind.REAL]
    if others:
        named = ", ".join(f"{spec.name(v)!r} ({spec.kind(v)})" for v in others)
        raise SpecError(
            "expected real variables alone, which pgmpy's LinearGaussianBayesianNetwork holds, "
            f"found {named}; discretize= of px.fit makes a table of states, whose fit is a "
            "DiscreteBayesianNetwork"
        )
    return {state: _linear_network(mixture, u) for u, state in enumerate(spec.binned.source_states)}


def _linear_network(mixture: MixedMixture, u: int) -> LinearGaussianBayesianNetwork:
    with quiet_import():
        from pgmpy.factors.continuous import LinearGaussianCPD as Line
        from pgmpy.models import LinearGaussianBayesianNetwork
    spec = mixture.spec
    model = LinearGaussianBayesianNetwork()
    model.add_nodes_from(spec.variables)
    model.add_edges_from(
        (spec.name(p), name) for v, name in enumerate(spec.variables) for p in spec.parents[v]
    )
    for role, vertices in spec.binned.roles:
        model.with_role(role, [spec.name(v) for v in vertices], inplace=True)
    for v, name in enumerate(spec.variables):
        cpd: Any = mixture.cpds[v]
        line = raw_line(mixture, v, cpd.coefficients[u, 0].tolist())
        spread = mixture.units[v].scale * float(cpd.variances[u, 0]) ** 0.5
        beta = [line.intercept, *(slope for _, slope in line.terms)]
        model.add_cpds(Line(name, beta, spread, [spec.name(p) for p in spec.parents[v]]))
    model.check_model()
    return model


def to_pdag(
    directed: Sequence[tuple[str, str]], undirected: Sequence[tuple[str, str]], source: str
) -> PDAG:
    """Return a class of graphs as pgmpy's PDAG.

    Args:
        directed: pairs ``(from, to)``, those of the source among them.
        undirected: pairs whose edge may lead either way.
        source: the latent vertex; it is left out where it has no edge.
    """
    with quiet_import():
        from pgmpy.base import PDAG
    latents = {source} if any(a == source for a, _ in directed) else set()
    return PDAG(list(directed), list(undirected), latents=latents)


_of_fits: set[int] = set()
"""CPDs that were made of a fit and live."""


def to_factor(
    variables: Sequence[str],
    cards: Sequence[int],
    values: Any,
    state_names: Mapping[str, Sequence[Hashable]],
) -> DiscreteFactor:
    """Return a table as a pgmpy DiscreteFactor.

    Args:
        variables: names in the order of the axes.
        cards: number of states of each.
        values: tensor, array or nested list with ``prod(cards)`` entries in row-major order.
        state_names: state names of every variable.

    Raises:
        SpecError: the sizes contradict each other.
    """
    table = torch.as_tensor(values, device="cpu", dtype=torch.float64).detach()
    shape = tuple(int(card) for card in cards)
    named = tuple(len(state_names[name]) for name in variables if name in state_names)
    if named != shape or table.numel() != torch.Size(shape).numel():
        raise SpecError(
            f"a factor over {list(variables)} with cards {list(shape)} needs {list(shape)} state "
            f"names and {torch.Size(shape).numel()} values, found {list(named)} and {table.numel()}"
        )
    with quiet_import():
        from pgmpy.factors.discrete import DiscreteFactor
    names = {name: list(state_names[name]) for name in variables}
    return DiscreteFactor(list(variables), list(shape), table.numpy().ravel(), state_names=names)


def own_state_first(table: Float[Tensor, "... card"]) -> Float[Tensor, "card columns"]:
    """Turn ``(*card(parents), card)`` into pgmpy's ``(card, prod(card(parents)))``.

    The first parent is the slowest in the columns. `own_state_last` undoes it.
    """
    return table.movedim(-1, 0).reshape(table.shape[-1], -1).contiguous()


def own_state_last(values: Float[Tensor, "card ..."]) -> Float[Tensor, "... card"]:
    """Turn the ``values`` of a pgmpy CPD, ``(card, *card(parents))``, into our order."""
    return values.movedim(0, -1).contiguous()


def _network_from_pgmpy(bn: DiscreteBayesianNetwork) -> Network:
    """Collect the CPDs of a pgmpy network, states matched by name."""
    if not isinstance(bn, nx.DiGraph) or not hasattr(bn, "cpds"):
        raise SpecError(
            f"expected a pgmpy DiscreteBayesianNetwork, found {type(bn).__name__}; "
            "from_pgmpy takes a graph without CPDs"
        )
    cpds = {cpd.variable: cpd for cpd in bn.cpds}
    if other := [cpd for cpd in cpds.values() if not hasattr(cpd, "cardinality")]:
        raise SpecError(
            f"expected TabularCPDs, found a {type(other[0]).__name__} of {other[0].variable!r}; "
            "px.fit takes the graph of a linear Gaussian network, and finds its own coefficients"
        )
    if missing := [name for name in bn.nodes if name not in cpds]:
        raise SpecError(
            f"expected a CPD for every vertex, found none for {missing}; add them, or use "
            "from_pgmpy for the structure alone"
        )
    states = {name: _states_in(cpds[name], name) for name in bn.nodes}
    parents, tables = {}, {}
    for name in bn.nodes:
        cpd = cpds[name]
        evidence = list(cpd.variables[1:])
        if set(evidence) != set(bn.predecessors(name)):
            raise SpecError(
                f"the CPD of {name!r} has evidence {evidence}, but the graph gives it the parents "
                f"{list(bn.predecessors(name))}; make the two agree"
            )
        parents[name] = tuple(evidence)
        tables[name] = own_state_last(_tensor(cpd.values))
        for axis, parent in enumerate(evidence):
            # Where a CPD does not list the states of a parent it means the parent's own order.
            if parent in cpd.state_names:
                order = _positions(parent, states[parent], name, _states_in(cpd, parent))
                tables[name] = tables[name].index_select(axis, order)
    roles = {role: tuple(names) for role, names in roles_of_graph(bn).items()}
    return Network(tuple(bn.nodes), states, parents, tables, roles)


def _states_in(cpd: Any, name: str) -> tuple[Hashable, ...]:
    """States of a variable as one CPD lists them."""
    card = int(cpd.cardinality[cpd.variables.index(name)])
    return plain_states(cpd.state_names.get(name, range(card)))


def _positions(
    parent: str, own: tuple[Hashable, ...], child: str, seen: tuple[Hashable, ...]
) -> Tensor:
    """Where each state of a parent stands in the list that a child's CPD keeps."""
    if len(own) != len(seen) or set(own) != set(seen):
        raise SpecError(
            f"the CPD of {child!r} knows states {list(seen)} of its parent {parent!r}, but "
            f"{parent!r} has {list(own)}; give both CPDs the same state_names"
        )
    place = {state: i for i, state in enumerate(seen)}
    return torch.tensor([place[s] for s in own], dtype=torch.long, device="cpu")


def _tensor(values: Any) -> Tensor:
    """Values of a CPD as a float64 tensor of their own, from either of pgmpy's backends."""
    if not isinstance(values, Tensor):
        values = torch.tensor(values, device="cpu")
    return values.detach().to(device="cpu", dtype=torch.float64, copy=True)
