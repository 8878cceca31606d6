"""The built wheel, installed into an empty environment and used from outside the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import pyromix as px

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(
    path for path in (ROOT / "tests" / "scripts").iterdir() if path.suffix in (".py", ".sh")
)
"""The ways in: from pgmpy, from Pyro, from latent class analysis, with a table and a drawing."""

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path) -> str:
    result = subprocess.run(
        [str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False, timeout=400
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The interpreter of an environment that holds the wheel, and sees our dependencies.

    A path file lends the dependencies of the running environment; path files inside it are not
    followed, so the editable checkout stays out of sight.
    """
    folder = tmp_path_factory.mktemp("wheel")
    build = ("-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    run(sys.executable, *build, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "empty", cwd=folder)
    interpreter = folder / "empty" / "bin" / "python"
    install = ("-m", "pip", "--python", interpreter, "install", "--no-deps", "--no-compile", wheel)
    run(sys.executable, *install, cwd=folder)
    (site,) = (folder / "empty" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return interpreter


EVERYTHING = """
import ast, contextlib, io, json, pathlib, runpy, shlex, shutil, sys, sysconfig, time
start = time.perf_counter()
import pyromix as px
from pyromix.cli import main

def timed(name, what, run):
    begin = time.perf_counter()
    found = run()
    print(f"step {name}: {time.perf_counter() - begin:.2f} s: {what}")
    return found

def python(path):
    "Run a script statement by statement."
    names = {"__name__": "__main__"}
    for node in ast.parse(path.read_text()).body:
        code = compile(ast.Module([node], []), str(path), "exec")
        timed(path.stem, ast.unparse(node).splitlines()[0][:80], lambda: exec(code, names))

def shell(path):
    "Run the commands of a script, in this process: torch is imported once."
    for line in path.read_text().splitlines():
        command, *arguments = shlex.split(line, comments=True) or [""]
        if command == "pyromix":
            said = io.StringIO()
            code = timed(path.stem, line[:80], lambda: command_ends(arguments, said))
            print(json.dumps({"command": line, "code": code, "said": said.getvalue()}))

def command_ends(arguments, said):
    try:
        with contextlib.redirect_stdout(said):
            main(arguments)
    except SystemExit as end:
        return end.code

print(f"step import: {time.perf_counter() - start:.2f} s: import pyromix")
print("from", px.__file__)
print("sets", [px.datasets.load(name)[2].name for name in px.datasets.names()])
_, frame, card = px.datasets.load("hidden-group")
frame.to_csv("data.csv", index=False)
shutil.copy(card.folder / "network.bif", "drawing.bif")
for script in map(pathlib.Path, sys.argv[1:]):
    (python if script.suffix == ".py" else shell)(script)
    print("ran", script)
sys.argv = ["pyromix", "fit", "--help"]
runpy.run_path(sysconfig.get_path("scripts") + "/pyromix", run_name="__main__")
"""


@pytest.fixture(scope="module")
def said(python, tmp_path_factory) -> tuple[str, Path]:
    """What one process prints that does all a user may do first, and the folder it ran in.

    ``pytest -s`` shows the wall time of each step.
    """
    folder = tmp_path_factory.mktemp("outside")
    found = run(python, "-c", EVERYTHING, *SCRIPTS, cwd=folder)
    steps = [line for line in found.splitlines() if line.startswith("step ")]
    sys.stdout.write("\n".join(["", *steps, ""]))
    return found, folder


def test_the_installed_package_is_not_the_checkout(said):
    (where,) = [line for line in said[0].splitlines() if line.startswith("from ")]
    assert str(ROOT) not in where


def test_every_data_set_is_found(said):
    (found,) = [line for line in said[0].splitlines() if line.startswith("sets ")]
    assert all(repr(path.parent.name) in found for path in ROOT.glob("models/*/card.md"))


def test_the_console_script_is_installed_for_this_interpreter_and_runs(python, said):
    assert (python.parent / "pyromix").read_text().startswith(f"#!{python}\n")
    assert "--n-sources" in said[0].rpartition("ran ")[2]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_of_fifteen_lines_runs(said, script):
    lines = script.read_text().rpartition('"""')[2].splitlines()
    assert len([line for line in lines if line.strip()]) <= 16
    assert f"ran {script}" in said[0]
    assert sum(line.startswith(f"step {script.stem}: ") for line in said[0].splitlines()) >= 5


def test_commands_end_well_and_write_fit_checkpoint_and_letter(said):
    ends = [json.loads(x) for x in said[0].splitlines() if x.startswith('{"command"')]
    assert [end["code"] for end in ends] == [0] * 5
    (effect,) = (json.loads(end["said"]) for end in ends if " effect " in end["command"])
    (better,) = (c for c in effect["differences"]["do"] if c["state"] == "better")
    assert better["low"] < px.datasets.read_card("hidden-group").truth["do"] < better["high"]
    assert "</html>" in (said[1] / "letter.html").read_text()
    assert {"fit.pyromix", "fit.checkpoint"} <= {path.name for path in said[1].iterdir()}
