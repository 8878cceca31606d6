"""Try the lowest and the newest versions that pyproject.toml allows, each in a throw-away venv.

    python tests/studies/versions.py lowest [TORCH]      or newest

Every declared dependency is pinned to its minimum, or left to pip; TORCH replaces the requirement
of torch, as in ``torch==2.13.0``, where the build for CPUs of the minimum cannot be had. Then a
quick part of the tests runs against the installed package. Ends with 0 where all pass.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]

QUICK = (
    "test_cli",
    "test_mistakes",
    "test_streams",
    "test_frames",
    "test_foreign",
    "test_formats",
    "test_pgmpy_bridge",
    "test_from_pyro",
    "test_pyro_bridge",
    "test_plots",
    "test_fit",
    "test_errors",
)
"""Files of tests that touch every dependency: command line, tables, networks, plots, Pyro."""

TOOLS = ("pytest", "hypothesis", "pytest-benchmark", "polars", "beartype")

CPU = "https://download.pytorch.org/whl/cpu"
"""Where builds of torch without CUDA are."""


def requirements(which: str, torch: str) -> list[str]:
    """What is installed: all that is declared, the extra for parquet among it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["parquet"]]
    if torch:
        declared = [torch if line.startswith("torch>") else line for line in declared]
    return [line.replace(">=", "==") for line in declared] if which == "lowest" else declared


def main(which: str, torch: str = "") -> int:
    """Install, test, and say what was installed."""
    wanted = requirements(which, torch)
    with tempfile.TemporaryDirectory(prefix=f"pyromix-{which}-") as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        install = [python, "-m", "pip", "install", "--quiet", "--upgrade"]
        if not torch:  # its build for CPUs first: what follows is content with it
            first = next(line for line in wanted if line.startswith("torch"))
            subprocess.run([*install, "--extra-index-url", CPU, first], check=True)
        subprocess.run([*install, *wanted, *TOOLS, str(ROOT)], check=True)
        listed = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True,
                                check=True).stdout  # fmt: skip
        names = {line.split("=")[0].split(">")[0].lower() for line in wanted}
        print(*(x for x in listed.splitlines() if x.split("==")[0].lower() in names), sep="\n")
        tests = [str(ROOT / "tests" / f"{name}.py") for name in QUICK]
        # warnings of other versions are no errors, those of ours stay what they are
        run = [python, "-m", "pytest", "-q", "-m", "not slow", "-W", "default", "-p",
               "no:cacheprovider", "-o", "addopts=", *tests]  # fmt: skip
        return subprocess.run(run, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
