"""Whatever a fit of states can be asked, a fit with numbers answers or refuses by name."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from test_cli import call
from test_mixed_intake import dag

import pyromix as px
from pyromix.api_mixed import ABSENT
from pyromix.cli.flags import in_flags

pytestmark = pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")

DO = {"X": 1.0}

CALLS = {
    "query": [(("Y", DO), {"require": "none"}), ((["Y", "C"],), {}), ((), {"variables": "Y"})],
    "effect": [
        (("X", "Y"), {"contrast": (0, 1), "require": "none"}),
        (("X", "Y"), {"among": {"C": 1}}),
        ((), {}),
    ],
    "bounds": [(("Y", DO), {})],
    "predict_proba": [(("table",), {}), (("table",), {"level": 0.9})],
    "score": [(("table",), {})],
    "simulate": [((5,), {}), ((5,), {"evidence": {"C": 1}}), ((5,), {"posterior": True})],
    "profiles": [((), {})],
    "classification": [((), {}), (("table",), {"weights_are": "counts"})],
    "membership": [(("table",), {})],
    "distal": [(("table", "C"), {})],
    "predictive_check": [((), {}), (("table",), {"weights_are": "counts"})],
    "sensitivity": [(("Y", DO), {})],
    "graph_check": [((), {})],
    "plot": [((kind,), {}) for kind in ("network", "spectrum", "effect")],
    "report": [
        ((), {"show": False, "treatment": "X", "outcome": "Y"}),
        ((), {"show": False, "selection": 3}),
        *(((), {"show": False, name: True}) for name in ("graph", "data", "sensitivity")),
    ],
    "refine": [
        ((), {"num_samples": 4, "warmup_steps": 0, "num_chains": 1}),
        (("table",), {}),
        *(((), {"method": method}) for method in ("em", "nuts", "svi", "gibs")),
        *(((), {name: 3}) for name in ("prior", "checkpoint", "missing_values", "num_steps")),
    ],
    "bootstrap": [
        ((2,), {}),
        *(((2,), {name: "x"}) for name in ("data", "kind", "checkpoint", "memory_limit")),
    ],
    "save": [(("somewhere.bif",), {})],
    "to_pgmpy": [((), {})],
    "to_pyro": [((), {}), ((), {"prior": 1.0})],
    "init_loc_fn": [((), {})],
    "to_arviz": [((), {})],
    "summary": [((), {})],
    "of": [],
}
"""Arguments of every verb."""


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    u = 1.0 * (rng.random(150) < 0.4)
    x = 2 * u + rng.normal(size=150)
    return pd.DataFrame({
        "A": 1.5 * u + rng.normal(size=150), "X": x, "Y": x - u + rng.normal(size=150),
        "C": (rng.random(150) + 0.3 * u > 0.6) * 1,
    })  # fmt: skip


@pytest.fixture(scope="module")
def fit(table) -> px.MixedFit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return px.fit(dag("AXYC", [("X", "Y")]), table, 2, n_init=0, show_progress=False)


def tried(ask) -> None:
    """It works, or is refused by an error of ours that says more than that."""
    try:
        ask()
    except px.PyromixError as error:
        refusal = error
    else:
        return
    what, _, instead = str(refusal).partition("; ")
    assert instead or "expected" in what or "must be" in what, what


NAMES = sorted(
    {n for n in dir(px.MixtureFit) if n[0] != "_"} | set(px.MixtureFit.__dataclass_fields__)
)


def test_every_verb_and_property_works_or_says_what_to_do_instead(fit, table):
    assert {n for n in NAMES if callable(getattr(px.MixtureFit, n, None))} == CALLS.keys()
    for name in NAMES:
        if name not in CALLS:
            tried(lambda name=name: getattr(fit, name))
        for args, named in CALLS.get(name, ()):
            args = [table if isinstance(a, str) and a == "table" else a for a in args]
            tried(lambda n=name, a=args, k=named: getattr(fit, n)(*a, **k))


def test_what_is_absent_is_absent_for_hasattr_and_nothing_there_is_called_so(fit):
    there = {name for name in NAMES if name in ("draws", "of") or hasattr(fit, name)}
    assert set(NAMES) - there == ABSENT.keys()
    with pytest.raises(px.StatesOnlyError, match=r"'bounds' is of fits of states.*discretize="):
        _ = fit.bounds
    with pytest.raises(AttributeError, match="no attribute 'bound'"):
        _ = fit.bound
    for text in ABSENT.values():
        assert "px.fit" not in in_flags(text)


DOORS = {
    "bounds": lambda fit, table: px.bounds(fit, "Y", DO),
    "bounds of a mixture": lambda fit, table: px.bounds(fit.mixture, "Y", DO),
    "check": lambda fit, table: px.check(fit.spec, 2, table, treatment="X", outcome="Y"),
    "check of a fit": lambda fit, table: px.check(fit, 2, table),
    "measure_next": lambda fit, table: px.measure_next(fit.spec, treatment="X", outcome="Y"),
    "graph_check": lambda fit, table: px.graph_check(fit.spec, table, 2),
    "discover": lambda fit, table: px.discover(table, 1, n_starts=1),
    "lrt": lambda fit, table: px.bootstrap_lrt(table, 2, model=fit.spec, n=2),
    "effect": lambda fit, table: px.effect(fit, "X", "Y"),
    "query": lambda fit, table: px.query(fit.mixture, "Y"),
    "simulate": lambda fit, table: px.simulate(fit, 5),
    "match": lambda fit, table: px.match_sources(fit.mixture, fit.mixture),
    "population": lambda fit, table: px.population(fit.mixture),
    "random": lambda fit, table: px.random_mixture(fit.spec, 0),
    "count": lambda fit, table: px.Counts.from_frame(table, fit.spec),
    "write": lambda fit, table: px.write(fit, "somewhere.bif"),
    "from_pgmpy": lambda fit, table: px.from_pgmpy(fit.spec, 2),
    "fit": lambda fit, table: px.fit(fit, table, 2),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_works_or_says_what_to_do_instead(fit, table, door):
    tried(lambda: DOORS[door](fit, table))


def test_the_spec_of_a_fit_is_a_model_with_its_kinds(fit, table):
    """Whole numbers of a column that is real stay so."""
    whole = table.assign(A=(10 * table["A"]).round())
    again = px.fit(fit.spec, whole, n_init=0, show_progress=False)
    assert again.spec.kinds == fit.spec.kinds
    assert not [note for note in again.said if "taken as real" in note]
    assert px.check(fit.spec, treatment="X", outcome="Y").spec.coarse == (0, 1, 2)
    cut = px.fit(fit.spec, table, discretize={v: [0.0] for v in "AXY"}, show_progress=False)
    assert isinstance(cut, px.MixtureFit)
    assert cut.spec.cards == (2, 2, 2, 2)
    assert px.check(fit.spec, state_names={"A": (0, 1)}).spec.coarse == (0, 1)


def test_figures_are_those_of_their_formulas(fit):
    n, p, log_likelihood = fit.n_rows, fit.n_parameters, fit.log_likelihood
    assert fit.caic == pytest.approx(p * (np.log(n) + 1) - 2 * log_likelihood)
    assert fit.sabic == pytest.approx(p * np.log((n + 2) / 24) - 2 * log_likelihood)
    assert fit.entropy_r2 == pytest.approx(1 - fit.entropy / (n * np.log(2)))
    assert fit.classification().entropy_r2 == pytest.approx(fit.entropy_r2)


def test_rows_are_assigned_to_their_likeliest_source(fit, table):
    found, shares = fit.membership(table), fit.predict_proba(table).to_numpy()
    assert found["assigned"].tolist() == shares.argmax(1).tolist()
    own = fit.classification(table)
    sums = [[shares[shares.argmax(1) == one, u].sum() for u in (0, 1)] for one in (0, 1)]
    np.testing.assert_allclose(own.table.numpy(), sums)


COMMANDS = [
    ("effect", "f.pyromix", "--treatment", "X", "--outcome", "Y", "--among", "C=1"),
    ("simulate", "f.pyromix", "-n", 5, "--evidence", "C=1"),
    ("report", "f.pyromix", "--selection", "1..2"),
    ("report", "f.pyromix", "--graph"),
    ("report", "f.pyromix", "--data", "d.csv"),
    ("plot", "f.pyromix", "effect", "-o", "n.svg"),
    ("bounds", "f.pyromix", "--treatment", "X", "--outcome", "Y"),
    ("check", "d.csv", "--edge", "U->A", "--edge", "U->X", "-k", 2, "--simulate"),
    ("graph", "d.csv", "--edge", "U->A", "--edge", "U->X", "-k", 2),
    ("lca", "d.csv", "-k", 2, "--n-init", 1),
    ("convert", "f.pyromix", "o.bif"),
]


@pytest.mark.parametrize("asked", COMMANDS, ids=[" ".join(map(str, c[:3])) for c in COMMANDS])
def test_every_command_works_or_says_what_to_do_instead(fit, table, tmp_path, monkeypatch, asked):
    monkeypatch.chdir(tmp_path)
    fit.save("f.pyromix")
    table.to_csv("d.csv", index=False)
    code, _, err = call(*asked)
    assert code == 0 or "; " in err or ": " in err.partition(": ")[2], err
    assert "Traceback" not in err
    assert "px." not in err
    assert "fit." not in err.replace("fit.pyromix", "")
    if asked[0] == "lca":
        assert "bin it (--bins COLUMN=50,60) to keep it" in err
