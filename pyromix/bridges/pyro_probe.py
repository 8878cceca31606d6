"""Which row of which Dirichlet or Beta site holds the probabilities of a vertex.

That cannot be read from a program, so it is asked: every row of every such site is given
probabilities that occur nowhere else, the parents of a vertex are set to their states, and what
arrives at the vertex tells where it comes from: stacked, transposed or shared tables, in plates or
not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from jaxtyping import Float, Int
from pyro import poutine
from pyro.distributions import Beta
from torch import Tensor
from torch.distributions import Bernoulli

from pyromix.bridges.alone import alone
from pyromix.bridges.pyro_sites import Sites, inner

Row = tuple[str, int]
"""A row of probabilities: the site it is in, and its number there."""

NEAR = 1e-5
"""Distance at which probabilities are the same, single precision being allowed for."""

OFF = 0.381966
"""Where marks start: at no number that a program would have of its own."""

CHUNK = 1024
"""Rows that are looked up at once."""


class Probe:
    """A program whose tables are known row by row.

    Args:
        read: its sites.
        tables: sites of probabilities.
        model: the program.
        args: its arguments.
        kwargs: its keyword arguments.
    """

    def __init__(
        self,
        read: Sites,
        tables: Sequence[str],
        model: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        self._read, self._model = read, poutine.uncondition(model)
        self._args, self._kwargs = args, kwargs
        self._values: dict[str, Tensor] = {}
        marked: dict[int, list[Tensor]] = defaultdict(list)
        self._names: dict[int, list[Row]] = defaultdict(list)
        sizes = {name: n_rows(read.sites[name]) for name in tables}
        self._total, first = sum(sizes.values()), 0
        generator = torch.Generator().manual_seed(0)
        for name, size in sizes.items():
            # The probability of the last state is the mark; the others share the rest.
            mark = (first + torch.arange(size, dtype=torch.float64)[:, None] + OFF) / self._total
            value = read.sites[name]["value"]
            card = 2 if is_beta(read.sites[name]) else value.shape[-1]
            rest = torch.rand(size, card - 1, dtype=torch.float64, generator=generator) + 0.1
            mark = mark if card > 1 else torch.ones_like(mark)
            table = torch.cat([(1 - mark) * rest / rest.sum(-1, keepdim=True), mark], -1)
            shown = table[:, 1] if is_beta(read.sites[name]) else table
            self._values[name] = shown.reshape(value.shape).to(value)
            marked[card].append(table)
            self._names[card] += [(name, row) for row in range(size)]
            first += size
        self._marked = {card: torch.cat(rows) for card, rows in marked.items()}

    def rows_at(
        self, name: str, states: Int[Tensor, "n parents"], seen: Sequence[int] = ()
    ) -> list[Row | None]:
        """Return the row that arrives at a vertex, for joint states of its parents.

        Args:
            name: of the vertex.
            states: of its parents in the order of the program.
            seen: rows of the plate to look at, one after the other for each of the states; any
                one when left out.
        """
        found: list[Row | None] = []
        shape = self._read.sites[name]["value"].shape
        if seen:
            for at in states:
                every = at.expand(shape.numel(), -1)
                found += self._located(self._probs(name, every)[list(seen)])
            return found
        while len(found) < len(states):
            # The rows of a plate are asked at once, each about other states.
            some = (len(found) + torch.arange(shape.numel())) % len(states)
            found += self._located(self._probs(name, states[some])[: len(states) - len(found)])
        return found

    def _probs(self, name: str, states: Int[Tensor, "rows parents"]) -> Float[Tensor, "rows card"]:
        """Probabilities of a vertex in every row of its plates, given states of its parents."""
        shape, data = self._read.sites[name]["value"].shape, {}
        for j, parent in enumerate(self._read.parents(name)):
            value = self._read.sites[parent]["value"]
            data[parent] = states[:, j].reshape(shape).expand(value.shape).to(value)
        store = pyro.get_param_store()
        with (
            alone(),
            store.scope(store.get_state()),
            poutine.block(),
            torch.no_grad(),
            torch.random.fork_rng(),
        ):
            known = poutine.condition(self._model, data={**self._values, **data})
            trace = poutine.trace(known).get_trace(*self._args, **self._kwargs)
        fn: Any = dict[str, Any](trace.nodes)[name]["fn"]
        probs = inner(fn).probs
        if isinstance(inner(fn), Bernoulli):
            probs = torch.stack([1 - probs, probs], -1)
        card = probs.shape[-1]
        return probs.expand(*fn.batch_shape, card).reshape(-1, card).double()

    def _located(self, probs: Float[Tensor, "rows card"]) -> list[Row | None]:
        """Where rows of probabilities come from; None where they are nobody's."""
        card = probs.shape[-1]
        if card not in self._marked:
            return [None] * len(probs)
        found: list[Row | None] = []
        for part in probs.cpu().split(CHUNK):
            off = (part[:, None] - self._marked[card]).abs().amax(-1)
            least, place = off.min(-1)
            near = (least < min(NEAR, 0.25 / self._total)).tolist()
            places = zip(place.tolist(), near, strict=True)
            found += [self._names[card][at] if close else None for at, close in places]
        return found


def is_beta(site: Mapping[str, Any]) -> bool:
    """Whether a table is given by the probabilities of second states."""
    return isinstance(inner(site["fn"]), Beta)


def n_rows(site: Mapping[str, Any]) -> int:
    """Number of rows of probabilities in a Dirichlet or Beta site."""
    value = site["value"]
    return value.numel() if is_beta(site) else value.numel() // value.shape[-1]
