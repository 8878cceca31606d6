"""Warnings point at the line of whoever called into the library, whichever door it was."""

from __future__ import annotations

import pathlib
import warnings

import networkx as nx
import numpy as np
import pandas as pd
import pytest

import pyromix as px
from pyromix.errors import LONGEST_MESSAGE

GRAPH = nx.DiGraph([("A", "B"), ("A", "C"), ("A", "D")])
STATES = dict.fromkeys("ABCD", (0, 1))
SPEC = px.MixtureSpec.from_parents(STATES, {"B": ["A"]}, 2)


def table(n=200):
    source = np.random.default_rng(0).random((n, 1)) < 0.5
    cells = np.random.default_rng(1).random((n, 4)) < np.where(source, 0.2, 0.8)
    return pd.DataFrame(cells.astype(int), columns=list("ABCD"))


@pytest.fixture(scope="module")
def fit():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        return px.fit(SPEC, table(), n_init=2, prior=1.0)


FAST = {"n_init": 2, "method": "em", "prior": None, "max_iter": 3}
COUNTED = table().assign(count=1)
GAPS = table().assign(A=[0.0, np.nan] * 100)
RENAMED = px.random_mixture(px.MixtureSpec.from_parents({"a b": (0, 1)}, {}, 1))

DOORS = {
    "fit, added source": lambda fit: px.fit(GRAPH, table(), 2, **FAST),
    "fit, column of counts": lambda fit: px.fit(SPEC, COUNTED, **FAST),
    "fit, moments fall back": lambda fit: px.fit(GRAPH, table(), 3, n_init=1),
    "fit, repairs": lambda fit: px.fit(SPEC, GAPS, missing="drop", **FAST),
    "fit, iteration limit": lambda fit: px.fit(SPEC, table(), **FAST),
    "fit_product, iteration limit": lambda fit: px.fit_product(table(), 2, **FAST),
    "bootstrap": lambda fit: fit.bootstrap(n=3, max_iter=1),
    "gibbs": lambda fit: fit.refine(method="gibbs", num_samples=4, warmup_steps=0),
    "svi": lambda fit: fit.refine(method="svi", num_steps=5, num_samples=3, random_state=2),
    "check, added source": lambda fit: px.check(GRAPH, 2, table()),
    "check, column of counts": lambda fit: px.check(SPEC, None, COUNTED),
    "select, column of counts": lambda fit: px.select_n_sources(SPEC, COUNTED, [1], n_init=1),
    "counts, repairs": lambda fit: px.Counts.from_frame(GAPS, SPEC, missing="drop"),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_warning_points_at_the_line_of_the_caller(fit, door):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        DOORS[door](fit)
    ours = [w for w in said if issubclass(w.category, px.PyromixWarning)]
    assert ours
    line = DOORS[door].__code__.co_firstlineno
    assert {(w.filename, w.lineno) for w in ours} == {(__file__, line)}


def test_renaming_for_a_file_is_said_at_the_line_of_the_caller(tmp_path):
    with pytest.warns(px.DataRepairWarning) as said:
        px.write(RENAMED, tmp_path / "net.bif", rename_states=True)
    assert [pathlib.Path(w.filename) for w in said] == [pathlib.Path(__file__)]


@pytest.mark.parametrize("kind", [px.DataError, px.FileError, px.PyromixWarning, px.PlanError])
def test_a_message_never_echoes_a_file(kind):
    long = kind("found " + "x" * 10**6 + "; leave it out")
    assert len(str(long)) < LONGEST_MESSAGE + 10
    assert str(long).startswith("found xxx")
    assert str(long).endswith("xxx; leave it out")
    assert str(kind("found x")) == "found x"


def test_a_table_of_long_cells_is_not_echoed():
    frame = pd.DataFrame({"A": [f"{i}{'x' * 10**5}" for i in range(4)] * 5, "B": [0, 1] * 10})
    spec = px.MixtureSpec.from_parents({"A": ("a", "b"), "B": (0, 1)}, {}, 1)
    with pytest.raises(px.DataError) as refusal:
        px.Counts.from_frame(frame, spec)
    assert len(str(refusal.value)) < LONGEST_MESSAGE + 10
