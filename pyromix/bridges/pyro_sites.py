"""Pyro programs of Categorical sites: what their sites are, and as specs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Beta, Categorical, Dirichlet
from pyro.infer.inspect import get_dependencies
from torch import Tensor
from torch.distributions import Bernoulli

from pyromix.bridges.alone import alone
from pyromix.errors import SpecError
from pyromix.model.arguments import name_of, shown
from pyromix.model.spec import MixtureSpec, near_matches


@dataclass(frozen=True, eq=False)
class Sites:
    """The sample sites of a program, run once with its observations set free.

    Attributes:
        sites: Pyro's record of every site that is not deterministic, by name.
        cards: vertices, that is Categorical and Bernoulli sites: how many states.
        above: per site those that it depends on directly, itself left out.
        parameters: names of ``pyro.param``.
    """

    sites: Mapping[str, Mapping[str, Any]]
    cards: Mapping[str, int]
    above: Mapping[str, frozenset[str]]
    parameters: tuple[str, ...]

    def parents(self, name: str) -> list[str]:
        """Vertices that a site depends on, in the order of the program."""
        return [up for up in self.cards if up in self.above[name]]

    def plates(self, name: str) -> frozenset[str]:
        """Vectorised plates around a site."""
        return frozenset(f.name for f in self.sites[name]["cond_indep_stack"] if f.vectorized)

    def observed(self, name: str) -> Tensor | None:
        """What a site was observed at before it was set free; None where it was not."""
        site = self.sites[name]
        seen = site["infer"].get("obs")
        if not isinstance(seen, Tensor) or seen.shape != site["value"].shape:
            return None
        return seen

    def is_table(self, name: str) -> bool:
        """Whether a site is drawn as probabilities and depends on no vertex."""
        return _of_probabilities(self.sites[name]["fn"]) and not self.parents(name)

    def is_parameter(self, name: str, of_rows: frozenset[str]) -> bool:
        """Whether a site is one draw for all rows that others depend on.

        Args:
            name: of the site.
            of_rows: plates of the rows; what lies under one of them is drawn for every row.
        """
        used = any(name in above for above in self.above.values())
        return used and not self.parents(name) and not (of_rows & self.plates(name))


def read_sites(
    model: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Sites:
    """Run a program twice with fresh random numbers, in a copy of the parameter store.

    Args:
        model: a Pyro program, called as ``model(*args, **kwargs)``.
        args: its arguments.
        kwargs: its keyword arguments.

    Raises:
        SpecError: it cannot be called.
    """
    if not callable(model) or isinstance(model, type):
        raise SpecError(f"expected a Pyro program, which can be called, found {shown(model)}")
    free = poutine.uncondition(model)
    store = pyro.get_param_store()
    with alone(), store.scope(store.get_state()), poutine.block():
        with torch.random.fork_rng(), torch.no_grad():
            trace = poutine.trace(free, graph_type="flat").get_trace(*args, **kwargs)
        above: Any = get_dependencies(free, args, dict(kwargs))["prior_dependencies"]
    nodes = dict[str, Any](trace.nodes)
    sites = {
        name: site
        for name, site in nodes.items()
        if name in above and not site["infer"].get("_deterministic")
    }
    return Sites(
        sites,
        {name: card for name, site in sites.items() if (card := _card(site["fn"]))},
        {name: frozenset(above[name]) - {name} for name in sites},
        tuple(name for name, site in nodes.items() if site["type"] == "param"),
    )


def from_pyro(
    model: Callable[..., Any], *args: Any, source: str = "U", **kwargs: Any
) -> MixtureSpec:
    """Read the structure of a program of Categorical and Bernoulli sites.

    The program is run twice with fresh random numbers, its observations set free, in a copy of
    the parameter store. Dirichlet and Beta sites that depend on none of them are taken for
    probability tables, in plates or not, and other draws outside the plates of the rows for what
    tables depend on; the states of a Bernoulli site are 0 and 1. A dependence that runs through
    Python control flow leaves no trace and is not seen. A fit of this structure starts the program
    by ``fit.init_loc_fn(for_model=model)``.

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
    source = name_of("source", source)
    read = read_sites(model, args, kwargs)
    of_rows = read.plates(source) if source in read.cards else frozenset[str]()
    if other := {
        name: type(site["fn"]).__name__
        for name, site in read.sites.items()
        if name not in read.cards
        and not (read.is_table(name) and not of_rows & read.plates(name))
        and not read.is_parameter(name, of_rows)
    }:
        raise SpecError(
            "expected Categorical or Bernoulli sites, and tables outside the plates of the rows, "
            f"found {other}; discretise them first"
        )
    if source not in read.cards:
        raise SpecError(
            f"expected a site named {source!r} for the source{near_matches(source, read.cards)}, "
            f"found {list(read.cards)}; name another one by source=..."
        )
    if apart := {n: sorted(p) for n in read.cards if (p := read.plates(n)) != of_rows}:
        raise SpecError(
            f"expected every site under the plates of {source!r}, {sorted(of_rows)}, since "
            f"every row has its own source; found {apart}"
        )
    if up := read.parents(source):
        raise SpecError(f"the source {source!r} must be a root, found parents {up}")
    variables = [name for name in read.cards if name != source]
    return MixtureSpec.from_parents(
        {name: range(read.cards[name]) for name in variables},
        {name: [p for p in read.parents(name) if p != source] for name in variables},
        read.cards[source],
        source=source,
        uninfluenced=[name for name in variables if source not in read.parents(name)],
    )


def _card(fn: Any) -> int:
    """How many states the site of a distribution has; 0 where it is no vertex."""
    if fn.event_shape:
        return 0
    fn = inner(fn)
    if isinstance(fn, Categorical):
        return fn.logits.shape[-1]
    return 2 if isinstance(fn, Bernoulli) else 0


def _of_probabilities(fn: Any) -> bool:
    """Whether a distribution, joined over axes or not, is one of probabilities."""
    return isinstance(inner(fn), Dirichlet | Beta)


def inner(fn: Any) -> Any:
    """Return a distribution without what joins or masks its axes."""
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return fn
