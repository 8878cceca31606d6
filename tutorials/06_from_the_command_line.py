# %% [markdown]
# # From the command line
#
# You have a CSV and a drawing of a graph, and you do not want to write Python. The command
# `pyromix` goes the whole way. This tutorial is a script all the same, so that it can be run and
# tested: each cell below runs a command in this process, and prints what you would have typed, what
# came out, and the exit code.
#
# Cells are marked `# %%`; run them one by one in an editor, or all with
# `python tutorials/06_from_the_command_line.py`.

# %%
import contextlib
import io
import json
import os
import re
import shlex
import tempfile
from pathlib import Path

import pyromix as px
from pyromix.cli import main

os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
FOLDER = tempfile.TemporaryDirectory()
HERE = Path(FOLDER.name)


def pyromix(command, expect=0, show=True):
    """Run one command in the folder, print what happened, and return its standard output."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.chdir(HERE), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(shlex.split(command))
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    if show:
        print(f"$ pyromix {command}")
        print(out.getvalue(), end="")
        print("".join(f"(stderr) {line}\n" for line in err.getvalue().splitlines()), end="")
        print(f"[exit {code}]\n")
    assert code == expect, err.getvalue()
    return out.getvalue()


# %% [markdown]
# ## A table
#
# 5,000 patients: X is a treatment, Y how they are afterwards, Z1 and Z2 are two lab values. You
# would have the file already.

# %%
_, patients, card = px.datasets.load("hidden-group")
patients.to_csv(HERE / "data.csv", index=False)
print("".join((HERE / "data.csv").open(encoding="utf-8").readlines()[:4]))

# %% [markdown]
# ## Can it work?
#
# `check` needs a graph. Arrows are written as you would draw them. U is the thing nobody measured,
# and it points at everything; the treatment acts on the outcome.

# %%
arrows = "--edge 'U->Z1' --edge 'U->Z2' --edge 'U->X' --edge 'U->Y' --edge 'X->Y'"
pyromix(f"check data.csv {arrows} --n-sources 2 --treatment X --outcome Y")

# %% [markdown]
# Yes, for two sources: Z1, Z2 and the pair (X, Y) are three views of U. With X and Y alone it
# could not, and the exit code says so. A script can stop there.

# %%
pyromix("check data.csv --edge 'U->X' --edge 'U->Y' --edge 'X->Y' --n-sources 2", expect=2)

# %% [markdown]
# ## The graph in a file
#
# Typing arrows gets tedious. A small TOML file holds them, and the order of the states. A bif,
# xdsl or net file of another program would do as well: `--model net.bif`.

# %%
(HERE / "graph.toml").write_text(
    """edges = ["X -> Y"]
latent = "U"
variables = ["Z1", "Z2", "X", "Y"]
treatment = "X"
outcome = "Y"

[states]
Z1 = ["low", "high"]
Z2 = ["low", "high"]
X = ["control", "treated"]
Y = ["worse", "better"]
""",
    encoding="utf-8",
)

# %% [markdown]
# ## How many sources?
#
# Four answers to one question; the last line says where they agree. `--effect` adds what the choice
# comes to: the effect under each number.

# %%
pyromix("select data.csv --model graph.toml -k 1..3 --effect")

# %% [markdown]
# ## Fit
#
# `-o` keeps the fit in a bundle, which every later command reads. The second line says how many
# starts reached the best likelihood.

# %%
pyromix("fit data.csv --model graph.toml --n-sources 2 -o fit.pyromix")

# %% [markdown]
# ## Ask
#
# First what one *sees*: how are patients who were treated, and those who were not? That is
# `--evidence`. Then what one would get by *treating*: that is `--do`.

# %%
for way in ("--evidence", "--do"):
    for arm in ("control", "treated"):
        pyromix(f"do fit.pyromix --query Y {way} X={arm}")

# %% [markdown]
# Both may stand together: what if a patient with a high Z1 were treated?

# %%
pyromix("do fit.pyromix --query Y --do X=treated --evidence Z1=high")

# %% [markdown]
# The difference of two such arms, seen and under the do, is what `effect` prints, with intervals:

# %%
pyromix("effect fit.pyromix --treatment X --outcome Y")

# %% [markdown]
# `--json` is for programs. Here the difference under the do, and the truth of this planted set:

# %%
found = json.loads(pyromix("effect fit.pyromix --json", show=False))["differences"]["do"][1]
print("do", round(found["difference"], 3), "  truth", round(card.truth["do"], 3))
assert found["low"] < card.truth["do"] < found["high"]

# %% [markdown]
# ## Simulate
#
# Rows as they would be if everybody were treated, for another program.

# %%
pyromix("simulate fit.pyromix -n 1000 --do X=treated -o treated.csv")
print("".join((HERE / "treated.csv").open(encoding="utf-8").readlines()[:4]))

# %% [markdown]
# ## Exit codes
#
# | code | meaning |
# |---|---|
# | 0 | fine |
# | 1 | usage or data error |
# | 2 | not shown: `check` says "not identified", "weak", "not checked"; an answer was refused |
# | 3 | the fit did not converge |
#
# Data go to standard output and messages to standard error, so a pipe holds data only. A slip of
# the pen is a 1, and the message says what the names are:

# %%
pyromix("do fit.pyromix --query Y --do X=treatd", expect=1)
pyromix("fit data.csv --model graf.toml", expect=1)

# %% [markdown]
# A fit that was stopped too early is a 3; it is printed and kept all the same.

# %%
pyromix("fit data.csv --model graph.toml --n-sources 2 --max-iter 1", expect=3)

# %% [markdown]
# And an answer that the table does not determine is a 2, at the very question:

# %%
pair = "--edge 'U->X' --edge 'U->Y' --edge 'X->Y'"
pyromix(f"fit data.csv {pair} --n-sources 2 --n-init 3 --quiet -o pair.pyromix")
pyromix("do pair.pyromix --query Y --do X=treated", expect=2)

# %% [markdown]
# ## A page for a colleague
#
# `report` writes a letter: the answer in a sentence and a number, what it leans on, and everything
# else below, as a page, as Markdown or as text. `plot` draws one picture.

# %%
pyromix("report fit.pyromix -o report.html --treatment X --outcome Y")
pyromix("report fit.pyromix -o report.md --treatment X --outcome Y --no-sensitivity")
print("".join((HERE / "report.md").open(encoding="utf-8").readlines()[:10]))
pyromix("plot fit.pyromix effect -o effect.svg --treatment X --outcome Y")
assert all((HERE / name).stat().st_size > 0 for name in ("report.html", "effect.svg"))
commands = re.findall(r"^│ ([a-z]+)  ", pyromix("--help", show=False), re.MULTILINE)
print("commands:", ", ".join(commands))
assert {"check", "select", "fit", "do", "effect", "report", "simulate"} <= set(commands)

# %%
FOLDER.cleanup()
