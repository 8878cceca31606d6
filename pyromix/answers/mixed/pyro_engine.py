"""Answers by Pyro: the program of a mixture under ``pyro.do``, rows weighed by the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro
import torch
from pyro import poutine

from pyromix.answers.mixed.draws import parts_of_draws
from pyromix.answers.mixed.factors import weighed
from pyromix.answers.mixed.law import NumericLaw, StateLaw
from pyromix.answers.mixed.question import Question, Setting
from pyromix.bridges.alone import alone
from pyromix.bridges.pyro_mixed import mixed_program
from pyromix.model.kind import Kind
from pyromix.model.mixed import MixedMixture
from pyromix.model.randomness import RandomState, torch_generator
from pyromix.model.spec import SOURCE


@torch.no_grad()
def solve(
    mixture: MixedMixture, question: Question, n_samples: int, random_state: RandomState = 0
) -> NumericLaw | StateLaw:
    """Answer a question from rows that the program generates.

    Args:
        mixture: the laws of all vertices.
        question: any.
        n_samples: rows.
        random_state: an integer gives the same answer every time.

    Raises:
        SpecError: a variable has the name of the plate.
        PositivityError: no row is possible under the evidence.
    """
    spec, y = mixture.spec, question.outcome
    program = mixed_program(mixture)
    done = pyro.do(program, data=_data(mixture, question.do))
    model = pyro.condition(done, data=_data(mixture, question.evidence))
    generator = torch_generator(random_state)
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    devices = [mixture.device] if mixture.device.type == "cuda" else []
    with alone(), poutine.block(), torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        trace: Any = poutine.trace(model).get_trace(n_samples)
    seen = {spec.name(v) for v in question.evidence}
    trace.compute_log_prob(lambda name, site: name in seen)
    logs = mixture.weights.new_zeros(n_samples)
    for name in seen:
        logs = logs + trace.nodes[name]["log_prob"]
    mix = weighed(spec, question, logs, torch.zeros_like(logs, dtype=torch.long))
    drawn = trace.nodes[spec.name(y)]["value"].expand(n_samples)
    if y == SOURCE or not spec.kind(y).numeric:
        rows = torch.nn.functional.one_hot(drawn.long(), spec.binned.card(y))
        return StateLaw(mix, rows.to(logs.dtype))
    kind, unit = spec.kind(y), mixture.units[y]
    parts = parts_of_draws(
        unit,
        count=kind is Kind.COUNT,
        hurdle=kind is Kind.HURDLE,
        values=unit.inward(drawn),
        effective=mix.effective or 1.0,
    )
    return NumericLaw(mix, parts)


def _data(mixture: MixedMixture, settings: Mapping[int, Setting]) -> dict[str, Any]:
    """What is set, or seen, by the names of sites."""
    found = {}
    for v, value in settings.items():
        numeric = v != SOURCE and mixture.spec.kind(v).numeric
        dtype = torch.float64 if numeric else torch.long
        found[mixture.spec.name(v)] = torch.tensor(value, dtype=dtype, device=mixture.device)
    return found
