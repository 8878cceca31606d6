"""Regressions of the source: saved and read back, drawn anew, reported, asked at a shell."""

from __future__ import annotations

import json
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load as read_tensors
from safetensors.torch import save as pack_tensors
from test_class_regression import simulated
from test_cli import call

import pyromix as px
from pyromix.cli.beside import several
from pyromix.errors import DependentSourceError
from pyromix.formats.bundle import MANIFEST, TENSORS


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return simulated(200, 3)


@pytest.fixture(scope="module")
def fit(frame) -> px.RegressionFit:
    return px.fit_product(frame, 2, covariates=["age", "sex"], n_init=1)


@pytest.fixture(scope="module")
def drawn(fit) -> px.RegressionFit:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return fit.bootstrap(60, random_state=1)


@pytest.mark.parametrize("which", ["fit", "drawn"])
def test_a_regression_comes_back_from_its_file_to_the_last_bit(which, frame, tmp_path, request):
    own = request.getfixturevalue(which)
    own.save(tmp_path / "r.pyromix")
    back = px.load(tmp_path / "r.pyromix")
    assert isinstance(back, px.RegressionFit)
    assert str(back) == str(own)
    assert torch.equal(back.coefficients, own.coefficients)
    assert back.summary() == own.summary()
    pd.testing.assert_frame_equal(back.profiles(), own.profiles())
    pd.testing.assert_frame_equal(back.predict_proba(frame), own.predict_proba(frame))
    assert str(back.classification()) == str(own.classification())
    back.save(tmp_path / "again.pyromix")
    assert (tmp_path / "again.pyromix").read_bytes() == (tmp_path / "r.pyromix").read_bytes()
    with pytest.raises(px.FileError, match="depends on covariates"):
        px.read(tmp_path / "r.pyromix")
    with pytest.raises(px.FileError, match="must end in"):
        own.save(tmp_path / "r.zip")


def rewritten(path, change):
    """The bundle with other tensors and fields."""
    with zipfile.ZipFile(path) as archive:
        fields, tensors = json.loads(archive.read(MANIFEST)), read_tensors(archive.read(TENSORS))
    change(fields["extra"], tensors)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MANIFEST, json.dumps(fields))
        archive.writestr(TENSORS, pack_tensors(tensors))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda extra, _: extra.update(log_likelihood=-1.0), "log-likelihood"),
        (lambda extra, _: extra.update(starts=[]), "starts"),
        (lambda extra, _: extra.pop("covariates"), "covariates"),
        (lambda extra, _: extra["covariates"].pop(), "coefficients"),
        (lambda _, tensors: tensors["extra/coefficients"].mul_(2), "log-likelihood"),
        (lambda _, tensors: tensors["extra/coefficients"].add_(1), "coefficients of zero"),
        (lambda _, tensors: tensors["extra/rows/items"].add_(1), "states that the items have"),
        (lambda _, tensors: tensors["extra/rows/weights"].neg_(), "positive weight"),
        (
            lambda _, tensors: tensors["weights"].copy_(tensors["weights"].flip(0)),
            "average weights",
        ),
    ],
)
def test_a_damaged_file_is_refused_by_name(fit, tmp_path, change, named):
    fit.save(tmp_path / "r.pyromix")
    rewritten(tmp_path / "r.pyromix", change)
    with pytest.raises(px.FileError, match=named):
        px.load(tmp_path / "r.pyromix")


def test_replicates_spread_as_the_curvature_says(fit, drawn):
    """60 replicates: their standard deviation has a relative error of about a tenth."""
    wald, own = fit.to_frame(), drawn.to_frame()
    assert own["estimate"].tolist() == wald["estimate"].tolist()
    ratio = own["standard_error"] / wald["standard_error"]
    assert ratio.between(0.6, 1.6).all(), ratio.tolist()
    assert (own["low"] < own["estimate"]).all()
    assert (own["estimate"] < own["high"]).all()
    profiles = drawn.profiles()
    assert (profiles["low"] <= profiles["high"]).all()
    assert profiles["low"].between(0, 1).all()
    assert "60 draws" in str(drawn)
    # Number i is the same however many there are.
    few = fit.bootstrap(2, random_state=1).draws.coefficients
    assert torch.equal(few, drawn.draws.coefficients[:2])


def test_a_replicate_is_the_fit_of_the_table_it_drew(frame):
    """Labels turned round by hand come back; the first source's coefficients are zero."""
    fit = px.fit_product(frame, 2, covariates="age", n_init=1)
    turned = replace(
        fit,
        coefficients=-fit.coefficients.flip(0),
        mixture=fit.mixture.relabel(torch.tensor([1, 0])),
    )
    turned = replace(turned, coefficients=turned.coefficients - turned.coefficients[:1])
    one, other = (f.bootstrap(3, random_state=4).draws for f in (fit, turned))
    assert other.coefficients[:, 1].numpy() == pytest.approx(
        -one.coefficients[:, 1].numpy(), abs=1e-2
    )
    assert one.coefficients[:, 0].abs().max() == 0


def test_a_report_says_what_groups_depend_on_in_every_form(drawn, tmp_path, capsys):
    report = drawn.report(tmp_path / "r.html")
    assert not capsys.readouterr().out
    assert "depends on age and sex" in report.letter.sentence
    assert "nothing here says what changing a covariate would do" in str(report)
    found = report.summary()["coefficients"]["coefficients"]
    assert [row["covariate"] for row in found] == ["(intercept)", "age", "sex=m"]
    assert found[1]["estimate"] == pytest.approx(float(drawn.coefficients[1, 1]))
    page = (tmp_path / "r.html").read_text()
    assert "</html>" in page
    assert "http" not in page.replace("http-equiv", "")
    drawn.report(tmp_path / "r.md")
    assert "odds ratio" in (tmp_path / "r.md").read_text()
    drawn.report()
    assert "odds ratio" in capsys.readouterr().out
    doubtful = replace(drawn, converged=False, start_log_likelihoods=(-1.0, -9.0))
    assert len(doubtful.report(show=False).letter.doubts) == 2
    with pytest.raises(px.FileError, match="ends in one of"):
        drawn.report(tmp_path / "r.pdf")


def test_names_are_harmless_in_the_page(frame, tmp_path):
    bad = frame.rename(columns={"V0": "<script>alert(1)</script>", "age": '"><b>age'})
    fit = px.fit_product(bad, 2, covariates='"><b>age', n_init=1)
    page = fit.report(show=False).to_html() + fit._repr_html_()
    assert "<script>alert" not in page
    assert "<b>age" not in page


@pytest.fixture(scope="module")
def items(frame, tmp_path_factory):
    """A file with two covariates, and one with two outcomes, beside the items."""
    rng = np.random.default_rng(0)
    told = frame.assign(
        score=(frame["V0"] + rng.normal(size=len(frame))).round(2),
        ill=np.where(rng.random(len(frame)) < 0.3 + 0.3 * frame["V1"], "yes", "no"),
    )
    path = tmp_path_factory.mktemp("items") / "items.csv"
    told.drop(columns="score").to_csv(path, index=False)
    told.drop(columns="age").to_csv(path.with_name("outcomes.csv"), index=False)
    return path


def test_lca_takes_covariates_as_names_after_the_table(items, tmp_path):
    asked = ("lca", items, "-k", 2, "--n-init", 1, "-q")
    code, out, err = call(*asked, "--covariates", "age", "sex", "-o", tmp_path / "r.pyromix")
    assert code == 0, err
    own = px.fit_product(items, 2, covariates=["age", "sex"], n_init=1, show_progress=False)
    assert str(px.load(tmp_path / "r.pyromix")) == str(own)
    assert str(own) in out
    code, again, _ = call(*asked, "--covariates", "age,sex")
    assert (code, again) == (0, out)
    found = json.loads(call(*asked, "--covariates", "age", "--json")[1])
    assert found["classes"][0]["covariates"] == ["age"]
    code, out, _ = call("report", tmp_path / "r.pyromix")
    assert code == 0
    assert "What the groups depend on" in out
    for command in (("do", "--query", "V0"), ("effect", "--treatment", "V0", "--outcome", "V1")):
        code, _, err = call(command[0], tmp_path / "r.pyromix", *command[1:])
        assert code == 1
        assert err.startswith(DependentSourceError.__name__)
        assert "pyromix report" in err
    code, _, err = call("convert", tmp_path / "r.pyromix", tmp_path / "r.bif")
    assert code == 1
    assert "depends on covariates" in err


def test_lca_refuses_what_covariates_have_not(items):
    asked = ("lca", items, "-k", 2, "--n-init", 1, "--covariates", "age")
    for flags in (("--lrt", 9), ("--residuals",), ("--checkpoint", "c"), ("--distal", "ill")):
        code, _, err = call(*asked, *flags)
        assert code == 1, flags
        assert err.startswith("QueryError"), flags
        assert flags[0] in err
    code, _, err = call("lca", items, "--covariates", "agee")
    assert code == 1
    assert "agee" in err


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("lca d.csv --covariates a b -k 2", "lca d.csv --covariates a --covariates b -k 2"),
        ("lca - --covariates a b", "lca - --covariates a --covariates b"),
        ("lca d.csv -q --covariates a", "lca d.csv -q --covariates a"),
        ("lca --covariates a d.csv", "lca --covariates a d.csv"),
        ("fit d.csv --covariates a b", "fit d.csv --covariates a b"),
        ("lca", "lca"),
    ],
)
def test_names_after_the_flag_get_a_flag_each(given, read):
    assert several(given.split()) == read.split()


def test_lca_describes_outcomes_within_the_classes(items):
    data = items.with_name("outcomes.csv")
    asked = ("lca", data, "-k", 2, "--n-init", 1, "-q")
    code, out, err = call(*asked, "--distal", "score", "--distal", "ill", "--json")
    assert code == 0, err
    found = json.loads(out)["distal"]
    frame = pd.read_csv(data)
    own = px.fit_product(frame.drop(columns=["score", "ill"]), 2, n_init=1)
    for told, name in zip(found, ("score", "ill"), strict=True):
        estimates = own.distal(frame, name).to_frame()
        assert [e["estimate"] for e in told["estimates"]] == pytest.approx(
            estimates["estimate"].tolist()
        )
        assert [e["standard_error"] for e in told["estimates"]] == pytest.approx(
            estimates["standard_error"].tolist()
        )
    code, out, _ = call(
        *asked, "--distal", "ill", "--states", "ill=yes,no", "--distal-method", "ml"
    )
    assert code == 0
    assert "ill within each source by ml" in out
    code, _, err = call(*asked, "--distal", "ill", "--distal-method", "guess")
    assert code == 1
    assert "method" in err
