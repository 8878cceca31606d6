"""What a bundle says of a fit is held against its types, its mixture and its table."""

from __future__ import annotations

import copy
import json
import math
import warnings
import zipfile
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

import pyromix as px
from pyromix.errors import FileError
from pyromix.fitting.typed import checked, typed
from pyromix.formats.bundle import MANIFEST, TENSORS

SPEC = px.MixtureSpec.from_parents(
    dict.fromkeys("ABCDE", (0, 1)), {"E": ["A", "B"]}, 2, uninfluenced=["D"]
)


def table(n=300):
    source = np.random.default_rng(0).random((n, 1)) < 0.5
    cells = np.random.default_rng(1).random((n, 5)) < np.where(source, 0.2, 0.8)
    return pd.DataFrame(cells.astype(int), columns=list("ABCDE"))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Manifest and tensors of a fit with a prior, of one with draws, and of one of moments."""
    folder = tmp_path_factory.mktemp("fits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        plain = px.fit(SPEC, table(), n_init=3, prior=1.0)
        drawn = plain.refine(method="gibbs", num_samples=4, warmup_steps=0)
        views = px.fit_product(table(2000)[list("ABC")], 2, method="moments", prior=None)
    found = {}
    for name, fit in {"plain": plain, "drawn": drawn, "views": views}.items():
        fit.save(folder / f"{name}.pyromix")
        with zipfile.ZipFile(folder / f"{name}.pyromix") as archive:
            manifest = json.loads(archive.read(MANIFEST))
            found[name] = manifest, load_tensors(archive.read(TENSORS))
    return found


def loaded(tmp_path, manifest, tensors):
    with zipfile.ZipFile(tmp_path / "fit.pyromix", "w") as archive:
        archive.writestr(MANIFEST, json.dumps(manifest))
        archive.writestr(TENSORS, save_tensors(tensors))
    return px.load(tmp_path / "fit.pyromix")


def put(place, where, value):
    *way, last = where
    for step in way:
        place = place[step]
    place[last] = value


NUMBERS = [
    (("n_rows",), -5),
    (("n_rows",), 0),
    (("n_rows",), 299),
    (("n_rows",), "300"),
    (("n_rows",), True),
    (("n_rows",), "float:nan"),
    (("n_rows",), 10**400),
    (("log_likelihood",), 1e6),
    (("log_likelihood",), -1.0),
    (("log_likelihood",), "float:nan"),
    (("log_likelihood",), None),
    (("entropy",), -3.0),
    (("entropy",), 1e6),
    (("entropy",), "float:nan"),
    (("reached_mass",), -1.0),
    (("reached_mass",), "float:inf"),
    (("learned",), [1.0]),
    (("learned",), [-1.0] * 5),
    (("learned",), "none"),
    (("stages",), []),
    (("stages", "random_state"), 0),
    (("stages", "notes"), "xy"),
    (("stages", "notes"), [{"kind": "starts", "sentence": 3, "data": {}}]),
    (("stages", "notes"), [{"kind": ["starts"], "sentence": "x", "data": {}}]),
    (("stages", "climb", "converged"), "no"),
    (("stages", "climb", "converged"), 1),
    (("stages", "climb", "n_iter"), -1),
    (("stages", "climb", "n_iter"), 1.5),
    (("stages", "climb", "n_best"), 99),
    (("stages", "climb", "log_likelihoods"), ["a"]),
    (("stages", "climb", "more"), 1),
    (("stages", "course", "asked"), 3),
    (("stages", "course", "ran"), "em"),
    (("stages", "prior", "words"), None),
    (("stages", "prior", "held_out"), [["a"]]),
    (("stages", "prior", "counts"), 1),
    (("data", "n_rows"), -1),
    (("data", "n_patterns"), "many"),
    (("data", "n_variables"), 4),
    (("data", "row_weight"), 0.0),
    (("data", "repairs"), [1]),
]


@pytest.mark.parametrize(("where", "value"), NUMBERS, ids=map(str, NUMBERS))
def test_a_field_that_cannot_be_is_refused_by_name(tmp_path, bundles, where, value):
    manifest, tensors = copy.deepcopy(bundles["plain"])
    put(manifest["extra"], where, value)
    with pytest.raises(FileError, match=r"fit\.pyromix: .*") as refused:
        loaded(tmp_path, manifest, tensors)
    assert where[-1] in str(refused.value) or where == ("stages",)


def changed(change):
    return lambda tensor: change(tensor.clone())


TENSOR_CHANGES = [
    ("prior/0", lambda t: -t),
    ("prior/weights", lambda t: t * math.nan),
    ("prior/0", lambda t: t[:1]),
    ("prior/1", lambda t: t.float()),
    ("row_masses/4", lambda t: t.transpose(0, 1)[..., :1].contiguous()),
    ("row_masses/0", lambda t: t[:1]),
    ("row_masses/0", lambda t: t - 1e6),
    ("row_masses/0", lambda t: t * math.inf),
    ("ends/objectives", lambda t: t[:0]),
    ("ends/objectives", lambda t: t * math.nan),
    ("ends/objectives", lambda t: t.to(torch.int64)),
    ("ends/converged", lambda t: torch.cat([t, t])),
    ("rows", lambda t: t + 5),
    ("rows", lambda t: t[:, :2].contiguous()),
    ("rows", lambda t: t.double()),
    ("weights", lambda t: -t),
    ("weights", lambda t: t * 2),
    ("weights", lambda t: t[:1]),
]


@pytest.mark.parametrize("number", range(len(TENSOR_CHANGES)))
def test_a_tensor_that_cannot_be_is_refused(tmp_path, bundles, number):
    name, change = TENSOR_CHANGES[number]
    manifest, tensors = copy.deepcopy(bundles["plain"])
    tensors[f"extra/{name}"] = change(tensors[f"extra/{name}"].clone())
    with pytest.raises(FileError, match=r"fit\.pyromix: "):
        loaded(tmp_path, manifest, tensors)


def test_rows_of_another_table_are_refused_by_the_likelihood(tmp_path, bundles):
    manifest, tensors = copy.deepcopy(bundles["plain"])
    tensors["extra/rows"] = 1 - tensors["extra/rows"]
    with pytest.raises(FileError, match=r"log_likelihood: expected .* of the rows in the bundle"):
        loaded(tmp_path, manifest, tensors)


@pytest.mark.parametrize("name", ["prior/0", "row_masses/0", "ends/0", "rows", "weights"])
def test_a_tensor_that_is_missing_is_refused(tmp_path, bundles, name):
    manifest, tensors = copy.deepcopy(bundles["plain"])
    del tensors[f"extra/{name}"]
    with pytest.raises(FileError, match=r"incomplete or damaged"):
        loaded(tmp_path, manifest, tensors)


@pytest.mark.parametrize(
    ("bundle", "where", "value"),
    [
        ("drawn", ("draws", "method"), 1),
        ("drawn", ("draws", "bound"), ["x"]),
        ("drawn", ("draws", "sampling", "r_hat"), "low"),
        ("drawn", ("draws", "sampling", "n_chains"), 1.5),
        ("views", ("moments", "status"), "FINE"),
        ("views", ("moments", "runs"), [{}]),
        ("views", ("moments", "runs", 0, "views"), [["A"], "B"]),
        ("views", ("moments", "n_links"), "none"),
        ("views", ("moments", "plan"), {"default": [99]}),
        ("views", ("moments", "plan"), {"default": ["A"]}),
        ("views", ("moments", "plan"), {"runs": [], "links": [], "layers": 3, "uncovered": []}),
        ("views", ("moments", "plan"), {"runs": [], "links": [], "layers": [], "uncovered": [-7]}),
    ],
)
def test_a_stage_that_cannot_be_is_refused(tmp_path, bundles, bundle, where, value):
    manifest, tensors = copy.deepcopy(bundles[bundle])
    put(manifest["extra"]["stages"], where, value)
    with pytest.raises(FileError, match=r"fit\.pyromix: "):
        loaded(tmp_path, manifest, tensors)


@pytest.mark.parametrize("name", ["plain", "drawn", "views"])
def test_what_was_saved_loads_as_it_was(tmp_path, bundles, name):
    manifest, tensors = bundles[name]
    fit = loaded(tmp_path, manifest, tensors)
    assert fit.log_likelihood == manifest["extra"]["log_likelihood"]
    assert fit.n_rows == manifest["extra"]["n_rows"]
    fit.save(tmp_path / "again.pyromix")
    with zipfile.ZipFile(tmp_path / "again.pyromix") as archive:
        assert json.loads(archive.read(MANIFEST)) == manifest


@pytest.mark.parametrize("include_data", [True, False])
@pytest.mark.parametrize("weights_are", ["counts", "sampling"])
def test_fits_of_weighted_and_incomplete_tables_are_believed(tmp_path, weights_are, include_data):
    frame = table().astype(object)
    frame.iloc[::7, 1] = None
    weights = np.random.default_rng(3).random(len(frame)) * (3 if weights_are == "counts" else 0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        fit = px.fit(SPEC, frame, n_init=2, sample_weight=weights, weights_are=weights_are)
        fit.save(tmp_path / "fit.pyromix", include_data=include_data)
        assert px.load(tmp_path / "fit.pyromix").log_likelihood == fit.log_likelihood


@dataclass(frozen=True)
class Example:
    """A record of every kind of field."""

    name: str
    share: float
    pairs: tuple[tuple[str, int], ...]
    note: str | None = None


def test_fields_become_what_the_record_declares():
    found = typed(Example, {"name": "a", "share": 1, "pairs": [["b", 2]]}, "example")
    assert found == Example("a", 1.0, (("b", 2),))
    assert type(found.share) is float


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (float, True),
        (int, 1.0),
        (int, True),
        (bool, 0),
        (str, None),
        (tuple[int, ...], "12"),
        (tuple[int, int], [1]),
        (float | None, "x"),
        (float, 10**400),
    ],
)
def test_no_value_passes_for_another_type(hint, value):
    with pytest.raises(FileError, match="expected the field"):
        checked(hint, value, "the field")
