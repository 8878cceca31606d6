"""The built wheel, installed into an empty environment and used from outside the checkout."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "tests" / "scripts").glob("*.py"))

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
import runpy, sys, sysconfig
import pyromix as px
print("from", px.__file__)
print("sets", [px.datasets.load(name)[2].name for name in px.datasets.names()])
model, frame, _ = px.datasets.load("hidden-group")
fit = px.fit(model, frame, 2, n_init=1, prior=None)
fit.report("a.html", sensitivity=False, show=False)
for script in sys.argv[1:]:
    runpy.run_path(script, run_name="__main__")
    print("ran", script)
sys.argv = ["pyromix", "fit", "--help"]
runpy.run_path(sysconfig.get_path("scripts") + "/pyromix", run_name="__main__")
"""


@pytest.fixture(scope="module")
def said(python, tmp_path_factory) -> tuple[str, Path]:
    """What one process prints that does all a user may do first, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("outside")
    return run(python, "-c", EVERYTHING, *SCRIPTS, cwd=folder), folder


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
    body = script.read_text().split('"""', 2)[2]
    assert len([line for line in body.splitlines() if line.strip()]) <= 16
    assert f"ran {script}" in said[0]


def test_a_report_is_written(said):
    assert "</html>" in (said[1] / "a.html").read_text()
