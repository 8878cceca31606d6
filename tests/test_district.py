"""The part on which a question hangs, against certificates of whole networks."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import random_spec

import pyromix as px
from pyromix.identify.certify import certify
from pyromix.identify.district import confounded_part
from pyromix.model.query import DoQuery


def test_the_part_determines_an_answer_if_and_only_if_the_whole_does():
    determined = smaller = 0
    for seed in range(70):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(4, 7))
        spec = random_spec(seed, n, 2, edge_probability=0.5, uninfluenced=True)
        x, y = sorted(rng.choice(n, 2, replace=False).tolist())
        if spec.n_cells > 200:
            continue
        states = rng.integers(spec.cards[x], size=2).tolist()
        natural = {x: states[1]} if seed % 2 else {}
        asked = DoQuery((y,), {x: states[0]}, {}, natural)
        part, (on_part,) = confounded_part(spec, [asked])
        smaller += part.n_parameters < spec.n_parameters
        whole = certify(spec).residual(asked) < 1e-6
        assert (certify(part).residual(on_part) < 1e-6) == whole, seed
        determined += whole
    assert smaller > 10
    assert determined > 10


def test_what_neither_the_answer_nor_a_confounded_vertex_needs_is_left_out():
    """A -> B -> X -> Y -> C; U at X and Y: B stays as a parent of X, without its own."""
    parents = {"B": ["A"], "X": ["B"], "Y": ["X"], "C": ["Y"]}
    spec = px.MixtureSpec.from_parents(
        dict.fromkeys("ABXYC", (0, 1)), parents, 2, uninfluenced=["A", "B", "C"]
    )
    part, (asked,) = confounded_part(spec, [DoQuery.from_names(spec, "Y", {"X": 1})])
    assert part.variables == ("B", "X", "Y")
    assert part.parents == ((), (0,), (1,))
    assert part.uninfluenced == {0}
    assert (asked.outcomes, dict(asked.do)) == ((2,), {1: 1})


@pytest.mark.parametrize("evidence", [{}, {"A": 0}])
def test_a_network_of_which_nothing_can_be_left_out_is_itself(evidence):
    spec = px.MixtureSpec.from_parents(dict.fromkeys("AXY", (0, 1)), {"Y": ["X", "A"]}, 2)
    asked = (DoQuery.from_names(spec, "Y", {"X": 1}, evidence),)
    assert confounded_part(spec, asked) == (spec, asked)
