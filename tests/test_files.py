"""Network files: what goes in comes back bit for bit, or an error says why and nothing is left."""

from __future__ import annotations

import warnings
from contextlib import suppress

import pytest
import torch
from helpers import random_spec, structures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyromix.errors import (
    DataRepairWarning,
    FileError,
    PyromixError,
    PyromixWarning,
    SpecError,
    StateNameError,
)
from pyromix.formats.files import BUNDLE_SUFFIX, NETWORK_SUFFIXES, read, read_structure, write
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec

SUFFIXES = (*NETWORK_SUFFIXES, BUNDLE_SUFFIX)
TEXT = (".bif", ".xmlbif", ".xdsl", ".net")

STATES = {
    "plain": ("no", "yes"),
    "comma": ("a, b", "c"),
    "dot": ("1.5", "x.y"),
    "dash": ("a-b", "-"),
    "space": ("very low", "high"),
    "unicode": ("naïve", "日本"),
    "float-like": ("0.50", "1e3"),
    "int-like": ("0", "1"),
    "bool-like": ("False", "True"),
    "markup": ("<5", "a&b"),
    "colon": ("a:b", "c"),
    "percent": ("5%", "10%"),
    "apostrophe": ("it's", "its"),
    "quote": ('say "x"', "x"),
    "bracket": ("(0,5]", "[5,9)"),
    "brace": ("{a}", "b"),
    "semicolon": ("a;b", "c"),
    "bar": ("a|b", "c"),
    "backslash": ("a\\b", "c"),
    "comment": ("a//b", "/*c"),
    "blank end": (" a", "b"),
    "newline": ("a\nb", "c"),
    "empty": ("", "c"),
    "bool": (False, True),
    "int": (0, 1),
    "int not from zero": (7, 3),
    "float": (0.5, 1.5),
}
TYPED = {"bool", "int", "int not from zero", "float"}
BLANK = {"blank end", "newline", "empty"}
REFUSED = {
    ".bif": TYPED | BLANK | {"comma", "quote", "bracket", "brace", "semicolon", "bar", "comment"},
    ".xmlbif": TYPED | BLANK,
    ".xdsl": TYPED | BLANK,
    ".net": TYPED | BLANK | {"quote", "backslash"},
    ".uai": set(),
    ".pyromix": set(),
}
REFUSED[".bif.gz"] = REFUSED[".bif"]


def mixture_with(states=("no", "yes"), names=("Z", "X", "Y"), **options):
    """First -> second -> third with U -> second, third."""
    z, x, y = names
    spec = MixtureSpec.from_parents(
        {z: ("a", "b", "c"), x: states, y: ("lo", "hi")},
        {x: (z,), y: (x, z)},
        options.pop("n_sources", 2),
        uninfluenced=[z],
        roles={"exposures": [x], "outcomes": [y]},
        **options,
    )
    return random_mixture(spec, 3)


def assert_same(left, right):
    assert left.spec == right.spec
    for v in range(-1, left.spec.n_variables):
        ours, theirs = left.spec.states_of(v), right.spec.states_of(v)
        assert [type(s) for s in ours] == [type(s) for s in theirs]
    for a, b in zip((left.weights, *left.cpts), (right.weights, *right.cpts), strict=True):
        assert torch.equal(a, b)


def names_of(folder):
    return sorted(path.name for path in folder.iterdir())


# -- round trips -----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(structure=structures(min_variables=1), seed=st.integers(0, 2**31))
def test_what_is_written_comes_back_bit_for_bit(tmp_path, suffix, structure, seed):
    mixture = random_mixture(random_spec(**structure), seed)
    if mixture.n_sources == 1 and suffix != BUNDLE_SUFFIX:
        # With one source there is no vertex that could tell who is free of it.
        spec = MixtureSpec(
            *(getattr(mixture.spec, f) for f in ("variables", "states", "parents")), 1
        )
        mixture = BayesNetMixture(spec, mixture.weights, mixture.cpts)
    write(mixture, tmp_path / f"net{suffix}")
    assert_same(mixture, read(tmp_path / f"net{suffix}"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_source_roles_and_parent_order_come_back(tmp_path, suffix):
    mixture = mixture_with(source="H", source_states=("left", "right"))
    write(mixture, tmp_path / f"net{suffix}")
    assert_same(mixture, read(tmp_path / f"net{suffix}"))


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_state_name_comes_back_or_is_refused_by_name(tmp_path, suffix, kind):
    mixture, path = mixture_with(STATES[kind]), tmp_path / f"net{suffix}"
    if kind not in REFUSED[suffix]:
        write(mixture, path)
        assert_same(mixture, read(path))
        return
    with pytest.raises(StateNameError) as caught:
        write(mixture, path)
    message = str(caught.value)
    assert any(repr(state) in message for state in STATES[kind])
    assert "'X'" in message
    assert suffix.split(".")[1].upper() in message
    assert "rename_states=True" in message
    assert names_of(tmp_path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    states=st.lists(
        st.text(max_size=4) | st.booleans() | st.integers() | st.floats(), min_size=2, max_size=3
    ).filter(lambda states: len(set(states)) == len(states)),
    name=st.text(min_size=1, max_size=3).filter(lambda name: name not in "UZY"),
)
def test_any_name_comes_back_or_is_refused(tmp_path, suffix, states, name):
    mixture = mixture_with(tuple(states), ("Z", name, "Y"))
    path = tmp_path / f"net{suffix}"
    try:
        write(mixture, path)
    except StateNameError:
        assert names_of(tmp_path) == []
        return
    assert_same(mixture, read(path))
    for written in tmp_path.iterdir():
        written.unlink()


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


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("suffix", TEXT)
def test_renaming_keeps_the_numbers_and_lists_every_change(tmp_path, suffix, kind):
    mixture, path = mixture_with(STATES[kind]), tmp_path / f"net{suffix}"
    if kind not in REFUSED[suffix]:
        write(mixture, path, rename_states=True)
        assert_same(mixture, read(path))
        return
    with pytest.warns(DataRepairWarning) as said:
        write(mixture, path, rename_states=True)
    back, x = read(path), mixture.spec.vertex("X")
    for old, new in zip(STATES[kind], back.spec.states[x], strict=True):
        kept = type(old) is str and old == new
        assert kept or f"{old!r} -> {new!r}" in str(said[0].message)
    assert all(torch.equal(a, b) for a, b in zip(mixture.cpts, back.cpts, strict=True))


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


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_paths_are_text_or_pathlib(tmp_path, suffix):
    mixture = mixture_with()
    write(mixture, str(tmp_path / f"net{suffix}"))
    assert_same(mixture, read(str(tmp_path / f"net{suffix}")))


def test_the_ending_counts_in_any_case(tmp_path):
    write(mixture_with(), tmp_path / "NET.BIF")
    assert_same(mixture_with(), read(tmp_path / "NET.BIF"))


def test_dots_in_a_file_name_are_no_ending(tmp_path):
    write(mixture_with(), tmp_path / "v1.2.net")
    assert_same(mixture_with(), read(tmp_path / "v1.2.net"))


@pytest.mark.parametrize("action", [read, read_structure])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_file_is_named(tmp_path, suffix, action):
    with pytest.raises(FileError, match=rf"missing\{suffix}: no such file"):
        action(tmp_path / f"missing{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_directory_is_neither_read_nor_written(tmp_path, suffix):
    (tmp_path / f"net{suffix}").mkdir()
    with pytest.raises(FileError, match="found a directory"):
        read(tmp_path / f"net{suffix}")
    with pytest.raises(FileError, match="found a directory"):
        write(mixture_with(), tmp_path / f"net{suffix}")
    assert names_of(tmp_path) == [f"net{suffix}"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_folder_is_named(tmp_path, suffix):
    with pytest.raises(FileError, match="does the directory exist"):
        write(mixture_with(), tmp_path / "none" / f"net{suffix}")


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


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_refused_mixture_leaves_the_old_file_as_it_was(tmp_path, suffix):
    write(mixture_with(), tmp_path / f"net{suffix}")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(StateNameError):
        write(mixture_with((("a",), ("b",))), tmp_path / f"net{suffix}")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_mixture_gives_the_same_bytes(tmp_path, suffix):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(mixture_with(), tmp_path / name / f"net{suffix}")
    assert (tmp_path / "one" / f"net{suffix}").read_bytes() == (
        tmp_path / "two" / f"net{suffix}"
    ).read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_are_written_and_read_whatever_the_default_device(tmp_path, suffix):
    mixture = mixture_with()
    with torch.device("meta"):
        write(mixture, tmp_path / f"net{suffix}")
        back = read(tmp_path / f"net{suffix}")
    assert_same(mixture, back)


def test_a_written_file_has_ordinary_permissions(tmp_path):
    write(mixture_with(), tmp_path / "net.bif")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "net.bif").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("suffix", NETWORK_SUFFIXES)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(places=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3), data=st.data())
def test_a_damaged_file_is_read_or_refused_by_a_named_error(tmp_path, suffix, places, data):
    path = tmp_path / f"net{suffix}"
    write(mixture_with(), path)
    content = bytearray(path.read_bytes())
    for place in places:
        at = int(place * len(content))
        content[at : at + data.draw(st.integers(0, 12))] = data.draw(st.binary(max_size=3))
    path.write_bytes(content)
    (tmp_path / "net.uai.names.json").unlink(missing_ok=True)
    with suppress(PyromixError), warnings.catch_warnings():
        warnings.simplefilter("ignore", PyromixWarning)
        read(path)
