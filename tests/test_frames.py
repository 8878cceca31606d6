"""Tables of every kind give the same state numbers; what cannot be read says so."""

from __future__ import annotations

import datetime
import decimal
import io
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from pyarrow import feather, parquet

from pyromix.data.cells import observed_states
from pyromix.data.frames import (
    RawTable,
    decode,
    encode,
    read_frame,
    to_pandas,
    write_frame,
)
from pyromix.data.text import header, parse
from pyromix.errors import DataError, DataRepairWarning, FileError
from pyromix.model.spec import MixtureSpec

STATES = {"smoke": ("no", "yes"), "dose": (0, 1, 2), "sick": (False, True)}
CELLS = {
    "smoke": ["yes", None, "no", "yes"],
    "dose": [2, 0, None, 1],
    "sick": [True, False, False, None],
}
NUMBERS = [[1, 2, 1], [-1, 0, 0], [0, -1, 0], [1, 1, -1]]


def spec_of(states):
    return MixtureSpec.from_parents(states, {}, 2)


SPEC = spec_of(STATES)


def one_column(values, states, **options):
    """Numbers of a single column, beside a column that is in order."""
    n = len(values)
    frame = pd.DataFrame({"x": values, "y": ["a", "b"] * (n // 2) + ["a"] * (n % 2)})
    return encode(frame, spec_of({"x": states, "y": ("a", "b")}), **options)


def quietly(function, *args, **options):
    """Call, and return the result and the sentences of the warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*args, **options)
    return result, [str(w.message) for w in caught if w.category is DataRepairWarning]


# -- one table, many carriers ------------------------------------------------------------------


def as_pandas_objects(path):
    return pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in CELLS.items()})


def as_pandas_nullable(path):
    return pd.DataFrame(CELLS).astype({"smoke": "string", "dose": "Int64", "sick": "boolean"})


def as_pandas_arrow(path):
    return as_arrow(path).to_pandas(types_mapper=pd.ArrowDtype)


def as_pandas_categorical(path):
    return pd.DataFrame(
        {n: pd.Categorical(cells, categories=STATES[n][::-1]) for n, cells in CELLS.items()},
        index=[3, 3, 1, 0],
    )


def as_polars(path):
    return pl.DataFrame(CELLS)


def as_polars_lazy(path):
    return pl.LazyFrame(CELLS)


def as_polars_enum(path):
    return pl.DataFrame(CELLS).with_columns(pl.col("smoke").cast(pl.Enum(["yes", "no", "maybe"])))


def as_polars_categorical(path):
    pl.Series(["other", "words"], dtype=pl.Categorical)
    return pl.DataFrame(CELLS).with_columns(pl.col("smoke").cast(pl.Categorical))


def as_arrow(path):
    return pa.table(CELLS)


def as_arrow_dictionary(path):
    table = pa.table(CELLS)
    encoded = table.column("smoke").dictionary_encode()
    return table.set_column(0, "smoke", encoded)


def as_arrow_of_polars(path):
    """Polars hands out string views and dictionaries of them."""
    return as_polars(path).to_arrow()


def as_arrow_of_polars_enum(path):
    return as_polars_enum(path).to_arrow()


def as_arrow_of_polars_categorical(path):
    return as_polars_categorical(path).to_arrow()


def as_arrow_chunks(path):
    """Two chunks whose dictionaries differ in order."""
    first = pa.DictionaryArray.from_arrays(pa.array([1, None], pa.int8()), ["no", "yes"])
    second = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), ["yes", "no"])
    return pa.table(CELLS).set_column(0, "smoke", pa.chunked_array([first, second]))


def as_csv(path):
    as_polars(path).write_csv(path / "data.csv")
    return path / "data.csv"


def as_pandas_csv(path):
    """Pandas writes an integer column with a gap as 2.0, 0.0, , 1.0."""
    pd.DataFrame(CELLS).to_csv(path / "data.csv", index=False)
    return str(path / "data.csv")


def as_compressed_csv(path):
    pd.DataFrame(CELLS).astype({"dose": "Int64"}).to_csv(path / "data.csv.gz", index=False)
    return path / "data.csv.gz"


def as_tsv(path):
    as_polars(path).write_csv(path / "data.tsv", separator="\t")
    return path / "data.tsv"


def as_stream(path):
    return io.BytesIO(as_csv(path).read_bytes())


def as_parquet(path):
    parquet.write_table(as_arrow(path), path / "data.parquet")
    return path / "data.parquet"


def as_polars_parquet(path):
    as_polars_enum(path).write_parquet(path / "data.pq")
    return path / "data.pq"


def as_feather(path):
    feather.write_feather(as_arrow_dictionary(path), str(path / "data.feather"))
    return path / "data.feather"


def as_ipc(path):
    as_polars(path).write_ipc(path / "data.arrow")
    return path / "data.arrow"


CARRIERS = [value for name, value in list(globals().items()) if name.startswith("as_")]


@pytest.mark.parametrize("carrier", CARRIERS, ids=lambda carrier: carrier.__name__)
def test_every_carrier_gives_the_same_numbers(carrier, tmp_path):
    (codes, weights, report), _ = quietly(encode, carrier(tmp_path), SPEC)
    assert codes.tolist() == NUMBERS
    assert codes.dtype == torch.int8
    assert weights.tolist() == [1.0] * 4
    assert (report.n_rows, report.n_missing_cells, report.total_weight) == (4, 3, 4.0)


@pytest.mark.parametrize(
    "carrier",
    [c for c in CARRIERS if "categorical" not in c.__name__ and "enum" not in c.__name__],
    ids=lambda carrier: carrier.__name__,
)
def test_states_that_nobody_declares_come_from_the_column(carrier, tmp_path):
    table = read_frame(carrier(tmp_path))
    found = {name: observed_states(table, name) for name in STATES}
    if carrier in (as_arrow_dictionary, as_feather, as_polars_parquet):
        # these carry an order of their own
        assert set(found.pop("smoke")) >= {"no", "yes"}
    for name, states in found.items():
        assert states == STATES[name]
        assert [type(s) for s in states] == [type(s) for s in STATES[name]]


def test_an_unread_table_lists_its_columns():
    table = read_frame(pd.DataFrame(CELLS))
    assert isinstance(table, RawTable)
    assert (table.columns, table.n_rows) == (["smoke", "dose", "sick"], 4)
    assert read_frame(table) is table


# -- states that nobody declares ---------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False])
def test_order_and_unused_levels_of_a_categorical_are_the_users(ordered):
    levels = ["low", "high", "never seen", "mid"]
    frame = pd.DataFrame({"x": pd.Categorical(["mid", "low", None], levels, ordered=ordered)})
    assert observed_states(frame, "x") == tuple(levels)


def test_order_and_unused_levels_of_a_polars_enum_are_the_users():
    frame = pl.DataFrame({"x": pl.Series(["b", "a"], dtype=pl.Enum(["z", "b", "a"]))})
    assert observed_states(frame, "x") == ("z", "b", "a")


def test_order_of_a_polars_categorical_is_sorted_because_nobody_chose_it():
    pl.Series(["z", "y"], dtype=pl.Categorical)
    frame = pl.DataFrame({"x": pl.Series(["b", "a", "z"], dtype=pl.Categorical)})
    assert observed_states(frame, "x") == ("a", "b", "z")


def test_order_and_unused_levels_survive_parquet(tmp_path):
    frame = pd.DataFrame({"x": pd.Categorical(["b", "a"], categories=["z", "b", "a"])})
    write_frame(frame, tmp_path / "data.parquet")
    assert observed_states(tmp_path / "data.parquet", "x") == ("z", "b", "a")


def test_intervals_of_cut_are_states():
    frame = pd.DataFrame({"x": pd.cut(pd.Series([1.0, 2.0, 9.0, None]), 2)})
    states = observed_states(frame, "x")
    assert states == ("(0.992, 5.0]", "(5.0, 9.0]")  # as text, which every file can hold
    assert encode(frame, spec_of({"x": states})).codes.tolist() == [[0], [0], [1], [-1]]


@pytest.mark.parametrize(
    ("cells", "states"),
    [
        (np.array([3, 1, 1], dtype=np.int32), (1, 3)),
        (np.array([3, 1], dtype=np.uint64) + 2**63, (2**63 + 1, 2**63 + 3)),
        (np.array([-128, 127], dtype=np.int8), (-128, 127)),
        (np.array([0, 10**12]), (0, 10**12)),
        (np.array([True, False]), (False, True)),
        (np.array([2.0, np.nan, 1.0], dtype=np.float32), (1, 2)),
        (["b", "a", None], ("a", "b")),
        ([1, "a", 2.0, None], (1, 2, "a")),
        (["2", 1, "1"], (1, "1", "2")),
        ([("a", 1), ("b", 0), ("a", 1)], (("a", 1), ("b", 0))),
        ([decimal.Decimal(2), decimal.Decimal(1)], (1, 2)),
    ],
)
def test_states_are_sorted_distinct_python_values(cells, states):
    values = cells if isinstance(cells, np.ndarray) else pd.Series(cells, dtype=object)
    found = observed_states(pd.DataFrame({"x": values}), "x")
    assert found == states
    assert not any(isinstance(state, np.generic) for state in found)


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ([0.5, 1.25, 2.0], "3 distinct values with fractions such as 0.5"),
        (["a", "a", None], "found only 'a' in 2 rows"),
        ([None, None], "all 2 cells are missing"),
        ([float("nan")] * 3, "all 3 cells are missing"),
        ([datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 2)], "points in time"),
        ([[1], [2]], "unhashable"),
        (list(range(1001)), "1001 distinct values"),
        ([f"id{i}" for i in range(2000)], "2000 distinct values"),
        (pd.Categorical(["a", "a"]), "found only 'a' in 2 rows"),
        (pd.Categorical([None, None], categories=["a", "b"]), "all 2 cells are missing"),
    ],
)
def test_a_column_without_usable_states_is_refused_by_name(cells, found):
    with pytest.raises(DataError, match=f"'x'.*{found}"):
        observed_states(pd.DataFrame({"x": cells}), "x")


def test_a_thousand_states_are_allowed():
    assert len(observed_states(pd.DataFrame({"x": range(1000)}), "x")) == 1000


def test_fractions_are_states_once_they_are_declared():
    codes, _, _ = one_column([0.5, 1.25, None, 0.5], (1.25, 0.5))
    assert codes[:, 0].tolist() == [1, 0, -1, 1]


def test_a_list_in_a_cell_is_refused():
    for frame in (pl.DataFrame({"x": [[1], [2]]}), pa.table({"x": [[1], [2]]})):
        with pytest.raises(DataError, match="'x' must hold one state per row"):
            observed_states(frame, "x")
    with pytest.raises(DataError, match="'x' must hold one hashable state"):
        observed_states(pl.DataFrame({"x": pl.Series([{1}, {2}], dtype=pl.Object)}), "x")


# -- values and states -------------------------------------------------------------------------


def test_numpy_scalars_and_python_objects_are_the_same_states():
    states = (np.int64(0), np.int64(1))
    codes, _, report = one_column([0, 1, 1], states)
    assert codes[:, 0].tolist() == [0, 1, 1]
    assert report.repairs == ()
    assert one_column(["a", "b"], (np.str_("b"), np.str_("a"))).codes[:, 0].tolist() == [1, 0]
    cells = pd.Series([np.True_, np.False_, None], dtype=object)
    assert one_column(cells, (False, True)).codes[:, 0].tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    ("cells", "states", "sentence"),
    [
        ([0, 1], (False, True), "'x' holds integers, its states are booleans: read 0 as False"),
        ([False, True], (0, 1), "'x' holds booleans, its states are integers"),
        ([0.0, 1.0], (0, 1), "'x' holds floats, its states are integers: read 0.0 as 0"),
        ([0, 1], (0.0, 1.0), "'x' holds integers, its states are floats"),
    ],
)
def test_equal_values_of_another_type_are_read_and_reported(cells, states, sentence):
    (codes, _, report), said = quietly(one_column, cells, states)
    assert codes[:, 0].tolist() == [0, 1]
    assert len(report.repairs) == len(said) == 1
    assert sentence in report.repairs[0]
    assert said[0] == report.repairs[0]


@pytest.mark.parametrize(
    ("cells", "states", "message"),
    [
        (
            ["?", "No", "?", "Yes"],
            ("No", "Yes"),
            r"'x' has value '\?' \(2 rows\), not among the declared states \['No', 'Yes'\]. "
            r"Correct the cells, read them as missing \(missing_values=\['\?'\]\)",
        ),
        (
            [0, 1, 1, 0],
            ("0", "1"),
            r"values 0 \(2 rows\), 1 \(2 rows\).*states are text, the data ",
        ),
        ([True, True, None], ("False", "True"), r"True \(2 rows\).*states are text"),
        (
            ["0", "1", "1"],
            (0, 1),
            r"'0' \(1 rows\), '1' \(2 rows\).*data are text, the states are ",
        ),
        (["yes", "no"], ("YES", "no"), "did you mean 'YES'"),
        ([1, 2, 7], (1, 2), r"value 7 \(1 rows\)"),
        ([0.25, 1.0], (0, 1), r"value 0.25 \(1 rows\)"),
        ([float("inf"), 1.0], (0, 1), "value inf"),
        (list("abcdefgh"), ("a", "b"), "and 1 more"),
        (pd.Categorical(["u", "w"]), ("u", "v"), r"value 'w' \(1 rows\)"),
    ],
)
def test_a_value_that_is_no_state_is_named_with_a_hint(cells, states, message):
    with pytest.raises(DataError, match=message):
        one_column(cells, states, warn=False)


def test_unused_levels_need_not_be_states():
    cells = pd.Categorical(["u", "v"], categories=["u", "v", "never"])
    assert one_column(cells, ("v", "u")).codes[:, 0].tolist() == [1, 0]


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT])
def test_every_mark_of_a_missing_cell_is_missing(missing):
    cells = pd.Series(["a", missing, "b"], dtype=object)
    assert one_column(cells, ("a", "b")).codes[:, 0].tolist() == [0, -1, 1]


def test_many_states_need_a_wider_integer():
    n = 300
    frame = pd.DataFrame({"x": range(n), "y": [0, 1] * (n // 2)})
    codes, _, _ = encode(frame, spec_of({"x": tuple(range(n)), "y": (0, 1)}))
    assert codes.dtype == torch.int16
    assert codes[:, 0].tolist() == list(range(n))
    for n, dtype in ((128, torch.int8), (129, torch.int16)):
        spec = spec_of({"x": tuple(range(n))})
        assert encode(pd.DataFrame({"x": [n - 1]}), spec).codes.dtype == dtype


# -- columns -----------------------------------------------------------------------------------


def test_missing_columns_are_named_with_near_matches():
    frame = pd.DataFrame({"Smoke": ["no"], "dose": [0]})
    with pytest.raises(DataError, match=r"'smoke' \(did you mean 'Smoke'\?\); 'sick'"):
        encode(frame, SPEC)
    with pytest.raises(DataError, match="'smoke'"):
        observed_states(frame, "smoke")


def test_numbers_as_column_names_get_a_hint():
    with pytest.raises(DataError, match=r"columns.astype\(str\)"):
        encode(pd.DataFrame([[0, 1, 2]]), SPEC)


def test_columns_that_the_model_does_not_name_are_reported():
    frame = pd.DataFrame({"note": ["?"] * 4, **CELLS, "w": [1.0, 2, 3, 4]})
    report = quietly(encode, frame, SPEC, sample_weight="w")[0].report
    assert report.unused == ("note",)
    assert "columns not used: note" in str(report)


def test_a_column_named_like_the_source_is_refused():
    with pytest.raises(DataError, match="'U' is unobserved in the model"):
        encode(pd.DataFrame({**CELLS, "U": [0, 1, 0, 1]}), SPEC)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([[1, 2]], columns=["twice", "twice"]),
        pa.table([[1], [2]], names=["twice", "twice"]),
    ],
)
def test_repeated_column_names_are_refused(frame):
    with pytest.raises(DataError, match="twice"):
        read_frame(frame)


def test_an_empty_table_is_refused():
    for frame in (pd.DataFrame(), pd.DataFrame({"x": []}), pl.DataFrame({"x": []})):
        with pytest.raises(DataError, match="expected a table with rows, found none"):
            read_frame(frame)


@pytest.mark.parametrize("data", [{"x": [1]}, [1, 2], np.zeros((2, 2)), 5, None])
def test_what_is_no_table_is_refused(data):
    with pytest.raises(DataError, match=f"found {type(data).__name__}"):
        read_frame(data)


# -- missing cells -----------------------------------------------------------------------------


def test_rows_with_missing_cells_are_dropped_on_request_and_reported():
    frame = pd.DataFrame({"x": ["a", None, "b", "a"], "y": ["c", "c", None, "d"]})
    spec = spec_of({"x": ("a", "b"), "y": ("c", "d")})
    (codes, weights, report), said = quietly(
        encode, frame, spec, missing="drop", sample_weight=[1, 2, 3, 4]
    )
    assert codes.tolist() == [[0, 0], [0, 1]]
    assert weights.tolist() == [1, 4]
    assert (report.n_rows, report.n_dropped_rows, report.n_missing_cells) == (4, 2, 0)
    assert "2 of 4 rows" in said[0]
    assert "{'x': 1, 'y': 1}" in said[0]


def test_missing_cells_are_refused_on_request():
    with pytest.raises(DataError, match=r"missing='error'\), found \{'x': 1\} in 3 rows"):
        one_column(["a", None, "b"], ("a", "b"), missing="error")
    assert len(one_column(["a", "b"], ("a", "b"), missing="error").codes) == 2


def test_no_row_left_is_refused():
    with pytest.raises(DataError, match="each of 2 rows has a missing cell"):
        one_column([None, None], ("a", "b"), missing="drop")


def test_an_unknown_rule_is_refused():
    with pytest.raises(DataError, match=r"'Drop' \(did you mean 'drop'\?\)"):
        one_column(["a", "b"], ("a", "b"), missing="Drop")


# -- weights -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weights",
    [
        [0.5, 2],
        (0.5, 2.0),
        np.array([0.5, 2.0], dtype=np.float32),
        torch.tensor([0.5, 2.0]),
        pd.Series([0.5, 2.0], index=[7, 7]),
        pd.Series([0.5, 2.0], dtype="Float64"),
        pl.Series([0.5, 2.0]),
        pa.chunked_array([[0.5, 2.0]]),
        "w",
        "decimal",
        "category",
    ],
)
def test_weights_come_as_a_column_or_as_numbers(weights):
    frame = pd.DataFrame({"x": ["a", "b"], "w": [0.5, 2.0]})
    frame["decimal"] = [decimal.Decimal("0.5"), decimal.Decimal(2)]
    frame["category"] = pd.Categorical([0.5, 2])
    encoded = encode(frame, spec_of({"x": ("a", "b")}), sample_weight=weights)
    assert encoded.weights.tolist() == [0.5, 2.0]
    assert encoded.weights.dtype == torch.float64
    assert encoded.report.total_weight == 2.5


def test_weights_of_a_csv(tmp_path):
    (tmp_path / "d.csv").write_text("x,w\na,0.5\nb,2\n")
    encoded = encode(tmp_path / "d.csv", spec_of({"x": ("a", "b")}), sample_weight="w")
    assert encoded.weights.tolist() == [0.5, 2.0]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, float("nan"), 1.0, None], r"2 NaN weights, in rows \[1, 3\]"),
        ([1.0, -1.0, 2.0, 1.0], r"1 negative weights, in rows \[1\]"),
        ([1.0, float("inf"), 2.0, 1.0], r"1 infinite weights, in rows \[1\]"),
        ([-1.0] * 10, "for each of 4 rows, found 10"),
        ([0.0] * 4, "positive sum, found 4 zeros"),
        ([1.0], "for each of 4 rows, found 1"),
        (["a", "b", "c", "d"], "sample_weight"),
        (np.ones((4, 1)), r"array of shape \(4, 1\)"),
        (pd.Series([1.0, pd.NA, 2, 3], dtype="Float64"), r"1 NaN weights, in rows \[1\]"),
        (3.0, "one number per row"),
        ("weight", r"'weight', which is not in the data \(did you mean 'weights'"),
        ("x", "'x', which is a variable"),
        ("text", "'text' must hold numbers"),
    ],
)
def test_unusable_weights_are_refused_with_row_numbers(weights, message):
    frame = pd.DataFrame({"x": list("abab"), "weights": [1.0] * 4, "text": list("wxyz")})
    with pytest.raises(DataError, match=message):
        encode(frame, spec_of({"x": ("a", "b")}), sample_weight=weights)


def test_only_the_first_rows_of_bad_weights_are_listed():
    frame = pd.DataFrame({"x": ["a", "b"] * 10})
    with pytest.raises(DataError, match=r"20 negative weights, in rows \[0, 1, 2, 3, 4\] \.\.\."):
        encode(frame, spec_of({"x": ("a", "b")}), sample_weight=[-1.0] * 20)


# -- files without types -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-7", -7),
        ("0", 0),
        ("007", "007"),
        ("1.0", 1.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1_000", "1_000"),
        ("00.5", "00.5"),
        ("True", True),
        ("false", False),
        ("yes", "yes"),
        ("inf", "inf"),
        ("\u0661", "\u0661"),
        (" 1", " 1"),
        ("", ""),
    ],
)
def test_a_text_is_a_number_only_where_it_spells_one(text, value):
    assert parse(text) == value
    assert type(parse(text)) is type(value)


@pytest.mark.parametrize(
    ("cells", "states"),
    [
        ("1,0,2", (0, 1, 2)),
        ("1,0,a", ("0", "1", "a")),
        ("True,False", (False, True)),
        ("TRUE,FALSE,", (False, True)),
        ("True,1", ("1", "True")),
        ("1.0,0.0,", (0, 1)),
        ("007,008", ("007", "008")),
        ("None,Mild,Severe", ("Mild", "Severe")),
        ("10,9,NA", (9, 10)),
    ],
)
def test_states_of_a_csv_have_the_type_that_all_cells_spell(tmp_path, cells, states):
    path = tmp_path / "d.csv"
    path.write_text("x,y\n" + "\n".join(f"{cell},0" for cell in cells.split(",")))
    found = observed_states(path, "x")
    assert found == states
    assert [type(s) for s in found] == [type(s) for s in states]


def test_fractions_in_a_csv_are_no_states(tmp_path):
    (tmp_path / "d.csv").write_text("x\n0.5\n1.5\n2\n")
    with pytest.raises(DataError, match=r"'x'.*fractions such as 0.5"):
        observed_states(tmp_path / "d.csv", "x")


@pytest.mark.parametrize(
    ("states", "cells", "numbers", "repairs"),
    [
        (("0", "1"), "1,0,", [1, 0, -1], 0),
        ((0, 1), "1,0,", [1, 0, -1], 0),
        (("0", "1"), "1.0,0.0,", [1, 0, -1], 1),
        ((0, 1), "1.0,0.0,", [1, 0, -1], 1),
        ((False, True), "True,False", [1, 0], 0),
        (("False", "True"), "True,False", [1, 0], 0),
        ((False, True), "true,0", [1, 0], 1),
        (("None", "Mild"), "None,Mild,", [0, 1, -1], 0),
        (("Some", "Mild"), "None,Mild,", [-1, 1, -1], 1),
        (("01", "1"), "01,1", [0, 1], 0),
        ((0.5, 1.0), "0.5,1", [0, 1], 1),
        (("NA", "a"), "NA,a", [0, 1], 0),
    ],
)
def test_cells_of_a_csv_are_matched_by_how_states_are_written(
    tmp_path, states, cells, numbers, repairs
):
    path = tmp_path / "d.csv"
    path.write_text("x,y\n" + "\n".join(f"{cell},u" for cell in cells.split(",")))
    spec = spec_of({"x": states, "y": ("u", "v")})
    (codes, _, report), said = quietly(encode, path, spec)
    assert codes[:, 0].tolist() == numbers
    assert len(report.repairs) == repairs
    assert len(said) == bool(repairs)


def test_a_csv_cannot_tell_1_from_its_text(tmp_path):
    (tmp_path / "d.csv").write_text("x\n1\n")
    with pytest.raises(DataError, match="cannot tell the states 1 and '1' apart"):
        encode(tmp_path / "d.csv", spec_of({"x": (1, "1")}))


def test_a_csv_value_that_is_no_state_is_counted(tmp_path):
    (tmp_path / "d.csv").write_text("x\nYes!\nNo\nYes!\n")
    with pytest.raises(DataError, match=r"value 'Yes!' \(2 rows\).*mean 'Yes'"):
        encode(tmp_path / "d.csv", spec_of({"x": ("No", "Yes")}))


def test_quoted_cells_and_a_byte_order_mark_are_understood(tmp_path):
    text = '\ufeffx,y\n"a, b",c\n"say ""no""",c\n'
    (tmp_path / "d.csv").write_text(text, encoding="utf-8")
    spec = spec_of({"x": ('say "no"', "a, b"), "y": ("c", "d")})
    assert encode(tmp_path / "d.csv", spec).codes.tolist() == [[1, 0], [0, 0]]


# -- files that cannot be read -----------------------------------------------------------------


def test_a_missing_file_is_named():
    with pytest.raises(FileError, match=r"'nowhere/data.csv': there is no such file"):
        read_frame(Path("nowhere/data.csv"))


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(FileError, match="it is a folder"):
        read_frame(tmp_path / "d.csv")


@pytest.mark.parametrize("name", ["data.xlsx", "data", "data.gz"])
def test_an_unknown_ending_is_refused(tmp_path, name):
    with pytest.raises(FileError, match=r"ends in one of .*'\.csv'"):
        read_frame(tmp_path / name)


@pytest.mark.parametrize("name", ["d.parquet", "d.arrow", "d.feather", "d.csv.gz"])
def test_a_file_that_is_not_what_its_ending_says_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"this is something else, and long enough to be read")
    with pytest.raises(FileError, match=f"cannot read .*{name}"):
        read_frame(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", DataError, "found nothing"),
        (b"x,y\n", DataError, "found none"),
        (b"x,y\n1,2\n1,2,3\n", FileError, "as csv"),
        (b"x,y\n1,2,3\n1,2,3\n", FileError, "as csv"),
        (b"x,y,x\n1,2,3\n", DataError, r"\['x'\] more than once"),
    ],
)
def test_a_broken_csv_is_refused(tmp_path, content, error, message):
    (tmp_path / "d.csv").write_bytes(content)
    with pytest.raises(error, match=message):
        read_frame(tmp_path / "d.csv")
    with pytest.raises(error, match=message):
        read_frame(io.BytesIO(content))


# -- out ---------------------------------------------------------------------------------------

AWKWARD = {
    "a, b": ("x, y", "x.y", "x-y", 'say "no"', " ", "ü"),
    "bool": (True, False),
    "int": (3, 1, 2),
    "float": (0.5, 0.25),
    "mixed": ("1", 2, "two"),
    "tuple": (("a", 1), ("b", 2)),
}


def test_decoding_and_encoding_return_the_same_numbers():
    spec = spec_of(AWKWARD)
    generator = torch.Generator().manual_seed(0)
    cards = torch.tensor(spec.cards)
    rows = (torch.rand(50, 6, generator=generator, dtype=torch.float64) * cards).long()
    rows[torch.rand(50, 6, generator=generator) < 0.1] = -1
    frame = decode(spec, rows)
    assert torch.equal(encode(frame, spec).codes.long(), rows)
    for name, states in zip(spec.variables, spec.states, strict=True):
        assert observed_states(frame, name) == states


def test_decoding_adds_the_source_last():
    spec = MixtureSpec.from_parents({"x": ("a", "b")}, {}, 3, source_states=("p", "q", "r"))
    frame = decode(spec, torch.tensor([[0], [1]]), torch.tensor([2, 0]))
    assert list(frame.columns) == ["x", "U"]
    assert frame["U"].tolist() == ["r", "p"]
    assert list(frame["U"].cat.categories) == ["p", "q", "r"]


def test_decoding_refuses_rows_of_another_width():
    with pytest.raises(DataError, match="rows of 3 variables, found 2"):
        decode(SPEC, torch.zeros(1, 2, dtype=torch.int64))


def test_to_pandas_keeps_names_and_order():
    frame = to_pandas({"b": [1, 2], "a": np.array([0.5, 1.5])})
    assert frame.to_dict("list") == {"b": [1, 2], "a": [0.5, 1.5]}


@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "d.parquet", "d.arrow", "d.feather"])
def test_a_written_frame_reads_back(tmp_path, name):
    states = {k: v for k, v in AWKWARD.items() if k not in ("tuple", "mixed")}
    spec = spec_of(states)
    rows = torch.tensor([[0, 1, 2, 0], [5, 0, -1, 1], [4, -1, 0, 1]])
    write_frame(decode(spec, rows), tmp_path / name)
    assert encode(tmp_path / name, spec).codes.tolist() == rows.tolist()
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["d.csv", "d.parquet", "d.arrow"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, name):
    (tmp_path / name).write_text("old")

    class Full:
        def __str__(self):
            raise OSError("the disk is full")

    frame = pd.DataFrame({"x": pd.Series(["a", Full()], dtype=object)})
    with pytest.raises(FileError, match=f"cannot write .*{name}"):
        write_frame(frame, tmp_path / name)
    assert (tmp_path / name).read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_writing_into_a_missing_folder_or_to_an_unknown_ending_is_refused(tmp_path):
    frame = pd.DataFrame({"x": [1]})
    with pytest.raises(FileError, match="cannot write"):
        write_frame(frame, tmp_path / "nowhere" / "d.csv")
    with pytest.raises(FileError, match=r"found '.*d.xlsx'"):
        write_frame(frame, tmp_path / "d.xlsx")
    assert list(tmp_path.iterdir()) == []


CUT = "A,B\n" + "no,yes\nyes,no\n" * 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_file_cut_in_its_last_cell_is_said(tmp_path, encoding):
    path = tmp_path / "t.csv"
    path.write_text(f"{CUT}no,ye", encoding=encoding)
    (said,) = [s for s in read_frame(path).said if "may be cut" in s]
    assert "its last cell, 'ye' of 'B', stands in no other row and begins 'yes'" in said


@pytest.mark.parametrize(
    "end", ["no,ye\n", "no,yes", "no,maybe", "no,ye\nno,ye", "yes,no", "no,\n"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_whole_file_is_not_called_cut(tmp_path, end, encoding):
    path = tmp_path / "t.csv"
    path.write_text(CUT + end, encoding=encoding)
    assert not any("may be cut" in said for said in read_frame(path).said)


def test_names_of_their_own_are_not_called_cut(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("A,B\n" + "\n".join(f"no,{i}" for i in range(30, 0, -1)))
    assert not any("may be cut" in said for said in read_frame(path).said)


def test_repeated_names_are_found_in_a_time_that_grows_with_their_number():
    names = [f"a{i // 2}" for i in range(200_000)]
    before = time.process_time()
    with pytest.raises(DataError, match=r"found \['a0', 'a1', 'a10', 'a100', 'a1000'\] and more"):
        header(names, "t.csv")
    assert time.process_time() - before < 2.0  # quadratic, it took minutes
