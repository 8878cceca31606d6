"""Tables of items within k classes, and the best known fits: four published, the others made."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from pyromix.data.counts import Counts
from pyromix.model.spec import MixtureSpec

DATA = Path(__file__).parent / "data"
PUBLISHED = ("lsat7", "values")
MORE = ("gss82", "cheating")
MADE = ("animals", "firms", "genotypes", "opinions", "symptoms")
NAMES = (*PUBLISHED, *MADE)


def card_path(name: str) -> Path:
    """The card of a table; the table lies beside it."""
    folder = DATA / ("collection/mixprod" if name in (*PUBLISHED, *MORE) else "tables")
    return folder / f"{name}.json"


def latent_class(name, k):
    """The table as counts, and the card's reference for k classes."""
    path = card_path(name)
    card = json.loads(path.read_text())
    lines = path.with_suffix(".csv").read_text().splitlines()
    columns = lines[0].split(",")
    cells = [dict(zip(columns, line.split(","), strict=True)) for line in lines[1:]]
    rows = torch.tensor([[int(r[c] or -1) for c in card["items"]] for r in cells])
    weights = torch.tensor([float(r.get("count", 1)) for r in cells], dtype=torch.float64)
    states = {c: tuple(range(n)) for c, n in zip(card["items"], card["cards"], strict=True)}
    spec = MixtureSpec.from_parents(states, {}, k)
    return Counts.from_codes(spec, rows, weights), card["reference"][f"k{k}"]
