"""Help of the command line: golden facts, and every example in it runs.

``make golden`` writes the texts anew.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pandas as pd
import pytest
from golden_text import help_differences

import pyromix as px
from pyromix.cli import app, main

ROOT = Path(__file__).parent.parent
COMMANDS = [found.callback.__name__ for found in app.registered_commands if found.callback]


@pytest.fixture
def run(monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process and return its exit code, stdout and stderr."""
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "96")

    def call(arguments: list[str], folder: Path) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as caught:
            main(arguments)
        return int(caught.value.code or 0), out.getvalue(), err.getvalue()

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The files that examples name: a table, a network, a fit, coins."""
    path = tmp_path_factory.mktemp("help")
    _, frame, card = px.datasets.load("hidden-group")
    shutil.copy(card.folder / "network.bif", path / "net.bif")
    frame.to_csv(path / "data.csv", index=False)
    units = pd.read_csv(px.datasets.read_card("thumbtacks").folder / "data.csv")
    units.assign(x=units["successes"], n=units["trials"]).to_csv(path / "units.csv", index=False)
    fit = px.fit(path / "net.bif", frame, 2, n_init=2, prior=None)
    fit.save(path / "fit.pyromix")
    return path


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_offers_what_it_did(run, golden, tmp_path, name):
    code, out, _ = run([*([name] if name else []), "--help"], tmp_path)
    assert code == 0
    golden(f"help/{name or 'pyromix'}.txt", out, help_differences)


def examples() -> list[str]:
    found = [
        re.findall(r"Example: (pyromix .*)", command.callback.__doc__ or "")
        for command in app.registered_commands
        if command.callback
    ]
    return [line for lines in found for line in lines]


def test_every_command_but_the_demo_has_an_example():
    named = {shlex.split(line)[1] for line in examples()}
    assert named == set(COMMANDS) - {"demo"}


@pytest.mark.parametrize("line", examples())
def test_every_example_of_the_help_runs(run, folder, line):
    code, _, err = run(shlex.split(line)[1:], folder)
    # The example of check asks about too few variables, and is told so.
    assert code in ((0, 2) if " check " in line else (0,)), err


def test_completion_is_offered_for_commands_and_kinds(tmp_path):
    environment = {"_PYROMIX_COMPLETE": "complete_bash", "COMP_CWORD": "3"}
    environment |= {"COMP_WORDS": "pyromix plot fit.pyromix s"}
    code = "from pyromix.cli import app; app(prog_name='pyromix')"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)}, timeout=100,
    )  # fmt: skip
    assert {"spectrum", "sources"} <= set(result.stdout.split()), result.stderr
