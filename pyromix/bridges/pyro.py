"""Mixtures as Pyro programs, and Pyro programs of Categorical sites as specs.

This file, ``answers/pyro_engine.py``, ``posterior/svi.py`` and ``posterior/nuts.py`` import Pyro at
their top, and ``posterior/draws.py`` inside a function; all of them are imported lazily.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from pyro.distributions import Beta, Categorical, Dirichlet
from pyro.infer.autoguide import init_to_value
from pyro.infer.inspect import get_dependencies
from pyro.ops.indexing import Vindex
from pyro.poutine.runtime import InferDict
from torch import Tensor
from torch.distributions import Bernoulli

from pyromix.data.counts import Counts
from pyromix.errors import DataError, SpecError
from pyromix.exact.likelihood import log_joint
from pyromix.exact.rows import CellIndex
from pyromix.model.mixture import BayesNetMixture, Fitted, mixture_of
from pyromix.model.spec import SOURCE, MixtureSpec, near_matches

LEAST_STARTED = 1e-6
"""Least probability of a start in unconstrained coordinates."""

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
    - ``program(rows=rows)`` observes the cells of ``rows`` and leaves U, and missing cells, to be
      enumerated or sampled. Under ``pyro.do`` the observed cells keep informing U: that is a
      counterfactual of these rows, not P(Y | do(X)). (``compute_marginals`` of Pyro 1.9.2 needs two
      rows or more.)
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
        self, size: int = 1, *, rows: Tensor | None = None, counts: Counts | None = None
    ) -> dict[str, Tensor]:
        """Run the program.

        Args:
            size: how many rows to generate; without meaning when rows or counts are given.
            rows: ``(m, n_variables)`` state numbers, -1 where a cell is missing.
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
            size = size if rows is None else len(rows)
            if size < 1:
                raise DataError(f"expected at least one row, found {size}")
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
                f"counts must be Counts, found a {type(counts).__name__}; of a table "
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


def to_pyro(mixture: BayesNetMixture | Fitted, *, prior: Prior | None = None) -> PyroProgram:
    """Return a mixture as a Pyro program; `PyroProgram` says how to call it.

    Args:
        mixture: the tables, or a fit, whose estimate is taken.
        prior: a positive number is the concentration of a symmetric Dirichlet distribution of
            every row of every table; a mapping gives one (a number, or a tensor that broadcasts
            to the table) per vertex name and leaves the other tables constant. Without it all
            tables are constants.

    Raises:
        SpecError: a concentration is not positive or does not fit its table, a prior is given for
            a mixture with batch axes, or a variable has the name of a plate.
        QueryError: the prior names an unknown vertex.
    """
    mixture = mixture_of(mixture)
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


def init_loc_fn(mixture: BayesNetMixture) -> Callable[..., Tensor]:
    """Return an ``init_loc_fn`` for Pyro's autoguides, or an ``init_strategy`` for NUTS.

    It starts the sites ``theta[NAME]`` of ``to_pyro(mixture, prior=...)`` at the tables of the
    mixture; other sites start as `init_to_value` starts them.

    Args:
        mixture: without batch axes; probabilities below ``LEAST_STARTED`` are lifted to it, since a
            boundary point has no finite unconstrained coordinates.

    Raises:
        SpecError: the mixture has batch axes.
    """
    spec = mixture.spec
    if mixture.batch_shape:
        raise SpecError(
            f"a start is one mixture, found a batch {tuple(mixture.batch_shape)}; pass mixture[0]"
        )
    values = {}
    for v in range(SOURCE, spec.n_variables):
        table = mixture.table(v)
        table = (table[0] if v in spec.uninfluenced else table).clamp_min(LEAST_STARTED)
        values[f"theta[{spec.name(v)}]"] = table / table.sum(-1, keepdim=True)
    return init_to_value(values=values)


def from_pyro(
    model: Callable[..., Any], *args: Any, source: str = "U", **kwargs: Any
) -> MixtureSpec:
    """Read the structure of a program of Categorical and Bernoulli sites.

    The program is run twice with fresh random numbers, its observations set free, in a copy of
    the parameter store. Dirichlet and Beta sites above all of them are taken for probability
    tables; the states of a Bernoulli site are 0 and 1. A dependence that runs through Python
    control flow leaves no trace and is not seen.

    Args:
        model: a Pyro program, called as ``model(*args, **kwargs)``.
        *args: its arguments.
        source: name of the site that is the source U.
        **kwargs: its keyword arguments.

    Returns:
        A spec with the sites in the order of the program; states and sources are numbered, the
        parents of a vertex stand in the order of the program.

    Raises:
        SpecError: a site is of another kind, no site is named as the source, the source has
            parents, or sites lie under different plates.
    """
    free = poutine.uncondition(model)
    store = pyro.get_param_store()
    with store.scope(store.get_state()), poutine.block():
        with torch.random.fork_rng(), torch.no_grad():
            trace = poutine.trace(free).get_trace(*args, **kwargs)
        above: Any = get_dependencies(free, args, kwargs)["prior_dependencies"]
    sites: dict[str, Any] = {
        name: site
        for name, site in dict[str, Any](trace.nodes).items()
        if name in above and not site["infer"].get("_deterministic")
    }
    cards = {name: card for name, site in sites.items() if (card := _card(site["fn"]))}
    tables = {
        name
        for name, site in sites.items()
        if _is_table(site["fn"]) and not any(up in cards for up in above[name])
    }
    if other := {n: type(sites[n]["fn"]).__name__ for n in sites if n not in {*cards, *tables}}:
        raise SpecError(
            f"expected Categorical or Bernoulli sites, found {other}; discretise them first"
        )
    if source not in cards:
        raise SpecError(
            f"expected a site named {source!r} for the source{near_matches(source, cards)}, found "
            f"{list(cards)}; name another one by source=..."
        )
    plates = {n: {f.name for f in sites[n]["cond_indep_stack"] if f.vectorized} for n in cards}
    if apart := {n: sorted(p) for n, p in plates.items() if p != plates[source]}:
        raise SpecError(
            f"expected every site under the plates of {source!r}, {sorted(plates[source])}, since "
            f"every row has its own source; found {apart}"
        )
    parents = {n: [up for up in cards if up in above[n] and up != n] for n in cards}
    if parents[source]:
        raise SpecError(f"the source {source!r} must be a root, found parents {parents[source]}")
    variables = [name for name in cards if name != source]
    return MixtureSpec.from_parents(
        {name: range(cards[name]) for name in variables},
        {name: [p for p in parents[name] if p != source] for name in variables},
        cards[source],
        source=source,
        uninfluenced=[name for name in variables if source not in parents[name]],
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


def _columns(spec: MixtureSpec, rows: Tensor | None, device: torch.device) -> dict[int, Tensor]:
    """The cells of every vertex, checked."""
    if rows is None:
        return {}
    if not isinstance(rows, Tensor):
        raise DataError(
            f"rows must be a tensor of state numbers, (m, {spec.n_variables}), found a "
            f"{type(rows).__name__}; of a table score counts=px.Counts.from_frame(table, "
            "program.mixture.spec), or observe rows=px.Counts.from_frame(...).expand()"
        )
    if rows.ndim != 2 or rows.shape[1] != spec.n_variables or rows.is_floating_point():
        raise DataError(
            f"expected rows of shape (m, {spec.n_variables}) with integer state numbers, found "
            f"{tuple(rows.shape)} of {rows.dtype}"
        )
    rows = rows.to(device=device, dtype=torch.long)
    cards = torch.tensor(spec.joint_shape(range(spec.n_variables)), device=device)
    for v in ((rows < -1) | (rows >= cards)).any(0).nonzero().flatten().tolist():
        raise DataError(
            f"{spec.name(v)!r} has state numbers 0..{spec.card(v) - 1}, and -1 where a cell is "
            f"missing; found {sorted(set(rows[:, v].tolist()))}"
        )
    return dict(enumerate(rows.unbind(1)))


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
    given = torch.as_tensor(value, dtype=torch.float64, device=mixture.device)
    if not bool(((given > 0) & given.isfinite()).all()):
        raise SpecError(
            f"prior of {spec.name(v)!r}: concentrations must be positive and finite, found {value}"
        )
    try:
        return given.expand(shape).clone()
    except RuntimeError:
        raise SpecError(
            f"prior of {spec.name(v)!r}: expected a number or a tensor that broadcasts to the "
            f"table's {shape}, found {tuple(given.shape)}"
        ) from None


def _card(fn: Any) -> int:
    """How many states the site of a distribution has; 0 where it is no vertex."""
    if isinstance(fn, Categorical):
        return fn.logits.shape[-1]
    return 2 if isinstance(fn, Bernoulli) else 0


def _is_table(fn: Any) -> bool:
    """Whether a distribution, joined over axes or not, is one of probabilities."""
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return isinstance(fn, Dirichlet | Beta)
