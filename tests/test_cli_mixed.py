"""Numbers on the command line: from a table to an effect."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from test_cli import call

import pyromix as px
from pyromix.cli.flags import in_flags

ARROWS = [x for name in "ABXYC" for x in ("--edge", f"U->{name}")] + ["--edge", "X->Y"]
ASKED = ("--treatment", "X", "--outcome", "Y")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(0)
    n = 300
    u = 1.0 * (rng.random(n) < 0.4)
    x = rng.poisson(3 + 3 * u)
    pd.DataFrame(
        {
            "A": 2.5 * u + rng.normal(size=n),
            "B": (40 + 20 * u + 8 * rng.normal(size=n)).round(1),
            "X": x,
            "Y": np.exp(0.1 * x + u + 0.3 * rng.normal(size=n)),
            "C": (rng.random(n) < 0.2 + 0.6 * u) * 1,
        }
    ).to_csv(path / "data.csv", index=False)
    code, out, err = call("fit", path / "data.csv", *ARROWS, "-k", 2, "--kind", "X=count", "--kind",
                          "Y=positive", "--discretize", "B=quantile:3", "--n-init", 0, "-o",
                          path / "fit.pyromix", "--json")  # fmt: skip
    assert code == 0, err
    told = json.loads(out)
    assert told["kinds"] == {"X": "count", "A": "real", "B": "categorical", "Y": "positive",
                             "C": "categorical"}  # fmt: skip
    return path


@pytest.fixture(scope="module")
def fit(folder):
    return px.load(folder / "fit.pyromix")


def test_fit_writes_what_px_fit_finds(folder, fit):
    assert isinstance(fit, px.MixedFit)
    states = fit.spec.binned.states_of(fit.spec.vertex("B"))
    assert len(states) == 3


@pytest.mark.filterwarnings("ignore::pyromix.errors.UnsupportedRowsWarning")
def test_effect_is_that_of_the_fit(folder, fit):
    asked = (*ASKED, "--contrast", 2, "--contrast", 6)
    code, out, err = call("effect", folder / "fit.pyromix", *asked, "--per-source", "--json")
    assert code == 0, err
    found, wanted = json.loads(out), fit.effect("X", "Y", contrast=(2, 6))
    low, high = wanted.interval()
    (cell,) = found["differences"]["do"]
    assert [cell[k] for k in ("difference", "low", "high")] == pytest.approx(
        [float(wanted), low, high]
    )
    assert set(found["differences"]) == {"naive", "do", "do, U=0", "do, U=1"}
    assert (found["contrast"], found["certainty"]) == ([2.0, 6.0], "graphical")
    code, out, _ = call("effect", folder / "fit.pyromix", *asked)
    assert "Effect of X=2 -> X=6 on Y" in out


def test_do_answers_numbers_and_states(folder, fit):
    code, out, err = call("do", folder / "fit.pyromix", "--query", "Y", "--do", "X=4", "--evidence",
                          "C=1", "--json")  # fmt: skip
    assert code == 0, err
    answer = fit.query("Y", {"X": 4.0}, {"C": 1})
    found = json.loads(out)
    assert found["mean"] == pytest.approx(answer.mean)
    assert found["quantiles"]["0.5"] == pytest.approx(answer.quantile(0.5))
    code, out, _ = call("do", folder / "fit.pyromix", "--query", "C", "--do", "X=4", "--json")
    assert sum(cell["probability"] for cell in json.loads(out)["cells"]) == pytest.approx(1)


def test_simulate_report_and_plot(folder, tmp_path):
    code, _, err = call("simulate", folder / "fit.pyromix", "-n", 20, "--do", "X=4", "-o",
                        tmp_path / "rows.csv")  # fmt: skip
    assert code == 0, err
    assert set(pd.read_csv(tmp_path / "rows.csv")["X"]) == {4}
    code, _, err = call("report", folder / "fit.pyromix", *ASKED, "-o", tmp_path / "r.md",
                        "--selection", 1)  # fmt: skip
    assert code == 0, err
    told = (tmp_path / "r.md").read_text()
    assert "changes the mean of Y" in told
    assert "This fit has 2; BIC chooses 1." in told
    code, _, err = call("plot", folder / "fit.pyromix", "sources", "-o", tmp_path / "p.svg")
    assert code == 0, err
    assert (tmp_path / "p.svg").read_text().count("<svg") == 1


REFUSED = [
    (("effect", *ASKED), "contrast"),
    (("effect", *ASKED, "--contrast", "low", "--contrast", 6), "--contrast: 'X' is a number"),
    (("effect", *ASKED, "--among", "C=1"), "--among"),
    (("effect", "--treatment", "Z", "--outcome", "Y"), "'Z'"),
    (("do", "--query", "Y", "--query", "A"), "--query: .* one variable at a time"),
    (("do", "--query", "Y", "--do", "C=7"), "--do: unknown state '7' of 'C'"),
    (("do", "--query", "Y", "--format", "csv"), "--format csv"),
    (("do", "--query", "Y", "--do", "X=4", "--engine", "elimination"), "engine"),
    (("simulate", "--evidence", "C=1"), "--evidence"),
    (("bounds", *ASKED), "found a fit with numbers; pyromix fit DATA --discretize"),
]


@pytest.mark.parametrize(("command", "message"), REFUSED)
def test_what_a_fit_with_numbers_cannot_do_is_refused(folder, command, message):
    name, *rest = command
    code, _, err = call(name, folder / "fit.pyromix", *rest)
    assert code == 1
    assert re.search(message, err), err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--kind", "A=reel"), r"--kind: 'A': expected one of .*found 'reel'"),
        (("--kind", "Q=real"), r"--kind: 'Q' is not among the variables"),
        (("--kind", "A"), r"--kind expects COLUMN=KIND"),
        (("--kind", "A=real,count"), r"--kind: 'A': expected one of .* found 'real,count'"),
        (("--discretize", "B=quantile:1"), r"--discretize of 'B': .* edges such as 40,60"),
        (("--discretize", "B=x"), r"--discretize: expected numbers for 'B'"),
    ],
)
def test_flags_that_make_no_sense_are_refused_as_flags(folder, flags, message):
    code, _, err = call("fit", folder / "data.csv", *ARROWS, "-k", 2, *flags)
    assert code == 1
    assert re.search(message, err), err


def test_an_answer_by_shape_exits_as_not_identified(folder, tmp_path):
    edges = ["--edge", "U->X", "--edge", "U->A", "--edge", "X->A"]
    code, _, err = call("fit", folder / "data.csv", *edges, "-k", 2, "--n-init", 0, "--kind",
                        "X=count", "-o", tmp_path / "fit.pyromix", "-q")  # fmt: skip
    assert code == 0, err
    asked = ("--treatment", "X", "--outcome", "A", "--contrast", 2, "--contrast", 6)
    code, _, err = call("effect", tmp_path / "fit.pyromix", *asked)
    assert code == 2
    assert "shape" in err


def test_advice_is_about_flags():
    said = (
        "column 'Q' has two values: declare them as states, state_names={'Q': [0.5, 1.5]}, or "
        "kinds={'Q': \"categorical\"}; kinds= declares another kind, discretize= cuts into states"
    )
    assert in_flags(said) == (
        "column 'Q' has two values: declare them as states, --states Q=0.5,1.5, or "
        "--kind Q=categorical; --kind COLUMN=KIND declares another kind, --bins COLUMN=50,60 "
        "cuts into states"
    )
