"""Every tutorial runs from beginning to end, outside the checkout, in smoke mode."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = sorted((Path(__file__).parents[1] / "tutorials").glob("*.py"))
TIME_LIMIT = 300
"""Seconds; a tutorial takes a small part of it on an idle machine."""


def test_there_are_tutorials_and_they_are_numbered() -> None:
    numbers = [path.name[:3] for path in TUTORIALS]
    assert numbers[0] == "01_"
    assert len(set(numbers)) == len(numbers)
    assert all(number[:2].isdigit() and number[2] == "_" for number in numbers)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_is_in_percent_format(path: Path) -> None:
    cells = path.read_text(encoding="utf-8").split("# %%")
    assert cells[0] == ""
    assert cells[1].startswith(" [markdown]\n# # ")
    assert len(cells) > 5


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path: Path, tmp_path: Path) -> None:
    """Its own assertions hold, no warning of ours is given, and nothing is left behind."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(path)],
        cwd=tmp_path,
        env={**os.environ, "SMOKE": "1", "OMP_NUM_THREADS": "1"},
        timeout=TIME_LIMIT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert not list(tmp_path.iterdir())
