"""Fits with numbers on disk."""

from __future__ import annotations

import copy
import json
import math
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from test_mixed_intake import dag

import pyromix as px
from pyromix.errors import DataError, FileError, SpecError
from pyromix.fitting.mixed.bundle import FIELDS
from pyromix.fitting.mixed.record import MixedDraws
from pyromix.formats.bundle import MANIFEST, TENSORS
from pyromix.report.mixed.parameters import parameter_tables

N = 80


def frame(n=N):
    """Every kind of column."""
    rng = np.random.default_rng(0)
    u = 1.0 * (rng.random(n) < 0.4)
    a = 2.0 * u + rng.normal(size=n)
    size = np.exp(0.3 * a + rng.normal(size=n))
    data = pd.DataFrame(
        {
            "A": a,
            "P": np.exp(-u + rng.normal(size=n)),
            "W": rng.poisson(1 + 2 * u),
            "C": rng.integers(2, size=n),
            "H": np.where(rng.random(n) < 0.3, 0.0, size),
            "T": a + rng.standard_t(4, size=n),
        }
    )
    data.loc[::9, "P"] = np.nan
    return data


KINDS = {"P": "positive", "W": "count", "H": "hurdle", "T": "student-t"}


@pytest.fixture(scope="module")
def fit():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = dag("APWCHT", [("A", "C"), ("A", "H"), ("C", "T"), ("A", "T")])
        found = px.fit(graph, frame(), 2, kinds=KINDS, n_init=0, max_iter=9, show_progress=False)
        # Draws as a bootstrap leaves them.
        at = found.mixture.parameters
        points = torch.stack([at, at + 0.1, at - 0.1])
        return replace(found, sampled=MixedDraws(points, "bootstrap", "3"))


@pytest.fixture(scope="module")
def content(fit, tmp_path_factory):
    path = tmp_path_factory.mktemp("mixed") / "fit.pyromix"
    fit.save(path)
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(MANIFEST)), load_tensors(archive.read(TENSORS))


def test_draws_of_a_posterior_come_back_with_what_is_known_of_them(fit, tmp_path):
    """Every kind of column, one of them with gaps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drawn = fit.refine(num_samples=4, warmup_steps=1, num_chains=2, thinning=1)
    drawn.save(tmp_path / "fit.pyromix")
    back = px.load(tmp_path / "fit.pyromix")
    assert back.draws.tolist() == drawn.draws.tolist()
    assert str(back.sampled) == str(drawn.sampled) == "gibbs (2 x 4)"
    assert back.sampled.sampling == drawn.sampled.sampling
    assert (drawn.draws[0] - drawn.draws[1]).abs().min() > 0
    has_lines_in_the_units_of_the_table(drawn)


def has_lines_in_the_units_of_the_table(drawn):
    pytest.importorskip("arviz_base", reason="the extra arviz is not installed")
    tree = drawn.to_arviz()["posterior"]
    assert tree.attrs["drawn_by"] == "gibbs (2 x 4)"
    assert {name: array.dims[2:] for name, array in tree.data_vars.items()} == {
        "theta[U]": ("U",),
        "line[A]": ("U", "A_term"),
        "sd[A]": ("U",),
        "line[P]": ("U", "P_term"),
        "sd[P]": ("U",),
        "line[W]": ("U", "W_term"),
        "line[C]": ("U", "C", "C_term"),
        "line[H > 0]": ("U", "H > 0", "H > 0_term"),
        "line[H]": ("U", "H_term"),
        "sd[H]": ("U",),
        "line[T]": ("U", "C", "T_term"),
        "sd[T]": ("U", "C"),
    }
    at = drawn.mixture.with_parameters(drawn.draws[5])
    tables = {t.said: t for t in parameter_tables(at)}
    (told,) = (t for c, t in tables.items() if c.startswith("T, in the units"))
    line = tree["line[T]"].sel(chain=1, draw=1, U=1, C=0)
    sd = tree["sd[T]"].sel(chain=1, draw=1, U=1, C=0)
    assert list(line["T_term"].values) == ["constant", "A"]
    (row,) = (r for r in told.rows if r[:2] == ("1", "0"))
    assert row[2:] == tuple(f"{float(x):.4g}" for x in [*line, sd])
    odds = tree["line[C]"].sel(chain=0, draw=2, U=0)
    at = drawn.mixture.with_parameters(drawn.draws[2]).cpds[at.spec.vertex("C")]
    a = 0.7
    inner = drawn.mixture.units[drawn.spec.vertex("A")].inward(torch.tensor([a]).double())
    assert float(abs(odds.sel(C=1)).max()) == 0
    law = float(at.log_prob(torch.tensor([0]), [inner])[0, 0].exp())
    assert law == pytest.approx(1 / (1 + np.exp(-float(odds.sel(C=0).values @ [1, a]))))


def loaded(tmp_path, manifest, tensors):
    with zipfile.ZipFile(tmp_path / "fit.pyromix", "w") as archive:
        archive.writestr(MANIFEST, json.dumps(manifest))
        archive.writestr(TENSORS, save_tensors(tensors))
    return px.load(tmp_path / "fit.pyromix")


def test_a_fit_comes_back_to_the_last_bit(fit, tmp_path):
    path = tmp_path / "fit.pyromix"
    fit.save(path)
    back = px.load(path)
    assert isinstance(back, px.MixedFit)
    assert str(back) == str(fit)
    assert back.mixture.parameters.tolist() == fit.mixture.parameters.tolist()
    assert back.mixture.weights.tolist() == fit.mixture.weights.tolist()
    assert back.mixture.units == fit.mixture.units
    assert back.draws.tolist() == fit.draws.tolist()
    assert (back.spec, back.edges, back.starts) == (fit.spec, dict(fit.edges), fit.starts)
    assert (back.said, back.bic, back.entropy) == (fit.said, fit.bic, fit.entropy)
    assert back.random_state == fit.random_state != ""
    there, here = (float(f.prior.log_density(f.mixture)) for f in (back, fit))
    assert there == here
    assert back.predict_proba(frame()).equals(fit.predict_proba(frame()))
    assert back.binned.log_likelihood == fit.binned.log_likelihood
    for left, right in zip(back.records.columns, fit.records.columns, strict=True):
        assert torch.equal(left.nan_to_num(-9), right.nan_to_num(-9))
    first = path.read_bytes()
    back.save(path)
    assert path.read_bytes() == first


def test_without_data_a_fit_still_answers(fit, tmp_path):
    path = tmp_path / "fit.pyromix"
    fit.save(path, include_data=False)
    back = px.load(path)
    assert back.table is None
    assert back.score(frame()) == pytest.approx(fit.score(frame()))
    with pytest.raises(DataError, match="include_data=False"):
        back.bootstrap()
    with pytest.raises(DataError, match="include_data=False"):
        back.save(path)
    with zipfile.ZipFile(path) as archive:
        assert not any(
            "rows" in n for n in load_tensors(archive.read(TENSORS)) if "masses" not in n
        )


def test_a_fit_with_numbers_is_no_mixture_of_tables(fit, tmp_path):
    fit.save(tmp_path / "fit.pyromix")
    with pytest.raises(FileError, match=r"found a fit with numbers; px.load\(path\) reads it"):
        px.read(tmp_path / "fit.pyromix")
    with pytest.raises(FileError, match=r"must end in .pyromix"):
        fit.save(tmp_path / "fit.bif")


DAMAGE = {
    "log_likelihood": (-1.0, "log_likelihood: expected .* that of the rows"),
    "n_rows": (12.0, "n_rows"),
    "kinds": (["real"] * 6, "incomplete or damaged"),
    "units": ([{"centre": 0.0, "scale": -1.0, "logarithmic": False}] * 6, "scales above zero"),
    "edges": ({"A": [1.0]}, "edges: expected rising numbers"),
    "starts": ([], "starts: expected at least one"),
    "converged": (1, "converged of type bool"),
    "notes": (["so"], "notes"),
    "n_iter": ("many", "n_iter of type int"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_field_is_refused_by_name(content, tmp_path, name):
    manifest, tensors = copy.deepcopy(content[0]), content[1]
    value, message = DAMAGE[name]
    manifest["extra"][FIELDS][name] = value
    with pytest.raises(FileError, match=message):
        loaded(tmp_path, manifest, tensors)
    del manifest["extra"][FIELDS][name]
    with pytest.raises(FileError, match="incomplete or damaged"):
        loaded(tmp_path, manifest, tensors)


def test_every_damaged_tensor_is_refused(content, tmp_path):
    manifest, tensors = content
    names = [name for name in tensors if name.startswith(f"extra/{FIELDS}/")]
    assert len(names) > 20
    for name in names:
        whole = tensors[name]
        with pytest.raises(FileError):
            loaded(tmp_path, manifest, {**tensors, name: whole[..., :0].clone()})
        if "/cpds/" in name:
            with pytest.raises(FileError, match=r"finite|one|above|sum"):
                loaded(tmp_path, manifest, {**tensors, name: torch.full_like(whole, math.nan)})


def test_missing_parts_are_refused(content, tmp_path):
    manifest, tensors = content
    for name in (f"extra/{FIELDS}/weights", f"extra/{FIELDS}/cpds/0/coefficients"):
        rest = {n: t for n, t in tensors.items() if n != name}
        with pytest.raises(FileError, match="incomplete or damaged"):
            loaded(tmp_path, manifest, rest)


def test_functions_of_tables_say_what_a_fit_with_numbers_answers(fit):
    for call in (px.query, px.effect, px.write):
        with pytest.raises(SpecError, match=r"some variables are numbers; ask the fit itself"):
            call(fit, "A", "B") if call is px.effect else call(fit, "x.bif")
