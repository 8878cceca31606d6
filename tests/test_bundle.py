"""The bundle: every bit, every type and every batch axis, or a named error."""

from __future__ import annotations

import json
import math
import zipfile

import pytest
import torch
from helpers import BATCH_SHAPES, random_spec, structures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyromix.errors import FileError, SpecError, StateNameError
from pyromix.formats.bundle import FORMAT, MANIFEST, TENSORS, read_bundle, same_spec, write_bundle
from pyromix.formats.files import read, write
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec


def assert_same_bits(left, right):
    assert left.dtype == right.dtype
    assert left.shape == right.shape
    bits = [t.contiguous().flatten().view(torch.uint8) for t in (left, right)]
    assert torch.equal(*bits)


def assert_same(left, right):
    assert same_spec(left.spec, right.spec)
    for a, b in zip((left.weights, *left.cpts), (right.weights, *right.cpts), strict=True):
        assert_same_bits(a, b)


def mixture_with(states):
    spec = MixtureSpec.from_parents(
        {"X": states, "Y": ("no", "yes")}, {"Y": ("X",)}, 2, source_states=states[:2]
    )
    return random_mixture(spec, 0)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(structure=structures(min_variables=1), batch=st.sampled_from(BATCH_SHAPES))
def test_a_mixture_comes_back_bit_for_bit_in_any_batch(tmp_path, structure, batch):
    mixture = random_mixture(random_spec(**structure), 1, batch_shape=batch)
    write_bundle(tmp_path / "m.pyromix", mixture)
    bundle = read_bundle(tmp_path / "m.pyromix")
    assert bundle.mixture.batch_shape == batch
    assert_same(mixture, bundle.mixture)
    assert (bundle.kind, bundle.extra, bundle.tensors) == ("mixture", {}, {})


@pytest.mark.parametrize(
    "states",
    [
        ("a, b", "c.d"),
        ("a-b", "a b"),
        ("naïve", "日本"),
        ("", " a"),
        ("a\nb", "a\x00b"),
        ("\ud800", "\udfff"),
        (False, True),
        (1, 0),
        (0.5, 1.0),
        ("0.50", 0.5, 1, True, "1")[:3],
        ("1", 1),
        ("True", True),
        (2**70, -1),
        (1e-300, 0.1 + 0.2),
    ],
    ids=str,
)
def test_states_keep_type_and_value(tmp_path, states):
    mixture = mixture_with(states)
    write_bundle(tmp_path / "m.pyromix", mixture)
    back = read_bundle(tmp_path / "m.pyromix").mixture
    assert_same(mixture, back)
    assert [type(s) for s in back.spec.states[0]] == [type(s) for s in states]


@pytest.mark.parametrize(
    "states",
    [(("a",), ("b",)), (None, "x"), (math.inf, 0.0), (math.nan, 0.0), (b"a", b"b")],
    ids=str,
)
def test_states_that_json_cannot_keep_are_refused_by_name(tmp_path, states):
    with pytest.raises(StateNameError, match="of 'U'") as caught:
        write_bundle(tmp_path / "m.pyromix", mixture_with(states))
    assert type(states[0]).__name__ in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_type_hidden_by_equality_is_noticed():
    left, right = mixture_with((0, 1)).spec, mixture_with((False, True)).spec
    assert left == right
    assert not same_spec(left, right)


def test_a_fit_keeps_further_fields_and_tensors(tmp_path):
    mixture = random_mixture(random_spec(1, 3, 2), 0)
    extra = {"log_likelihood": 0.1 + 0.2, "converged": True, "notes": ["ä", None], "n": 2**60}
    tensors = {
        "counts/rows": torch.arange(12, dtype=torch.int16).reshape(4, 3),
        "counts/weights": torch.tensor([1.0, math.nan, -0.0, math.inf], dtype=torch.float64),
        "empty": torch.empty(0, 3, dtype=torch.bool),
        "scalar": torch.tensor(3),
        "strided": torch.rand(4, 6, dtype=torch.float64)[::2, ::3],
        "expanded": torch.rand(1, 2, dtype=torch.float64).expand(3, 2),
    }
    write_bundle(tmp_path / "f.pyromix", mixture, kind="fit", extra=extra, tensors=tensors)
    bundle = read_bundle(tmp_path / "f.pyromix")
    assert bundle.kind == "fit"
    assert bundle.extra == extra
    assert bundle.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert_same_bits(tensor, bundle.tensors[name])
    assert_same(mixture, read(tmp_path / "f.pyromix"))


def test_a_tensor_may_be_named_like_those_of_the_mixture(tmp_path):
    mixture = random_mixture(random_spec(1, 3, 2), 0)
    tensors = {"weights": torch.zeros(2), "cpts/0": torch.ones(3)}
    write_bundle(tmp_path / "f.pyromix", mixture, tensors=tensors)
    bundle = read_bundle(tmp_path / "f.pyromix")
    assert_same(mixture, bundle.mixture)
    assert torch.equal(bundle.tensors["weights"], torch.zeros(2))


def test_zeros_keep_their_sign(tmp_path):
    spec = MixtureSpec.from_parents({"X": (0, 1)}, {}, 1)
    table = torch.tensor([[-0.0, 1.0]], dtype=torch.float64)
    mixture = BayesNetMixture(spec, torch.ones(1, dtype=torch.float64), (table,))
    write_bundle(tmp_path / "m.pyromix", mixture)
    assert_same(mixture, read_bundle(tmp_path / "m.pyromix").mixture)


def test_tables_that_need_gradients_come_back_detached(tmp_path):
    mixture = random_mixture(random_spec(1, 3, 2), 0)
    mixture.weights.requires_grad_()
    write_bundle(tmp_path / "m.pyromix", mixture)
    assert not read_bundle(tmp_path / "m.pyromix").mixture.weights.requires_grad


@pytest.mark.cuda
def test_a_mixture_on_a_cuda_device_comes_back_on_the_cpu(tmp_path):
    mixture = random_mixture(random_spec(1, 3, 2), 0)
    write_bundle(tmp_path / "m.pyromix", mixture.to("cuda"))
    assert_same(mixture, read_bundle(tmp_path / "m.pyromix").mixture)


def test_the_same_content_gives_the_same_bytes(tmp_path):
    mixture = random_mixture(random_spec(1, 3, 2), 0)
    for name in "ab":
        write_bundle(tmp_path / name, mixture, extra={"z": 1, "a": 2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_manifest_is_readable_json(tmp_path):
    write_bundle(tmp_path / "m.pyromix", mixture_with((False, True)))
    with zipfile.ZipFile(tmp_path / "m.pyromix") as archive:
        assert sorted(archive.namelist()) == [MANIFEST, TENSORS]
        manifest = json.loads(archive.read(MANIFEST))
    assert (manifest["format"], manifest["kind"]) == (FORMAT, "mixture")
    assert manifest["spec"]["variables"][1] == {
        "name": "Y",
        "states": ["no", "yes"],
        "parents": ["X"],
        "influenced": True,
    }


@pytest.mark.parametrize("extra", [{"x": object()}, {"x": math.nan}, {"x": torch.ones(2)}])
def test_extra_fields_that_are_no_json_are_refused(tmp_path, extra):
    with pytest.raises(FileError, match=r"m\.pyromix: nothing was written"):
        write_bundle(tmp_path / "m.pyromix", random_mixture(random_spec(1, 3, 2)), extra=extra)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(SpecError, match="found 'model'"):
        write_bundle(tmp_path / "m", random_mixture(random_spec(1, 3, 2)), kind="model")


# -- damaged bundles -------------------------------------------------------------------------


def rewritten(path, change):
    """The bundle at a path with its members passed through a function of their dict."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def manifest_change(**changes):
    def change(members):
        fields = json.loads(members[MANIFEST])
        members[MANIFEST] = json.dumps({**fields, **changes}).encode()

    return change


def without(name):
    def change(members):
        del members[name]

    return change


def with_content(name, content):
    def change(members):
        members[name] = content

    return change


def spec_change(members):
    fields = json.loads(members[MANIFEST])
    fields["spec"]["variables"][0]["states"] = ["a", "b", "c", "d"]
    members[MANIFEST] = json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(MANIFEST), r"expected \['model\.json'\]"),
        (without(TENSORS), r"expected \['tensors\.safetensors'\]"),
        (with_content(MANIFEST, b"{"), r"model\.json is unreadable"),
        (with_content(MANIFEST, b"\xff"), r"model\.json is unreadable"),
        (with_content(MANIFEST, b"[]"), r"model\.json is unreadable"),
        (with_content(TENSORS, b"junk"), r"tensors\.safetensors is unreadable"),
        (manifest_change(format=FORMAT + 1), "expected a bundle of format 1, found 2"),
        (manifest_change(format=None), "found None"),
        (manifest_change(kind="model"), "found 'model'"),
        (manifest_change(spec={}), "incomplete or damaged"),
        (manifest_change(spec=3), "incomplete or damaged"),
        (manifest_change(extra=[1]), "incomplete or damaged"),
        (spec_change, "expected shape"),
    ],
)
def test_a_damaged_bundle_names_file_and_damage(tmp_path, change, message):
    path = tmp_path / "m.pyromix"
    write_bundle(path, mixture_with((False, True)))
    rewritten(path, change)
    with pytest.raises(FileError, match=rf"m\.pyromix: .*{message}"):
        read_bundle(path)


def test_a_flipped_bit_anywhere_is_noticed_or_harmless(tmp_path):
    path = tmp_path / "m.pyromix"
    mixture = mixture_with((False, True))
    write_bundle(path, mixture)
    whole = path.read_bytes()
    noticed = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert_same(mixture, read_bundle(path).mixture)
        except FileError:
            noticed += 1
    assert noticed > len(whole) // 7 / 2


def test_a_failed_write_leaves_the_old_bundle_as_it_was(tmp_path):
    path = tmp_path / "m.pyromix"
    write(mixture_with((False, True)), path)
    before = path.read_bytes()
    with pytest.raises(StateNameError):
        write(mixture_with((None, 1)), path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
