"""The truncated factorisation: the factors of a mixture under a do, with evidence put in."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from pyromix.errors import PositivityError, QueryError
from pyromix.exact.contraction import BATCH, SCENARIO, Factor
from pyromix.model.cpd import SUM_TOLERANCE
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import DoValue
from pyromix.model.spec import SOURCE, MixtureSpec


def relevant_vertices(
    spec: MixtureSpec, do: Collection[int], asked: Collection[int]
) -> tuple[int, ...]:
    """List the vertices asked about and their ancestors under the do.

    The source is one of them, and then the first, where a vertex among them has an edge from it.
    """
    observed = spec.ancestors(asked, removed=do)
    influenced = any(v not in do and v not in spec.uninfluenced for v in observed)
    source = {SOURCE} if influenced or SOURCE in asked else set()
    return tuple(sorted(source | observed))


def above_natural(spec: MixtureSpec, natural: Collection[int]) -> set[int]:
    """Vertices that natural values bear on directly: their parents, the source among them."""
    found: set[int] = set()
    for v in natural:
        if v == SOURCE or v not in spec.uninfluenced:
            found.add(SOURCE)
        if v != SOURCE:
            found.update(spec.parents[v])
    return found


def network_factors(
    mixture: BayesNetMixture,
    do: Mapping[int, DoValue],
    evidence: Mapping[int, int],
    vertices: Collection[int],
    natural: Mapping[int, int] | None = None,
) -> list[Factor]:
    """List the factors of the truncated factorisation over a set of vertices.

    The CPT of a vertex under the do is left out; a distribution takes its place, and a state
    selects a slice of every table that has the vertex, as evidence does. A vertex without an edge
    from U has one table for all sources.

    Args:
        mixture: the tables.
        do: states or distributions of intervened vertices.
        evidence: states of observed vertices.
        vertices: which to include, closed under parents in the sense of ``relevant_vertices``.
        natural: states that vertices under the do take before they are set; their parents must be
            among the vertices.

    Returns:
        One factor for each vertex but those with a state under the do, and one for each natural
        state: it bears on the vertex's parents, and its children do not see it. The batch axes of
        the mixture are one axis, of length one where it has none; distributions lack it.
    """
    spec, batch = mixture.spec, mixture.batch_shape.numel()
    fixed = fixed_states(do, evidence)

    def of_cpt(v: int, states: Mapping[int, int]) -> Factor:
        family = (SOURCE,) if v == SOURCE else (SOURCE, *spec.parents[v], v)
        table = mixture.table(v).reshape(batch, *spec.joint_shape(family))
        one = {**states, SOURCE: 0} if v in spec.uninfluenced else states
        return at_states(Factor((BATCH, *family), table), one)

    factors = [of_cpt(v, {**fixed, v: state}) for v, state in (natural or {}).items()]
    for v in sorted(vertices):
        setting = do.get(v)
        if isinstance(setting, Tensor):
            scope = (SCENARIO, v) if setting.ndim == 2 else (v,)
            factors.append(Factor(scope, setting.to(mixture.device)))
        elif setting is None:
            factors.append(of_cpt(v, fixed))
    return factors


def fixed_states(do: Mapping[int, DoValue], evidence: Mapping[int, int]) -> dict[int, int]:
    """Return the state of every vertex that has one, by evidence or under the do."""
    return {**{v: s for v, s in do.items() if not isinstance(s, Tensor)}, **evidence}


def at_states(factor: Factor, states: Mapping[int, int]) -> Factor:
    """Select the slice of a factor at the given states."""
    index = tuple(states.get(label, slice(None)) for label in factor.scope)
    scope = tuple(label for label in factor.scope if label not in states)
    return Factor(scope, factor.table[index])


def label_name(spec: MixtureSpec, label: int) -> str:
    """Return what a label is called in messages."""
    return {BATCH: "batch", SCENARIO: "scenarios"}.get(label) or spec.name(label)


def check_numbers(
    spec: MixtureSpec,
    do: Mapping[int, DoValue],
    evidence: Mapping[int, int],
    outcomes: Collection[int] = (),
    natural: Mapping[int, int] | None = None,
) -> None:
    """Check that vertices, states and distributions are those of a spec.

    Raises:
        QueryError: names the first that is not.
    """
    n = spec.n_variables
    for v in (*outcomes, *do, *evidence):
        if not SOURCE <= v < n:
            raise QueryError(f"expected vertices from {SOURCE} (the source) to {n - 1}, found {v}")
    for v, state in (*fixed_states(do, evidence).items(), *(natural or {}).items()):
        if not 0 <= state < spec.card(v):
            raise QueryError(
                f"expected a state of {spec.name(v)!r} from 0 to {spec.card(v) - 1}, found {state}"
            )
    for v, rows in do.items():
        if isinstance(rows, Tensor):
            _check_distributions(spec, v, rows.detach())
    lists = {v: rows for v, rows in do.items() if isinstance(rows, Tensor) and rows.ndim == 2}
    lengths = {spec.name(v): rows.shape[0] for v, rows in lists.items()}
    if len(set(lengths.values())) > 1:
        raise QueryError(f"lists of scenarios must be equally long, found {lengths}")


def positivity_error(
    spec: MixtureSpec,
    do: Collection[int],
    evidence: Mapping[int, int],
    impossible: Bool[Tensor, ...],
    natural: Mapping[int, int] | None = None,
) -> PositivityError:
    """Return the error for impossible evidence; it names the evidence, the do and the elements."""
    group = (natural or {}).items()
    seen = ", ".join(
        f"{spec.name(v)}={spec.states_of(v)[s]!r}" for v, s in (*evidence.items(), *group)
    )
    done = f" under do({', '.join(map(spec.name, do))})" if do else ""
    n, of = int(impossible.sum()), impossible.numel()
    where = f" in {n} of {of} batch elements and scenarios" if of > 1 else ""
    if natural:
        return PositivityError(
            f"expected a group with somebody in it, found probability 0 for {seen}{where}; an "
            "effect among nobody is not defined. Name another group, or fit with a prior so that "
            "no probability is zero"
        )
    return PositivityError(
        f"expected evidence of positive probability, found probability 0 for {seen}{done}{where}; "
        "drop a piece of the evidence, or fit with a prior so that no probability is zero"
    )


def _check_distributions(spec: MixtureSpec, vertex: int, rows: Tensor) -> None:
    name, card = spec.name(vertex), spec.card(vertex)
    if rows.ndim not in (1, 2) or rows.shape[-1] != card or not rows.numel():
        raise QueryError(
            f"a distribution for do({name}) must have shape ({card},) or (scenarios, {card}), "
            f"found {tuple(rows.shape)}"
        )
    error = float((rows.double().sum(-1) - 1).abs().max())
    # Written so that nan fails too.
    usable = bool((rows >= 0).all()) and error <= SUM_TOLERANCE
    if rows.dtype != torch.float64 or not usable:
        raise QueryError(
            f"distributions for do({name}) must be float64, non-negative and sum to one, found "
            f"{rows.dtype}, least entry {float(rows.min()):.3g}, a sum off by {error:.3g}"
        )
