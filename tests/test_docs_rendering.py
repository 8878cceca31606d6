"""Scripts as pages of the docs: text, code, what was printed, what was drawn."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))

from rendering import cells, rendered

SCRIPT = """# %% [markdown]
# # A title
#
# Two lines,
# one paragraph.

# %%
import os
from matplotlib.figure import Figure

def f(x):
    # %%not a mark
    return x + 1

print(f(1))

# %%
figure = Figure()
figure.subplots().plot([0, 1])
figure.savefig("a.png")
figure.savefig("b.svg")
os.environ["LEFT_BEHIND"] = "1"
open("file.txt", "w").close()

# %%
silent = f(2)
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "a_script.py"
    path.write_text(SCRIPT)
    return path


def test_cells_are_text_or_code():
    found = cells(SCRIPT)
    assert [cell.markdown for cell in found] == [True, False, False, False]
    assert found[0].source == "# A title\n\nTwo lines,\none paragraph."
    assert "# %%not a mark" in found[1].source


def test_a_page_has_code_output_and_each_figure_once(script):
    made = rendered(script)
    assert "# A title\n\nTwo lines" in made.page
    assert "print(f(1))\n```\n\n```text\n2\n```" in made.page
    assert list(made.figures) == ["a_script-1.svg"]
    assert made.figures["a_script-1.svg"].lstrip().startswith(b"<?xml")
    assert made.page.count("](a_script-1.svg)") == 1
    assert made.page.endswith("silent = f(2)\n```\n")


def test_a_script_leaves_nothing_behind(script):
    before = os.getcwd(), dict(os.environ), list(sys.argv)
    rendered(script)
    assert (os.getcwd(), dict(os.environ), list(sys.argv)) == before
    assert os.listdir(script.parent) == ["a_script.py"]


def test_a_cell_that_fails_fails_the_site(script):
    script.write_text(SCRIPT + "\n# %%\nassert f(1) == 3\n")
    with pytest.raises(AssertionError) as caught:
        rendered(script)
    assert "a_script.py, cell 4" in str(caught.traceback[-1].path)
