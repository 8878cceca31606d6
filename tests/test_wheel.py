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
    build = ("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
    run(sys.executable, *build, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", folder / "empty", cwd=folder)
    interpreter = folder / "empty" / "bin" / "python"
    run(interpreter, "-m", "pip", "install", "--no-deps", wheel, cwd=folder)
    (site,) = (folder / "empty" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return interpreter


def test_the_installed_package_is_not_the_checkout(python, tmp_path):
    where = run(python, "-c", "import pyromix; print(pyromix.__file__)", cwd=tmp_path)
    assert str(ROOT) not in where


def test_every_data_set_is_found(python, tmp_path):
    code = "import pyromix as px; print([px.datasets.load(n)[2].name for n in px.datasets.names()])"
    assert "hidden-group" in run(python, "-c", code, cwd=tmp_path)


def test_the_console_script_is_installed(python, tmp_path):
    assert "--n-sources" in run(python.parent / "pyromix", "fit", "--help", cwd=tmp_path)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_of_fifteen_lines_runs(python, tmp_path, script):
    body = script.read_text().split('"""', 2)[2]
    assert len([line for line in body.splitlines() if line.strip()]) <= 16
    run(python, script, cwd=tmp_path)


def test_a_report_is_written(python, tmp_path):
    code = (
        "import pyromix as px; model, frame, _ = px.datasets.load('hidden-group')\n"
        "px.fit(model, frame, 2, n_init=1, prior=None).report('a.html', sensitivity=False)"
    )
    run(python, "-c", code, cwd=tmp_path)
    assert "</html>" in (tmp_path / "a.html").read_text()
