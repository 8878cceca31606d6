"""Answers as finite sums, where the numbers that matter are jointly normal.

Given the source and the states of the categorical vertices, numbers with normal noise are jointly
normal (THEORY section 18.4) [lauritzen92]. Vertices are taken up one by one, parents first: one
that is not known joins the normal law; one that is seen multiplies the weight by its density and
conditions the law on it, after which it is a constant for its children.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Normal

from pyromix.answers.mixed.factors import columns, constants, log_prob, outcome_law, weighed
from pyromix.answers.mixed.law import NumericLaw, StateLaw
from pyromix.answers.mixed.parts import parts_of
from pyromix.answers.mixed.question import Question
from pyromix.exact import logspace
from pyromix.model.families.linear_gaussian import LOG_TAU
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.spec import SOURCE

LARGEST = 2**24
"""Numbers in the covariances of all configurations, up to which a sum is taken exactly."""


def why_not(spec: MixedSpec, question: Question) -> str:
    """Say why there is no finite sum, as the end of a sentence; empty where there is one."""
    relevant, fixed = question.relevant(spec), question.fixed
    for v in relevant:
        kind = spec.kind(v)
        loose = [p for p in spec.parents[v] if spec.kind(p).numeric and p not in fixed]
        bent = [p for p in loose if not spec.kind(p).gaussian]
        if kind.gaussian:
            if bent:
                return f"{spec.name(v)!r} depends on {spec.name(bent[0])!r}, which is not normal"
            continue
        if loose:
            return f"{spec.name(v)!r} is not linear in the number {spec.name(loose[0])!r}"
        if not kind.numeric or v in fixed:
            continue
        if v != question.outcome:
            return f"{spec.name(v)!r} is not normal, and neither set nor seen"
        if any(v in spec.parents[w] for w in relevant):
            return f"evidence depends on {spec.name(v)!r}, which is not normal"
    numbers = 1 + sum(spec.kind(v).gaussian for v in relevant)
    size = _n_configurations(spec, question) * numbers**2
    if size > LARGEST:
        return f"the sum over states has {size:,} numbers, more than {LARGEST:,}"
    return ""


def solve(mixture: MixedMixture, question: Question) -> NumericLaw | StateLaw:
    """Answer a question by a finite sum; differentiable in the parameters of the mixture.

    Args:
        mixture: the laws of all vertices.
        question: one for which ``why_not`` is empty.

    Raises:
        PositivityError: the evidence has probability zero.
    """
    spec, y = mixture.spec, question.outcome
    fixed = constants(mixture, question)
    sources, values = _configurations(mixture, question, fixed)
    zero = mixture.weights.new_zeros(len(sources))
    logs = zero if SOURCE in question.do else logspace.log(mixture.weights)[sources]
    joint = Joint.empty(len(sources), zero)
    last = not spec.kind(y).gaussian if y != SOURCE and spec.kind(y).numeric else False
    for v in question.relevant(spec):
        if spec.kind(v).gaussian:
            mean, cross, variance = joint.child(mixture, v, sources, values)
            if v in fixed:
                gap = fixed[v] - mean
                logs = logs - 0.5 * (LOG_TAU + variance.log() + gap.square() / variance)
                joint = joint.given(cross, gap, variance)
            else:
                joint = joint.with_vertex(v, mean, cross, variance)
        elif not (v == y and last):
            logs = logs + log_prob(mixture, v, sources, values, values[v])
    mix = weighed(spec, question, logs)
    if y == SOURCE or not spec.kind(y).numeric:
        states, card = (sources if y == SOURCE else values[y]), spec.binned.card(y)
        return StateLaw(mix, torch.nn.functional.one_hot(states, card).to(zero.dtype))
    if last:
        return outcome_law(mixture, question, mix, sources, values)
    mean, variance = joint.of(y)
    return NumericLaw(mix, parts_of(mixture.units[y], Normal(mean, variance.sqrt())))


@dataclass(frozen=True, eq=False)
class Joint:
    """The normal law of numbers that are not known, in every configuration.

    Attributes:
        vertices: whose numbers.
        mean: ``(c, g)``.
        covariance: ``(c, g, g)``.
    """

    vertices: tuple[int, ...]
    mean: Float[Tensor, "c g"]
    covariance: Float[Tensor, "c g g"]

    @staticmethod
    def empty(n: int, like: Tensor) -> Joint:
        """Of no number."""
        return Joint((), like.new_zeros(n, 0), like.new_zeros(n, 0, 0))

    def child(
        self, mixture: MixedMixture, v: int, sources: Tensor, values: Mapping[int, Tensor]
    ) -> tuple[Float[Tensor, " c"], Float[Tensor, "c g"], Float[Tensor, " c"]]:
        """Mean of a further vertex, its covariances with the others, and its variance."""
        cpd: Any = mixture.cpds[v]
        parents = columns(mixture.spec, v, {SOURCE: sources, **values}, sources.shape)
        place = cpd.places(sources, parents)
        lines, noise = cpd.coefficients[place], cpd.variances[place]
        # Numbers that are not known stand in the design as zeros, and enter by their law.
        mean = (lines * cpd.layout.design(parents, sources.shape)).sum(-1)
        slopes = torch.zeros_like(self.mean)
        for i, p in enumerate(mixture.spec.parents[v]):
            if p in self.vertices:
                column = cpd.layout.column(i)
                spot = self.vertices.index(p)
                slopes = slopes.index_add(
                    1, torch.tensor([spot], device=slopes.device), lines[:, [column]]
                )
        cross = (self.covariance @ slopes[..., None])[..., 0]
        return mean + (slopes * self.mean).sum(-1), cross, noise + (slopes * cross).sum(-1)

    def with_vertex(self, v: int, mean: Tensor, cross: Tensor, variance: Tensor) -> Joint:
        """The law with a further number."""
        beside = torch.cat([self.covariance, cross[..., None]], -1)
        below = torch.cat([cross, variance[:, None]], -1)[:, None, :]
        return Joint(
            (*self.vertices, v),
            torch.cat([self.mean, mean[:, None]], -1),
            torch.cat([beside, below], -2),
        )

    def given(self, cross: Tensor, gap: Tensor, variance: Tensor) -> Joint:
        """The law once a further number is seen so far from its mean."""
        gain = cross / variance[:, None]
        return Joint(
            self.vertices,
            self.mean + gain * gap[:, None],
            self.covariance - gain[:, :, None] * cross[:, None, :],
        )

    def of(self, v: int) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
        """Mean and variance of one number."""
        spot = self.vertices.index(v)
        return self.mean[:, spot], self.covariance[:, spot, spot]


def _loose(spec: MixedSpec, question: Question) -> list[int]:
    """What a sum runs over: the source, and vertices with states that are not known."""
    fixed = question.fixed
    states = [v for v in question.relevant(spec) if not spec.kind(v).numeric and v not in fixed]
    return states if SOURCE in fixed else [SOURCE, *states]


def _n_configurations(spec: MixedSpec, question: Question) -> int:
    return prod(spec.binned.card(v) for v in _loose(spec, question))


def _configurations(
    mixture: MixedMixture, question: Question, fixed: Mapping[int, Tensor]
) -> tuple[Int[Tensor, " c"], dict[int, Tensor]]:
    """Source and values of all that is known, in every configuration of the states that are not."""
    loose = _loose(mixture.spec, question)
    cards = [mixture.spec.binned.card(v) for v in loose]
    n = prod(cards)
    number = torch.arange(n, device=mixture.device)
    values = {v: value.expand(n) for v, value in fixed.items()}
    for v, card in zip(reversed(loose), reversed(cards), strict=True):
        values[v], number = number % card, number // card
    return values.pop(SOURCE), values
