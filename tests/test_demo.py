"""The demonstration shows what its words say."""

from __future__ import annotations

import pytest

from pyromix.cli.demo import run


@pytest.fixture(scope="module")
def told() -> tuple[str, dict]:
    paragraphs: list[str] = []
    figures = run(paragraphs.append)
    return "\n".join(paragraphs), figures


def test_the_planted_effect_is_found_where_the_table_shows_none(told):
    figures = told[1]["asia"]
    assert abs(figures["naive"]) < 0.02
    assert figures["do"] == pytest.approx(figures["true"], abs=0.03)
    assert figures["true"] > 0.1


def test_the_trial_is_met_within_its_standard_error(told):
    figures = told[1]["nsw-psid"]
    assert figures["naive"] < 0
    gap = abs(figures["do_in_programme_source"] - figures["experiment"])
    assert gap < figures["experiment_standard_error"]


def test_every_figure_is_printed(told):
    text, figures = told
    for name in ("naive", "do", "true"):
        assert f"{figures['asia'][name]:+.3f}" in text
    for name in ("naive", "do_in_programme_source", "experiment"):
        assert f"{figures['nsw-psid'][name]:+.3f}" in text
