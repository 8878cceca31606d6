"""Exact answers to do-queries: sums over the mutilated network, the source enumerated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pyromix.errors import SpecError
from pyromix.exact.contraction import (
    BATCH,
    SCENARIO,
    Factor,
    contract,
    log_contract,
)
from pyromix.exact.mutilated import (
    above_natural,
    at_states,
    check_numbers,
    fixed_states,
    label_name,
    network_factors,
    positivity_error,
    relevant_vertices,
)
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import DoQuery
from pyromix.model.spec import SOURCE, MixtureSpec

SAFE_MASS = 1e-150
"""Mass above which sums without logarithms are exact to rounding.

On its way into the answer every cell of an intermediate table is multiplied by a sum of products
of other rows of probabilities, which is at most one. What underflow takes from a cell is below
1e-307; a million million such losses are less than 1e-145 of this mass.
"""


def marginal(
    mixture: BayesNetMixture, query: DoQuery, *, memory_limit: int | None = None
) -> Float[Tensor, ...]:
    """Compute P(outcomes | do, evidence) by the truncated factorisation.

    Only the outcomes, the evidence and their ancestors under the do enter the sum. The answer can
    be differentiated in the tables and in the distributions of the do.

    Args:
        mixture: the tables.
        query: the question, in numbers.
        memory_limit: bound on each intermediate table, in bytes; by default that of ``memory``.

    Returns:
        ``(*batch, [scenarios,] *cards of the outcomes)``; each answer sums to one.

    Raises:
        QueryError: a vertex, a state or a distribution that the mixture does not have.
        PositivityError: the evidence has probability zero under the do.
        ContractionSizeError: an intermediate table would exceed the bound.
    """
    check_numbers(mixture.spec, query.do, query.evidence, query.outcomes, query.natural)
    values, _ = _sums(mixture, query, query.outcomes, memory_limit=memory_limit)
    total = values.sum(tuple(range(2, values.ndim)), keepdim=True)
    _check_possible(mixture.spec, query, total)
    return _with_axes_of(mixture, query, values / total)


def log_evidence(
    mixture: BayesNetMixture, query: DoQuery, *, memory_limit: int | None = None
) -> Float[Tensor, ...]:
    """Compute log P(evidence | do); the outcomes of the query play no part.

    Args:
        mixture: the tables.
        query: the question, in numbers.
        memory_limit: bound on each intermediate table, in bytes; by default that of ``memory``.

    Returns:
        ``(*batch, [scenarios])``; -inf where the evidence is impossible, 0 without evidence.

    Raises:
        QueryError: a vertex, a state or a distribution that the mixture does not have.
        ContractionSizeError: an intermediate table would exceed the bound.
    """
    check_numbers(mixture.spec, query.do, query.evidence, query.outcomes, query.natural)
    values, log_scale = _sums(mixture, query, (), memory_limit=memory_limit)
    return _with_axes_of(mixture, query, values.log() + log_scale)


def unsupported_mass(
    mixture: BayesNetMixture,
    query: DoQuery,
    reached: Sequence[Bool[Tensor, ...]],
    *,
    memory_limit: int | None = None,
) -> Float[Tensor, ...]:
    """Compute how much of an answer rests on rows of CPTs that no data reached.

    It is the probability, under the do and given the evidence, that at least one vertex uses a
    parent row that was not reached, among the outcomes, the evidence and their ancestors that are
    not under the do: 1 - P(evidence, all rows reached | do) / P(evidence | do).

    Args:
        mixture: the tables.
        query: the question, in numbers.
        reached: per vertex which of its rows data reached: ``(k, *card(parents))``, with or
            without the batch axes of the mixture before it, or what broadcasts to that.
        memory_limit: bound on each intermediate table, in bytes; by default that of ``memory``.

    Returns:
        ``(*batch, [scenarios])``, from 0 to 1; exactly 1 where the answer is all unsupported.

    Raises:
        SpecError: a mask has the wrong shape.
        QueryError: a vertex, a state or a distribution that the mixture does not have.
        PositivityError: the evidence has probability zero under the do.
        ContractionSizeError: an intermediate table would exceed the bound.
    """
    check_numbers(mixture.spec, query.do, query.evidence, query.outcomes, query.natural)
    masks = _masks(mixture, query, reached)
    total, log_total = _sums(mixture, query, (), memory_limit=memory_limit)
    _check_possible(mixture.spec, query, total)
    supported, log_supported = _sums(mixture, query, (), masks, memory_limit=memory_limit)
    share = supported / total * (log_supported - log_total).exp()
    return _with_axes_of(mixture, query, (1 - share).clamp(0, 1))


def _sums(
    mixture: BayesNetMixture,
    query: DoQuery,
    kept: tuple[int, ...],
    masks: Sequence[Factor] = (),
    *,
    memory_limit: int | None,
) -> tuple[Float[Tensor, "b s *cards"], Float[Tensor, "b s"]]:
    """Compute P(kept, evidence | do), scaled where it would underflow.

    Args:
        mixture: the tables.
        query: its do and its evidence are used.
        kept: vertices that are not summed over.
        masks: further factors.
        memory_limit: bound on each intermediate table, in bytes; by default that of ``memory``.

    Returns:
        Numbers, and the logarithms of what to multiply them by. The axes of batch and scenarios
        have length one where nothing depends on them.
    """
    spec = mixture.spec
    asked = {*kept, *query.evidence, *(v for m in masks for v in m.scope if v >= SOURCE)}
    asked |= above_natural(spec, query.natural)
    vertices = relevant_vertices(spec, query.do.keys(), asked)
    factors = network_factors(mixture, query.do, query.evidence, vertices, query.natural)
    factors += masks
    if not factors:  # an empty product
        return mixture.weights.new_ones(1, 1), mixture.weights.new_zeros(1, 1)
    axes = (BATCH, SCENARIO, *kept)

    def name(label: int) -> str:
        return label_name(spec, label)

    values = contract(factors, axes, name=name, memory_limit=memory_limit)
    total = values.detach().sum(tuple(range(2, values.ndim))) if kept else values.detach()
    if bool((total > SAFE_MASS).all()):
        return values, torch.zeros_like(total)
    logs = log_contract(factors, axes, name=name, memory_limit=memory_limit)
    peak = logs.detach().reshape(*total.shape, -1).amax(-1)
    peak = peak.masked_fill(peak == -torch.inf, 0.0)
    return (logs - peak.reshape(*peak.shape, *(1 for _ in kept))).exp(), peak


def _masks(
    mixture: BayesNetMixture, query: DoQuery, reached: Sequence[Bool[Tensor, ...]]
) -> list[Factor]:
    """Factors that are zero at the rows that were not reached, for the vertices that have any."""
    spec, batch = mixture.spec, mixture.batch_shape
    if len(reached) != spec.n_variables:
        raise SpecError(
            f"expected one mask of rows for each of {spec.n_variables} vertices, found "
            f"{len(reached)}"
        )
    fixed = fixed_states(query.do, query.evidence)
    masks = []
    for v in sorted(query.relevant(spec)):
        rows, found = spec.joint_shape((SOURCE, *spec.parents[v])), tuple(reached[v].shape)
        shape = (*batch, *rows) if len(found) > len(rows) else rows
        if not _broadcasts(found, shape):
            raise SpecError(
                f"mask of the rows of {spec.name(v)!r}: expected shape {rows} or "
                f"{(*batch, *rows)}, found {found}"
            )
        table = reached[v].to(mixture.device).expand(shape).reshape(-1, *rows)
        scope = (SOURCE, *spec.parents[v])
        whole = Factor((BATCH, *scope), table) if shape != rows else Factor(scope, table[0])
        mask = at_states(whole, fixed)
        if not bool(mask.table.all()):
            masks.append(Factor(mask.scope, mask.table.to(torch.float64)))
    return masks


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether a tensor of one shape expands to another."""
    pairs = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(size in (1, wanted) for size, wanted in pairs)


def _check_possible(spec: MixtureSpec, query: DoQuery, total: Tensor) -> None:
    if bool((impossible := total == 0).any()):
        raise positivity_error(spec, query.do.keys(), query.evidence, impossible, query.natural)


def _with_axes_of(mixture: BayesNetMixture, query: DoQuery, values: Tensor) -> Tensor:
    """Turn ``(b or 1, scenarios or 1, *cards)`` into ``(*batch, [scenarios,] *cards)``."""
    batch, cards = mixture.batch_shape, values.shape[2:]
    scenarios = query.n_scenarios
    full = values.expand(batch.numel(), 1 if scenarios is None else scenarios, *cards)
    return full.reshape((*batch, *(() if scenarios is None else (scenarios,)), *cards))
