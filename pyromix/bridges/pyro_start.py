"""Where the sites of a Pyro program start: at the tables of a fit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from math import prod
from typing import Any

import networkx as nx
import torch
from jaxtyping import Float
from networkx.algorithms.isomorphism import DiGraphMatcher, categorical_node_match
from pyro.infer.autoguide import init_to_uniform
from torch import Tensor

from pyromix.bridges.pyro_probe import Probe, Row, is_beta, n_rows
from pyromix.bridges.pyro_sites import Sites, read_sites
from pyromix.errors import SpecError, UnmatchedSitesWarning, warn
from pyromix.model.arguments import mapping
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import SOURCE, MixtureSpec, near_matches

LEAST_STARTED = 1e-6
"""Least probability of a start in unconstrained coordinates."""

MOST_JOINT_STATES = 2**16
"""Joint states of the parents of a vertex that a program is asked about."""


@dataclass(frozen=True, eq=False)
class ProgramStart:
    """Starting values for the sites of a Pyro program: an ``init_loc_fn`` or ``init_strategy``.

    Other sites start as ``init_to_uniform`` starts them; continuous ones that nobody knew of are
    warned of when they come.

    Attributes:
        values: per site, in its shape.
        got: per site the tables that it got, e.g. ``"P(Y | U, X)"``.
        left: per site that got nothing, why.
    """

    values: Mapping[str, Tensor]
    got: Mapping[str, str]
    left: Mapping[str, str] = field(default_factory=dict)
    _warned: set[str] = field(default_factory=set, init=False, repr=False)

    def __call__(self, site: Mapping[str, Any] | None = None) -> Any:
        """Return the start of a site; itself where Pyro asks without one."""
        if site is None:
            return self
        name = site["name"]
        if name in self.values:
            return self.values[name]
        if not (site["fn"].has_enumerate_support or name in self.left or name in self._warned):
            self._warned.add(name)
            warn(
                f"site {name!r} gets no start from the fit, which has {list(self.values)}; "
                "it starts at random. fit.init_loc_fn(for_model=program) maps tables onto the "
                "sites of a program of your own",
                UnmatchedSitesWarning,
            )
        return init_to_uniform(dict(site))

    def __str__(self) -> str:
        """One line per site."""
        lines = [f"{name}: {what}" for name, what in self.got.items()]
        return "\n".join(lines + [f"{name}: none, {why}" for name, why in self.left.items()])

    __repr__ = __str__


def init_loc_fn(mixture: BayesNetMixture) -> ProgramStart:
    """Return an ``init_loc_fn`` for Pyro's autoguides, or an ``init_strategy`` for NUTS.

    It starts the sites ``theta[NAME]`` of ``to_pyro(mixture, prior=...)`` at the tables of the
    mixture.

    Args:
        mixture: without batch axes; probabilities below ``LEAST_STARTED`` are lifted to it, since a
            boundary point has no finite unconstrained coordinates.

    Raises:
        SpecError: the mixture has batch axes.
    """
    spec = _checked(mixture)
    values, got = {}, {}
    for v in range(SOURCE, spec.n_variables):
        table = mixture.table(v)
        name = f"theta[{spec.name(v)}]"
        values[name] = _lifted(table[0] if v in spec.uninfluenced else table)
        got[name] = _words(spec, v)
    return ProgramStart(values, got)


def start_of(
    model: Callable[..., Any],
    mixture: BayesNetMixture,
    *args: Any,
    row_masses: Sequence[Tensor] | None = None,
    sites: Mapping[str, str] | None = None,
    **kwargs: Any,
) -> ProgramStart:
    """Map the tables of a mixture onto the sites of a program of one's own.

    Vertices are found by name; those of other names where the edges and numbers of states leave
    one way only. States keep their numbers: state 1 of a Bernoulli site is the second state of the
    variable. A row that serves several rows of a table gets their mean, by the rows of data behind
    them where they are known.

    Args:
        model: a Pyro program of Categorical and Bernoulli sites; what it observes is set free.
        mixture: without batch axes; probabilities below ``LEAST_STARTED`` are lifted to it.
        *args: its arguments.
        row_masses: rows of data behind each CPT row, as ``Fit.row_masses``.
        sites: for vertices (and U) of other names in the program, their sites.
        **kwargs: its keyword arguments.

    Raises:
        SpecError: the mixture has batch axes, the program cannot be called, ``sites`` names what
            is not there, or no site gets anything.
    """
    spec = _checked(mixture)
    read = read_sites(model, args, kwargs)
    names = _vertices(read, spec, mapping("sites", sites, "vertices to sites of the program"))
    of_rows = frozenset.union(frozenset(), *(read.plates(n) for n, v in names.items() if v < 0))
    tables = [n for n in read.sites if read.is_table(n) and not of_rows & read.plates(n)]
    probe = Probe(read, tables, model, args, kwargs)
    sums: dict[str, dict[int, Tensor]] = {}
    got: dict[str, list[str]] = defaultdict(list)
    reasons: dict[str, str] = {}
    for name, v in names.items():
        if reason := _lacks(read, names, spec, name):
            reasons[name] = reason
            continue
        for row, where in _asked(read, names, spec, name, probe):
            site, number = row
            rows = sums.setdefault(site, {})
            weighted = _weighted(mixture, v, where, row_masses)
            rows[number] = rows.get(number, torch.zeros_like(weighted)) + weighted
            if _words(spec, v) not in got[site]:
                got[site].append(_words(spec, v))
    values = {name: _filled(read.sites[name], rows) for name, rows in sums.items()}
    left = _left(read, names, values, reasons)
    if not values:
        raise SpecError(
            f"expected a program with tables of {[spec.source, *spec.variables]} as Dirichlet or "
            f"Beta sites, found none that gets a start: {_listed(left) or 'it has no sites'}; "
            'vertices of other names are told by sites={"X": "x_site"}'
        )
    if left:
        warn(
            f"these sites of the program get no start from the fit: {_listed(left)}; they start "
            "where Pyro puts them",
            UnmatchedSitesWarning,
        )
    said = {
        name: ", ".join(got[name])
        + (f" ({idle} of its rows are of no vertex)" if (idle := _idle(read, name, sums)) else "")
        for name in values
    }
    return ProgramStart(values, said, left)


def _vertices(read: Sites, spec: MixtureSpec, told: Mapping[str, str]) -> dict[str, int]:
    """Vertex of the fit for sites of the program: as told, by name, by elimination, by edges."""
    names: dict[str, int] = {}
    for vertex, site in told.items():
        if site not in read.cards:
            raise SpecError(
                f"sites: expected Categorical or Bernoulli sites of the program, found {site!r}"
                f"{near_matches(site, read.cards)}; it has {list(read.cards)}"
            )
        names[site] = spec.vertex(vertex)
    for v in range(SOURCE, spec.n_variables):
        if spec.name(v) in read.cards and v not in names.values():
            names.setdefault(spec.name(v), v)
    open_sites = [n for n in read.cards if n not in names]
    open_vertices = [v for v in range(SOURCE, spec.n_variables) if v not in names.values()]
    if len(open_sites) == len(open_vertices) == 1:
        names[open_sites[0]] = open_vertices[0]
    elif open_vertices and len(open_sites) == len(open_vertices):
        names |= _by_edges(read, spec, names)
    return {n: v for n, v in names.items() if read.cards[n] == spec.card(v)}


def _by_edges(read: Sites, spec: MixtureSpec, names: Mapping[str, int]) -> dict[str, int]:
    """All vertices, where edges, numbers of states and known names leave one way; else none."""
    ours, theirs = nx.DiGraph(), nx.DiGraph()
    for v in range(SOURCE, spec.n_variables):
        known = v if v in names.values() else None
        ours.add_node(v, kind=(spec.card(v), known))
        above = () if v == SOURCE else spec.parents[v]
        source = () if v == SOURCE or v in spec.uninfluenced else (SOURCE,)
        ours.add_edges_from((up, v) for up in (*source, *above))
    for name, card in read.cards.items():
        theirs.add_node(name, kind=(card, names.get(name)))
        theirs.add_edges_from((up, name) for up in read.parents(name))
    if not nx.faster_could_be_isomorphic(ours, theirs):
        return {}
    matcher = DiGraphMatcher(theirs, ours, categorical_node_match("kind", None))
    ways = list(islice(matcher.isomorphisms_iter(), 2))
    return ways[0] if len(ways) == 1 else {}


def _lacks(read: Sites, names: Mapping[str, int], spec: MixtureSpec, name: str) -> str:
    """Why the tables of a vertex cannot be those of a site; empty where they can."""
    if strange := [p for p in read.parents(name) if p not in names]:
        return f"{name!r} depends on {strange}, which the fit does not know"
    unseen = [p for p in _untraced(read, names, spec, name) if read.observed(p) is None]
    known = {names[p] for p in (*read.parents(name), *_untraced(read, names, spec, name))}
    missing = [spec.name(p) for p in _above(spec, names[name]) if p not in known] + unseen
    if missing:
        return f"the fit has {_words(spec, names[name])}, but {name!r} does not depend on {missing}"
    n = prod(read.cards[p] for p in read.parents(name))
    return f"the parents of {name!r} have {n:,} joint states" if n > MOST_JOINT_STATES else ""


def _untraced(read: Sites, names: Mapping[str, int], spec: MixtureSpec, name: str) -> list[str]:
    """Sites that a vertex has as parents in the fit but not in the program.

    Programs that index a table by the data themselves, not by the value of a site, have edges that
    nobody sees: their rows are asked about the states that they were observed in.
    """
    needed = _above(spec, names[name])
    return [n for n, v in names.items() if v in needed and n not in read.parents(name)]


def _asked(
    read: Sites, names: Mapping[str, int], spec: MixtureSpec, name: str, probe: Probe
) -> Iterator[tuple[Row, dict[int, int]]]:
    """Rows of sites that arrive at a vertex, and the states of its parents with which they do."""
    parents, untraced = read.parents(name), _untraced(read, names, spec, name)
    joint = list(product(*(range(read.cards[p]) for p in parents)))
    states = torch.tensor(joint, dtype=torch.long).reshape(len(joint), len(parents))
    seen, below = [], torch.zeros(1, 0, dtype=torch.long)
    if untraced:
        columns = [read.observed(p) for p in untraced]
        table = torch.stack([c.flatten().long() for c in columns if c is not None], -1)
        below, number = table.unique(dim=0, return_inverse=True)
        seen = [int((number == i).nonzero()[0]) for i in range(len(below))]
    found = probe.rows_at(name, states, seen)
    numbers = [names[p] for p in (*parents, *untraced)]
    for row, (at, more) in zip(found, product(states.tolist(), below.tolist()), strict=True):
        if row is not None and row[0] in read.above[name] and min(more, default=0) >= 0:
            yield row, dict(zip(numbers, (*at, *more), strict=True))


def _left(
    read: Sites,
    names: Mapping[str, int],
    values: Mapping[str, Tensor],
    reasons: Mapping[str, str],
) -> dict[str, str]:
    """Why sites that are no vertices got nothing."""
    left = {}
    for name, site in read.sites.items():
        if name in read.cards or name in values:
            continue
        below = [n for n in read.cards if name in read.above[n]]
        if not read.is_table(name):
            left[name] = f"{type(site['fn']).__name__} is no table of probabilities"
        elif unknown := [n for n in below if n not in names]:
            left[name] = f"the fit does not know {unknown}, or numbers of states differ"
        elif said := [reasons[n] for n in below if n in reasons]:
            left[name] = said[0]
        else:
            left[name] = f"none of its rows arrives unchanged at {below}"
    for name in read.parameters:
        left[name] = "a pyro.param, not a site"
    return left


def _weighted(
    mixture: BayesNetMixture,
    v: int,
    where: Mapping[int, int],
    row_masses: Sequence[Tensor] | None,
) -> Float[Tensor, " card"]:
    """A row of a table times the rows of data behind it, or a little where there are none."""
    above = _above(mixture.spec, v)
    if v == SOURCE:
        return mixture.weights
    at = (where.get(SOURCE, 0), *(where[p] for p in mixture.spec.parents[v]))
    mass = 1.0 if row_masses is None or not above else float(row_masses[v][at]) + LEAST_STARTED
    return mass * mixture.table(v)[at]


def _filled(site: Mapping[str, Any], rows: Mapping[int, Tensor]) -> Tensor:
    """The value of a site, rows that are used by no vertex uniform."""
    card = len(next(iter(rows.values())))
    table = torch.full((n_rows(site), card), 1 / card, dtype=torch.float64)
    for number, row in rows.items():
        table[number] = row / row.sum()
    table = _lifted(table)
    value = site["value"]
    return (table[:, 1] if is_beta(site) else table).reshape(value.shape).to(value)


def _idle(read: Sites, name: str, sums: Mapping[str, Mapping[int, Tensor]]) -> int:
    """How many rows of a site are used by no vertex."""
    return n_rows(read.sites[name]) - len(sums[name])


def _checked(mixture: BayesNetMixture) -> MixtureSpec:
    """The structure of a mixture that is one."""
    if mixture.batch_shape:
        raise SpecError(
            f"a start is one mixture, found a batch {tuple(mixture.batch_shape)}; pass mixture[0]"
        )
    return mixture.spec


def _lifted(table: Float[Tensor, "*rows card"]) -> Float[Tensor, "*rows card"]:
    """Rows of probabilities away from the border."""
    table = table.clamp_min(LEAST_STARTED)
    return table / table.sum(-1, keepdim=True)


def _above(spec: MixtureSpec, v: int) -> tuple[int, ...]:
    """What the table of a vertex depends on."""
    if v == SOURCE:
        return ()
    return spec.parents[v] if v in spec.uninfluenced else (SOURCE, *spec.parents[v])


def _words(spec: MixtureSpec, v: int) -> str:
    """A table as one would write it: ``P(Y | U, X)``."""
    above = ", ".join(spec.name(p) for p in _above(spec, v))
    return f"P({spec.name(v)} | {above})" if above else f"P({spec.name(v)})"


def _listed(left: Mapping[str, str]) -> str:
    return "; ".join(f"{name} ({why})" for name, why in left.items())
