"""Published tables of independent items within k classes, and the best known fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pyromix.data.counts import Counts
from pyromix.model.spec import MixtureSpec

MIXPROD = Path(__file__).parents[2] / "shared" / "data" / "mixprod"

NAMES = [
    "abortion_bsa",
    "alzheimer",
    "cheating",
    "genderrole",
    "gss82",
    "hapmap_ceu_yri",
    "hivtests",
    "lsat7",
    "myocardial",
    "values",
    "wirs",
    "wisconsin_breast",
    "zoo",
]


def latent_class(name, k):
    """The table as counts, and the card's reference for k classes."""
    if not MIXPROD.exists():
        pytest.skip("shared data sets are not beside this checkout")
    card = json.loads((MIXPROD / f"{name}.json").read_text())
    lines = (MIXPROD / f"{name}.csv").read_text().splitlines()
    columns = lines[0].split(",")
    cells = [dict(zip(columns, line.split(","), strict=True)) for line in lines[1:]]
    rows = torch.tensor([[int(r[c] or -1) for c in card["items"]] for r in cells])
    weights = torch.tensor([float(r.get("count", 1)) for r in cells], dtype=torch.float64)
    states = {c: tuple(range(n)) for c, n in zip(card["items"], card["cards"], strict=True)}
    spec = MixtureSpec.from_parents(states, {}, k)
    return Counts.from_codes(spec, rows, weights), card["reference"][f"k{k}"]
