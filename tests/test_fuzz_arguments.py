"""Absurd arguments of every public name are refused by a named error, and numpy's are Python's.

``python tests/studies/fuzz_arguments.py`` calls every argument with every value.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from argument_fuzzing import EM, LONGEST, SPEC, VALUES, cases, doors, rows, run

import pyromix as px
from pyromix.model.arguments import as_number, device_of, flag, listed, path_of, real, shown, whole

CALLS = 200


def test_absurd_arguments_are_refused_by_name(tmp_path):
    outcomes = run(tmp_path, CALLS, light=True)
    assert not outcomes.failures, "\n\n".join(outcomes.failures[:10])
    assert outcomes.slowest[0] < LONGEST
    # Some values are good ones here and there: the check is neither asleep nor deaf.
    assert 0.02 < outcomes.found["done"] / CALLS < 0.4
    assert {"SpecError", "DataError", "QueryError"} <= outcomes.found.keys()


def test_every_function_of_the_library_is_fuzzed(tmp_path):
    called = {door.function for door in doors(tmp_path, light=True)}
    public = {getattr(px, name) for name in px.__all__ if callable(getattr(px, name))}
    functions = {f for f in public if not isinstance(f, type)}
    assert functions <= called


def test_the_same_seed_gives_the_same_calls(tmp_path):
    found = doors(tmp_path, light=True)
    names = [[(d.name, name, value) for d, name, value in cases(found, 20, s)] for s in (1, 1, 2)]
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2), np.array(2), torch.tensor(2)])
def test_whole_numbers_of_any_library_are_whole_numbers(value):
    found = whole("n", value, 1)
    assert type(found) is int
    assert found == 2


@pytest.mark.parametrize("value", [True, np.True_, torch.tensor(True), 2.0, "2", None, [2]])
def test_nothing_else_is_a_whole_number(value):
    with pytest.raises(px.QueryError, match="n must be an integer >= 1, found"):
        whole("n", value, 1)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5)])
def test_real_numbers_of_any_library_are_real_numbers(value):
    found = real("level", value, 0, 1)
    assert type(found) is float
    assert found == 0.5


@pytest.mark.parametrize("value", [True, "0.5", None, 1j, float("nan"), 0, 1, [0.5], 10**400])
def test_what_is_no_number_inside_its_bounds_is_refused(value):
    with pytest.raises(px.QueryError, match="level must be a number between 0 and 1, found"):
        real("level", value, 0, 1)
    assert np.isinf(as_number(10**400))


def test_switches_are_true_or_false():
    assert flag("on", np.True_) is True
    for value in (1, None, "yes", np.array([True])):
        with pytest.raises(px.QueryError, match="on must be True or False"):
            flag("on", value)


def test_a_message_repeats_little():
    for make in VALUES.values():
        assert len(shown(make())) < 80
    assert shown(10**5000) == "an integer of 16610 bits"
    assert len(shown([10**5000] * 9)) < 80
    assert shown(np.int64(3)) == "3 (int64)"


def test_numpy_numbers_give_what_python_numbers_give():
    frame = rows(60)
    plain = px.fit(SPEC, frame, 2, method="em", **{**EM, "max_iter": 20})
    options = {**EM, "n_init": np.int64(2), "prior": np.float64(1), "random_state": np.int32(0)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        other = px.fit(SPEC, frame, np.int64(2), method=np.str_("em"),
                       **{**options, "max_iter": np.int16(20)})  # fmt: skip
    assert other.log_likelihood == plain.log_likelihood
    spec = px.MixtureSpec(
        (np.str_("A"), np.str_("B")), ((np.int64(0), np.int64(1)),) * 2, ((), (np.int64(0),)),
        np.int64(2),
    )  # fmt: skip
    same = px.MixtureSpec(("A", "B"), ((0, 1), (0, 1)), ((), (0,)), 2)
    assert spec == same
    assert {type(x) for x in (spec.n_sources, spec.parents[1][0], spec.states[0][0])} == {int}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tol": "x"}, "tol must be a finite number > 0, found 'x'"),
        ({"max_iter": float("nan")}, "max_iter must be an integer >= 1, found nan"),
        ({"prior": True}, "prior must be None or a positive pseudo-count"),
        ({"random_state": 2**64}, "random_state must be at most"),
        ({"random_state": np.random.RandomState(0)}, "numpy.random.default_rng"),
        ({"device": "mps"}, "double precision"),
        ({"device": "cuda:99"}, "is not to be had on this machine"),
        ({"data": "a\0b.csv"}, r"expected a path that a file can have, found 'a\\x00b.csv'"),
        ({"n_sources": 10**9}, "n_sources must be at most 4,096"),
        ({"n_init": 10**9}, "EM on tables of .*PYROMIX_MEMORY_LIMIT="),
    ],
)
def test_what_the_issue_names_is_refused_in_words(arguments, message):
    given = {"model": SPEC, "data": rows(20), "n_sources": 2, "method": "em"}
    with pytest.raises(px.PyromixError, match=message):
        px.fit(**{**given, **arguments})


def test_paths_devices_and_lists_are_read_once(tmp_path):
    assert path_of(np.str_("a.csv")) == path_of("a.csv")
    assert device_of(torch.device("cpu")) == torch.device("cpu")
    assert listed("names", (n for n in "AB"), "names") == ("A", "B")
    with pytest.raises(px.FileError, match=r"as text or pathlib\.Path, found b'x'"):
        px.read(b"x")
    with pytest.raises(px.SpecError, match="names must be a list of names, found 5"):
        listed("names", 5, "names")
