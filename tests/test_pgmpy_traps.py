"""Where pgmpy 1.1 surprises, shown on pgmpy itself, and what happens here instead.

A test of the first kind that fails after an update of pgmpy is good news: the workaround named in
it may go.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings

import numpy as np
import pytest
import torch
from helpers import Oracle
from laws.formats import assert_same, mixture_with
from pgmpy.factors.discrete import TabularCPD
from pgmpy.models import DiscreteBayesianNetwork
from pgmpy.readwrite import BIFReader

from pyromix.bridges.pgmpy import (
    from_pgmpy,
    mixture_from_pgmpy,
    parameter_estimator_base,
    quiet_import,
    structure_of,
    to_pgmpy,
)
from pyromix.errors import FileError, SpecError, StateNameError
from pyromix.exact.elimination import marginal
from pyromix.formats.files import read, write
from pyromix.model.query import DoQuery
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec


def saved(model, path):
    """A model after pgmpy wrote it and read it again."""
    model.save(str(path))
    return DiscreteBayesianNetwork.load(str(path))


# -- imports and renamed things ----------------------------------------------------------------


def test_pgmpy_warns_while_it_is_imported():
    name = "pgmpy.estimators.StructureScore"
    with quiet_import():
        import pgmpy.inference  # noqa: F401
    assert name in sys.modules
    found = importlib.util.find_spec(name)
    # A second time, and for nobody else.
    with pytest.warns(FutureWarning, match=f"`{name}`"):
        found.loader.exec_module(importlib.util.module_from_spec(found))


def test_our_import_of_pgmpy_hides_no_other_warning():
    """That it is silent, a process of its own tells in ``test_pgmpy_bridge``."""
    with quiet_import(), pytest.raises(FutureWarning, match="other"):
        warnings.warn("other", FutureWarning, stacklevel=1)


def test_pgmpy_refuses_the_old_class_name():
    from pgmpy.models import BayesianNetwork

    with pytest.raises(ImportError, match="DiscreteBayesianNetwork"):
        BayesianNetwork([("A", "B")])


def test_pgmpy_refuses_an_estimator_that_is_no_instance_of_its_base():
    import pandas as pd

    frame = pd.DataFrame({"A": [0, 1], "B": [0, 1]})
    with pytest.raises(TypeError, match="instance of a discrete parameter estimator"):
        DiscreteBayesianNetwork([("A", "B")]).fit(frame, estimator=parameter_estimator_base())


# -- roles -------------------------------------------------------------------------------------


def test_pgmpys_copy_drops_every_role_but_latents_and_ours_does_not():
    model = to_pgmpy(mixture_with())
    assert (model.exposures, model.outcomes) == ({"X"}, {"Y"})
    assert model.copy().get_roles() == ["latents"]
    back = to_pgmpy(mixture_from_pgmpy(model))
    assert (back.latents, back.exposures, back.outcomes) == ({"U"}, {"X"}, {"Y"})


def test_adding_to_pgmpys_latents_does_nothing_and_assigning_does():
    model = DiscreteBayesianNetwork([("U", "X"), ("U", "Y")])
    model.latents.add("U")
    assert model.latents == set()
    with pytest.raises(SpecError, match="not declared latent"):
        structure_of(model)
    model.latents = {"U"}
    assert structure_of(model).source == "U"


def test_pgmpy_wants_a_latent_to_be_a_vertex_and_we_add_one():
    with pytest.raises(ValueError, match="'U' not found"):
        DiscreteBayesianNetwork([("X", "Y")], latents={"U"})
    spec = MixtureSpec.from_parents({"X": (0, 1), "Y": (0, 1)}, {"Y": ("X",)}, 2)
    assert to_pgmpy(random_mixture(spec)).latents == {"U"}


# -- files -------------------------------------------------------------------------------------


def test_pgmpy_cannot_save_to_a_pathlib_path_and_we_can(tmp_path):
    with pytest.raises(AttributeError, match="split"):
        to_pgmpy(mixture_with()).save(tmp_path / "net.bif")
    write(mixture_with(), tmp_path / "net.bif")


def test_pgmpys_extension_overrides_the_type_asked_for(tmp_path):
    to_pgmpy(mixture_with()).save(str(tmp_path / "net.xdsl"), filetype="bif")
    assert (tmp_path / "net.xdsl").read_text().startswith("<?xml")


@pytest.mark.parametrize("suffix", [".bif", ".xmlbif", ".xdsl", ".net"])
@pytest.mark.parametrize("states", [(False, True), (0, 1)])
def test_pgmpy_gives_typed_states_back_as_text_and_we_refuse_to(tmp_path, suffix, states):
    mixture = mixture_with(states)
    back = saved(to_pgmpy(mixture), tmp_path / f"net{suffix}")
    assert back.states["X"] == [str(s) for s in states]
    with pytest.raises(StateNameError, match=r"type (bool|int) would be lost.*use the bundle"):
        write(mixture, tmp_path / f"ours{suffix}")


@pytest.mark.parametrize("suffix", [".bif", ".xmlbif", ".xdsl", ".net", ".uai"])
def test_pgmpy_loses_latents_in_every_format_and_we_in_none(tmp_path, suffix):
    mixture = mixture_with(source="H")
    assert saved(to_pgmpy(mixture), tmp_path / f"net{suffix}").latents == set()
    write(mixture, tmp_path / f"ours{suffix}")
    assert_same(mixture, read(tmp_path / f"ours{suffix}"))


def test_the_latent_that_pgmpy_writes_into_a_bif_and_ignores_is_recovered(tmp_path):
    mixture = mixture_with(source="H")
    to_pgmpy(mixture).save(str(tmp_path / "net.bif"))
    assert "property roles = {'latents'}" in (tmp_path / "net.bif").read_text()
    spec = read(tmp_path / "net.bif").spec
    assert (spec.source, spec.n_sources) == ("H", 2)
    assert dict(spec.roles).keys() == {"exposures", "outcomes"}


def test_roles_that_pgmpy_keeps_as_text_are_read(tmp_path):
    to_pgmpy(mixture_with(source="H")).save(str(tmp_path / "net.bif"))
    model = BIFReader(str(tmp_path / "net.bif"), include_properties=True).get_model()
    assert isinstance(model.nodes["H"]["roles"], str)
    structure = structure_of(model)
    assert structure.source == "H"
    assert structure.roles == {"exposures": ("X",), "outcomes": ("Y",)}


@pytest.mark.parametrize(
    ("suffix", "states"),
    [
        (".net", ("a, b", "c")),
        (".net", ("a b", "c")),
        (".net", ("ä", "c")),
    ],
)
def test_names_that_break_pgmpys_net_files_are_kept_by_ours(tmp_path, suffix, states):
    mixture = mixture_with(states)
    with pytest.raises((ValueError, IndexError)):
        saved(to_pgmpy(mixture), tmp_path / f"net{suffix}")
    write(mixture, tmp_path / f"ours{suffix}")
    assert_same(mixture, read(tmp_path / f"ours{suffix}"))


def test_a_comma_that_breaks_pgmpys_bif_is_refused_by_ours(tmp_path):
    mixture = mixture_with(("a, b", "c"))
    with pytest.raises(ValueError, match="shape mismatch"):
        saved(to_pgmpy(mixture), tmp_path / "net.bif")
    with pytest.raises(StateNameError, match=r"BIF cannot hold state 'a, b' of 'X' .*use \.xdsl"):
        write(mixture, tmp_path / "ours.bif")


@pytest.mark.parametrize(
    "states", [("a,b", "c"), ("a.b", "c"), ("a-b", "c"), ("<5", "c"), ("naïve", "c")]
)
def test_names_that_pgmpy_changes_in_xmlbif_are_kept_by_ours_even_for_pgmpy(tmp_path, states):
    mixture = mixture_with(states)
    assert saved(to_pgmpy(mixture), tmp_path / "net.xmlbif").states["X"] != list(states)
    write(mixture, tmp_path / "ours.xmlbif")
    assert_same(mixture, read(tmp_path / "ours.xmlbif"))
    model = DiscreteBayesianNetwork.load(str(tmp_path / "ours.xmlbif"))
    assert model.states["X"] == list(states)


def test_names_that_collide_in_pgmpys_xmlbif_are_kept_apart_by_ours(tmp_path):
    mixture = mixture_with(("a,b", "a.b"))
    with pytest.raises(ValueError, match="Repeated state names"):
        saved(to_pgmpy(mixture), tmp_path / "net.xmlbif")
    write(mixture, tmp_path / "ours.xmlbif")
    assert_same(mixture, read(tmp_path / "ours.xmlbif"))


def test_pgmpy_rounds_in_net_and_we_do_not(tmp_path):
    mixture = mixture_with()
    back = saved(to_pgmpy(mixture), tmp_path / "net.net")
    gap = np.abs(back.get_cpds("Z").values - mixture.cpts[0][0].numpy()).max()
    assert 1e-11 < gap < 1e-8
    write(mixture, tmp_path / "ours.net")
    assert_same(mixture, read(tmp_path / "ours.net"))


def test_pgmpy_renames_the_vertices_of_a_uai_file_and_we_do_not(tmp_path):
    mixture = mixture_with()
    back = saved(to_pgmpy(mixture), tmp_path / "net.uai")
    assert set(back.nodes) == {"var_0", "var_1", "var_2", "var_3"}
    write(mixture, tmp_path / "ours.uai")
    assert_same(mixture, read(tmp_path / "ours.uai"))


def test_the_axis_order_that_pgmpy_gives_a_uai_table_is_refused(tmp_path):
    to_pgmpy(mixture_with()).save(str(tmp_path / "net.uai"))
    with pytest.raises(FileError, match="pgmpy's UAIWriter writes it as the slowest"):
        read(tmp_path / "net.uai")


def test_a_bif_without_some_rows_is_zeros_to_pgmpy_and_an_error_here(tmp_path):
    write(mixture_with(), tmp_path / "net.bif")
    lines = (tmp_path / "net.bif").read_text().splitlines(keepends=True)
    lines.remove(next(line for line in lines if line.startswith("  (1, c)")))
    (tmp_path / "net.bif").write_text("".join(lines))
    reader = BIFReader(str(tmp_path / "net.bif"))
    assert reader.variable_cpds["X"][:, -1].tolist() == [0, 0]
    with pytest.raises(FileError, match=r"'X' needs a row for each of 6 settings .* found 5"):
        read(tmp_path / "net.bif")


# -- CPDs --------------------------------------------------------------------------------------


def test_pgmpys_get_evidence_is_reversed_and_we_do_not_use_it():
    cpd = to_pgmpy(mixture_with()).get_cpds("Y")
    assert cpd.variables[1:] == ["U", "X", "Z"]
    assert cpd.get_evidence() == ["Z", "X", "U"]


def test_pgmpy_answers_none_for_a_cpd_that_was_not_added_and_we_name_the_vertex():
    model = DiscreteBayesianNetwork([("A", "B")])
    assert model.get_cpds("A") is None
    with pytest.raises(SpecError, match=r"found none for \['A', 'B'\]"):
        mixture_from_pgmpy(model)


def test_pgmpy_trips_over_a_list_of_wrong_shape():
    with pytest.raises(AttributeError, match="shape"):
        TabularCPD("A", 2, [[0.5], [0.3], [0.2]])


def test_numpy_scalars_as_states_become_plain_and_stay_in_place():
    states = {"A": [np.float64(0.0), np.float64(1.0)], "B": [np.int64(1), np.int64(0)]}
    model = DiscreteBayesianNetwork([("A", "B")])
    model.add_cpds(
        TabularCPD("A", 2, [[0.25], [0.75]], state_names={"A": states["A"]}),
        TabularCPD("B", 2, [[0.5, 0.5], [0.5, 0.5]], ["A"], [2], states),
    )
    spec = from_pgmpy(model, 1)
    assert spec.states == ((0.0, 1.0), (1, 0))
    assert [type(s) for names in spec.states for s in names] == [float, float, int, int]


# -- answers -----------------------------------------------------------------------------------


def test_pgmpy_drops_evidence_under_do_and_we_do_not():
    names = dict.fromkeys(("X", "Z1", "Z2", "Y", "W"), (0, 1))
    spec = MixtureSpec.from_parents(names, {"Y": ("X",), "W": ("Y",)}, 2)
    spec = MixtureSpec.from_parents(
        names, {"Y": ("X",), "W": ("Y",)}, 2, uninfluenced=["W"], source=spec.source
    )
    mixture = random_mixture(spec, 5, separation=0.6)
    with quiet_import():
        from pgmpy.inference import CausalInference
    theirs = CausalInference(to_pgmpy(mixture)).query(
        ["Y"], do={"X": 1}, evidence={"W": 1}, adjustment_set={"U"}, show_progress=False
    )
    x, y, w = (spec.vertex(name) for name in "XYW")
    truth = Oracle(mixture).table([y], do={x: 1}, evidence={w: 1})
    ours = marginal(mixture, DoQuery.from_names(spec, "Y", {"X": 1}, {"W": 1}))
    torch.testing.assert_close(ours, truth, rtol=0, atol=1e-12)
    assert abs(float(theirs.values[1]) - float(truth[1])) > 0.01


def test_pgmpy_refuses_a_latent_parent_although_its_cpd_is_there():
    spec = MixtureSpec.from_parents({"X": (0, 1), "Y": (0, 1)}, {"Y": ("X",)}, 2)
    mixture = random_mixture(spec, 0)
    with quiet_import():
        from pgmpy.inference import CausalInference
    with pytest.raises(ValueError, match="adjustment"):
        CausalInference(to_pgmpy(mixture)).query(["Y"], do={"X": 1}, show_progress=False)
    truth = Oracle(mixture).table([1], do={0: 1})
    ours = marginal(mixture, DoQuery.from_names(spec, "Y", {"X": 1}))
    torch.testing.assert_close(ours, truth, rtol=0, atol=1e-12)
