"""Published latent class analyses, to the digits printed; the largest table is a study's.

``studies/published_tables.csv`` has the same of nine analyses, election among them.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

import pyromix as px

FOLDER = Path(__file__).parent / "data" / "collection" / "mixprod"
STUDY = Path(__file__).parent / "studies" / "published_tables.csv"


def published(name: str) -> tuple[pd.DataFrame, dict[int, float]]:
    """A table, and its log-likelihoods by number of classes."""
    card = json.loads((FOLDER / f"{name}.json").read_text())
    values = {int(k): x for k, x in card["published"][0]["values"].items()}
    return pd.read_csv(FOLDER / f"{name}.csv"), values


def test_carcinoma_has_its_published_likelihoods_and_classes():
    frame, values = published("carcinoma")
    for k in (2, 3):
        fit = px.fit_product(frame, k, sample_weight="count", method="em", n_init=8)
        assert fit.log_likelihood == pytest.approx(values[k], abs=6e-5)
        assert fit.n_rows == 118
    # Agresti (2002), Table 13.3: the pathologists agree on about half of the slides.
    assert fit.mixture.weights.tolist() == pytest.approx([0.44, 0.37, 0.18], abs=0.006)


def test_cheating_by_grades_has_its_published_likelihood():
    frame, values = published("cheating_gpa")
    with pytest.warns(px.DataRepairWarning, match="'GPA'"):
        fit = px.fit_product(frame, 2, covariates="GPA", sample_weight="count", n_init=2)
    assert fit.log_likelihood == pytest.approx(values[2], abs=6e-5)
    assert fit.n_rows == 315
    table = fit.to_frame().set_index("covariate")
    assert table.loc["GPA", "estimate"] == pytest.approx(-0.842, abs=1e-3)
    assert table.loc["GPA", "high"] < 0


def test_the_study_of_every_table_found_what_was_published():
    with STUDY.open() as file:
        rows = list(csv.DictReader(file))
    assert {row["table"] for row in rows} == {"carcinoma", "cheating", "election"}
    for row in rows:
        digits = len(row["published"].partition(".")[2])
        assert float(row["found"]) == pytest.approx(
            float(row["published"]), abs=0.6 * 10.0**-digits
        ), row
