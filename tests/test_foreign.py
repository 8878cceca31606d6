"""Tables of other libraries: batches, streams, datasets; what is refused hears what to write."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest
import torch

import pyromix as px
from pyromix.data.foreign import eager
from pyromix.errors import DataError

FRAME = pd.DataFrame({"A": ["x", "y", "x", None, "y"] * 4, "B": [0, 1, 1, 0, 1] * 4})
SPEC = px.MixtureSpec.from_parents({"A": ("x", "y"), "B": (0, 1)}, {}, 1)
TABLE = pa.Table.from_pandas(FRAME, preserve_index=False)


class HuggingFace:
    """As the library's Dataset behaves: rows of Python, or Arrow tables once it is told so."""

    def __init__(self, table: pa.Table, features: object = None, form: str | None = None) -> None:
        self.table, self.features, self.form = table, features, form

    def with_format(self, form: str) -> HuggingFace:
        return HuggingFace(self.table, self.features, form)

    def iter(self, batch_size: int):
        assert self.form == "arrow"
        for start in range(0, len(self.table), 7):  # streams cut where they like
            yield self.table.slice(start, 7)


SOURCES = {
    "record batch": lambda: TABLE.to_batches()[0],
    "reader": lambda: TABLE.to_reader(max_chunksize=3),
    "dataset": lambda: pyarrow.dataset.dataset(TABLE),
    "scanner": lambda: pyarrow.dataset.dataset(TABLE).scanner(batch_size=3),
    "hugging face": lambda: HuggingFace(TABLE),
    "polars": lambda: pl.from_arrow(TABLE),
    "lazy polars": lambda: pl.from_arrow(TABLE).lazy(),
    "text": lambda: io.StringIO(FRAME.to_csv(index=False)),
    "bytes": lambda: io.BytesIO(FRAME.to_csv(index=False).encode()),
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_table_is_the_same_wherever_it_comes_from(source):
    counts = px.Counts.from_frame(SOURCES[source](), SPEC)
    assert counts.same_rows(px.Counts.from_frame(FRAME, SPEC))


@pytest.mark.parametrize("source", ["reader", "hugging face", "text"])
def test_a_stream_is_read_once_by_whoever_needs_it(source):
    fit = px.fit_product(SOURCES[source](), 1, prior=None)
    expected = px.fit_product(FRAME, 1, prior=None)
    assert fit.log_likelihood == pytest.approx(expected.log_likelihood)
    assert fit.spec.states == expected.spec.states


def test_a_dataset_on_disk_is_read_from_all_of_its_files(tmp_path):
    for part in range(2):
        FRAME[part * 10 : part * 10 + 10].to_parquet(tmp_path / f"{part}.parquet")
    counts = px.Counts.from_frame(pyarrow.dataset.dataset(tmp_path), SPEC)
    assert counts.same_rows(px.Counts.from_frame(FRAME, SPEC))


def test_class_labels_are_their_names_and_minus_one_is_missing():
    table = pa.table({"label": [1, 0, -1, 1], "text": ["a", "b", "a", "b"]})
    features = {
        "label": SimpleNamespace(names=["neg", "pos"]),
        "text": SimpleNamespace(dtype="string"),
    }
    found = eager(HuggingFace(table, features))
    assert found["label"].to_list() == ["pos", "neg", None, "pos"]
    assert found.columns == ["label", "text"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (dict(FRAME), "found dict; pandas.DataFrame(data) makes"),
        (FRAME.to_numpy(), "found ndarray; pandas.DataFrame(data, columns=[...]) makes"),
        (torch.zeros(2, 2), "found Tensor; pandas.DataFrame(data, columns=[...]) makes"),
        (FRAME.to_dict("records"), "found list; pandas.DataFrame(list(data)) makes"),
        (iter([("x", 1)]), "found tuple_iterator; pandas.DataFrame(list(data)) makes"),
        (FRAME["A"], "found Series; data.to_frame() makes"),
        (pl.Series("A", [1, 2]), "found Series; data.to_frame() makes"),
        (TABLE["A"], "found ChunkedArray"),
        ({"train": TABLE, "test": TABLE}, "found dict of tables; pass one of them, data['train']"),
        (pd.DataFrame, "found type, the class; make one of it, DataFrame(...)"),
        (None, "found NoneType"),
        (5, "found int"),
    ],
)
def test_what_is_no_table_hears_what_to_write(data, said):
    with pytest.raises(DataError) as refusal:
        eager(iter(((1, 2),)) if said.startswith("found tuple_iter") else data)
    assert said in str(refusal.value)


def test_what_the_hints_say_works():
    columns = list(FRAME.columns)
    for made in (
        pd.DataFrame(dict(FRAME)),
        pd.DataFrame(FRAME.to_numpy(), columns=columns),
        pd.DataFrame(list(iter(FRAME.to_dict("records")))),
        FRAME["A"].to_frame().join(FRAME["B"].to_frame()),
    ):
        assert eager(made).columns == columns
    assert np.array_equal(eager(TABLE)["B"].to_numpy(), FRAME["B"])
