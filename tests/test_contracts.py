"""What the library promises as a whole: public names, lazy imports, layers, docstrings, README."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyromix as px

ROOT = Path(__file__).parent.parent

CONTRACT = {
    "fit": ["model", "data", "n_sources", "method", "n_init", "prior", "sample_weight", "missing",
            "state_names", "device", "random_state", "show_progress"],
    "fit_product": ["data", "n_sources"],
    "query": ["mixture", "variables", "do", "evidence", "engine"],
    "read": ["path", "source"],
    "write": ["mixture", "path"],
    "load": ["path"],
    "population": ["mixture"],
    "random_mixture": ["spec", "random_state", "separation"],
    "match_sources": ["reference", "mixture"],
    "from_pgmpy": ["model", "n_sources"],
    "mixture_from_pgmpy": ["bn", "source"],
    "MixtureEstimator": ["n_sources", "latent_card"],
}  # fmt: skip

METHODS = {
    "query": ["variables", "do", "evidence", "require"],
    "effect": ["treatment", "outcome", "contrast"],
    "predict_proba": ["data"],
    "score": ["data"],
    "refine": ["data", "method"],
    "simulate": ["n_samples", "do", "evidence", "include_latents", "random_state"],
    "to_pgmpy": [],
    "to_pyro": [],
    "init_loc_fn": [],
    "save": ["path"],
}


@pytest.mark.parametrize(("name", "arguments"), CONTRACT.items())
def test_public_function_takes_the_arguments_of_the_contract(name, arguments):
    assert set(arguments) <= set(inspect.signature(getattr(px, name)).parameters)


@pytest.mark.parametrize(("name", "arguments"), METHODS.items())
def test_fit_method_takes_the_arguments_of_the_contract(name, arguments):
    assert set(arguments) <= set(inspect.signature(getattr(px.MixtureFit, name)).parameters)


def test_every_public_name_exists_and_is_listed():
    assert all(hasattr(px, name) for name in px.__all__)
    assert set(px.__all__) <= set(dir(px))


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = px.no_such_name


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_import_pulls_in_neither_pandas_nor_pgmpy_nor_pyro_and_prints_nothing():
    code = (
        "import sys, pyromix\n"
        "print([m for m in ('pandas', 'pgmpy', 'pyro', 'matplotlib') if m in sys.modules])"
    )
    result = run(code)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")


@pytest.mark.slow
def test_import_takes_little_beyond_torch():
    code = (
        "import time; import torch, numpy, networkx, scipy.optimize\n"
        "start = time.process_time(); import pyromix; print(time.process_time() - start)"
    )
    # A second and a third time only where the first was on a busy machine.
    assert any(float(run(code).stdout) < 1.0 for _ in range(3))


def public_objects() -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name in px.__all__:
        thing = getattr(px, name)
        found.append((name, thing))
        if inspect.isclass(thing) and thing.__module__.startswith("pyromix"):
            for key, member in vars(thing).items():
                member = member.__func__ if isinstance(member, staticmethod) else member
                if not key.startswith("_") and inspect.isfunction(member):
                    found.append((f"{name}.{key}", member))
    return found


@pytest.mark.parametrize(
    ("name", "thing"), public_objects(), ids=lambda x: x if isinstance(x, str) else ""
)
def test_every_public_object_has_a_docstring(name, thing):
    assert inspect.getdoc(thing), name


def test_readme_names_the_two_commands_that_exist():
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_no_source_file_is_much_longer_than_four_hundred_lines():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "pyromix").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 420
    }
    assert long == {}
