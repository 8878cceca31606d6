"""What single formats refuse or rename, and endings; test_format_laws.py has what all keep."""

from __future__ import annotations

import warnings

import pytest
from helpers import random_spec
from laws.formats import assert_same, mixture_with, names_of

from pyromix.errors import (
    DataRepairWarning,
    FileError,
    SpecError,
    StateNameError,
)
from pyromix.formats.files import NETWORK_SUFFIXES, read, read_structure, write
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec

TEXT = (".bif", ".xmlbif", ".xdsl", ".net")

# -- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        (".bif", "a b"),
        (".bif", "a,b"),
        (".xdsl", "a b"),
        (".net", "a-b"),
        (".net", "1a"),
        (".net", "é"),
        (".xmlbif", " a"),
    ],
)
def test_a_variable_name_that_a_format_cannot_hold_is_refused(tmp_path, suffix, name):
    with pytest.raises(StateNameError, match=f"variable name {name!r}"):
        write(mixture_with(names=("Z", name, "Y")), tmp_path / f"net{suffix}")
    assert names_of(tmp_path) == []


@pytest.mark.parametrize("suffix", TEXT)
def test_source_states_that_are_texts_of_numbers_are_refused(tmp_path, suffix):
    with pytest.raises(StateNameError, match=r"\['0', '1'\] of the source 'U'"):
        write(mixture_with(source_states=("0", "1")), tmp_path / f"net{suffix}")
    assert names_of(tmp_path) == []


@pytest.mark.parametrize("suffix", NETWORK_SUFFIXES)
def test_a_role_that_a_format_cannot_hold_is_refused(tmp_path, suffix):
    states = {"X": ("no", "yes"), "Y": ("no", "yes")}
    spec = MixtureSpec.from_parents(states, {}, 2, roles={"a role": ["X"]})
    with pytest.raises(StateNameError, match="'a role'"):
        write(random_mixture(spec), tmp_path / f"net{suffix}")
    assert names_of(tmp_path) == []


def test_states_without_a_json_type_are_refused_by_the_uai_sidecar(tmp_path):
    with pytest.raises(StateNameError, match=r"\('a',\) of 'X' \(tuple\)"):
        write(mixture_with((("a",), ("b",))), tmp_path / "net.uai")
    assert names_of(tmp_path) == []


# -- renaming --------------------------------------------------------------------------------


def test_renaming_is_deterministic_and_avoids_names_in_use(tmp_path):
    mixture = mixture_with(("a,b", "a_b", "a;b", "a_b_2"))
    with pytest.warns(DataRepairWarning, match=r"X: 'a,b' -> 'a_b_3', 'a;b' -> 'a_b_4'"):
        write(mixture, tmp_path / "net.bif", rename_states=True)
    assert read(tmp_path / "net.bif").spec.states[1] == ("a_b_3", "a_b", "a_b_4", "a_b_2")


def test_variables_are_renamed_with_their_edges_and_roles(tmp_path):
    mixture = mixture_with(names=("z 1", "2x", "y-y"))
    with pytest.warns(DataRepairWarning, match=r"variables: 'z 1' -> 'z_1', '2x' -> '_2x'"):
        write(mixture, tmp_path / "net.net", rename_states=True)
    spec = read(tmp_path / "net.net").spec
    assert spec.variables == ("z_1", "_2x", "y_y")
    assert (spec.parents, spec.roles) == (mixture.spec.parents, mixture.spec.roles)


def test_texts_of_numbers_as_source_states_are_renamed_to_the_numbers(tmp_path):
    with pytest.warns(DataRepairWarning, match="'0' -> 0, '1' -> 1"):
        write(mixture_with(source_states=("0", "1")), tmp_path / "net.xdsl", rename_states=True)
    assert read(tmp_path / "net.xdsl").spec.source_states == (0, 1)


def test_a_warning_that_is_an_error_leaves_nothing_behind(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataRepairWarning):
            write(mixture_with(("a,b", "c")), tmp_path / "net.bif", rename_states=True)
    assert names_of(tmp_path) == []


# -- paths -----------------------------------------------------------------------------------


def test_the_ending_counts_in_any_case(tmp_path):
    write(mixture_with(), tmp_path / "NET.BIF")
    assert_same(mixture_with(), read(tmp_path / "NET.BIF"))


def test_dots_in_a_file_name_are_no_ending(tmp_path):
    write(mixture_with(), tmp_path / "v1.2.net")
    assert_same(mixture_with(), read(tmp_path / "v1.2.net"))


@pytest.mark.parametrize(
    ("name", "near"), [("net.biff", ".bif"), ("net", "among"), ("n.gz", ".gz")]
)
def test_an_unknown_ending_lists_the_known_ones(tmp_path, name, near):
    for action in (read, read_structure, lambda path: write(mixture_with(), path)):
        with pytest.raises(FileError, match=r"\.bif, \.bif\.gz") as caught:
            action(tmp_path / name)
        assert near in str(caught.value)
    assert names_of(tmp_path) == []


def test_a_path_below_a_file_cannot_be_read(tmp_path):
    (tmp_path / "net.bif").write_text("")
    with pytest.raises(FileError, match="cannot be read"):
        read(tmp_path / "net.bif" / "net.bif")


def test_a_structure_without_tables_cannot_be_written(tmp_path):
    with pytest.raises(FileError, match="holds no tables"):
        write(mixture_with(), tmp_path / "net.toml")


@pytest.mark.parametrize("suffix", NETWORK_SUFFIXES)
def test_only_the_bundle_holds_batches(tmp_path, suffix):
    mixture = random_mixture(random_spec(1, 3, 2), 0, batch_shape=(2,))
    with pytest.raises(SpecError, match=r"batch shape \(2,\).*\.pyromix"):
        write(mixture, tmp_path / f"net{suffix}")
    assert names_of(tmp_path) == []


def test_a_written_file_has_ordinary_permissions(tmp_path):
    write(mixture_with(), tmp_path / "net.bif")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "net.bif").stat().st_mode == (tmp_path / "plain").stat().st_mode
