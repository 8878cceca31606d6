"""Counts: patterns and weights, what is left out and said, bad input."""

from __future__ import annotations

import io
import warnings
from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from helpers import random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st

from pyromix.data.counts import Counts, MomentSource
from pyromix.data.frames import decode
from pyromix.data.intake_report import DataReport
from pyromix.errors import DataError, DataRepairWarning, FileError
from pyromix.model.spec import MixtureSpec

SPEC = MixtureSpec.from_parents(
    {"A": ("a0", "a1", "a2"), "B": (False, True), "C": (0, 1)}, {"B": ["A"], "C": ["B"]}, 2
)


def random_codes(spec, n, seed, missing=0.0):
    """Rows of state numbers, every one with some observed cell."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n, spec.n_variables)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    codes = (uniform * torch.tensor(spec.cards)).long()
    gaps = torch.rand(shape, generator=generator) < missing
    gaps[:, 0] &= ~gaps.all(1)
    return torch.where(gaps, -1, codes)


def as_dictionary(counts):
    return dict(zip(map(tuple, counts.rows.tolist()), counts.weights.tolist(), strict=True))


def quietly(function, *args, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*args, **options)
    return result, [str(w.message) for w in caught if w.category is DataRepairWarning]


# -- counting ----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(structures(1, 6), st.integers(1, 300), st.sampled_from([0.0, 0.2]), st.integers(0, 2**31))
def test_a_frame_is_counted_as_a_dictionary_counts_it(structure, n, missing, seed):
    spec = random_spec(**structure)
    codes = random_codes(spec, n, seed, missing)
    counts = Counts.from_frame(decode(spec, codes), spec)
    assert as_dictionary(counts) == Counter(map(tuple, codes.tolist()))
    assert counts.rows.dtype == torch.int8
    assert counts.weights.dtype == torch.float64
    assert (counts.n_rows, counts.n_patterns) == (n, len(as_dictionary(counts)))
    assert counts.complete == (not bool((codes < 0).any()))
    assert counts.report.n_missing_cells == int((codes < 0).sum())


def test_expanding_and_counting_again_changes_nothing():
    counts = Counts.from_codes(SPEC, random_codes(SPEC, 200, 0, 0.1))
    rows = counts.expand()
    assert len(rows) == 200
    again = Counts.from_codes(SPEC, rows)
    assert torch.equal(again.rows, counts.rows)
    assert torch.equal(again.weights, counts.weights)


def test_order_of_rows_changes_nothing():
    codes = random_codes(SPEC, 500, 1, 0.1)
    frame = decode(SPEC, codes)
    weights = torch.arange(1.0, 501.0, dtype=torch.float64)
    order = np.random.default_rng(0).permutation(500)
    one = Counts.from_frame(frame, SPEC, sample_weight=weights)
    two = Counts.from_frame(frame.iloc[order], SPEC, sample_weight=weights[order])
    assert torch.equal(one.rows, two.rows)
    torch.testing.assert_close(one.weights, two.weights, rtol=1e-14, atol=0)


def test_order_of_columns_changes_nothing():
    frame = decode(SPEC, random_codes(SPEC, 100, 2))
    one = Counts.from_frame(frame, SPEC)
    two = Counts.from_frame(frame[["C", "A", "B"]], SPEC)
    assert as_dictionary(one) == as_dictionary(two)


def test_whole_weights_are_repeated_rows():
    codes = random_codes(SPEC, 100, 3, 0.1)
    times = torch.randint(1, 4, (100,), generator=torch.Generator().manual_seed(0))
    weighted = Counts.from_codes(SPEC, codes, times.double())
    repeated = Counts.from_codes(SPEC, codes.repeat_interleave(times, 0))
    assert as_dictionary(weighted) == as_dictionary(repeated)
    assert weighted.n_rows == float(times.sum())


def test_weights_come_from_a_column():
    frame = decode(SPEC, torch.tensor([[0, 1, 1], [0, 1, 1], [2, 0, 0]]))
    frame["w"] = [0.25, 0.5, 2.0]
    counts = Counts.from_frame(frame, SPEC, sample_weight="w")
    assert as_dictionary(counts) == {(0, 1, 1): 0.75, (2, 0, 0): 2.0}
    assert counts.report.unused == ()


@pytest.mark.parametrize("n_columns", [62, 63, 64, 100])
def test_many_binary_columns_are_counted(n_columns):
    names = [f"V{i}" for i in range(n_columns)]
    spec = MixtureSpec.from_parents(dict.fromkeys(names, (0, 1)), {}, 2)
    distinct = random_codes(spec, 50, 4)
    codes = distinct[torch.randint(50, (400,), generator=torch.Generator().manual_seed(1))]
    counts = Counts.from_frame(pd.DataFrame(codes.numpy(), columns=names), spec)
    expected = Counter(tuple(row) for row in codes[:, [names.index(n) for n in spec.variables]]
                       .tolist())  # fmt: skip
    assert as_dictionary(counts) == expected


def test_counts_of_a_csv_and_of_a_frame_are_the_same(tmp_path):
    frame = decode(SPEC, random_codes(SPEC, 300, 5, 0.1))
    frame.to_csv(tmp_path / "d.csv", index=False)
    there, said = quietly(Counts.from_frame, tmp_path / "d.csv", SPEC)
    assert as_dictionary(there) == as_dictionary(Counts.from_frame(frame, SPEC))
    assert said == []


def test_counts_stay_on_their_device():
    codes = random_codes(SPEC, 50, 6, 0.1)
    frame = decode(SPEC, codes)
    with torch.device("meta"):
        counts = Counts.from_frame(frame, SPEC, sample_weight=[1.0] * 50, device="cpu")
        merged = counts.merge(Counts.from_codes(SPEC, codes)).to("cpu")
        merged.table((0,), (1,), torch.tensor([[0], [1]], device="cpu"))
        merged.mass((), torch.empty((1, 0), dtype=torch.int64, device="cpu"))
    assert merged.device.type == counts.weights.device.type == "cpu"


@pytest.mark.cuda
def test_counts_on_a_device_equal_those_on_the_cpu():
    codes = random_codes(SPEC, 5000, 6, 0.1)
    here = Counts.from_codes(SPEC, codes)
    there = Counts.from_codes(SPEC, codes.cuda())
    assert there.device.type == "cuda"
    assert as_dictionary(here) == as_dictionary(there)
    assignments = torch.tensor([[0], [1]])
    torch.testing.assert_close(
        here.table((0, 2), (1,), assignments),
        there.table((0, 2), (1,), assignments).cpu(),
        rtol=0,
        atol=1e-10,
    )


# -- merging and other specs -------------------------------------------------------------------


def test_merging_adds():
    left, right = random_codes(SPEC, 80, 7, 0.1), random_codes(SPEC, 50, 8, 0.1)
    merged = Counts.from_codes(SPEC, left).merge(Counts.from_codes(SPEC, right))
    whole = Counts.from_codes(SPEC, torch.cat([left, right]))
    assert as_dictionary(merged) == as_dictionary(whole)
    assert merged.report == whole.report


def test_merging_is_commutative():
    left = Counts.from_codes(SPEC, random_codes(SPEC, 80, 7, 0.1))
    right = Counts.from_codes(SPEC, random_codes(SPEC, 50, 8, 0.1))
    assert as_dictionary(left.merge(right)) == as_dictionary(right.merge(left))


def test_merging_refuses_other_states():
    other = MixtureSpec.from_parents(
        {"A": ("a0", "a1", "a2"), "B": (False, True), "C": (1, 0)}, {}, 2
    )
    codes = random_codes(SPEC, 10, 0)
    with pytest.raises(DataError, match=r"differences in \['C'\]"):
        Counts.from_codes(SPEC, codes).merge(Counts.from_codes(other, codes))


def test_another_graph_reorders_the_columns():
    other = MixtureSpec.from_parents(
        {"C": (0, 1), "B": (False, True), "A": ("a0", "a1", "a2")}, {"A": ["C"], "B": ["A"]}, 4
    )
    codes = random_codes(SPEC, 100, 9, 0.1)
    frame = decode(SPEC, codes)
    moved = Counts.from_codes(SPEC, codes).with_spec(other)
    assert moved.spec is other
    assert as_dictionary(moved) == as_dictionary(Counts.from_frame(frame, other))


def test_another_number_of_sources_keeps_the_patterns():
    counts = Counts.from_codes(SPEC, random_codes(SPEC, 100, 9))
    assert counts.with_spec(SPEC.with_n_sources(5)).rows is counts.rows


# -- what is left out --------------------------------------------------------------------------


def test_rows_without_any_observed_cell_are_left_out_and_reported():
    frame = pd.DataFrame({"A": ["a0", None, None], "B": [True, None, None], "C": [1, None, 0]})
    counts, said = quietly(Counts.from_frame, frame, SPEC)
    assert as_dictionary(counts) == {(0, 1, 1): 1.0, (-1, -1, 0): 1.0}
    assert (counts.report.n_rows, counts.report.n_dropped_rows) == (3, 1)
    assert counts.report.n_missing_cells == 2
    assert len(said) == 1
    assert "1 of 3 rows have no observed cell" in said[0]


def test_rows_of_weight_zero_are_left_out_without_a_warning():
    codes = torch.tensor([[0, 0, 0], [1, 1, 1], [-1, -1, -1]])
    counts, said = quietly(Counts.from_codes, SPEC, codes[:2], torch.tensor([0.0, 2.0]))
    assert as_dictionary(counts) == {(1, 1, 1): 2.0}
    assert (counts.report.n_zero_weight_rows, said) == (1, [])


@pytest.mark.parametrize(
    ("codes", "weights"),
    [([[-1, -1, -1]], None), ([[-1, -1, -1], [0, 0, 0]], [1.0, 0.0])],
)
def test_no_row_left_is_refused(codes, weights):
    weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    with pytest.raises(DataError, match="no row is left"):
        Counts.from_codes(SPEC, torch.tensor(codes), weights)


def test_dropped_rows_are_reported_once():
    frame = pd.DataFrame({"A": ["a0", None, "a1"], "B": [True, None, False], "C": [1, None, None]})
    counts, said = quietly(Counts.from_frame, frame, SPEC, missing="drop")
    assert as_dictionary(counts) == {(0, 1, 1): 1.0}
    assert counts.complete
    assert counts.report.n_dropped_rows == 2
    assert len(said) == 1


def test_a_clean_table_is_counted_in_silence():
    counts, said = quietly(Counts.from_frame, decode(SPEC, random_codes(SPEC, 20, 0)), SPEC)
    assert (counts.report.repairs, said) == ((), [])


# -- the report --------------------------------------------------------------------------------


def test_a_report_says_everything():
    report = DataReport(
        n_rows=1500,
        n_variables=4,
        n_patterns=43,
        n_missing_cells=56,
        n_dropped_rows=90,
        n_zero_weight_rows=10,
        total_weight=1400.5,
        unused=("id", "note"),
        repairs=("One.", "Two."),
    )
    assert str(report).split("\n") == [
        "rows 1,500   distinct 43   variables 4   total weight 1,400.5",
        "missing cells 56 (1.00%; kept, MAR)",
        "rows left out 90",
        "rows of weight zero, left out 10",
        "columns not used: id, note",
        "note: One.",
        "note: Two.",
    ]


def test_a_report_without_incidents_is_one_line():
    counts = Counts.from_codes(SPEC, random_codes(SPEC, 20, 0))
    assert str(counts.report).startswith("rows 20   distinct ")
    assert "\n" not in str(counts.report)


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "weights", "message"),
    [
        (torch.zeros(2, 2, dtype=torch.int64), None, "rows of 3 variables, found 2"),
        (torch.zeros(0, 3, dtype=torch.int64), None, "at least one row, found none"),
        (torch.tensor([[0, 0, 0], [3, 0, 0]]), None, r"'A' are 0..2.*found 0..3 \(1 rows\)"),
        (torch.tensor([[0, 0, 0], [0, 0, -2]]), None, r"'C' are 0..1.*found -2..0 \(1 rows\)"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.ones(3), "each of 2 rows, found 3"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([1.0, -0.5]), "least -0.5"),
        (torch.zeros(1, 3, dtype=torch.int64), torch.tensor([float("nan")]), "1 that are not"),
    ],
)
def test_codes_that_do_not_fit_are_refused(codes, weights, message):
    with pytest.raises(DataError, match=message):
        Counts.from_codes(SPEC, codes, weights)


@pytest.mark.parametrize("weights", [[0.0], [-1.0], [float("inf")], [float("nan")]])
def test_patterns_have_positive_weights(weights):
    counts = Counts.from_codes(SPEC, torch.zeros(1, 3, dtype=torch.int64))
    weights = torch.tensor(weights, dtype=torch.float64)
    with pytest.raises(DataError, match="finite and positive"):
        Counts(SPEC, counts.rows, weights, counts.report)


def test_patterns_have_float64_weights():
    counts = Counts.from_codes(SPEC, torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(DataError, match=r"found torch\.float32"):
        Counts(SPEC, counts.rows, torch.ones(1), counts.report)


def test_fractions_cannot_be_expanded():
    counts = Counts.from_codes(SPEC, torch.zeros(1, 3, dtype=torch.int64), torch.tensor([0.5]))
    with pytest.raises(DataError, match="whole weights"):
        counts.expand()


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        ("nowhere.csv", {}, FileError, "nowhere.csv"),
        (pd.DataFrame({"A": []}), {}, DataError, "with rows, found none"),
        (pd.DataFrame({"A": ["a0"]}), {}, DataError, "missing are 'B'; 'C'"),
        (io.BytesIO(b"A,B,C\na9,True,0\n"), {}, DataError, r"'A' has value 'a9' \(1 rows\)"),
        (pl.DataFrame({"A": ["a0"], "B": [True], "C": [0.5]}), {}, DataError, "'C' has value 0.5"),
        (
            pd.DataFrame({"A": ["a0"], "B": [True], "C": [0]}),
            {"sample_weight": [-1.0]},
            DataError,
            r"1 negative weights, in rows \[0\]",
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused(data, options, error, message):
    with pytest.raises(error, match=message):
        Counts.from_frame(data, SPEC, **options)


# -- moments of incomplete rows ----------------------------------------------------------------


def test_tables_use_the_rows_that_are_complete_where_it_matters():
    codes = random_codes(SPEC, 400, 10, 0.2)
    counts = Counts.from_codes(SPEC, codes)
    found = counts.table((2, 0), (1,), torch.tensor([[1], [0]]))
    mass = counts.mass((1,), torch.tensor([[1], [0]]))
    rows = codes.tolist()
    for i, b in enumerate((1, 0)):
        cases = [r for r in rows if r[1] == b and r[0] >= 0 and r[2] >= 0]
        for c in range(2):
            for a in range(3):
                share = sum(r[2] == c and r[0] == a for r in cases) / len(cases)
                assert float(found[i, c, a]) == pytest.approx(share, abs=1e-15)
        assert float(mass[i]) == sum(r[1] == b for r in rows)


def test_an_assignment_that_no_row_has_gives_zeros():
    counts = Counts.from_codes(SPEC, torch.tensor([[0, 0, 0], [1, 0, 1]]))
    assignments = torch.tensor([[0], [2], [1], [2]])
    assert counts.mass((0,), assignments).tolist() == [1, 0, 1, 0]
    table = counts.table((2,), (0,), assignments)
    assert table.tolist() == [[1, 0], [0, 0], [0, 1], [0, 0]]


def test_assignments_of_many_vertices_pass_one_word():
    names = [f"V{i}" for i in range(71)]
    spec = MixtureSpec.from_parents(dict.fromkeys(names, (0, 1)), {}, 2)
    codes = random_codes(spec, 40, 11)
    counts = Counts.from_codes(spec, codes.repeat(2, 1))
    given = list(range(70))
    table = counts.table((70,), given, codes[:5, :70])
    assert table.argmax(1).tolist() == codes[:5, 70].tolist()
    assert counts.mass(given, codes[:5, :70]).tolist() == [2.0] * 5


def test_counts_are_a_moment_source():
    counts = Counts.from_codes(SPEC, torch.zeros(1, 3, dtype=torch.int64))
    assert isinstance(counts, MomentSource)
