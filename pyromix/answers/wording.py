"""Questions and answers in words, for titles, messages and printed tables."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyromix.identify.advice import Addition
from pyromix.model.query import Certainty, DoQuery, DoValue
from pyromix.model.spec import MixtureSpec


def question(spec: MixtureSpec, query: DoQuery) -> str:
    """Return a query as it is written on paper, e.g. ``P(Y | do(X='treated'), Z='low')``."""
    outcomes = ", ".join(spec.name(v) for v in query.outcomes)
    given = conditions(spec, query)
    return f"P({outcomes} | {given})" if given else f"P({outcomes})"


def conditions(spec: MixtureSpec, query: DoQuery) -> str:
    """Return the interventions, the evidence and the group of a query, separated by commas."""
    done = ", ".join(f"{spec.name(v)}{_setting(spec, v, value)}" for v, value in query.do.items())
    seen = [f"{spec.name(v)}{_setting(spec, v, s)}" for v, s in query.evidence.items()]
    group = [f"{spec.name(v)}{_setting(spec, v, s)}" for v, s in query.natural.items()]
    among = [f"among {', '.join(group)}"] if group else []
    return ", ".join(([f"do({done})"] if done else []) + seen + among)


def scenarios(spec: MixtureSpec, query: DoQuery) -> list[str]:
    """Return what each scenario of a query sets, e.g. ``X='treated'``; empty without scenarios."""
    lists = {v: d for v, d in query.do.items() if isinstance(d, Tensor) and d.ndim == 2}
    return [
        ", ".join(f"{spec.name(v)}{_setting(spec, v, rows[i])}" for v, rows in lists.items())
        for i in range(query.n_scenarios or 0)
    ]


def tables_in_words(spec: MixtureSpec, names: Sequence[str]) -> str:
    """Tables as one writes them, ``P(U), P(Y | ...)``, from names of vertices and the source."""
    return ", ".join(f"P({n})" if n == spec.source else f"P({n} | ...)" for n in names)


def interval_title(level: float) -> str:
    """The title of a column of intervals, e.g. ``95% interval``."""
    return f"{100 * level:g}% interval"


def certainty_line(certainty: Certainty) -> str:
    """Return the line under a printed answer that says how certain it is."""
    if certainty is Certainty.NONE:
        return "certainty: none (nobody certified that data determine this answer)"
    if certainty is Certainty.UNCHECKED:
        return "certainty: unchecked (nobody knows whether data determine this answer)"
    if certainty is Certainty.WEAK:
        return "certainty: weak (graph or rank would do, the table does not show it)"
    if certainty is Certainty.BY_SHAPE:
        return "certainty: shape (only the shapes assumed of numbers single out this answer)"
    if certainty is Certainty.DISCOVERED:
        return "certainty: discovered (a search in this table found the graph)"
    return f"certainty: {certainty.value}"


def identified_how(certainty: Certainty) -> str:
    """How an answer is identified, e.g. ``locally identified``."""
    if certainty is Certainty.BY_SHAPE:
        return "identified by shape"
    return f"{certainty.value}ly identified"


def stand_in(spec: MixtureSpec) -> str:
    """What a rank is one of where there are numbers; without any, nothing."""
    if not spec.coarse:
        return ""
    bins = ", ".join(f"{spec.name(v)} in {spec.cards[v]} bins" for v in spec.coarse)
    return (
        f"that is a stand-in, {bins}, for distributions of any shape: it never says more than "
        "locally identified"
    )


def only_shape(spec: MixtureSpec) -> str:
    """What it is to be identified by shape, and why that is not enough."""
    numbers = ", ".join(spec.name(v) for v in spec.coarse)
    return (
        f"only the shapes assumed of {numbers} could tell {spec.source} apart: a family such as "
        "Gaussian noise may fit one answer best, but where the noise is skewed it finds a "
        f"{spec.source} that is not there"
    )


def _setting(spec: MixtureSpec, vertex: int, value: DoValue) -> str:
    """``='state'``, ``~{'state': p, ...}``, or ``=n scenarios``; of a number nothing."""
    states = spec.states_of(vertex)
    if vertex in spec.coarse:
        return ""  # the number of a bin is no value
    if not isinstance(value, Tensor):
        return f"={states[value]!r}"
    if value.ndim == 2:
        return f"={value.shape[0]} scenarios"
    if int(torch.count_nonzero(value)) == 1:
        return f"={states[int(value.argmax())]!r}"
    shares = (f"{state!r}: {p:.4g}" for state, p in zip(states, value.tolist(), strict=True))
    return "~{" + ", ".join(shares) + "}"


def addition_in_words(source: str, one: Addition) -> str:
    """A change as one would say it.

    Args:
        source: name of U.
        one: the change.
    """
    if one.absent:
        (edge,) = one.absent
        return f"no edge {edge[0]} -> {edge[1]}, if that can be justified"
    sizes = sorted(v.n_states for v in one.measured)
    if len(sizes) > 1:
        alike = len(set(sizes)) == 1
        states = f"{sizes[0]} states each" if alike else f"{' and '.join(map(str, sizes))} states"
        return (
            f"{len(sizes)} more variables that depend on {source}, and on nothing else given "
            f"{source}, of {states}"
        )
    (new,) = one.measured
    if new.parents:
        return (
            f"one more variable of {new.n_states} states that depends on {source} and may depend "
            f"on {', '.join(new.parents)}"
        )
    return (
        f"one more variable of {new.n_states} states that depends on {source}, and on nothing "
        f"else given {source}"
    )
