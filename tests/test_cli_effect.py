"""The command line from a table to an effect: effect, lca, select, report, bins and states."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_cli import call

import pyromix as px
from pyromix.cli.flags import in_flags
from pyromix.cli.progress import working
from pyromix.criticism.effects_by_k import effect_lines, effects_by_k

ARROWS = [x for name in ("Z1", "Z2", "X", "Y") for x in ("--edge", f"U->{name}")]
ARROWS += ["--edge", "X->Y", "--prior", "none", "--n-init", "1"]
ASKED = ("--treatment", "X", "--outcome", "Y")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A table, and a fit of it made by the command."""
    path = tmp_path_factory.mktemp("effect")
    _, frame, _ = px.datasets.load("hidden-group")
    frame.to_csv(path / "data.csv", index=False)
    code, _, err = call("fit", path / "data.csv", *ARROWS, "-k", 2, "--states",
                        "Y=worse,better", "-o", path / "fit.pyromix")  # fmt: skip
    assert code == 0, err
    return path


@pytest.fixture(scope="module")
def fit(folder) -> px.MixtureFit:
    return px.load(folder / "fit.pyromix")


def test_bounds_prints_and_writes_what_the_fit_answers(folder, tmp_path):
    """Of a fit without its table: what sampling leaves open takes seconds, and is no flag's."""
    path = tmp_path / "xy.pyromix"
    frame = pd.read_csv(folder / "data.csv")[["X", "Y"]]
    states = {"X": ("control", "treated"), "Y": ("worse", "better")}
    spec = px.MixtureSpec.from_parents(states, {"Y": ["X"]}, 2)
    fit = px.fit(spec, frame, prior=None, method="em", n_init=2)
    fit.save(path, include_data=False)
    code, _, err = call("effect", path, *ASKED)
    assert code == 2
    assert "pyromix bounds tells between what it lies" in err
    asked = (*ASKED, "--contrast", "control", "--contrast", "treated", "--n-starts", 3, "--json")
    code, out, _ = call("bounds", path, *asked)
    assert code == 0
    found = json.loads(out)
    joint = frame.value_counts(normalize=True)
    (cell,) = (c for c in found["cells"] if (c["scenario"], c["Y"]) == ("X='treated'", "better"))
    least, most = joint["treated", "better"], 1 - joint["treated", "worse"]
    assert [cell["low"], cell["high"]] == pytest.approx([least, most], abs=1e-4)
    assert "interval_low" not in cell
    assert found["difference"]["cells"][0]["natural_high"] == pytest.approx(
        found["difference"]["cells"][0]["high"], abs=1e-4
    )
    assert found["searches"][0]["n_sources"] == 2
    assert found["searches"][0]["reached_low"][3] > 0
    code, _, err = call("bounds", path, "--treatment", "X", "--outcome", "X")
    assert code == 1
    assert "must differ" in err


def test_effect_prints_what_the_fit_answers(folder, fit):
    code, out, _ = call("effect", folder / "fit.pyromix", *ASKED, "--per-source")
    assert code == 0
    assert out == f"{fit.effect('X', 'Y', per_source=True)}\n"
    found = json.loads(
        call("effect", folder / "fit.pyromix", *ASKED, "--json", "--level", 0.9,
             "--evidence", "Z1=high", "--contrast", "treated", "--contrast", "control")[1]
    )  # fmt: skip
    expected = fit.effect(
        "X", "Y", contrast=("treated", "control"), evidence={"Z1": "high"}, level=0.9
    )
    do = found["differences"]["do"][1]
    low, high = expected.interval()
    assert (found["level"], do["state"], found["certainty"]) == (0.9, "better", "graphical")
    assert [do["difference"], do["low"], do["high"]] == pytest.approx(
        [float(expected.do), low[1], high[1]]
    )


def test_effect_is_asked_among_a_group(folder, fit):
    asked = ("effect", folder / "fit.pyromix", *ASKED, "--among")
    code, out, _ = call(*asked, "X=treated", "--among", "Z1=high")
    assert code == 0
    assert out == f"{fit.effect('X', 'Y', among={'X': 'treated', 'Z1': 'high'})}\n"
    found = json.loads(call(*asked, "X=treated", "--json")[1])
    assert found["among"] == {"X": "treated"}
    code, _, err = call(*asked, "Y=better")
    assert code == 1
    assert "names the outcome 'Y'" in err


def test_effect_has_intervals_of_replicates_or_none(folder, fit):
    arguments = ("effect", folder / "fit.pyromix", *ASKED, "--json")
    drawn = json.loads(call(*arguments, "--bootstrap", 20)[1])
    assert drawn["interval"] == "quantiles of draws"
    low, high = fit.bootstrap(n=20, random_state=0).effect("X", "Y").interval()
    cell = drawn["differences"]["do"][1]
    assert [cell["low"], cell["high"]] == pytest.approx([low[1], high[1]])
    bare = json.loads(call(*arguments, "--no-interval")[1])
    assert (bare["interval"], bare["differences"]["do"][1]["low"]) == (None, None)


def test_do_is_asked_for_an_interval_or_for_none(folder):
    asked = ("do", folder / "fit.pyromix", "--query", "Y", "--do", "X=treated")
    assert "95% interval" in call(*asked, "--interval")[1]
    out = call(*asked, "--no-interval")[1]
    assert "95% interval" not in out
    assert "interval=" not in out


def test_an_effect_that_the_table_does_not_determine_exits_with_two(folder, tmp_path):
    edges = [x for e in ("U->X", "U->Y", "X->Y") for x in ("--edge", e)]
    output = tmp_path / "pair.pyromix"
    call("fit", folder / "data.csv", *edges, "-k", 2, "--n-init", 1, "-q", "-o", output)
    code, out, err = call("effect", output, *ASKED)
    assert (code, out) == (2, "")
    assert "NotCertifiedError" in err
    assert "--require none" in err


def test_an_effect_needs_two_names(folder):
    code, _, err = call("effect", folder / "fit.pyromix")
    assert code == 1
    assert "an effect needs --treatment and --outcome" in err


# -- what columns mean ---------------------------------------------------------------------------


def test_states_are_in_the_order_that_is_told(fit):
    assert fit.spec.states_of(fit.spec.vertex("Y")) == ("worse", "better")


def test_bins_make_a_variable_of_a_column_of_numbers(folder, tmp_path):
    frame = pd.read_csv(folder / "data.csv")
    rng = np.random.default_rng(0)
    frame["a=ge"] = np.where(frame["Z1"] == "high", 65.5, 44.5) + rng.integers(0, 10, len(frame))
    frame.drop(columns="Z1").to_csv(tmp_path / "d.csv", index=False)
    edges = [x for name in ("a=ge", "Z2", "X", "Y") for x in ("--edge", f"U->{name}")]
    common = ("fit", tmp_path / "d.csv", *edges, "--edge", "X->Y", "--prior", "none", "-k", 2)
    code, _, err = call(
        *common, "--n-init", 1, "--bins", "a=ge=50,60", "-o", tmp_path / "f.pyromix"
    )
    assert code == 0, err
    fit = px.load(tmp_path / "f.pyromix")
    assert fit.spec.states_of(fit.spec.vertex("a=ge")) == ("<50", "50-<60", "60+")
    shares = [np.mean(frame["a=ge"] < 50), np.mean(frame["a=ge"] >= 60)]
    found = fit.query("a=ge", require="none", interval=False).values
    assert found[[0, 2]] == pytest.approx(shares, abs=1e-4)
    code, out, err = call(*common, "--n-init", 0)
    assert code == 0, err
    assert "a=ge (real)" in out
    code, out, err = call("select", tmp_path / "d.csv", *edges, "-k", "1..1", "--n-folds", 2)
    assert code == 0, err
    assert "--bins COLUMN=50,60" in out
    assert "pandas" not in out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--bins", "Z_1=1,2"), "did you mean 'Z1'"),
        (("--bins", "X"), "COLUMN=VALUE,VALUE"),
        (("--bins", "X=old"), "expected numbers for 'X', found 'old'"),
        (("--bins", "X=1"), "must hold numbers"),
        (("--states", "X=a,b", "--states", "X=b,a"), "tells of 'X' twice"),
        (("--states", "X=control,treated", "--bins", "X=1"), "both tell of ['X']"),
    ],
)
def test_a_slip_in_what_columns_mean_exits_with_one(folder, flags, said):
    code, _, err = call("fit", folder / "data.csv", *ARROWS, "-k", 2, *flags)
    assert code == 1
    assert said in err


# -- numbers of sources --------------------------------------------------------------------------


def test_select_shows_the_effect_under_each_k(folder):
    arguments = ("select", folder / "data.csv", *ARROWS[:-4], "-k", "1..2", "--n-init", 1, *ASKED)
    code, out, _ = call(*arguments, "--n-folds", 2, "--states", "Y=worse,better")
    assert code == 0
    lines = [line.split() for line in out.rpartition("\n\n")[2].splitlines()[2:]]
    assert [(line[0], line[-1]) for line in lines] == [("1", "graphical"), ("2", "graphical")]
    assert lines[0][1] == lines[0][2]  # nothing hidden: do is naive
    assert [float(x) for x in lines[1][1:3]] == pytest.approx([0.4888, 0.2450], abs=2e-3)


def test_an_effect_that_some_k_does_not_determine_is_told_beside_the_others():
    _, frame, _ = px.datasets.load("hidden-group")
    spec = px.MixtureSpec.from_parents({"X": ("control", "treated"), "Y": ("worse", "better")},
                                       {"Y": ["X"]}, 1)  # fmt: skip
    found = px.select_n_sources(spec, frame[["X", "Y"]], [1, 2], n_init=1, n_folds=2)
    one, two = effects_by_k(found, "X", "Y")
    assert (two.found, two.refused) == (None, "not determined")
    lines = [line.split() for line in effect_lines((one, two))[2:]]
    assert lines[0][1:3] == ["+0.4888", "+0.4888"]
    assert lines[1] == ["2", "-", "-", "-", "not", "determined"]


def test_effects_by_k_are_those_of_the_fits():
    model, frame, _ = px.datasets.load("hidden-group")
    found = px.select_n_sources(model, frame, [1, 2], n_init=1, n_folds=2)
    assert found == px.Selection(found.candidates, found.ranks, found.level, found.notes)
    for at, fit in zip(effects_by_k(found, "X", "Y"), found.fits, strict=True):
        assert at.n_sources == fit.spec.n_sources
        expected = px.effect(fit, "X", "Y")
        np.testing.assert_array_equal(at.found.do.values, expected.do.values)
        np.testing.assert_array_equal(at.found.interval(), expected.interval())


def test_a_misspelt_treatment_is_refused_before_the_fits(folder):
    code, _, err = call("select", folder / "data.csv", *ARROWS[:-4], "--treatment", "XX",
                        "--outcome", "Y")  # fmt: skip
    assert code == 1
    assert "'XX'" in err


def test_report_compares_numbers_of_sources_on_the_table_of_the_fit(folder, tmp_path):
    target = tmp_path / "r.md"
    code, out, err = call("report", folder / "fit.pyromix", *ASKED, "--no-sensitivity",
                          "--selection", "1..2", "-o", target)  # fmt: skip
    assert (code, out) == (0, "")
    assert "raises the chance of Y = better" in err
    text = target.read_text()
    assert text.startswith("# Effect of X on Y\n")
    assert "rank tests, BIC and held-out likelihood agree on 2" in text
    assert "given, not found" not in text


def test_lca_compares_numbers_of_classes_and_shows_the_best(tmp_path):
    _, frame, _ = px.datasets.load("lsat7")
    frame.to_csv(tmp_path / "items.csv", index=False)
    arguments = ("lca", tmp_path / "items.csv", "-k", "1..2", "--n-init", 2)
    code, out, _ = call(*arguments)
    assert code == 0
    assert "the least BIC is that of 2 classes" in out
    assert "P(0)" in out
    assert "bivariate residual" not in out
    more = ("--residuals", "--lrt", 19, "--json", "-o", tmp_path / "fit.pyromix")
    found = json.loads(call(*arguments, *more)[1])
    fit = px.fit_product(frame.astype(str), 2, n_init=2)
    assert found["best"] == 2
    assert [c["bic"] for c in found["classes"]][1] == pytest.approx(fit.bic)
    profiles = pd.DataFrame(found["profiles"])
    sizes = profiles[profiles["variable"] == "U"]
    assert list(sizes["probability"]) == pytest.approx(fit.mixture.weights.tolist(), abs=1e-4)
    assert set(profiles["variable"]) == {"U", *frame.columns}
    assert (profiles["low"] < profiles["high"]).all()
    table = [row["rows"] for row in found["classification"]]
    assert sum(table) == pytest.approx(1000)
    assert table == pytest.approx(fit.classification().table.flatten().tolist(), abs=0.01)
    assert {tuple(pair["names"]): pair["bvr"] for pair in found["residuals"]} == {
        pair.names: pytest.approx(pair.bvr, abs=1e-4) for pair in fit.predictive_check().pairs
    }
    (test,) = found["tests"]
    assert (test["n_sources"], test["p_value"], len(test["simulated"])) == (2, 0.05, 19)
    assert test["statistic"] == pytest.approx(2 * (2743.410 - 2660.297), abs=0.01)
    assert px.load(tmp_path / "fit.pyromix").bic == pytest.approx(fit.bic)


# -- signs of life -------------------------------------------------------------------------------


def test_the_version_is_that_of_the_package():
    code, out, _ = call("--version")
    assert code == 0
    assert re.fullmatch(r"pyromix \d+\.\d+\.\d+\S*\n", out)


def test_simulate_says_what_it_wrote(folder, tmp_path):
    target = tmp_path / "s.csv"
    arguments = ("simulate", folder / "fit.pyromix", "-n", 7, "-o", target)
    assert call(*arguments)[1:] == ("", f"{target}: 7 rows of 4 variables\n")
    assert call(*arguments, "-q")[1:] == ("", "")


def test_long_work_writes_a_line_now_and_then_where_there_is_no_terminal(monkeypatch):
    for quiet in (False, True):
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        with working("fitting", quiet=quiet, first=0.01, then=0.01):
            limit = time.monotonic() + (0.05 if quiet else 5)
            while stream.getvalue().count("\n") < 2 and time.monotonic() < limit:
                time.sleep(0.005)
        after = stream.getvalue()
        assert (after.count("still fitting: 0 s\n") >= 2) is not quiet
        time.sleep(0.03)
        assert stream.getvalue() == after


def test_a_variable_that_is_called_like_a_flag_is_no_advice():
    said = "prior=no -> prior=yes; pass prior=None"
    assert in_flags(said) == "--prior no -> --prior yes; pass --prior None"
    assert in_flags(said, {"prior"}) == said
