"""The bundled sets: every one loads, says where it comes from, and fits its own declarations."""

import csv
import dataclasses
import importlib.util
import json
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from pyromix import datasets
from pyromix.bridges.pgmpy import mixture_from_pgmpy, structure_of
from pyromix.errors import DataError, FileError
from pyromix.formats.files import read

ROOT = Path(__file__).parents[1]
COLLECTION = Path(__file__).parent / "data" / "collection"

PLANTED = (
    "alarm",
    "asia",
    "cancer",
    "child",
    "hepar2",
    "hidden-group",
    "insurance",
    "sachs",
    "sachs-k3",
    "survey",
)
REAL = {
    "berkeley": "mixbnd/berkeley",
    "kidney-stones": "mixbnd/kidney_stones",
    "lsat7": "mixprod/lsat7",
    "mice-litters": "mixiid/mice_litters",
    "nsw-psid": "mixbnd/nsw_psid",
    "rats-litters": "mixiid/rats_litters",
    "stouffer-toby": "mixprod/values",
    "thornton-hiv": "mixbnd/thornton_hiv",
    "thumbtacks": "mixiid/tacks",
    "titanic": "mixbnd/titanic",
    "whickham": "mixbnd/whickham",
}
IID = ("mice-litters", "rats-litters", "thumbtacks")
ALL = tuple(sorted((*PLANTED, *REAL)))
SMALL = ("asia", "cancer", "hidden-group", "sachs-k3", "survey")


@pytest.fixture(scope="module")
def make() -> ModuleType:
    """models/make.py as a module."""
    spec = importlib.util.spec_from_file_location("make", ROOT / "models" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make"] = module  # dataclasses look their module up
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # models/ travels in the wheel
    spec.loader.exec_module(module)
    sys.dont_write_bytecode = writes
    return module


def raw_rows(name: str) -> list[dict[str, str]]:
    """data.csv by the standard library alone."""
    with (ROOT / "models" / name / "data.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# -- cards -------------------------------------------------------------------------------------


def test_names_are_the_folders_with_a_card() -> None:
    assert datasets.names() == ALL


@pytest.mark.parametrize("name", ALL)
def test_a_card_is_complete(name: str) -> None:
    card = datasets.read_card(name)
    assert card.name == name
    for words in (card.title, card.source, card.licence, card.text, card.truth["what"]):
        assert len(words) > 10
    assert card.kind in {"planted", "real"}
    assert card.problem in {"network", "product", "iid"}
    assert card.n_sources >= 1
    assert card.truth["n_rows"] > 0
    asked = (card.treatment, card.outcome, card.outcome_state)
    if card.problem == "network":
        assert all(asked)
        assert len(card.contrast) == 2
        assert set(card.truth["p_do"]) == set(card.contrast)
        assert {"naive", "do"} <= set(card.truth)
    else:
        assert not any(asked)
        assert not card.contrast


@pytest.mark.parametrize("name", ALL)
def test_a_card_lists_its_files_and_nothing_lies_beside_them(name: str) -> None:
    card = datasets.read_card(name)
    model = "network.bif" if card.kind == "planted" else "structure.toml"
    raw = {"raw.csv"} if name == "nsw-psid" else set()  # years and dollars, for tutorial 7
    assert {path.name for path in card.folder.iterdir()} == {"card.md", "data.csv", model} | raw


def test_a_card_is_frozen_all_through() -> None:
    card = datasets.read_card("asia")
    with pytest.raises(dataclasses.FrozenInstanceError):
        card.title = "another"  # type: ignore[misc]
    with pytest.raises(TypeError):
        card.truth["do"] = 0.0  # type: ignore[index]


def test_a_card_prints_title_text_source_and_licence() -> None:
    card = datasets.read_card("kidney-stones")
    printed = str(card)
    for part in (card.title, "not identified", card.source, card.licence):
        assert part in printed


def test_an_unknown_name_is_refused_with_near_matches_and_the_list() -> None:
    with pytest.raises(
        DataError, match=r"'kidney_stones' \(did you mean 'kidney-stones'"
    ) as caught:
        datasets.load("kidney_stones")
    assert all(name in str(caught.value) for name in ALL)


def test_a_damaged_card_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_models", lambda: tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "card.md").write_text("# no header\n")
    with pytest.raises(FileError, match=r"broken/card\.md to begin with a TOML header"):
        datasets.read_card("broken")
    (tmp_path / "broken" / "card.md").write_text("+++\ntitle = \n+++\ntext\n")
    with pytest.raises(FileError, match=r"header of .*broken/card\.md: Invalid value"):
        datasets.read_card("broken")


def test_missing_sets_are_said_with_both_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "__file__", str(tmp_path / "pyromix" / "datasets.py"))
    with pytest.raises(FileError, match="found none; install pyromix again"):
        datasets.names()


# -- models and tables -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_set_loads_with_roles_and_declared_states(name: str) -> None:
    model, frame, card = datasets.load(name)
    spec = structure_of(model, card.n_sources).to_spec(card.n_sources)
    assert model.latents == ({"U"} if card.n_sources > 1 else set())
    assert model.get_role("exposures") == ([card.treatment] if card.treatment else [])
    assert model.get_role("outcomes") == ([card.outcome] if card.outcome else [])
    assert "U" not in frame.columns
    if card.problem == "iid":
        assert list(frame.columns) == ["successes", "trials"]
        return
    for v, column in enumerate(spec.variables):
        assert tuple(frame[column].cat.categories) == spec.states[v]
        assert not frame[column].isna().any()
    if card.treatment:
        assert set(card.contrast) <= set(spec.states[spec.vertex(card.treatment)])
        assert card.outcome_state in spec.states[spec.vertex(card.outcome)]


@pytest.mark.parametrize("name", ALL)
def test_a_table_holds_the_cells_of_its_file_once_per_unit(name: str) -> None:
    _, frame, card = datasets.load(name)
    units = [row for row in raw_rows(name) for _ in range(int(row.pop(card.count_column, "1")))]
    assert len(frame) == len(units) == card.truth["n_rows"]
    assert set(frame.columns) == set(units[0])
    assert list(frame.index) == list(range(len(frame)))
    for column in frame.columns:
        written = [row[column] for row in units]
        if frame[column].dtype.kind in "if":
            assert frame[column].tolist() == [float(cell) for cell in written]
        else:
            assert frame[column].astype(str).tolist() == written


def test_columns_outside_the_model_stay_as_they_stand() -> None:
    model, frame, _ = datasets.load("nsw-psid")
    assert not {"sample", "re78", "re78_4"} & set(model.nodes)
    assert set(frame["sample"]) == {"NSW", "PSID"}
    assert frame["re78"].dtype == np.float64
    assert frame["re78"].iloc[0] == 9930.05


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_model_is_its_network_file(name: str) -> None:
    model, _, card = datasets.load(name)
    loaded, filed = mixture_from_pgmpy(model), read(card.folder / "network.bif")
    assert loaded.spec.variables == filed.spec.variables
    assert loaded.spec.states == filed.spec.states
    assert loaded.spec.parents == filed.spec.parents
    assert loaded.spec.uninfluenced == filed.spec.uninfluenced
    assert loaded.n_sources == card.n_sources
    assert torch.equal(loaded.weights, filed.weights)
    for left, right in zip(loaded.cpts, filed.cpts, strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("name", sorted(REAL))
def test_a_real_model_has_no_tables_and_its_spec_names_the_same_question(name: str) -> None:
    model, _, card = datasets.load(name)
    assert model.cpds == []
    declared = tomllib.loads((card.folder / "structure.toml").read_text())
    assert declared["n_sources"] == card.n_sources
    assert declared.get("treatment", "") == card.treatment
    assert declared.get("outcome", "") == card.outcome


def test_two_loads_share_nothing() -> None:
    first, frame, _ = datasets.load("hidden-group")
    first.remove_node("Z1")
    frame["X"] = "treated"
    second, other, _ = datasets.load("hidden-group")
    assert "Z1" in second.nodes
    assert set(other["X"]) == {"control", "treated"}


def test_insurance_leaves_the_car_without_an_edge_from_the_source() -> None:
    model, _, _ = datasets.load("insurance")
    children = set(model.successors("U"))
    assert "CarValue" not in children
    assert "Accident" in children
    assert len(children) == 20


# -- planting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_a_set_is_made_again_byte_for_byte(name: str, make: ModuleType, tmp_path: Path) -> None:
    make.make(name, tmp_path / name)
    for file in ("network.bif", "data.csv", "card.md"):
        assert (tmp_path / name / file).read_bytes() == (
            ROOT / "models" / name / file
        ).read_bytes(), file


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(PLANTED) - set(SMALL)))
def test_a_larger_set_is_made_again_byte_for_byte(
    name: str, make: ModuleType, tmp_path: Path
) -> None:
    test_a_set_is_made_again_byte_for_byte(name, make, tmp_path)


@pytest.mark.parametrize("name", [name for name in PLANTED if name != "hidden-group"])
def test_planted_rows_keep_the_rule(name: str, make: ModuleType) -> None:
    """Sources differ by 0.15 to 0.45 in every row, and no probability is below the floor."""
    mixture = read(ROOT / "models" / name / "network.bif")
    spec, rounding = mixture.spec, 1 / make.UNIT
    assert mixture.weights.tolist() == list(make.RECIPES[name].weights)
    for v, cpt in enumerate(mixture.cpts):
        assert float(cpt.min()) >= make.FLOOR / spec.card(v) - rounding
        for u in range(1, spec.n_sources):
            distance = (cpt[u] - cpt[0]).abs().sum(-1) / 2
            if v in spec.uninfluenced:
                assert float(distance.max()) == 0
            else:
                assert float(distance.min()) >= make.STRENGTHS[0] - spec.card(v) * rounding
                assert float(distance.max()) <= make.STRENGTHS[1] + spec.card(v) * rounding


def test_published_numbers_return_when_nothing_is_planted(make: ModuleType) -> None:
    """With strength and floor out of the way the rule is the identity, up to four decimals."""
    asia = make.published("asia")
    table = asia.cpts[asia.spec.vertex("dysp")][0].numpy()
    planted = make.planted_table("dysp", table, 2, 8, False)
    assert np.abs(planted - (0.96 * table + 0.02)).max() <= 0.5 / make.UNIT + 1e-12
    assert np.array_equal(planted[0], planted[1])


def test_rounding_keeps_sums_and_moves_no_entry_by_a_unit(make: ModuleType) -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(7), size=200)
    units = make.rounded(rows) * make.UNIT
    assert np.allclose(units, np.round(units), atol=1e-9)
    assert np.array_equal(np.round(units).sum(-1), np.full(200, make.UNIT))
    assert np.abs(units / make.UNIT - rows).max() < 1 / make.UNIT


def test_more_sources_than_states_are_refused_by_the_rule(make: ModuleType) -> None:
    with pytest.raises(ValueError, match="smoke has 2 states"):
        make.planted_table("smoke", np.array([0.5, 0.5]), 3, 0, True)


@pytest.mark.parametrize("name", ["hidden-group", "survey"])
def test_a_sample_follows_its_network(name: str) -> None:
    """Chi-square of the shipped counts against the joint table, at a false-failure rate of 1e-4."""
    from scipy.stats import chi2

    model, frame, card = datasets.load(name)
    mixture = mixture_from_pgmpy(model)
    seen = torch.zeros(mixture.spec.cards, dtype=torch.float64)
    codes = [torch.tensor(frame[c].cat.codes.to_numpy()).long() for c in mixture.spec.variables]
    seen.index_put_(tuple(codes), torch.ones(len(frame), dtype=torch.float64), accumulate=True)
    expected = mixture.joint_table() * card.truth["n_rows"]
    statistic = float(((seen - expected) ** 2 / expected).sum())
    assert statistic < chi2.ppf(1 - 1e-4, mixture.spec.n_cells - 1)


# -- against the collection the real tables were taken from ------------------------------------


@pytest.mark.parametrize("name", sorted(REAL))
def test_a_real_table_holds_the_counts_of_its_source(name: str) -> None:
    """Same rows in the same order, codes spelt out one to one."""
    source = COLLECTION / f"{REAL[name]}.json"
    assert json.loads(source.read_text())["ship"] is True
    with source.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        theirs = list(csv.DictReader(file))
    ours = raw_rows(name)
    renamed = {"successes": "x", "trials": "n"} if name in IID else {}
    left_out = {"tinc4"} if name == "thornton-hiv" else set()
    assert {renamed.get(c, c) for c in ours[0]} == set(theirs[0]) - left_out
    assert len(ours) == len(theirs)
    for column in ours[0]:
        pairs = {
            (row[column], there[renamed.get(column, column)])
            for row, there in zip(ours, theirs, strict=True)
        }
        assert len(pairs) == len({ours for ours, _ in pairs}) == len({t for _, t in pairs})
        if column in {"count", "successes", "trials", "re78", "re78_4", "sample"}:
            assert all(left == right for left, right in pairs)


def test_no_set_is_shipped_without_leave() -> None:
    """Whatever lies in models/ is planted, or marked `ship` in its collection."""
    kept = {p.stem for p in COLLECTION.glob("*/*.json") if json.loads(p.read_text())["ship"]}
    assert {Path(path).name for path in REAL.values()} == kept


def test_frames_are_pandas() -> None:
    assert isinstance(datasets.load("asia")[1], pd.DataFrame)
