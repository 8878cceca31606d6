"""Our files as pgmpy and pyAgrum read them, theirs as we do: the same network, cell by cell."""

from __future__ import annotations

from pathlib import Path

import pytest
from independent import (
    assert_alike,
    gum,
    of_mixture,
    read_by_agrum,
    read_by_pgmpy,
    with_parents_reversed,
    written_by_agrum,
)
from independent_networks import FORMATS, disagreements, drawn

import pyromix as px

MODELS = sorted(path.parent for path in (Path(__file__).parents[1] / "models").glob("*/*.bif"))
BY_PGMPY = [
    *((model, ending) for model in MODELS for ending in (".xmlbif", ".xdsl")),
    *((model, ".net") for model in MODELS if model.name in ("asia", "hidden-group", "survey")),
    *((model, ".bif") for model in MODELS if model.name == "asia"),
]
"""BIF and NET take pgmpy seconds: tests/studies/independent_readers.py has the others."""

NOT_WORDS = {("child", ".bif")}
"""States such as ``<5``: pyAgrum's BIF has words only, and refuses the repository's file too."""


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_pyagrum_reads_the_models_as_we_write_them(tmp_path, model, ending):
    mixture, path = px.read(model / "network.bif"), tmp_path / f"net{ending}"
    px.write(mixture, path)
    if (model.name, ending) in NOT_WORDS:
        for file in (path, model / "network.bif"):
            with pytest.raises(gum.GumException, match="IDENT_OR_INTEGER"):
                gum.loadBN(str(file))
        return
    exact = ending in (".xmlbif", ".xdsl")  # it reads the others in single precision
    assert_alike(of_mixture(mixture), read_by_agrum(path), 1e-12 if exact else 1e-6)


@pytest.mark.parametrize(
    ("model", "ending"), BY_PGMPY, ids=lambda x: x if isinstance(x, str) else x.name
)
def test_pgmpy_reads_the_models_as_we_write_them(tmp_path, model, ending):
    mixture, path = px.read(model / "network.bif"), tmp_path / f"net{ending}"
    px.write(mixture, path)
    assert_alike(of_mixture(mixture), read_by_pgmpy(path), 1e-12)


@pytest.mark.filterwarnings("ignore::pyromix.DataRepairWarning")
def test_the_three_agree_on_a_network_drawn_at_random(tmp_path):
    assert disagreements(drawn(0), tmp_path) == []


def test_parents_in_another_order_are_seen(tmp_path):
    """The comparison itself: pyAgrum reads our XDSL with the first parent fastest."""
    mixture = drawn(0)
    px.write(mixture, tmp_path / "net.xdsl")
    assert max(map(len, mixture.spec.parents)) > 1
    gone = gum.loadBN(str(tmp_path / "net.xdsl"))  # without our reversing of the parents
    gum.saveBN(gone, str(tmp_path / "net.bif"))
    with pytest.raises(AssertionError):
        assert_alike(of_mixture(mixture), of_mixture(px.read(tmp_path / "net.bif")), 1e-5)


@pytest.mark.parametrize("ending", [".xdsl", ".uai"])
def test_a_file_in_pyagrums_order_is_told(tmp_path, ending):
    path = tmp_path / f"net{ending}"
    written_by_agrum(drawn(0), path, as_it_is=True)
    with pytest.warns(px.DataRepairWarning, match="pyAgrum.*the first parent fastest"):
        px.read(path)


@pytest.mark.filterwarnings("ignore::pyromix.DataRepairWarning")
def test_a_file_in_pyagrums_order_is_read_as_the_warning_says(tmp_path):
    path, truth = tmp_path / "net.xdsl", of_mixture(drawn(0))
    written_by_agrum(drawn(0), path, as_it_is=True)
    with pytest.raises(AssertionError):
        assert_alike(truth, of_mixture(px.read(path)), 1e-5)
    path.write_text(with_parents_reversed(path.read_text()))
    assert_alike(truth, of_mixture(px.read(path)), 1e-5)
