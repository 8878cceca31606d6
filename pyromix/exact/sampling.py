"""Draws from a mixture under a do, given evidence: exact, without rejection and without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import QueryError
from pyromix.exact import logspace
from pyromix.exact.contraction import (
    BATCH,
    Factor,
    Scope,
    align,
    check_size,
    elimination_order,
)
from pyromix.exact.mutilated import (
    check_numbers,
    fixed_states,
    label_name,
    network_factors,
    positivity_error,
    relevant_vertices,
)
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import DoValue
from pyromix.model.randomness import RandomState, torch_generator
from pyromix.model.spec import SOURCE, MixtureSpec


@torch.no_grad()
def sample(
    mixture: BayesNetMixture,
    n: int,
    random_state: RandomState = 0,
    *,
    do: Mapping[int, DoValue] | None = None,
    evidence: Mapping[int, int] | None = None,
    memory_limit: int | None = None,
) -> tuple[Int[Tensor, "*batch n variables"], Int[Tensor, "*batch n"]]:
    """Draw rows of P(U, V | do, evidence).

    Ancestors of the evidence are drawn in the reverse of the order in which they were summed out,
    from the tables kept at that time; all other vertices are drawn after their parents.

    Args:
        mixture: the tables.
        n: rows per batch element.
        random_state: an integer or a Generator.
        do: per vertex a state or one distribution ``(card,)``.
        evidence: per vertex its state.
        memory_limit: bound on each table kept, in bytes; by default that of ``memory``.

    Returns:
        State numbers of the variables, and the sources; int64. A vertex with evidence or under a
        do has the state given to it.

    Raises:
        QueryError: n is no count, a do has scenarios, a vertex stands in both, or a vertex, a
            state or a distribution is not one of the mixture's.
        PositivityError: the evidence has probability zero under the do.
        ContractionSizeError: a table would exceed the bound.
    """
    spec, do, evidence = mixture.spec, dict(do or {}), dict(evidence or {})
    _check_arguments(spec, n, do, evidence)
    generator = torch_generator(random_state, mixture.device)
    shape = (mixture.batch_shape.numel(), n)
    states = {
        v: torch.full(shape, state, dtype=torch.int64, device=mixture.device)
        for v, state in fixed_states(do, evidence).items()
    }
    if evidence:
        ancestors = relevant_vertices(spec, do.keys(), evidence.keys())
        factors = network_factors(mixture, do, evidence, ancestors)
        conditionals, log_evidence = _eliminate(
            factors, lambda label: label_name(spec, label), memory_limit
        )
        if bool((impossible := log_evidence == -torch.inf).any()):
            raise positivity_error(spec, do.keys(), evidence, impossible)
        for v, conditional in reversed(conditionals):
            states[v] = _draw(v, conditional, states, shape, generator)
    for v in range(SOURCE, spec.n_variables):
        if v not in states:
            (cpt,) = network_factors(mixture, do, {}, (v,))
            states[v] = _draw(v, cpt, states, shape, generator)
    rows = torch.stack([states[v] for v in range(spec.n_variables)], -1)
    leading = (*mixture.batch_shape, n)
    return rows.reshape(*leading, spec.n_variables), states[SOURCE].reshape(leading)


def _eliminate(
    factors: Sequence[Factor], name: Callable[[int], str], memory_limit: int | None
) -> tuple[list[tuple[int, Factor]], Float[Tensor, ...]]:
    """Sum out one vertex after the other, keeping its distribution given those still to come.

    Sums run over logarithms, so that hundreds of observed leaves do not underflow.

    Returns:
        Per vertex, in the order of summation, its distribution; and the logarithm of the sum
        over all vertices, ``(b,)``.
    """
    sizes = {label: s for f in factors for label, s in zip(f.scope, f.table.shape, strict=True)}
    order = elimination_order([f.scope for f in factors], sizes, (BATCH,))
    for clique in _cliques(order, [f.scope for f in factors]):
        check_size(clique, sizes, name, memory_limit)
    pool = [Factor(f.scope, logspace.log(f.table)) for f in factors]
    conditionals = []
    for v in order:
        holding = [f for f in pool if v in f.scope]
        pool = [f for f in pool if v not in f.scope]
        scope = _clique(v, [f.scope for f in holding])
        first, *others = (align(f.table, f.scope, scope) for f in holding)
        product = sum(others, first)
        message = logspace.logsumexp(product, -1)
        # Rows that are impossible as a whole are never drawn from; any finite number will do.
        peak = message.masked_fill(message == -torch.inf, 0.0)
        conditionals.append((v, Factor(scope, (product - peak.unsqueeze(-1)).exp())))
        pool.append(Factor(scope[:-1], message))
    first, *others = (align(f.table, f.scope, (BATCH,)) for f in pool)
    return conditionals, sum(others, first)


def _clique(vertex: int, scopes: Sequence[Scope]) -> Scope:
    """All labels of the tables that hold a vertex, itself last."""
    labels = {label for scope in scopes for label in scope}
    return (*sorted(labels - {vertex}), vertex)


def _cliques(order: Sequence[int], scopes: Sequence[Scope]) -> list[Scope]:
    """The tables of an elimination, without computing any."""
    pool, cliques = list(scopes), []
    for v in order:
        cliques.append(_clique(v, [scope for scope in pool if v in scope]))
        pool = [*(scope for scope in pool if v not in scope), cliques[-1][:-1]]
    return cliques


def _draw(
    vertex: int,
    conditional: Factor,
    states: Mapping[int, Tensor],
    shape: tuple[int, int],
    generator: torch.Generator,
) -> Int[Tensor, "b n"]:
    """Draw a vertex from its distribution given vertices drawn before, all rows at once."""
    given = [label for label in conditional.scope if label not in (BATCH, vertex)]
    table = align(conditional.table, conditional.scope, (BATCH, *given, vertex))
    device, (b, *cards, card) = table.device, table.shape
    number = torch.zeros(shape, dtype=torch.int64, device=device)
    for label, size in zip(given, cards, strict=True):
        number = number * size + states[label]
    element = torch.arange(b, device=device).unsqueeze(-1)
    cumulative = table.reshape(b, prod(cards), card)[element, number].cumsum(-1)
    uniform = torch.rand(
        *shape, 1, dtype=torch.float64, generator=generator, device=generator.device
    )
    # "<=" passes over states of probability zero, also where the uniform number is zero.
    return (cumulative <= uniform.to(device) * cumulative[..., -1:]).sum(-1)


def _check_arguments(
    spec: MixtureSpec, n: int, do: Mapping[int, DoValue], evidence: Mapping[int, int]
) -> None:
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
        raise QueryError(f"expected the number of rows as an integer >= 0, found {n!r}")
    check_numbers(spec, do, evidence)
    if both := [spec.name(v) for v in do if v in evidence]:
        raise QueryError(f"{both} stand in both `do` and `evidence`; keep one of them")
    for v, setting in do.items():
        if isinstance(setting, Tensor) and setting.ndim == 2:
            raise QueryError(
                f"do({spec.name(v)}) is a list of {len(setting)} scenarios; draw from one at a time"
            )
