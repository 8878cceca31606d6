"""What befalls a stream in its middle: a named error, a whole checkpoint, the same fit after it."""

from __future__ import annotations

import shutil
import warnings
from itertools import chain

import duckdb
import pytest
import torch

import pyromix as px
from pyromix.data.relation import rows as stream
from pyromix.data.relation.engines import DuckDBEngine, IbisEngine, engine_of
from pyromix.errors import DataError, FileError, PyromixError

SPEC = px.MixtureSpec.from_parents({f"v{i}": (0, 1) for i in range(5)}, {"v1": ["v0"]}, 2)
FRAME = px.simulate(px.random_mixture(SPEC, 3, separation=0.3), 1200, random_state=1).astype(int)
OPTIONS = {"n_init": 1, "prior": None, "memory_limit": 500, "random_state": 0}
BATCH = 256
AT_PASS = 5
"""Moments, the sample and its first passes are done by then."""


def cut(folder):
    for i in range(4):
        FRAME[300 * i : 300 * (i + 1)].to_parquet(folder / f"{i}.parquet", index=False)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "BATCH", BATCH)
    return cut(tmp_path)


def fitted(data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return px.fit(SPEC, data, **OPTIONS, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "BATCH", BATCH)
        return fitted(cut(folder) / "*.parquet")


@pytest.fixture
def at_pass(monkeypatch):
    """Makes something happen after the first batch of a pass."""

    def when(number, event):
        begun, batches = [], DuckDBEngine.batches

        def failing(self, query, n_rows):
            begun.append(query)
            for i, batch in enumerate(batches(self, query, n_rows)):
                yield batch
                if len(begun) == number and i == 0:
                    event(self)

        monkeypatch.setattr(DuckDBEngine, "batches", failing)
        return begun

    return when


def gone(folder):
    (folder / "2.parquet").rename(folder / "2.lost")


def of_another_type(folder):
    (folder / "2.parquet").rename(folder / "2.lost")
    FRAME.astype(str).replace("0", "no").to_parquet(folder / "2.parquet", index=False)


def other_cells(folder):
    (folder / "2.parquet").rename(folder / "2.lost")
    (1 - FRAME[600:900]).to_parquet(folder / "2.parquet", index=False)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (gone, "2.parquet"),
        (of_another_type, "Could not convert|VARCHAR|type"),
        (other_cells, "a table that stands still"),
    ],
)
def test_a_file_lost_in_mid_fit_is_named_and_it_goes_on(whole, folder, at_pass, event, message):
    path = folder / "fit.checkpoint"
    begun = at_pass(AT_PASS, lambda engine: event(folder))
    with pytest.raises(PyromixError, match=message):
        fitted(folder / "*.parquet", checkpoint=path)
    n_begun = len(begun)
    (folder / "2.lost").replace(folder / "2.parquet")
    found = fitted(folder / "*.parquet", checkpoint=path)
    assert found.log_likelihood == whole.log_likelihood
    assert all(map(torch.equal, found.mixture.tables, whole.mixture.tables))
    assert len(begun) < 2 * n_begun + whole.n_iter  # what was done is not done again


def test_a_file_that_appears_is_no_part_of_this_fit_and_refused_by_its_checkpoint(
    whole, folder, at_pass
):
    at_pass(AT_PASS, lambda engine: shutil.copy(folder / "0.parquet", folder / "4.parquet"))
    path = folder / "fit.checkpoint"
    assert fitted(folder / "*.parquet", checkpoint=path).log_likelihood == whole.log_likelihood
    with pytest.raises(FileError, match="of another table"):
        fitted(folder / "*.parquet", checkpoint=path)


@pytest.mark.parametrize("event", ["interrupt", "close"])
def test_an_engine_that_is_stopped_in_mid_pass_is_named(tmp_path, monkeypatch, event):
    monkeypatch.setattr(stream, "BATCH", 2048)
    connection = duckdb.connect()
    connection.sql("create table z as select range % 2 a, range % 3 b from range(2000000)")
    engine = engine_of(connection.sql("from z"))
    assert engine is not None
    rows = engine.batches("SELECT a + b AS c FROM relation", 2048)
    next(rows)
    getattr(connection, event)()
    message = r"DuckDB could not read the table: .*(INTERRUPT|onnection)"
    # a result that was ready in memory may outlive its connection; the next pass does not
    parts = (rows, engine.batches("SELECT a FROM relation", 2048))
    with pytest.raises(DataError, match=message):
        list(chain.from_iterable(parts))


WIDE = "select (range * 7919 % 1000003) % 40000 a, range // 40000 % 25 b from range(1000000)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["set memory_limit = '12MB'", "set temp_directory = ''"], "Out of Memory Error"),
        (
            ["set memory_limit = '12MB'", "set temp_directory = '{}'",
             "set max_temp_directory_size = '100KB'"],
            "max_temp_directory_size",
        ),
    ],
    ids=["memory", "disk"],
)  # fmt: skip
def test_an_engine_without_memory_or_disk_is_named(tmp_path, settings, message):
    connection = duckdb.connect()
    connection.sql("set threads = 1")
    for setting in settings:
        connection.sql(setting.format(tmp_path))
    relation = connection.sql(WIDE)
    states = ("a", "b"), (tuple(range(40000)), tuple(range(25)))
    with pytest.raises(DataError, match=message) as refusal:
        px.Counts.from_frame(relation, px.Schema(*states))
    assert "SET " not in str(refusal.value)


def test_errors_of_the_libraries_below_ibis_are_named(tmp_path):
    import sqlite3

    import ibis

    path = tmp_path / "z.db"
    with sqlite3.connect(path) as connection:
        FRAME.to_sql("z", connection, index=False)
    table = ibis.sqlite.connect(path).table("z")
    engine = engine_of(table)
    assert isinstance(engine, IbisEngine)
    with sqlite3.connect(path) as connection:
        connection.execute("drop table z")
    with pytest.raises(DataError, match="no such table"):
        engine.answer("SELECT COUNT(*) AS n FROM relation")
    with pytest.raises(DataError, match="no such table"):
        list(engine.batches("SELECT v0 FROM relation", 10))
