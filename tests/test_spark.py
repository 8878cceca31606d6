"""A real Spark session, in local mode, counts as the frame does; absent where Spark or Java is.

Spark is 430 MB and no part of the group of developers: ``pip install 'pyromix[spark]'`` and a Java
of 17 or later bring these tests to life.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import pyromix as px
from pyromix.data.relation.door import relation_of
from pyromix.data.relation.route import read_relation
from pyromix.data.relation.rows import RelationRows
from pyromix.estimate.starts import random_starts
from pyromix.estimate.step import EMMap, Point
from pyromix.estimate.streamed import StreamedMap
from pyromix.exact.rows import CellIndex
from pyromix.model.prior import PseudoCounts

pyspark = pytest.importorskip("pyspark", reason="Spark is not installed: pyromix[spark]")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java, which is not installed", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("ignore")  # Spark's own, of pandas and of sockets

N = 500
SPEC = px.MixtureSpec.from_parents(
    {"t": ("no", "yes"), "b": (False, True), "i": (3, 4, 7), "f": (1, 2)}, {"b": ["t"]}, 2
)


def frame_of() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "t": rng.choice(["yes", "no", None, " yes"], N),
            "b": rng.random(N) < 0.3,
            "i": rng.choice([3, 4, 7], N),
            "f": rng.choice([1.0, 2.0], N),
            "w": rng.integers(0, 4, N),
        }
    )


FRAME = frame_of()


@pytest.fixture(scope="module")
def table():
    import ibis
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable  # workers need what the driver has
    builder = SparkSession.builder.master("local[2]").appName("pyromix")
    for key, value in {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
    }.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    cells = FRAME.astype(object).itertuples(index=False)
    rows = [tuple(None if pd.isna(cell) else cell for cell in row) for row in cells]
    schema = "t string, b boolean, i bigint, f double, w bigint"
    session.createDataFrame(rows, schema).createOrReplaceTempView("claims")
    yield ibis.pyspark.connect(session).table("claims")
    session.stop()


@pytest.mark.parametrize("options", [{}, {"sample_weight": "w"}, {"missing": "drop"}], ids=str)
def test_spark_counts_as_the_frame_is_counted(table, options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, expected = (px.Counts.from_frame(d, SPEC, **options) for d in (table, FRAME))
    assert found.same_rows(expected)
    assert found.report == expected.report


def test_moments_and_passes_come_from_spark(table):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows, _ = read_relation(relation_of(table), SPEC, memory_limit=1000)
        counts = px.Counts.from_frame(FRAME, SPEC)
    assert isinstance(rows, RelationRows)
    asked = torch.tensor([[0], [1], [2]])
    torch.testing.assert_close(rows.table((0, 1), (2,), asked), counts.table((0, 1), (2,), asked))
    points, none = Point.of(random_starts(SPEC, 2, 0)), PseudoCounts.of(SPEC, None)
    found = StreamedMap.of(SPEC, rows.batches, rows.n_rows, none).expected(points)
    expected = EMMap(SPEC, CellIndex(SPEC, counts.rows), counts.weights, none).expected(points)
    torch.testing.assert_close(found.cells, expected.cells, rtol=1e-12, atol=1e-10)


def test_steps_of_em_are_summed_by_the_workers(table, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weighted = {"sample_weight": "w"}
        rows, _ = read_relation(relation_of(table), SPEC, memory_limit=1000, **weighted)
        counts = px.Counts.from_frame(FRAME, SPEC, **weighted)
    assert isinstance(rows, RelationRows)
    points, none = Point.of(random_starts(SPEC, 2, 0)), PseudoCounts.of(SPEC, None)
    monkeypatch.setattr(RelationRows, "batches", lambda *_: pytest.fail("rows came to the driver"))
    em = StreamedMap.of(SPEC, rows.batches, rows.n_rows, none, rows.summed)
    expected = EMMap(SPEC, CellIndex(SPEC, counts.rows), counts.weights, none).expected(points)
    for found in (em.expected(points), em.expected(points)):
        for name, value in vars(expected).items():
            torch.testing.assert_close(getattr(found, name), value, rtol=1e-12, atol=1e-10)
    rows._passes[0] = (N, 7)
    with pytest.raises(px.DataError, match="a table that stands still"):
        em.expected(points)


def test_a_worker_that_fails_is_named(table):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows, _ = read_relation(relation_of(table), SPEC, memory_limit=1000)
    assert isinstance(rows, RelationRows)

    def killed(blocks):  # within the test, so that it travels by value
        os.kill(os.getpid(), 9)

    with pytest.raises(px.DataError, match=r"Ibis could not ask for it.*worker"):
        rows.summed(killed)


def test_probabilities_come_back_as_a_table_of_spark(table):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = px.fit(SPEC, FRAME, n_init=1, prior=1.0, max_iter=20)
        found = fit.predict_proba(table).to_pandas()["U_0"]
        expected = fit.predict_proba(FRAME)["0"]
    np.testing.assert_allclose(np.sort(found), np.sort(expected), rtol=0, atol=1e-12)
