"""Long commands that are stopped: what is done stays, the same command goes on to the same text."""

from __future__ import annotations

import pandas as pd
import pytest
from product_cases import draw_rows, random_product
from test_checkpoint import stop_at
from test_cli import call

import pyromix as px
from pyromix.criticism import likelihood_ratio, selection
from pyromix.fitting import engine, resuming
from pyromix.posterior import bootstrap as replicas

INTERRUPTED = 130


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept")
    rows = draw_rows(random_product((2,) * 5, 2, 1), 120, 0)
    frame = pd.DataFrame(rows.numpy(), columns=list("ABCDE"))
    frame.to_csv(path / "items.csv", index=False)
    model, table, _ = px.datasets.load("hidden-group")
    px.fit(model, table[:300], 2, n_init=1, prior=None).save(path / "fit.pyromix")
    return path


COMMANDS = {
    "fit": (
        "items.csv",
        *(x for v in "ABCDE" for x in ("--edge", f"U->{v}")),
        "-k",
        2,
        "--n-init",
        1,
    ),
    "select": ("items.csv", "-k", "1..2", "--n-init", 1, "--n-folds", 2),
    "lca": ("items.csv", "-k", 2, "--n-init", 1, "--lrt", 21),
    "effect": ("fit.pyromix", "--treatment", "X", "--outcome", "Y", "--bootstrap", 60),
}

STOPS = {
    "fit": (engine, "shrink", 1, ("c",)),
    "select": (selection, "fit", 2, ("c",)),
    "lca": (likelihood_ratio, "climb_replicates", 5, ("c.2", "c.2.lrt")),
    "effect": (replicas, "climb_replicates", 2, ("c",)),
}
"""What Ctrl-C comes at the n-th call of, and the files that are then there."""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_stopped_command_goes_on_to_the_same_text(command, folder, tmp_path, monkeypatch):
    given = (command, folder / COMMANDS[command][0], *COMMANDS[command][1:], "-q")
    code, whole, err = call(*given, "--checkpoint", tmp_path / "whole")
    assert code == 0, err
    module, name, nth, kept = STOPS[command]
    asked = (*(x for x in given if x != "-q"), "--checkpoint", tmp_path / "c")
    with monkeypatch.context() as patch:
        stop_at(patch, module, name, nth)
        code, out, err = call(*asked)
    assert (code, out) == (INTERRUPTED, "")
    last = err.splitlines()[-1]
    assert last.startswith("interrupted; what is done is in ")
    assert last.endswith("the same command goes on from there")
    assert all(str(tmp_path / file) in last for file in kept)
    assert sorted(path.name for path in tmp_path.glob("c*")) == sorted(kept)
    code, resumed, _ = call(*asked, "-q")
    assert code == 0
    assert resumed == whole
    with monkeypatch.context() as patch:
        calls = stop_at(patch, module, name, 0)
        assert call(*asked, "-q")[1] == whole
        assert not calls  # nothing is done again
    code, _, err = call(*asked, "--random-state", 5)
    assert code == 1
    assert "the checkpoint is of another" in err


def test_what_has_no_place_is_refused_before_the_work(folder, tmp_path, monkeypatch):
    given = ("lca", folder / "items.csv", "-k", 2)
    code, _, err = call(*given, "--checkpoint", tmp_path / "none" / "c")
    assert code == 1
    assert "there is no folder" in err
    code, _, err = call("effect", folder / "fit.pyromix", "--treatment", "X", "--outcome", "Y",
                        "--checkpoint", tmp_path / "c")  # fmt: skip
    assert code == 1
    assert "--bootstrap" in err
    stop_at(monkeypatch, resuming, "climb", 1)
    code, _, err = call(*given, "--checkpoint", tmp_path / "c")
    assert code == INTERRUPTED
    assert "before there was anything" in err
    assert not (tmp_path / "c.2").exists()


def test_a_test_of_k_that_is_stopped_ends_at_the_same_digits(folder, tmp_path, monkeypatch):
    """At the API, and as without a checkpoint within the tolerance of EM."""
    options = {"n": 21, "n_init": 1, "random_state": 3}
    plain = px.bootstrap_lrt(folder / "items.csv", 2, **options)
    kept = {**options, "checkpoint": tmp_path / "c"}
    with monkeypatch.context() as patch:
        stop_at(patch, likelihood_ratio, "climb_replicates", 5)
        with pytest.raises(KeyboardInterrupt):
            px.bootstrap_lrt(folder / "items.csv", 2, **kept)
    resumed = px.bootstrap_lrt(folder / "items.csv", 2, **kept)
    whole = px.bootstrap_lrt(folder / "items.csv", 2, **{**kept, "checkpoint": tmp_path / "w"})
    assert resumed == whole
    assert resumed.simulated == pytest.approx(plain.simulated, abs=0.05)
    with pytest.raises(px.FileError, match="another n: '21', not '30'"):
        px.bootstrap_lrt(folder / "items.csv", 2, **{**kept, "n": 30})
