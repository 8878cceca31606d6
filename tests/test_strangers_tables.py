"""Tables as strangers keep them: what is meant is read, what is odd is said, nothing is guessed.

Files and right values are described in tests/data/strangers.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import warnings
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pyromix as px
from pyromix.data.cells import levels_of, observed_states
from pyromix.data.dialect import SNIFFED, encoding_of
from pyromix.data.frames import encode
from pyromix.data.reading import read_frame
from pyromix.data.suspicion import lone_codes, no_variable
from pyromix.errors import DataError, DataRepairWarning, FileError
from pyromix.fitting.inputs import without_edges
from pyromix.model.schema import Schema

STRANGERS = Path(__file__).parent / "data" / "strangers"
PLAIN = -1407.6263
"""Log-likelihood of the product with two sources of plain.csv."""

GAPS, GAPS_9 = -1380.8839, -1351.1546
"""The same where 67 cells of A are missing, and where 67 of A and 47 of C are."""


def said_by(function, *args, **options):
    """The result, and all that was said in warnings on the data."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*args, **options)
    return result, " ".join(str(w.message) for w in caught if w.category is DataRepairWarning)


def product(data, **options):
    return said_by(px.fit_product, data, 2, random_state=0, **options)


# -- the files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "missing_values", "value", "sentence"),
    [
        ("plain", None, PLAIN, ""),
        ("onetwo", None, PLAIN, ""),
        ("cell_spaces", None, PLAIN, "columns 'B', 'C', 'D': blanks around 1800 cells stripped."),
        ("semicolon", None, PLAIN, "was read with semicolons between cells."),
        ("blankcell", None, GAPS, "column 'A': 67 cells with nothing but blanks read as missing."),
        ("qmark", ["?"], GAPS, ""),
        ("qmark", "?", GAPS, ""),
        ("dot", ["."], GAPS, ""),
        ("dash", {"A": ["-"]}, GAPS, ""),
        ("minus9", [-9], GAPS_9, ""),
        ("minus9", ["-9"], GAPS_9, ""),
        ("minus9", np.array([-9.0]), GAPS_9, ""),
        ("idcol", None, PLAIN, "column 'id' was left out as a variable: it is called like a name"),
        ("rindex", None, PLAIN, "column 'Unnamed: 0' was left out as a variable: it has no name"),
        ("constcol", None, PLAIN, "column 'k' was left out as a variable: it is constant."),
        ("emptycol", None, PLAIN, "column 'empty' was left out as a variable: it has no value."),
        ("trailing_comma", None, PLAIN, "end with a separator: the empty column after 'D' was"),
    ],
)
def test_a_strangers_table_is_read_as_it_is_meant(name, missing_values, value, sentence):
    fit, said = product(STRANGERS / f"{name}.csv", missing_values=missing_values)
    assert fit.spec.variables == ("A", "B", "C", "D")
    assert fit.n_parameters == 9
    assert fit.log_likelihood == pytest.approx(value, abs=1e-3)
    assert sentence in said
    assert bool(said) == bool(sentence)


@pytest.mark.parametrize(
    ("name", "mark", "where"),
    [
        ("qmark", "'?'", "67 cells of column 'A'"),
        ("dot", "'.'", "67 cells of column 'A'"),
        ("dash", "'-'", "67 cells of column 'A'"),
        ("minus9", "-9", "114 cells of columns 'A', 'C'"),
    ],
)
def test_a_code_taken_at_its_word_is_named_with_column_mark_and_number(name, mark, where):
    _, said = product(STRANGERS / f"{name}.csv", n_init=1)
    assert f"{mark} in {where} looks like a code for a missing cell" in said
    assert f"missing_values=[{mark}]" in said


def test_decimal_commas_are_numbers():
    structure, table = without_edges(STRANGERS / "decimalcomma.csv")
    assert observed_states(table, "score") == (1, 2, 3)
    assert [observed_states(table, name) for name in "ABCD"] == [(0, 1)] * 4
    assert structure.variables == ("A", "B", "C", "D", "score")
    assert "semicolons between cells and commas before decimals" in table.said[0]


def test_a_file_cut_in_its_last_row_says_which_line():
    fit, said = product(STRANGERS / "ragged.csv")
    assert fit.counts.report.n_missing_cells == 2
    assert "rows shorter than the header of 4 cells: line 601 has 2." in said
    assert "2 cells at their ends" in said


def test_two_columns_of_one_name_are_refused_by_name():
    with pytest.raises(DataError, match=r"distinct, found \['A'\] more than once"):
        px.fit_product(STRANGERS / "dupcol.csv", 2)


# -- rows keep their labels ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain():
    return pd.read_csv(STRANGERS / "plain.csv")


@pytest.fixture(scope="module")
def plain_fit(plain):
    return px.fit_product(plain, 2, random_state=0)


LABELS = [
    pd.Index(range(599, -1, -1)),
    pd.Index([f"person {i}" for i in range(600)]),
    pd.Index([i // 2 for i in range(600)], name="twin"),
    pd.MultiIndex.from_product([range(200), list("abc")], names=["class", "child"]),
    pd.date_range("2020-01-01", periods=600),
]


@pytest.mark.parametrize("labels", LABELS, ids=lambda labels: type(labels).__name__)
def test_probabilities_carry_the_index_of_the_frame(plain, plain_fit, labels):
    expected = plain_fit.predict_proba(plain)
    found = plain_fit.predict_proba(plain.set_axis(labels))
    pd.testing.assert_index_equal(found.index, labels)
    assert np.array_equal(found.to_numpy(), expected.to_numpy())


@settings(max_examples=20, deadline=None)
@given(rows=st.permutations(range(40)), n=st.integers(1, 40))
def test_joining_probabilities_to_some_rows_gives_everybody_their_own(plain_rows, rows, n):
    plain, fit = plain_rows
    part = plain.iloc[list(rows[:n])]
    joined = part.join(fit.predict_proba(part))
    expected = fit.predict_proba(plain).loc[part.index]
    assert not joined.isna().any().any()
    assert np.allclose(joined[expected.columns], expected)


@pytest.fixture(scope="module")
def plain_rows(plain, plain_fit):
    return plain, plain_fit


def test_probabilities_of_polars_and_arrow_keep_the_order_of_rows(plain, plain_fit):
    turned = plain.iloc[::-1]
    expected = plain_fit.predict_proba(turned).to_numpy()
    for table in (
        pl.from_pandas(turned),
        pl.from_pandas(turned).lazy(),
        pa.Table.from_pandas(turned, preserve_index=False),
    ):
        found = plain_fit.predict_proba(table)
        assert np.array_equal(found.to_numpy(), expected)
        assert list(found.index) == list(range(600))


def test_intervals_of_probabilities_carry_the_index_too(plain, plain_fit):
    drawn = plain_fit.bootstrap(n=5)
    found = drawn.predict_proba(plain.set_axis(LABELS[1]), level=0.5)
    assert list(found.index) == list(LABELS[1])


def test_weights_whose_labels_stand_in_another_order_are_refused(plain):
    weights = pd.Series(range(1, 601), index=plain.index)
    with pytest.raises(DataError, match=r"another order: pass sample_weight.loc\[data.index\]"):
        px.fit_product(plain, 1, sample_weight=weights[::-1])
    turned = px.fit_product(plain, 1, sample_weight=weights[::-1].loc[plain.index])
    assert turned.log_likelihood == px.fit_product(plain, 1, sample_weight=weights).log_likelihood


# -- cells -----------------------------------------------------------------------------------------

SCHEMA = Schema(("x", "y"), (("a", "b", "c"), (0, 1)))


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c", "?", ""]),
            st.sampled_from(["", " ", "\t ", "  "]),
            st.sampled_from(["", " ", "  "]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_blanks_around_a_cell_change_nothing(cells):
    frame = pd.DataFrame({"x": [left + text + right for text, left, right in cells], "y": 0})
    frame.loc[len(frame)] = ["a", 1]
    wanted = [{"a": 0, "b": 1, "c": 2}.get(text, -1) for text, _, _ in cells] + [0]
    as_csv = io.BytesIO(frame.to_csv(index=False).encode())
    for table in (frame, as_csv, pl.from_pandas(frame), frame.astype({"x": "category"})):
        read = read_frame(table, missing_values=["?"])
        (codes, _, _), _ = said_by(encode, read, SCHEMA)
        assert codes[:, 0].tolist() == wanted


def test_a_declared_state_with_blanks_is_kept():
    schema = Schema(("x",), (("a", " a"),))
    frame = pd.DataFrame({"x": ["a", " a", " a "]})
    (codes, _, _), _ = said_by(encode, frame, schema)
    assert codes[:, 0].tolist() == [0, 1, 0]


def test_a_state_with_blanks_that_nothing_resembles_is_found_without_them():
    schema = Schema(("x",), (("a ", "b"),))
    for table in (pd.DataFrame({"x": ["a", "b"]}), io.BytesIO(b"x\na\nb\n")):
        (codes, _, _), _ = said_by(encode, table, schema)
        assert codes[:, 0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("marks", "cells", "missing"),
    [
        ([-9], [-9, 1, 2], [True, False, False]),
        (-9, [-9.0, 1.0, 2.0], [True, False, False]),
        (["-9"], [-9, 1, 2], [True, False, False]),
        (["9"], ["9", "1", "2"], [True, False, False]),
        ([1], [True, False, True], [False, False, False]),
        ([True], [True, False, True], [True, False, True]),
        ({"x": [1]}, [1, 2, 3], [True, False, False]),
        ({"y": [1]}, [1, 2, 3], [False, False, False]),
        (["NA"], pd.Categorical(["NA", "b", "c"]), [True, False, False]),
    ],
)
def test_marks_are_found_by_value_or_by_how_they_are_written(marks, cells, missing):
    levels = levels_of(read_frame(pd.DataFrame({"x": cells}), marks), "x")
    assert (levels.codes == 0).tolist() == missing


def test_a_mark_that_no_cell_can_be_is_refused(plain):
    with pytest.raises(DataError, match=r"missing_values must be values .* found \[1\]"):
        px.fit_product(plain, 2, missing_values=[[1]])


def doors(frame, **options):
    """Every door that reads a table, with the number of missing cells that it found."""
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABCD", (1, 2)), {}, 2)
    quick = {"n_init": 1, "prior": None}
    fit = px.fit(spec, frame, **quick, **options)
    yield "fit", fit.counts
    yield "fit_product", px.fit_product(frame, 2, n_init=1, **options).counts
    yield "Counts", px.Counts.from_frame(frame, spec, **options)
    yield "refine", fit.refine(frame, max_iter=5, **options).counts
    px.check(spec, 2, frame, **options)
    px.select_n_sources(None, frame, [1], **options)
    px.select_n_sources(spec, frame, [1], **options)
    fit.predict_proba(frame, **options)
    fit.score(frame, **options)
    fit.predictive_check(frame, **options)
    fit.bootstrap(frame, n=2, **options)


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_every_door_that_reads_a_table_takes_missing_values():
    frame = pd.read_csv(STRANGERS / "minus9.csv")
    for name, counts in doors(frame, missing_values=[-9]):
        missing = (counts.rows < 0).to(torch.float64).sum(1) @ counts.weights
        assert float(missing) == 114, name


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_the_estimator_for_pgmpy_takes_missing_values():
    from pgmpy.models import DiscreteBayesianNetwork

    model = DiscreteBayesianNetwork([("U", name) for name in "ABCD"], latents={"U"})
    frame = pd.read_csv(STRANGERS / "minus9.csv")
    made = px.MixtureEstimator(2, missing_values=[-9], n_init=1, prior=None).fit(model, frame)
    assert made.fit_.spec.states[0] == (1, 2)
    assert made.get_params()["missing_values"] == [-9]


def test_counts_carry_their_own_missing_cells(plain, plain_fit):
    with pytest.raises(DataError, match=r"missing_values: Counts .* carry their own missing cells"):
        px.fit(plain_fit.spec, plain_fit.counts, missing_values=[0])
    with pytest.raises(DataError, match="missing_values belongs to `data`, which was left out"):
        plain_fit.predictive_check(missing_values=[0])


def test_units_without_numbers_are_left_out_of_coins_on_request():
    successes, trials = [1, 2, -9, 3, 0, 2], [3, 3, 3, 3, 3, -9]
    with pytest.raises(DataError, match="2 units that are not"):
        px.fit_iid(successes, trials, 1)
    fit, said = said_by(px.fit_iid, successes, trials, 1, missing_values=[-9])
    assert fit.log_likelihood == px.fit_iid([1, 2, 3, 0], [3] * 4, 1).log_likelihood
    assert "2 of 6 units lack successes or trials" in said


@settings(max_examples=100, deadline=None)
@given(
    low=st.integers(0, 3),
    n=st.integers(2, 10),
    code=st.sampled_from([-9, -8, -1, -99, -999, 99, 999, 98, 888, 9999]),
)
def test_a_code_apart_from_a_run_of_numbers_is_found_and_the_run_is_not(low, n, code):
    run = list(range(low, low + n))
    assert lone_codes(run) == []
    apart = code > run[-1] + 1 or code < run[0] - 1
    assert lone_codes([*run, code]) == ([code] if apart else [])


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ([-2, -1, 0, 1, 2], []),
        ([-1, 0, 1], []),
        ([-2, -1, 1, 2], []),
        ([1, 2, 3, 4, 5, 9], [9]),
        ([1, 2, 97, 98, 99], [97, 98, 99]),
        ([-9, -8, 1, 2], [-9, -8]),
        ([-9, 1, 2, 99], [-9, 99]),
        ([0, 5, 10, 15], []),
        ([0, 10, 100], []),
        ([1, 2, 3, 1000], [1000]),
        ([0, 1], []),
        ([-9, 1], []),
        ([*range(18, 80), 99], [99]),
    ],
)
def test_numbers_apart_from_the_others_look_like_codes(values, codes):
    assert lone_codes(values) == codes


def test_states_that_differ_by_case_or_blanks_are_named():
    frame = pd.DataFrame({"A": ["Yes", "yes", "no", "not  sure", "not sure"] * 8, "B": [0, 1] * 20})
    _, said = product(frame, n_init=1)
    assert "states 'Yes' (8 cells) and 'yes' (8 cells) of column 'A' differ by case" in said
    assert "'not  sure' (8 cells) and 'not sure' (8 cells)" in said


def test_declared_states_are_above_suspicion():
    frame = pd.read_csv(STRANGERS / "minus9.csv")
    _, said = product(frame, state_names={"A": [-9, 1, 2], "C": [1, 2, -9]}, n_init=1)
    assert said == ""


# -- columns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", ["fit_product", "select"])
@pytest.mark.parametrize(
    ("name", "cells", "reason"),
    [
        ("id", range(600), "a name of rows"),
        ("Unnamed: 0", range(600), "it has no name"),
        ("person", [f"p{i}" for i in range(600)], "as many values as rows, 600 in 600"),
        ("zip", [10000 + 7 * (i % 290) for i in range(600)], "as many values as rows, 290 in 600"),
        ("Freq", [1 + i % 9 for i in range(600)], "pass sample_weight='Freq'"),
        ("k", [1] * 600, "it is constant"),
        ("empty", [None] * 600, "it has no value"),
    ],
)
def test_a_column_that_is_hardly_a_variable_is_left_out_by_name(plain, door, name, cells, reason):
    frame = plain.assign(**{name: list(cells)})
    if door == "fit_product":
        fit, said = product(frame, n_init=1)
        assert fit.spec.variables == ("A", "B", "C", "D")
    else:
        _, said = said_by(px.select_n_sources, None, frame, [1])
    assert f"column {name!r} was left out as a variable: " in said
    assert reason in said


@pytest.mark.parametrize("door", [px.fit_product, lambda t, k: px.select_n_sources(None, t, [k])])
def test_a_column_of_fractions_is_fitted_as_numbers_not_left_out_as_row_numbers(plain, door):
    found, said = said_by(door, plain.assign(price=[i / 7 for i in range(600)]), 1)
    assert "price" in (found if isinstance(found, px.MixedFit) else found.fits[0]).spec.variables
    assert "left out" not in said


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("n", ["yes", "no"] * 300),
        ("case", [0, 1] * 300),
        ("id", [0, 1] * 300),
        ("month", [i % 12 for i in range(600)]),
        ("state", [f"s{i % 50}" for i in range(600)]),
    ],
)
def test_a_column_that_may_be_a_variable_is_one(plain, name, cells):
    structure, table = without_edges(plain.assign(**{name: cells}))
    assert structure.variables == ("A", "B", "C", "D", name)
    assert table.said == ()


def test_a_column_that_is_asked_for_by_its_states_is_a_variable(plain):
    frame = plain.assign(Freq=[1 + i % 9 for i in range(600)])
    fit, _ = product(frame, state_names={"Freq": range(1, 10)}, n_init=1)
    assert fit.spec.variables[-1] == "Freq"


def test_a_table_of_patterns_with_counts_keeps_its_variables(plain):
    patterns = plain.value_counts().reset_index()
    fit, said = product(patterns, sample_weight="count")
    assert fit.spec.variables == ("A", "B", "C", "D")
    assert fit.log_likelihood == pytest.approx(PLAIN, abs=1e-3)
    assert said == ""


def test_a_table_without_a_variable_is_refused():
    with pytest.raises(DataError, match=r"a column that can be a variable, found none.*constant"):
        px.fit_product(pd.DataFrame({"k": [1, 1, 1], "id": [1, 2, 3]}), 2)


@settings(max_examples=40, deadline=None)
@given(n_rows=st.integers(40, 200), n_values=st.integers(2, 200), seed=st.integers(0, 99))
def test_few_values_are_a_variable_and_as_many_as_rows_are_not(n_rows, n_values, seed):
    cells = np.random.default_rng(seed).integers(0, n_values, n_rows)
    levels = levels_of(read_frame(pd.DataFrame({"x": cells})), "x")
    n_found = len(set(cells.tolist()))
    reason = no_variable(levels, weighted=False)
    assert bool(reason) == (n_found == 1 or (n_found > 12 and 3 * n_found > n_rows))


@pytest.mark.filterwarnings("ignore::pyromix.errors.AddedSourceWarning")
def test_columns_that_the_graph_does_not_name_are_said_at_every_door(plain):
    model = px.MixtureSpec.from_parents({"A": (0, 1), "B": (0, 1)}, {"B": ["A"]}, 1)
    sentence = "columns 'C', 'D' of the table are not in the model, and not used."
    for door in (
        lambda: px.fit(model, plain, n_init=1),
        lambda: px.check(model, 1, plain),
        lambda: px.select_n_sources(model, plain, [1]),
    ):
        found, said = said_by(door)
        assert sentence in said
    assert any(sentence in note for note in found.notes)


def test_an_integer_column_with_seventy_values_is_named():
    ages = [18 + (i * 37) % 70 for i in range(600)]
    frame = pd.read_csv(STRANGERS / "plain.csv").assign(age=ages)
    _, said = product(frame, n_init=1)
    assert "column 'age' has 70 distinct numbers, from 18 to 87, and each was taken as a" in said


# -- states ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "states",
    [
        ("<50", "50-59", "60-69", "70+"),
        ("0-4", "5-9", "10-14", "15-19", "100+"),
        ("under 5", "5 to 12", "13 to 19", "20 or more"),
        ("0", "1", "2", "3+"),
        ("(-1, 0.5]", "(0.5, 2.0]", "(2.0, 10.0]"),
        ("<=9,999", "10,000-99,999", ">=100,000"),
        ("<5", "5", ">5"),
        ("5\u20139", "10\u201314"),
    ],
)
def test_ranges_stand_in_their_order(states):
    for table in (
        pd.DataFrame({"x": sorted(states)}),
        io.BytesIO(pd.DataFrame({"x": sorted(states, reverse=True)}).to_csv().encode()),
    ):
        assert observed_states(table, "x") == states


@pytest.mark.parametrize(
    "states", [("10", "9", "nine"), ("1-2", "1-2 drinks"), ("2020-01", "2019")]
)
def test_texts_that_are_no_ranges_stand_in_alphabetical_order(states):
    assert observed_states(pd.DataFrame({"x": states}), "x") == tuple(sorted(states))


@settings(max_examples=50, deadline=None)
@given(ends=st.lists(st.integers(1, 10**5), min_size=2, max_size=8, unique=True))
def test_adjacent_ranges_are_sorted_by_their_ends(ends):
    ends = sorted(ends)
    inner = [f"{low}-{high - 1}" for low, high in pairwise(ends)]
    states = (f"<{ends[0]}", *inner, f"{ends[-1]}+")
    assert observed_states(pd.DataFrame({"x": sorted(states)}), "x") == states


def test_items_with_gaps_arrive_as_floats_and_are_said_in_one_sentence():
    frame = pd.read_csv(STRANGERS / "onetwo.csv").astype(float)
    frame.iloc[0] = np.nan
    _, said = product(frame, n_init=1)
    assert said.count("floats") == 1
    assert (
        "columns 'A', 'B', 'C', 'D' hold floats, their states are integers: read 1.0 as 1" in said
    )


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        (pd.date_range("2020", periods=4), "points in time such as 2020-01-01"),
        (pd.period_range("2020-01", periods=4, freq="M"), "periods of time such as 2020-01"),
        (pd.timedelta_range("1D", periods=4), "spans of time such as 1 days"),
    ],
)
def test_a_column_of_time_gets_its_own_sentence(cells, sentence):
    frame = pd.DataFrame({"A": cells, "B": [0, 1, 0, 1]})
    with pytest.raises(DataError, match=f"column 'A' must be discrete, found {sentence}"):
        px.fit_product(frame, 1)


def test_intervals_are_states_that_files_can_hold(tmp_path, plain):
    ages = pd.Series([20 + i % 60 for i in range(600)], dtype=float)
    for bins in (pd.cut(ages, [0, 40, 60, 80]), pd.cut(ages, [0, 40, 60, 80]).astype(object)):
        fit, _ = product(plain.assign(age=bins), n_init=1)
        assert fit.spec.states[-1] == ("(0, 40]", "(40, 60]", "(60, 80]")
        fit.save(tmp_path / "fit.pyromix")
        _, said = said_by(px.write, fit, tmp_path / "net.xmlbif", rename_states=True)
        assert "age" not in said
        assert fit.score(plain.assign(age=bins)) == pytest.approx(fit.log_likelihood / 600)


# -- files of texts --------------------------------------------------------------------------------


def written(frame, separator, encoding, decimal):
    text = frame.to_csv(index=False, sep=separator, decimal=decimal)
    return text.encode(encoding)


@settings(max_examples=60, deadline=None)
@given(
    separator=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"]),
    decimal=st.sampled_from([".", ","]),
    cells=st.lists(
        st.sampled_from(["f\u00fcr", "a, b", 'say "no"', "c;d"]), min_size=2, max_size=9
    ),
    packed=st.sampled_from([bytes, gzip.compress, bz2.compress, lzma.compress]),
)
def test_a_file_is_read_whatever_separates_encodes_and_packs_it(
    separator, encoding, decimal, cells, packed
):
    decimal = "." if separator == "," else decimal
    numbers = [0.5 + i for i in range(len(cells))]
    frame = pd.DataFrame({"gr\u00f6\u00dfe": numbers, "x": cells, "y": range(len(cells))})
    table = read_frame(io.BytesIO(packed(written(frame, separator, encoding, decimal))))
    assert list(table.columns) == list(frame.columns)
    assert table.frame["x"].to_list() == cells
    assert [float(v) for v in table.frame["gr\u00f6\u00dfe"].to_list()] == numbers


@pytest.mark.parametrize(
    "ending", [".csv", ".tsv", ".txt", ".dat", ".csv.gz", ".csv.zip", ".txt.xz"]
)
def test_endings_of_files_of_texts(tmp_path, ending):
    path = tmp_path / f"d{ending}"
    content = b"A B\n0 1\n1 0\n" if ending == ".dat" else b"A;B\n0;1\n1;0\n"
    if ending.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("d.csv", content)
    else:
        packs = {".gz": gzip.compress, ".xz": lzma.compress}
        path.write_bytes(packs.get(path.suffix, bytes)(content))
    assert read_frame(path).frame["B"].to_list() == ["1", "0"]


def test_a_byte_that_is_no_utf8_far_down_a_file_is_read_and_said():
    content = b"x\n" + b"a\n" * SNIFFED + "f\u00fcr\n".encode("cp1252")
    assert encoding_of(content[:SNIFFED]) == "utf-8-sig"
    table = read_frame(io.BytesIO(content))
    assert set(table.frame["x"].to_list()) == {"a", "f\u00fcr"}
    assert table.said == ("the stream was read with letters in cp1252.",)


def test_the_usual_file_says_nothing_of_how_it_was_read():
    assert read_frame(STRANGERS / "plain.csv").said == ()


def test_a_line_longer_than_the_header_is_named():
    with pytest.raises(FileError, match=r"expected 2 cells in a line.*found 3 in line 3"):
        read_frame(io.BytesIO(b"x,y\n1,2\n1,2,3\n"))


def test_separators_at_the_end_of_every_row_but_not_of_the_header():
    table = read_frame(io.BytesIO(b"x,y\n1,2,\n3,4,\n"))
    assert table.columns == ["x", "y"]
    assert table.frame["y"].to_list() == ["2", "4"]


@pytest.mark.parametrize(
    "damage", [b"\x1f\x8b not gzip at all", gzip.compress(b"x,y\n" * 99, mtime=0)[:-20]]
)
def test_a_damaged_packed_file_is_a_named_error(tmp_path, damage):
    (tmp_path / "d.csv.gz").write_bytes(damage)
    with pytest.raises(FileError, match=r"cannot read .*d.csv.gz"):
        read_frame(tmp_path / "d.csv.gz")


def test_an_open_file_of_letters_is_a_table_as_one_of_bytes_is():
    assert read_frame(io.StringIO("x;f\u00fcr\n1;2\n")).columns == ["x", "f\u00fcr"]
    with (STRANGERS / "plain.csv").open(encoding="utf-8") as file:
        assert read_frame(file).n_rows == 600
