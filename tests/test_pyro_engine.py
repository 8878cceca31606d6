"""What the Pyro engine can hold: dimensions, relevant ancestors, names."""

from __future__ import annotations

import itertools

import pytest
import torch

from pyromix.answers.do import marginal, query
from pyromix.errors import DimensionLimitError
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import DoQuery
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec

ENGINES = ["elimination", "pyro"]


def chain(n: int) -> BayesNetMixture:
    names = [f"V{i}" for i in range(n)]
    parents = {b: [a] for a, b in itertools.pairwise(names)}
    return random_mixture(MixtureSpec.from_parents(dict.fromkeys(names, "ab"), parents, 2), 0)


def test_pyro_engine_fills_all_dimensions_and_refuses_one_more():
    """64 dimensions less one for rows and one for states hold U and 61 vertices."""
    mixture = chain(63)
    leaf = {"V61": "a"}
    one, other = (query(mixture, "V0", evidence=leaf, engine=engine).values for engine in ENGINES)
    assert one == pytest.approx(other, abs=1e-12)
    with pytest.raises(DimensionLimitError, match=r"at most 62.*found 63.*elimination") as caught:
        query(mixture, "V0", evidence={"V62": "a"}, engine="pyro")
    assert (caught.value.n_sites, caught.value.limit) == (63, 62)


def test_pyro_engine_counts_plates_and_drawn_settings():
    mixture = chain(60)
    batch = BayesNetMixture(
        mixture.spec,
        mixture.weights.expand(2, 3, 2),
        tuple(c.expand(2, 3, *c.shape) for c in mixture.cpts),
    )
    soft = {"V0": [{"a": 0.5, "b": 0.5}, "a"]}
    asked = {"variables": "V56", "do": soft, "engine": "pyro"}
    assert query(batch, **asked).probs.shape == (2, 3, 2, 2)
    with pytest.raises(DimensionLimitError, match=r"at most 59.*found 60"):
        query(batch, **{**asked, "variables": "V57"})


def test_pyro_engine_takes_in_relevant_ancestors_only():
    mixture = chain(300)
    for asked in (
        {"variables": "V9"},
        {"variables": "V299", "do": {"V290": "a"}},
        {"variables": "V299", "do": {"V280": "b"}, "evidence": {"V285": "a", "V3": "b"}},
    ):
        one, other = (query(mixture, **asked, engine=engine).values for engine in ENGINES)
        assert one == pytest.approx(other, abs=1e-12)


def test_pyro_engine_does_not_mind_names_of_its_own_plates_and_sites():
    states = dict.fromkeys(["rows", "batch_0", "data", "U__CF", "do[rows]"], "ab")
    spec = MixtureSpec.from_parents(states, {"data": ["rows", "batch_0"]}, 2, source="scenarios")
    mixture = random_mixture(spec, 0, batch_shape=(2,))
    asked = DoQuery.from_names(
        spec, ["data", "scenarios"], {"rows": ["a", "b"]}, {"batch_0": "a", "U__CF": "b"}
    )
    one, other = (marginal(mixture, asked, engine) for engine in ENGINES)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
