"""What both engines need of a vertex: its law row by row, each row with a source of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Distribution

from pyromix.answers.mixed.law import NumericLaw, StateLaw, Weighed
from pyromix.answers.mixed.parts import parts_of
from pyromix.answers.mixed.question import Question
from pyromix.errors import PositivityError
from pyromix.exact import logspace
from pyromix.model.cpd import TableCPD
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.spec import SOURCE


def constants(mixture: MixedMixture, question: Question) -> dict[int, Tensor]:
    """What is set or seen, as it is reckoned with: states as long, numbers as float64, ``()``."""
    found = {}
    for v, value in question.fixed.items():
        if v == SOURCE or not mixture.spec.kind(v).numeric:
            found[v] = torch.tensor(int(value), device=mixture.device)
        else:
            raw = torch.tensor(float(value), dtype=torch.float64, device=mixture.device)
            found[v] = mixture.units[v].inward(raw)
    return found


def columns(
    spec: MixedSpec, vertex: int, values: Mapping[int, Tensor], shape: Sequence[int]
) -> list[Tensor]:
    """Columns of the parents of a vertex, one number for those that have none yet: zero."""
    zero = next(iter(values.values())).new_zeros((), dtype=torch.float64)
    return [values.get(p, zero).expand(*shape) for p in spec.parents[vertex]]


def law(
    mixture: MixedMixture,
    vertex: int,
    sources: Int[Tensor, " c"],
    values: Mapping[int, Tensor],
) -> Distribution:
    """P(vertex | U, parents) of every row."""
    parents = columns(mixture.spec, vertex, {SOURCE: sources, **values}, sources.shape)
    return mixture.cpds[vertex].distribution(sources, parents)


def log_prob(
    mixture: MixedMixture,
    vertex: int,
    sources: Int[Tensor, " c"],
    values: Mapping[int, Tensor],
    at: Tensor,
) -> Float[Tensor, " c"]:
    """Logarithm of P(vertex = at | U, parents) of every row, or of a density in our unit."""
    cpd = mixture.cpds[vertex]
    if isinstance(cpd, TableCPD):  # whose zeros have slopes that are numbers
        parents = columns(mixture.spec, vertex, {SOURCE: sources, **values}, sources.shape)
        place = (sources, *(p.long() for p in parents), at.long().expand_as(sources))
        return logspace.log(cpd.values[place])
    return law(mixture, vertex, sources, values).log_prob(at.expand(sources.shape))


def outcome_law(
    mixture: MixedMixture,
    question: Question,
    mix: Weighed,
    sources: Int[Tensor, " c"],
    values: Mapping[int, Tensor],
) -> NumericLaw | StateLaw:
    """The law of an outcome, given its parents in every component."""
    y = question.outcome
    own = law(mixture, y, sources, values)
    if mixture.spec.kind(y).numeric:
        return NumericLaw(mix, parts_of(mixture.units[y], own))
    cpd = mixture.cpds[y]
    if isinstance(cpd, TableCPD):
        parents = columns(mixture.spec, y, {SOURCE: sources, **values}, sources.shape)
        return StateLaw(mix, cpd.values[(sources, *(p.long() for p in parents))])
    return StateLaw(mix, own.probs)  # type: ignore[attr-defined]


def weighed(
    spec: MixedSpec,
    question: Question,
    logs: Float[Tensor, " c"],
    strata: Int[Tensor, " c"] | None = None,
) -> Weighed:
    """Weights whose logarithms are known up to a constant.

    Raises:
        PositivityError: all of them are zero.
    """
    if not bool((logs.detach() > -torch.inf).any()):
        raise PositivityError(
            f"{question.title(spec)}: expected evidence of positive probability, found none in "
            f"any {'draw' if strata is not None else 'source'}; drop a piece of the evidence, or "
            "fit with a prior so that no probability is zero"
        )
    return Weighed(logs.softmax(-1), strata)
