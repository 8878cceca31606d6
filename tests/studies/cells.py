"""Cells of the coverage study: what a table is drawn from, what is asked, and the truth.

One base cell (strong views, N = 500), one factor changed at a time, and the corners.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

import pyromix as px
from pyromix.model.mixture import BayesNetMixture

SHIFTS = {"strong": 0.3, "half": 0.15, "quarter": 0.075}
"""Half the distance between the sources at an informative view."""

SILENT = (0.5, 0.3, 0.6)
"""P(view = 1) of views that say nothing of U."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        name: of the cell.
        n_rows: N of each table.
        views: how far the sources are apart at the views.
        informative: how many of the three views are.
        missing: share of the cells blanked at random.
        fit: options of ``px.fit``.
        kind: ``"five"``, three views and X -> Y; ``"rows"``, one source and a CPT row with
            ``n_rows`` rows behind it; ``"sachs"``, the planted network.
        p: of kind "rows", P(Y = 1 | X = 1).
        strong: whether 87 to 93% is aimed at, else at least 87%.
    """

    name: str
    n_rows: int
    views: str = "strong"
    informative: int = 3
    missing: float = 0.0
    fit: dict[str, Any] = field(default_factory=dict)
    kind: str = "five"
    p: float = 1.0
    strong: bool = True

    @property
    def question(self) -> tuple[str, str]:
        """Treatment and outcome."""
        return ("PKC", "Akt") if self.kind == "sachs" else ("X", "Y")

    def truth(self) -> BayesNetMixture:
        """The mixture that tables are drawn from."""
        if self.kind == "sachs":
            return px.read(px.datasets.read_card("sachs").folder / "network.bif")
        if self.kind == "rows":
            spec = px.MixtureSpec.from_parents({"X": (0, 1), "Y": (0, 1)}, {"Y": ["X"]}, 1)
            tables = [[1.0], [[0.5, 0.5]], [[[0.5, 0.5], [1 - self.p, self.p]]]]
        else:
            spec = five()
            views = [
                (0.5 - SHIFTS[self.views], 0.5 + SHIFTS[self.views])
                if number < self.informative
                else (SILENT[number],) * 2
                for number in range(3)
            ]
            rows = [*views, (0.2, 0.8), ((0.2, 0.4), (0.6, 0.8))]
            tables = [[0.4, 0.6], *(_binary(row) for row in rows)]
        found = [torch.as_tensor(np.array(t), dtype=torch.float64) for t in tables]
        return BayesNetMixture.from_tables(spec, found)

    def table(self, truth: BayesNetMixture, seed: int) -> pd.DataFrame:
        """One table."""
        rng = np.random.default_rng(seed)
        if self.kind == "rows":
            x = np.repeat([0, 1], [100, self.n_rows])
            y = np.where(x == 1, rng.random(len(x)) < self.p, rng.random(len(x)) < 0.5)
            return pd.DataFrame({"X": x, "Y": y.astype(int)})
        frame = px.simulate(truth, self.n_rows, random_state=seed)
        if not self.missing:
            return frame
        frame = frame.astype(object)
        return frame.mask(rng.random(frame.shape) < self.missing)


def five(n_sources: int = 2) -> px.MixtureSpec:
    """Three views and X -> Y, U on all of them."""
    return px.MixtureSpec.from_parents(dict.fromkeys("ABCXY", (0, 1)), {"Y": ["X"]}, n_sources)


def _binary(p: Any) -> np.ndarray:
    p = np.array(p)
    return np.stack([1 - p, p], -1)


NO_PRIOR: dict[str, Any] = {"prior": None}

CELLS = {
    cell.name: cell
    for cell in (
        Cell("strong 500", 500),
        Cell("strong 200", 200),
        Cell("strong 5000", 5000),
        Cell("strong 20000", 20_000),
        Cell("half 500", 500, "half", strong=False),
        Cell("half 5000", 5000, "half"),
        Cell("quarter 500", 500, "quarter", strong=False),
        Cell("quarter 5000", 5000, "quarter", strong=False),
        Cell("two views 500", 500, informative=2),
        Cell("one view 500", 500, informative=1, strong=False),
        Cell("no view 500", 500, informative=0, strong=False),
        Cell("no view 20000", 20_000, informative=0, strong=False),
        Cell("no view 200", 200, informative=0, strong=False),
        Cell("strong 500, no prior", 500, fit=NO_PRIOR),
        Cell("half 5000, no prior", 5000, "half", fit=NO_PRIOR),
        Cell("strong 500, 5% missing", 500, missing=0.05),
        Cell("strong 500, 30% missing", 500, missing=0.3),
        Cell("half 500, 30% missing", 500, "half", missing=0.3, strong=False),
        *(
            Cell(f"p = {p:g}, {n} rows", n, kind="rows", p=p, strong=False)
            for p in (1.0, 0.97)
            for n in (5, 20, 100)
        ),
        Cell("sachs 10000", 10_000, kind="sachs"),
    )
}
"""By name."""
