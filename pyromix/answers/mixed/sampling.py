"""Answers from draws: stratified by source, weighed by the evidence, smooth in the parameters.

Every vertex has random numbers of its own, which hang on the seed alone: two questions, or two
mixtures, meet the same ones, so that differences between them are far less noisy than they are.

A number that is drawn moves with the parameters (its noise does not). A state, a count, and whether
a hurdle is passed would jump; they are drawn from a *reference*, and weighed by how much likelier
they are under the mixture. With the reference held fixed an answer is a smooth function of the
parameters whose gradient is the answer's own; without one the reference is the mixture itself.

The outcome itself is not drawn but kept as its law given its parents (Rao-Blackwell), unless
evidence hangs on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.answers.mixed.draws import parts_of_draws
from pyromix.answers.mixed.factors import (
    columns,
    constants,
    law,
    log_prob,
    outcome_law,
    weighed,
)
from pyromix.answers.mixed.law import NumericLaw, StateLaw
from pyromix.answers.mixed.question import Question
from pyromix.exact import logspace
from pyromix.model.kind import Kind
from pyromix.model.mixed import MixedMixture
from pyromix.model.randomness import RandomState, torch_generator
from pyromix.model.spec import SOURCE

N_SAMPLES = 20_000
"""Draws of an answer, over all sources."""

MANY = 500.0
"""Rates from which on a count is drawn as a rounded, slightly skewed normal number."""

HIGHEST_RATE = 1e15
"""Beyond it counts are no longer told apart by double precision."""


def solve(
    mixture: MixedMixture,
    question: Question,
    n_samples: int = N_SAMPLES,
    random_state: RandomState = 0,
    reference: MixedMixture | None = None,
) -> NumericLaw | StateLaw:
    """Answer a question from draws.

    Args:
        mixture: the laws of all vertices; the answer is differentiable in its parameters.
        question: any.
        n_samples: draws, shared out evenly among the sources.
        random_state: an integer gives the same random numbers every time.
        reference: where states and counts are drawn; the mixture itself unless told.

    Raises:
        PositivityError: no draw is possible under the evidence.
    """
    spec, y = mixture.spec, question.outcome
    fixed = constants(mixture, question)
    n = max(2, -(-n_samples // spec.n_sources))
    sources = torch.arange(spec.n_sources, device=mixture.device).repeat_interleave(n)
    kept = slice(None)
    if SOURCE in fixed:
        u = int(fixed[SOURCE])
        kept = slice(u * n, (u + 1) * n)
    walk = _Walk(mixture, reference, sources, kept, _seeds(spec.n_variables, random_state))
    sources, strata = sources[kept], sources[kept] - sources[kept][0]
    zero = mixture.weights.new_zeros(len(sources))
    logs = zero if SOURCE in question.do else logspace.log(mixture.weights)[sources]
    relevant = question.relevant(spec)
    last = y != SOURCE and not any(y in spec.parents[v] for v in relevant)
    values = {v: value.expand(len(sources)) for v, value in fixed.items() if v != SOURCE}
    under = dict(values)  # the same under the reference
    for v in relevant:
        if v in fixed:
            logs = logs + log_prob(mixture, v, sources, values, fixed[v])
        elif not (v == y and last):
            logs = logs + walk.draw(v, values, under)
    mix = weighed(spec, question, logs, strata)
    if last:
        return outcome_law(mixture, question, mix, sources, values)
    if y == SOURCE or not spec.kind(y).numeric:
        states, card = (sources if y == SOURCE else values[y]), spec.binned.card(y)
        return StateLaw(mix, torch.nn.functional.one_hot(states, card).to(zero.dtype))
    kind = spec.kind(y)
    parts = parts_of_draws(
        mixture.units[y],
        count=kind is Kind.COUNT,
        hurdle=kind is Kind.HURDLE,
        values=values[y],
        effective=mix.effective or 1.0,
    )
    return NumericLaw(mix, parts)


@dataclass(frozen=True, eq=False)
class _Walk:
    """Draws of vertices, parents first.

    Attributes:
        mixture: whose numbers are drawn.
        reference: whose states and counts are drawn; None for the mixture itself.
        sources: of all draws, ``(k n,)``.
        kept: the draws that are looked at.
        seeds: two per vertex.
    """

    mixture: MixedMixture
    reference: MixedMixture | None
    sources: Int[Tensor, " all"]
    kept: slice
    seeds: tuple[tuple[int, int], ...]

    def draw(self, v: int, values: dict[int, Tensor], under: dict[int, Tensor]) -> Tensor:
        """Draw a vertex into ``values``, and under the reference; return logarithms of weights."""
        kind = self.mixture.spec.kind(v)
        if kind in (Kind.REAL, Kind.POSITIVE, Kind.HEAVY_TAILED):
            cpd = self.mixture.cpds[v]
            values[v] = self._sampled(self.mixture, cpd, v, values, 0)
            under[v] = values[v]
            if self.reference is not None:
                with torch.no_grad():
                    cpd = self.reference.cpds[v]
                    under[v] = self._sampled(self.reference, cpd, v, under, 0)
            return values[v].new_zeros(())
        if kind is Kind.HURDLE:
            return self._hurdle(v, values, under)
        drawn_from = self.reference or self.mixture
        with torch.no_grad():
            drawn = self._sampled(drawn_from, drawn_from.cpds[v], v, under, 0)
        values[v] = under[v] = drawn
        sources = self.sources[self.kept]
        return self._ratio(
            log_prob(self.mixture, v, sources, values, drawn),
            None if self.reference is None else log_prob(self.reference, v, sources, under, drawn),
        )

    def _hurdle(self, v: int, values: dict[int, Tensor], under: dict[int, Tensor]) -> Tensor:
        """Whether it is passed is drawn from the reference; how far moves with the parameters."""
        own: Any = self.mixture.cpds[v]
        other: Any = (self.reference or self.mixture).cpds[v]
        sources = self.sources[self.kept]
        with torch.no_grad():
            above = self._sampled(self.reference or self.mixture, other.gate, v, under, 0).bool()
        before = None
        if self.reference is not None:
            before = law(self.reference, v, sources, under).logs  # type: ignore[attr-defined]
            with torch.no_grad():
                size = self._sampled(self.reference, other.size, v, under, 1)
            under[v] = torch.where(above, size, torch.full_like(size, -torch.inf))
        now = law(self.mixture, v, sources, values).logs  # type: ignore[attr-defined]
        size = self._sampled(self.mixture, own.size, v, values, 1)
        values[v] = torch.where(above, size, torch.full_like(size, -torch.inf))
        if self.reference is None:
            under[v] = values[v].detach()
        place = above.long()[:, None]
        return self._ratio(
            now.gather(-1, place)[:, 0],
            None if before is None else before.gather(-1, place)[:, 0],
        )

    @staticmethod
    def _ratio(now: Float[Tensor, " c"], before: Float[Tensor, " c"] | None) -> Tensor:
        """How much likelier, as a logarithm; where nothing was drawn elsewhere its slope alone."""
        return now - (now if before is None else before).detach()

    def _sampled(
        self, mixture: MixedMixture, cpd: Any, v: int, values: dict[int, Tensor], which: int
    ) -> Tensor:
        """Draw of a vertex in every kept row, by random numbers that hang on the row alone.

        Rows that are not kept draw with parents of their own that nobody looks at.
        """
        n, of = len(self.sources), len(self.sources[self.kept])
        full = values
        if of < n:
            full = {p: x.repeat(n // of) for p, x in values.items()}
        parents = columns(mixture.spec, v, {SOURCE: self.sources, **full}, (n,))
        generator = torch_generator(self.seeds[v][which], mixture.device)
        if mixture.spec.kind(v) is Kind.COUNT:
            return _counts(cpd.distribution(self.sources, parents).rate, generator)[self.kept]
        return cpd.sample(self.sources, parents, generator)[self.kept]


def _counts(rate: Float[Tensor, " c"], generator: torch.Generator) -> Float[Tensor, " c"]:
    """Counts that rise with the rate for the same random numbers, which torch's do not."""
    uniform = torch.rand(
        rate.shape, dtype=torch.float64, generator=generator, device=generator.device
    ).to(rate.device)
    small = rate.clamp_max(MANY)
    chance = (-small).exp()
    reached, found = chance.clone(), torch.zeros_like(rate)
    most = float(small.max())
    for n in range(1, int(most + 12 * most**0.5) + 40):  # as far as double precision tells apart
        short = reached < uniform
        if not bool(short.any()):
            break
        found = found + short
        chance = chance * small / n
        reached = reached + chance
    # Beyond, Cornish and Fisher's second term leaves an error of 1 / rate.
    mean = rate.clamp_max(HIGHEST_RATE)
    z = torch.special.ndtri(uniform.clamp_min(1e-300))
    line = (mean + mean.sqrt() * z + (z.square() - 1) / 6 + 0.5).floor()
    return torch.where(mean > MANY, line, found)


def _seeds(n_variables: int, random_state: RandomState) -> tuple[tuple[int, int], ...]:
    """Two seeds for every vertex of the graph, whichever of them a question needs."""
    generator = torch_generator(random_state)
    drawn = torch.randint(
        2**62, (n_variables, 2), generator=generator, device=generator.device
    ).tolist()
    return tuple((one, other) for one, other in drawn)
