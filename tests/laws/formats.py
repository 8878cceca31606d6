"""Laws of a file format: a class that names an ending inherits them all.

    class TestMine(FormatLaws):
        suffix = ".mine"
        refused = TYPED | {"comma"}         # kinds of ``STATES`` that it cannot hold

A format that ``px.write`` and ``px.read`` do not know yet overrides ``write`` and ``read``; one
that rounds says by how much with ``digits``.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from helpers import random_spec, structures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pyromix as px
from pyromix.errors import (
    DataRepairWarning,
    FileError,
    PyromixError,
    PyromixWarning,
    StateNameError,
)
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec

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
TYPED = frozenset({"bool", "int", "int not from zero", "float"})
BLANK = frozenset({"blank end", "newline", "empty"})

NO_TYPE = (("a",), ("b",))
"""States that no format can hold."""

# One law is run by many classes, and leaves its folder as it found it.
EVERYWHERE = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]


def laws(max_examples):
    return settings(max_examples=max_examples, deadline=None, suppress_health_check=EVERYWHERE)


def mixture_with(states=("no", "yes"), names=("Z", "X", "Y"), **options):
    """First -> second -> third with U -> second, third; cards 3, 2, 2, parents out of order."""
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


def assert_same(left, right, atol=0.0):
    assert left.spec == right.spec
    for v in range(-1, left.spec.n_variables):
        ours, theirs = left.spec.states_of(v), right.spec.states_of(v)
        assert [type(s) for s in ours] == [type(s) for s in theirs]
    for a, b in zip((left.weights, *left.cpts), (right.weights, *right.cpts), strict=True):
        assert torch.equal(a, b) if atol == 0 else float((a - b).abs().max()) <= atol


def names_of(folder):
    return sorted(path.name for path in folder.iterdir())


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class FormatLaws:
    """What holds for any file that a mixture is written to and read from."""

    suffix: str
    #: Kinds of ``STATES`` that the format cannot hold, or would give back as another type.
    refused: frozenset[str] = frozenset()
    #: Largest error of a probability that comes back; 0.0 where every bit does.
    digits = 0.0
    #: Whether ``px.write(..., rename_states=True)`` finds names that it can hold.
    renames = True
    #: Whether the file says who is free of the source where there is but one.
    holds_uninfluenced_of_one_source = False

    def write(self, mixture: BayesNetMixture, path: Path) -> None:
        px.write(mixture, path)

    def read(self, path: Path) -> BayesNetMixture:
        return px.read(path)

    def there_and_back(self, mixture: BayesNetMixture, folder: Path) -> BayesNetMixture:
        self.write(mixture, folder / f"net{self.suffix}")
        return self.read(folder / f"net{self.suffix}")

    # -- round trips -------------------------------------------------------------------------

    @laws(12)
    @given(structure=structures(min_variables=1), seed=st.integers(0, 2**31))
    def test_what_is_written_comes_back(self, tmp_path, structure, seed):
        """Tables, variables and their states, and parents, each in its order."""
        mixture = random_mixture(random_spec(**structure), seed)
        if mixture.n_sources == 1 and not self.holds_uninfluenced_of_one_source:
            # With one source there is no vertex that could tell who is free of it.
            spec = MixtureSpec(
                *(getattr(mixture.spec, f) for f in ("variables", "states", "parents")), 1
            )
            mixture = BayesNetMixture(spec, mixture.weights, mixture.cpts)
        assert_same(mixture, self.there_and_back(mixture, tmp_path), self.digits)

    def test_tables_that_are_not_square_keep_their_axes(self, tmp_path):
        states = {"A": tuple("abcde"), "B": tuple("xyz"), "C": ("no", "yes")}
        spec = MixtureSpec.from_parents(states, {"C": ["B", "A"]}, 4)
        mixture = random_mixture(spec, 0)
        back = self.there_and_back(mixture, tmp_path)
        assert back.cpts[2].shape == (4, 3, 5, 2)
        assert_same(mixture, back, self.digits)

    def test_states_stay_in_an_order_that_is_not_the_alphabet_s(self, tmp_path):
        states = {"B": ("low", "high", "b10", "b9"), "A": ("z", "a")}
        mixture = random_mixture(MixtureSpec.from_parents(states, {}, 2), 0)
        assert self.there_and_back(mixture, tmp_path).spec.states == tuple(states.values())

    @pytest.mark.parametrize("order", [("P", "Q", "R"), ("R", "P", "Q"), ("Q", "R", "P")])
    def test_parents_stay_in_their_order(self, tmp_path, order):
        states = {"P": "ab", "Q": "abc", "R": "abcd", "Y": "xy"}
        mixture = random_mixture(MixtureSpec.from_parents(states, {"Y": order}, 2), 0)
        back = self.there_and_back(mixture, tmp_path)
        assert [back.spec.variables[p] for p in back.spec.parents[3]] == list(order)
        assert_same(mixture, back, self.digits)

    def test_probabilities_of_zero_and_one_and_tiny_ones_come_back(self, tmp_path):
        spec = MixtureSpec.from_parents({"A": "abc"}, {}, 2)
        table = torch.tensor([[1.0, 0.0, 0.0], [1e-300, 1 / 3, 2 / 3]], dtype=torch.float64)
        weights = torch.tensor([1 - 2**-40, 2**-40], dtype=torch.float64)
        mixture = BayesNetMixture(spec, weights, (table,))
        assert_same(mixture, self.there_and_back(mixture, tmp_path), self.digits)

    def test_the_source_comes_back_as_the_source_whatever_its_name(self, tmp_path):
        mixture = mixture_with(source="H", source_states=("left", "right"))
        back = self.there_and_back(mixture, tmp_path)
        assert (back.spec.source, back.spec.source_states) == ("H", ("left", "right"))
        assert_same(mixture, back, self.digits)

    def test_roles_come_back(self, tmp_path):
        mixture = mixture_with()
        assert self.there_and_back(mixture, tmp_path).spec.roles == mixture.spec.roles

    def test_one_source_comes_back_as_one(self, tmp_path):
        spec = MixtureSpec.from_parents({"X": "abc", "Y": "ab"}, {"Y": ["X"]}, 1)
        mixture = random_mixture(spec, 0)
        back = self.there_and_back(mixture, tmp_path)
        assert back.n_sources == 1
        assert_same(mixture, back, self.digits)

    def test_the_structure_in_a_file_is_that_of_its_mixture(self, tmp_path):
        mixture, path = mixture_with(source="H"), tmp_path / f"net{self.suffix}"
        self.write(mixture, path)
        assert px.formats.files.read_structure(path).to_spec() == mixture.spec

    # -- names -------------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", STATES)
    def test_a_state_name_comes_back_or_is_refused_by_name(self, tmp_path, kind):
        mixture = mixture_with(STATES[kind])
        if kind not in self.refused:
            assert_same(mixture, self.there_and_back(mixture, tmp_path), self.digits)
            return
        with pytest.raises(StateNameError) as caught:
            self.write(mixture, tmp_path / f"net{self.suffix}")
        message = str(caught.value)
        assert any(repr(state) in message for state in STATES[kind])
        assert "'X'" in message
        assert self.suffix.split(".")[1].upper() in message
        assert "rename_states=True" in message
        assert names_of(tmp_path) == []

    @laws(30)
    @given(
        states=st.lists(
            st.text(max_size=4) | st.booleans() | st.integers() | st.floats(),
            min_size=2,
            max_size=3,
        ).filter(lambda states: len(set(states)) == len(states)),
        name=st.text(min_size=1, max_size=3).filter(lambda name: name not in "UZY"),
    )
    def test_any_name_comes_back_or_is_refused(self, tmp_path, states, name):
        mixture = mixture_with(tuple(states), ("Z", name, "Y"))
        try:
            back = self.there_and_back(mixture, tmp_path)
        except StateNameError:
            assert names_of(tmp_path) == []
            return
        assert_same(mixture, back, self.digits)
        for written in tmp_path.iterdir():
            written.unlink()

    @pytest.mark.parametrize("kind", STATES)
    def test_renaming_keeps_the_numbers_and_lists_every_change(self, tmp_path, kind):
        if not self.renames:
            return
        mixture, path = mixture_with(STATES[kind]), tmp_path / f"net{self.suffix}"
        if kind not in self.refused:
            px.write(mixture, path, rename_states=True)
            assert_same(mixture, self.read(path), self.digits)
            return
        with pytest.warns(DataRepairWarning) as said:
            px.write(mixture, path, rename_states=True)
        back, x = self.read(path), mixture.spec.vertex("X")
        for old, new in zip(STATES[kind], back.spec.states[x], strict=True):
            kept = type(old) is str and old == new
            assert kept or f"{old!r} -> {new!r}" in str(said[0].message)
        for a, b in zip(mixture.cpts, back.cpts, strict=True):
            assert float((a - b).abs().max()) <= self.digits

    def test_a_refused_mixture_leaves_the_old_file_as_it_was(self, tmp_path):
        self.write(mixture_with(), tmp_path / f"net{self.suffix}")
        before = content_of(tmp_path)
        with pytest.raises(StateNameError):
            self.write(mixture_with(NO_TYPE), tmp_path / f"net{self.suffix}")
        assert content_of(tmp_path) == before

    # -- purity ------------------------------------------------------------------------------

    def test_the_same_mixture_gives_the_same_bytes(self, tmp_path):
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            self.write(mixture_with(), tmp_path / name / f"net{self.suffix}")
        assert content_of(tmp_path / "one") == content_of(tmp_path / "two")

    def test_writing_over_a_file_replaces_it(self, tmp_path):
        self.write(mixture_with(n_sources=3), tmp_path / f"net{self.suffix}")
        first = names_of(tmp_path)
        assert_same(mixture_with(), self.there_and_back(mixture_with(), tmp_path), self.digits)
        assert names_of(tmp_path) == first

    def test_what_was_read_is_written_to_the_same_bytes(self, tmp_path):
        back = self.there_and_back(mixture_with(), tmp_path)
        before = content_of(tmp_path)
        self.write(back, tmp_path / f"net{self.suffix}")
        assert content_of(tmp_path) == before

    def test_reading_twice_gives_the_same_and_touches_nothing(self, tmp_path):
        mixture, state = mixture_with(), torch.get_rng_state()
        one = self.there_and_back(mixture, tmp_path)
        before = content_of(tmp_path)
        one.weights[0] = -1.0
        assert_same(mixture, self.read(tmp_path / f"net{self.suffix}"), self.digits)
        assert content_of(tmp_path) == before
        assert torch.equal(torch.get_rng_state(), state)

    def test_writing_leaves_the_mixture_alone(self, tmp_path):
        mixture = mixture_with()
        self.write(mixture, tmp_path / f"net{self.suffix}")
        assert_same(mixture, mixture_with())

    def test_the_default_device_plays_no_role(self, tmp_path):
        mixture = mixture_with()
        with torch.device("meta"):
            back = self.there_and_back(mixture, tmp_path)
        assert_same(mixture, back, self.digits)

    # -- damage and paths --------------------------------------------------------------------

    def test_a_file_cut_short_anywhere_is_refused(self, tmp_path):
        path = tmp_path / f"net{self.suffix}"
        self.write(mixture_with(), path)
        whole = path.read_bytes()
        # The last characters may be blanks, or digits of a number that is still one without them.
        for length in range(0, len(whole) - 40, max(len(whole) // 40, 1)):
            path.write_bytes(whole[:length])
            with pytest.raises(FileError):
                self.read(path)

    @pytest.mark.parametrize(
        "garbage", [b"", b"hello", b"\xff\xfe\x00", b"<a>", b"{}", b"PK\x03\x04"]
    )
    def test_garbage_is_refused_by_the_name_of_the_file(self, tmp_path, garbage):
        path = tmp_path / f"net{self.suffix}"
        path.write_bytes(garbage)
        for action in (self.read, px.formats.files.read_structure):
            with pytest.raises(FileError, match=rf"net\{self.suffix}"):
                action(path)

    @laws(25)
    @given(
        places=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3), data=st.data()
    )
    def test_a_damaged_file_is_read_or_refused_by_a_named_error(self, tmp_path, places, data):
        path = tmp_path / f"net{self.suffix}"
        self.write(mixture_with(), path)
        content = bytearray(path.read_bytes())
        for place in places:
            at = int(place * len(content))
            content[at : at + data.draw(st.integers(0, 12))] = data.draw(st.binary(max_size=3))
        path.write_bytes(content)
        for beside in tmp_path.iterdir():
            if beside != path:
                beside.unlink()
        with suppress(PyromixError), warnings.catch_warnings():
            warnings.simplefilter("ignore", PyromixWarning)
            self.read(path)

    def test_paths_are_text_or_pathlib(self, tmp_path):
        self.write(mixture_with(), str(tmp_path / f"net{self.suffix}"))
        assert_same(mixture_with(), self.read(str(tmp_path / f"net{self.suffix}")), self.digits)

    def test_a_missing_file_is_named(self, tmp_path):
        path = tmp_path / f"missing{self.suffix}"
        for action in (self.read, px.formats.files.read_structure):
            with pytest.raises(FileError, match=rf"missing\{self.suffix}: no such file"):
                action(path)

    def test_a_directory_is_neither_read_nor_written(self, tmp_path):
        path = tmp_path / f"net{self.suffix}"
        path.mkdir()
        with pytest.raises(FileError, match="found a directory"):
            self.read(path)
        with pytest.raises(FileError, match="found a directory"):
            self.write(mixture_with(), path)
        assert names_of(tmp_path) == [path.name]

    def test_a_missing_folder_is_named(self, tmp_path):
        with pytest.raises(FileError, match="does the directory exist"):
            self.write(mixture_with(), tmp_path / "none" / f"net{self.suffix}")
