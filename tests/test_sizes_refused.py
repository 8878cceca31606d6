"""Sizes are worked out and refused by name before anything is allocated."""

from __future__ import annotations

import time

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from argument_fuzzing import EM, SPEC, limits, rows

import pyromix as px
from pyromix.identify.certify import MAX_CERTIFIED_PARAMETERS, certify, most_parameters
from pyromix.model.memory import DEFAULT_LIMIT, LIMIT_VARIABLE, in_words, memory_limit

SMALL = px.MixtureSpec.from_parents(dict.fromkeys("AB", (0, 1)), {}, 2)
LONG = px.MixtureSpec.from_parents({f"V{i}": (0, 1) for i in range(40)}, {}, 2)
STATES = tuple(f"s{i}" for i in range(800))
LARGE = px.MixtureSpec.from_parents(dict.fromkeys("ABC", STATES), {"C": ["A", "B"]}, 2)


@pytest.fixture(scope="module")
def fit() -> px.MixtureFit:
    return px.fit(SPEC, rows(60), method="em", **EM)


def star(n: int) -> nx.DiGraph:
    return nx.DiGraph([(f"P{i}", "Y") for i in range(n)])


def bits(names: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({name: rng.integers(0, 2, 40) for name in names})


def mixture(spec: px.MixtureSpec) -> px.BayesNetMixture:
    return px.random_mixture(spec, 0)


REFUSED = {
    "k": lambda fit: SMALL.with_n_sources(10**9),
    "k, check": lambda fit: px.check(nx.DiGraph([("A", "B")]), 10**9),
    "k, product": lambda fit: px.fit_product(bits(["A", "B"]), 10**9),
    "k, select": lambda fit: px.select_n_sources(SMALL, bits(["A", "B"]), [1, 10**9]),
    "k, coins": lambda fit: px.fit_iid([1, 2], 3, 10**9),
    "starts": lambda fit: px.fit(SMALL, bits(["A", "B"]), method="em", n_init=10**9),
    "starts of coins": lambda fit: px.fit_iid([1, 2], 3, 1, n_init=10**9),
    "flips": lambda fit: px.fit_iid([1, 2], 10**9, 1),
    "joint table": lambda fit: mixture(LONG).joint_table(),
    "joint cells": lambda fit: px.population(mixture(LONG)).as_counts(2**45),
    "random mixture": lambda fit: mixture(LARGE),
    "batch": lambda fit: px.random_mixture(SMALL, batch_shape=(10**9,)),
    "rows": lambda fit: px.simulate(mixture(SMALL), 10**10),
    "rows of a program": lambda fit: px.to_pyro(mixture(SMALL))(size=10**10),
    "replicates": lambda fit: fit.bootstrap(n=10**9),
    "draws": lambda fit: fit.refine(method="gibbs", num_samples=10**6, num_chains=1000),
    "sweeps": lambda fit: fit.refine(method="gibbs", thinning=10**9),
    "steps of NUTS": lambda fit: fit.refine(method="nuts", warmup_steps=10**9),
    "steps of SVI": lambda fit: fit.refine(method="svi", num_steps=10**9),
    "other starts": lambda fit: fit.sensitivity("Y", n_starts=10**9),
    "three vertices of 800 states": lambda fit: px.fit(
        LARGE, px.Counts.from_codes(LARGE, torch.zeros(2, 3, dtype=torch.int64))
    ),
    "many parents": lambda fit: px.fit(star(24), bits([*star(24)]), 2),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::pyromix.PyromixWarning")
def test_a_size_beyond_reason_is_refused_by_name_at_once(fit, name):
    start = time.process_time()
    with limits(), pytest.raises(px.PyromixError, match=r"at most|integer") as caught:
        REFUSED[name](fit)
    # Importing Pyro takes most of it.
    assert time.process_time() - start < 4
    assert len(str(caught.value)) < 800


def test_the_limit_is_named_and_raised(monkeypatch):
    joint = px.random_mixture(px.MixtureSpec.from_parents(dict.fromkeys("ABCD", (0, 1)), {}, 2))
    assert memory_limit() == DEFAULT_LIMIT * 2**20
    monkeypatch.setenv(LIMIT_VARIABLE, "1")
    assert joint.joint_table().shape == (2, 2, 2, 2)
    rows_of = {"n_samples": 2**17 // 4}
    px.simulate(joint, rows_of["n_samples"] // 2)
    with pytest.raises(px.QueryError, match=r"at most 1 MiB, found 1\.25 MiB.*MEMORY_LIMIT=2 "):
        px.simulate(joint, **rows_of)
    monkeypatch.setenv(LIMIT_VARIABLE, "2")
    assert len(px.simulate(joint, **rows_of)) == rows_of["n_samples"]
    for text in ("0", "-1", "x", "1.5"):
        monkeypatch.setenv(LIMIT_VARIABLE, text)
        with pytest.raises(px.SpecError, match="must be a whole number of MiB"):
            memory_limit()


def test_a_contraction_heeds_the_limit_and_says_how_to_raise_it(monkeypatch):
    large = px.random_mixture(px.MixtureSpec.from_parents({v: range(60) for v in "ABC"}, {}, 1))
    assert px.query(large, ["A", "B", "C"]).values.size == 60**3
    monkeypatch.setenv(LIMIT_VARIABLE, "1")
    with pytest.raises(px.ContractionSizeError, match="PYROMIX_MEMORY_LIMIT=2 "):
        px.query(large, ["A", "B", "C"])


def test_a_graph_is_checked_whatever_its_tables_would_take():
    assert px.check(LARGE, outcome="A", treatment="B").verdict == "identified"


@pytest.mark.filterwarnings("ignore::pyromix.PyromixWarning")
def test_more_parameters_than_cells_have_a_dense_certificate_up_to_a_smaller_number():
    found = px.check(star(11), 2)
    assert found.verdict == "not identified"
    assert any("a direction among 4,119 parameters" in reason for reason in found.reasons)
    assert most_parameters(found.spec) < 4119 < most_parameters(SPEC) == MAX_CERTIFIED_PARAMETERS
    with pytest.raises(px.SpecError, match=r"at most 2,500 parameters, found 4,119"):
        certify(found.spec)


def test_numbers_of_bytes_in_words():
    assert [in_words(n) for n in (5, 2048, 3 * 2**20, 2**31, 2**80)] == [
        "5 bytes", "2 KiB", "3 MiB", "2 GiB", "1,099,511,627,776 TiB",
    ]  # fmt: skip
