"""Where U has two views at most, no table with numbers certifies an answer, whatever its noise."""

import numpy as np
import pytest
from two_views import two_views

from pyromix.identify.verdict import Findings, judge
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import MixtureSpec


@pytest.mark.parametrize("seed", range(30))
def test_two_groups_certify_nothing(seed):
    """The stand-in's rank may do; without a third view nothing tests it: weak at most."""
    graph, states = two_views(np.random.default_rng(seed), most=4)
    names = {v: ["s0", "s1"] if v in states else [0, 1, 2] for v in graph}
    parents = {v: list(graph.predecessors(v)) for v in graph}
    coarse = [v for v in graph if v not in states]
    spec = MixtureSpec.from_parents(names, parents, 2, coarse=coarse)
    x, y = spec.vertex("X"), spec.vertex("Y")
    verdict = judge(spec, [DoQuery(outcomes=(y,), do={x: s}) for s in (0, 1)])
    assert not verdict.structural.at_least(Certainty.GRAPHICAL)
    heard = verdict.hearing(Findings()) if verdict.leans_on_source else verdict
    assert not heard.level.at_least(Certainty.LOCAL)
