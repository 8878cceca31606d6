"""Work that is stopped and taken up again ends where it would have ended, to the last digit."""

from __future__ import annotations

import warnings
import zipfile
from contextlib import suppress

import pytest
import torch
from torch import Tensor

import pyromix as px
from pyromix.criticism import selection as selecting
from pyromix.estimate import restarts
from pyromix.fitting import engine, resuming
from pyromix.formats.bundle import packed_tensors, unpacked_tensors
from pyromix.formats.checkpoint import MANIFEST, checkpoint_of, digest
from pyromix.model.mixture import BayesNetMixture
from pyromix.posterior import bootstrap as replicas
from pyromix.posterior import gibbs as gibbs_sampling
from pyromix.posterior import nuts as nuts_sampling


@pytest.fixture(scope="module")
def model_and_frame():
    model, frame, _ = px.datasets.load("hidden-group")
    return model, frame[:500]


@pytest.fixture(scope="module")
def fit(model_and_frame):
    model, frame = model_and_frame
    return px.fit(model, frame, n_sources=2, n_init=1, prior=1.0)


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        return function(*arguments, **options)


def same(left: BayesNetMixture, right: BayesNetMixture) -> bool:
    """Equal to the last bit."""
    return all(map(torch.equal, left.tables, right.tables))


def stop_at(monkeypatch, module, name: str, nth: int) -> list[int]:
    """Let Ctrl-C come at the n-th call of a function; returns the calls so far."""
    real, calls = getattr(module, name), []

    def stopped(*arguments, **options):
        calls.append(len(calls))
        if len(calls) == nth:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, stopped)
    return calls


@pytest.mark.parametrize("kind", ["multinomial", "dirichlet"])
def test_a_bootstrap_goes_on_to_the_same_digits(fit, kind, tmp_path, monkeypatch):
    options = {"n": 120, "kind": kind, "random_state": 3}
    whole = quiet(fit.bootstrap, checkpoint=tmp_path / "whole", **options).draws
    path = tmp_path / "stopped.checkpoint"
    with monkeypatch.context() as patch:
        stop_at(patch, replicas, "climb_replicates", 3)
        with pytest.raises(KeyboardInterrupt):
            quiet(fit.bootstrap, checkpoint=path, **options)
    with monkeypatch.context() as patch:
        calls = stop_at(patch, replicas, "climb_replicates", 0)
        resumed = quiet(fit.bootstrap, checkpoint=path, **options).draws
        assert len(calls) == 1  # two of three steps were done
        assert same(resumed, whole)
        again = quiet(fit.bootstrap, checkpoint=path, **options).draws
        assert len(calls) == 1
        assert same(again, whole)
    plain = quiet(fit.bootstrap, **options).draws
    for one, other in zip(plain.tables, whole.tables, strict=True):
        # Replicates of one batch share EM's extrapolation: batches of other sizes end at other
        # digits, within its tolerance of 1e-8 nats per row.
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"n": 5}, "n: 4, not 5"),
        ({"kind": "dirichlet"}, "kind: 'multinomial', not 'dirichlet'"),
        ({"random_state": 1}, "random_state"),
        ({"max_iter": 5}, "max_iter: 2000, not 5"),
    ],
)
def test_a_checkpoint_of_other_options_is_refused_by_name(fit, change, named, tmp_path):
    options = {"n": 4, "checkpoint": tmp_path / "c"}
    quiet(fit.bootstrap, **options)
    with pytest.raises(px.FileError, match=f"another {named}"):
        fit.bootstrap(**{**options, **change})


def test_a_checkpoint_of_another_table_or_estimate_is_refused_by_name(
    fit, model_and_frame, tmp_path
):
    model, frame = model_and_frame
    quiet(fit.bootstrap, n=3, checkpoint=tmp_path / "c")
    with pytest.raises(px.FileError, match="another table"):
        fit.bootstrap(frame[:400], n=3, checkpoint=tmp_path / "c")
    other = px.fit(model, frame, n_sources=2, n_init=1, prior=2.0)
    with pytest.raises(px.FileError, match=r"another (estimate|prior)"):
        other.bootstrap(n=3, checkpoint=tmp_path / "c")


def test_a_selection_goes_on_to_the_same_digits(model_and_frame, tmp_path, monkeypatch):
    model, frame = model_and_frame
    options = {"candidates": [1, 2, 3], "n_init": 1, "method": "em", "n_folds": 2}
    plain = quiet(px.select_n_sources, model, frame, **options)
    path = tmp_path / "c"
    with monkeypatch.context() as patch:
        stop_at(patch, selecting, "fit", 3)
        with pytest.raises(KeyboardInterrupt):
            quiet(px.select_n_sources, model, frame, checkpoint=path, **options)
    with monkeypatch.context() as patch:
        calls = stop_at(patch, selecting, "fit", 0)
        resumed = quiet(px.select_n_sources, model, frame, checkpoint=path, **options)
        assert len(calls) == 1
    assert resumed.candidates == plain.candidates
    assert str(resumed) == str(plain)
    for one, other in zip(resumed.fits, plain.fits, strict=True):
        assert same(one.mixture, other.mixture)
        assert str(one.diagnostics) == str(other.diagnostics)
        assert one.counts.same_rows(other.counts)
    asked, again = (px.query(x.fits[1], "Y", do={"X": "treated"}) for x in (resumed, plain))
    assert str(asked) == str(again)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"candidates": [1, 2]}, r"candidates: '\[1\]'"),
        ({"n_folds": 3}, "n_folds"),
        ({"prior": 0.5}, "prior"),
        ({"random_state": 1}, "random_state"),
        ({"n_init": 2}, "n_init: '1', not '2'"),
        ({"max_iter": 50}, "max_iter"),
    ],
)
def test_a_selection_of_other_options_is_refused_by_name(model_and_frame, tmp_path, change, named):
    model, frame = model_and_frame
    options = {"candidates": [1], "n_init": 1, "n_folds": 2, "checkpoint": tmp_path / "c"}
    quiet(px.select_n_sources, model, frame[:200], **options)
    with pytest.raises(px.FileError, match=f"another {named}"):
        quiet(px.select_n_sources, model, frame[:200], **{**options, **change})
    with pytest.raises(px.FileError, match=r"another (table|graph)"):
        quiet(px.select_n_sources, None, frame[:200], **options)


def count_of(path) -> int:
    """A piece of work of two steps; how many had to be done."""
    done = []

    def compute() -> Tensor:
        done.append(1)
        return torch.arange(3.0) / 7

    kept = checkpoint_of(path, "counting", {"k": 2})
    for name in ("one", "two"):
        found = kept.step(name, compute, lambda t: ({"t": t}, {"k": 2}), lambda t, _: t["t"])
        assert torch.equal(found, torch.arange(3.0) / 7)
    return len(done)


def test_any_damage_is_a_named_error_and_nothing_is_lost_in_silence(tmp_path):
    path = tmp_path / "c"
    assert (count_of(path), count_of(path)) == (2, 0)
    content = path.read_bytes()
    with pytest.raises(px.FileError, match="another work: 'counting', not 'other'"):
        checkpoint_of(path, "other", {"k": 2})
    with pytest.raises(px.FileError, match="another k: 2, not None"):
        checkpoint_of(path, "counting", {})
    outcomes = set()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :])
        try:
            outcomes.add(count_of(path))
        except px.FileError:
            outcomes.add("refused")
        assert path.exists()
    assert outcomes <= {"refused", 0, 1, 2}
    assert "refused" in outcomes
    for cut in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(px.FileError, match="c: "):
            count_of(path)


@pytest.mark.parametrize(
    ("manifest", "how", "message"),
    [
        (b'{"format": 2, "work": "counting", "asked": {}}', zipfile.ZIP_STORED, "format 1"),
        (b'{"format": 1}', zipfile.ZIP_STORED, "unreadable"),
        (b"[" * 100_000, zipfile.ZIP_STORED, "unreadable"),
        (b" " * 2**21, zipfile.ZIP_STORED, "other sizes"),
        (b'{"format": 1, "work": "counting", "asked": {}}', zipfile.ZIP_DEFLATED, "expected a ch"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, manifest, how, message):
    with zipfile.ZipFile(tmp_path / "c", "w", how) as archive:
        archive.writestr(MANIFEST, manifest)
    with pytest.raises(px.FileError, match=message):
        count_of(tmp_path / "c")


def test_a_bundle_is_no_checkpoint_and_a_checkpoint_no_bundle(fit, tmp_path):
    fit.save(tmp_path / "fit.pyromix")
    with pytest.raises(px.FileError, match="expected a checkpoint"):
        count_of(tmp_path / "fit.pyromix")
    count_of(tmp_path / "c.pyromix")
    with pytest.raises(px.FileError, match="in the bundle"):
        px.load(tmp_path / "c.pyromix")


def test_digests_tell_types_shapes_and_values_apart():
    zero = torch.zeros(4)
    others = [zero.double(), zero.view(2, 2), zero + 1, zero[:3], -zero]
    assert len({digest(zero), *map(digest, others)}) == 6
    assert digest(zero, zero) == digest(zero.clone(), zero)


FITS = {
    "until confirmed": {"n_sources": 2, "method": "em", "prior": 1.0},
    "raced, prior chosen": {"n_sources": 2, "method": "em"},
    "beside moments, starts given": {"n_sources": 2, "n_init": 3},
    "products": {"n_sources": 2, "n_init": 2},
}


def fitted(name, model, frame, **options):
    if name == "products":
        return quiet(px.fit_product, frame, **FITS[name], **options)
    return quiet(px.fit, model, frame, **FITS[name], **options)


@pytest.mark.parametrize(
    ("name", "stop"),
    [
        ("until confirmed", 2),
        ("raced, prior chosen", 2),
        ("raced, prior chosen", "shrink"),
        ("beside moments, starts given", 1),
        ("products", 1),
    ],
)
def test_a_fit_goes_on_to_the_same_digits(model_and_frame, tmp_path, monkeypatch, name, stop):
    model, frame = model_and_frame
    if name.startswith("raced"):
        monkeypatch.setattr(engine, "HEAT_ROWS", 10)  # 16 distinct rows are many
    if name.startswith("until"):
        monkeypatch.setattr(restarts, "ROUND", 21)  # so that there is a second one
    whole = fitted(name, model, frame)
    path = tmp_path / "c"
    with monkeypatch.context() as patch:
        if stop == "shrink":
            stop_at(patch, engine, "shrink", 1)
        else:
            stop_at(patch, resuming, "climb", stop)
        with suppress(KeyboardInterrupt):  # a fit of one climb has no second one
            fitted(name, model, frame, checkpoint=path)
    with monkeypatch.context() as patch:
        calls = stop_at(patch, resuming, "climb", 0)
        resumed = fitted(name, model, frame, checkpoint=path)
        n_left = len(calls)
        again = fitted(name, model, frame, checkpoint=path)
        assert len(calls) == n_left  # a finished one climbs no more
    if stop != 1:
        assert n_left <= 1
    for found in (resumed, again):
        assert same(found.mixture, whole.mixture)
        assert found.diagnostics.start_log_likelihoods == whole.diagnostics.start_log_likelihoods
        assert str(found.diagnostics) == str(whole.diagnostics)
        assert same(found.ends.mixtures, whole.ends.mixtures)
        assert all(map(torch.equal, found.prior.tables, whole.prior.tables))
        assert str(found) == str(whole)
        assert str(found.query("Y")) == str(whole.query("Y"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"n_sources": 3}, "n_sources: '2', not '3'"),
        ({"n_init": 2}, "n_init: '1', not '2'"),
        ({"prior": 1.0}, "prior: 'None', not '1.0'"),
        ({"method": "auto"}, "method: \"'em'\""),
        ({"random_state": 1}, "random_state"),
        ({"tol": 1e-7}, "tol"),
    ],
)
def test_a_fit_of_other_options_is_refused_by_name(model_and_frame, tmp_path, change, named):
    model, frame = model_and_frame
    options = {
        "n_sources": 2, "n_init": 1, "method": "em", "prior": None, "checkpoint": tmp_path / "c"
    }  # fmt: skip
    quiet(px.fit, model, frame[:200], **options)
    with pytest.raises(px.FileError, match=f"another {named}"):
        quiet(px.fit, model, frame[:200], **{**options, **change})


def test_a_generator_stands_where_it_would_have_stood(model_and_frame, tmp_path):
    model, frame = model_and_frame
    drawn = []
    for path in (None, tmp_path / "c", tmp_path / "c"):
        generator = torch.Generator().manual_seed(5)
        quiet(px.fit, model, frame[:300], n_init=1, random_state=generator, checkpoint=path)
        drawn.append(torch.rand(1, generator=generator).item())
    assert len(set(drawn)) == 1


def test_a_climb_of_another_structure_is_refused(model_and_frame, tmp_path):
    """A step that names more starts than it has ends, or tables of another shape."""
    model, frame = model_and_frame
    options = {"n_init": 1, "method": "em", "prior": None}
    quiet(px.fit, model, frame[:200], 2, checkpoint=tmp_path / "c", **options)
    with zipfile.ZipFile(tmp_path / "c") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    tensors = unpacked_tensors(members["climb 1"])
    for change in (
        {"start_objectives": torch.zeros(7).double()},
        {"mixture/1": tensors["mixture/1"] * 2},
        {"numbers": torch.zeros(2).double()},
        {"row_masses/0": torch.zeros(5).double()},
        {"fields": torch.frombuffer(bytearray(b"{}"), dtype=torch.uint8)},
    ):
        with zipfile.ZipFile(tmp_path / "c", "w") as archive:
            for name, content in members.items():
                step = packed_tensors({**tensors, **change}) if name == "climb 1" else content
                archive.writestr(name, step)
        with pytest.raises(px.FileError, match="step 'climb 1' of the checkpoint is damaged"):
            quiet(px.fit, model, frame[:200], 2, checkpoint=tmp_path / "c", **options)


def test_nuts_goes_on_with_the_chains_that_are_left(fit, tmp_path, monkeypatch):
    options = {"num_samples": 8, "warmup_steps": 6, "num_chains": 3, "max_tree_depth": 2}
    whole = quiet(fit.refine, method="nuts", **options)
    path = tmp_path / "c"
    with monkeypatch.context() as patch:
        stop_at(patch, nuts_sampling, "_one_chain", 3)
        with pytest.raises(KeyboardInterrupt):
            quiet(fit.refine, method="nuts", checkpoint=path, **options)
    with monkeypatch.context() as patch:
        calls = stop_at(patch, nuts_sampling, "_one_chain", 0)
        resumed = quiet(fit.refine, method="nuts", checkpoint=path, **options)
        assert len(calls) == 1
    assert same(resumed.draws, whole.draws)
    assert resumed.diagnostics.sampling == whole.diagnostics.sampling
    with pytest.raises(px.FileError, match="another max_tree_depth: 2, not 3"):
        quiet(fit.refine, method="nuts", checkpoint=path, **{**options, "max_tree_depth": 3})


def test_gibbs_goes_on_to_the_same_digits(fit, tmp_path, monkeypatch):
    monkeypatch.setattr(gibbs_sampling, "SWEEPS_OF_A_STEP", 7)
    options = {"num_samples": 8, "warmup_steps": 9, "num_chains": 2, "thinning": 2}
    whole = quiet(fit.refine, method="gibbs", **options)
    path = tmp_path / "c"
    with monkeypatch.context() as patch:
        stop_at(patch, gibbs_sampling.Sweep, "complete", 18)
        with pytest.raises(KeyboardInterrupt):
            quiet(fit.refine, method="gibbs", checkpoint=path, **options)
    with monkeypatch.context() as patch:
        calls = stop_at(patch, gibbs_sampling.Sweep, "complete", 0)
        resumed = quiet(fit.refine, method="gibbs", checkpoint=path, **options)
        assert len(calls) == 9 + 16 - 14 + 1  # fourteen sweeps were done; one looks at the last
    again = quiet(fit.refine, method="gibbs", checkpoint=path, **options)
    for found in (resumed, again):
        assert same(found.draws, whole.draws)
        assert found.diagnostics.sampling == whole.diagnostics.sampling
    with pytest.raises(px.FileError, match="another thinning: 2, not 1"):
        quiet(fit.refine, method="gibbs", checkpoint=path, **{**options, "thinning": 1})
