"""One torch thread, float64 where a test builds tensors, and a clean Pyro store for each test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

# The same structures in every run: what passes here passes there.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def _seed() -> None:
    """What a test draws from the global generator does not hang on the tests before it."""
    torch.manual_seed(0)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate", action="store_true", help="write the files under tests/golden anew"
    )


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Compare the facts of a text with a file under tests/golden, or write it (``make golden``).

    Called with the name of the file, the text, and a comparison from ``golden_text``.
    """
    regenerate = request.config.getoption("--regenerate")

    def compare(name: str, text: str, differences: Callable[[str, str], list[str]]) -> None:
        path = GOLDEN / name
        text = "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"
        if regenerate:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.is_file(), f"{path} is missing: run `make golden` and look at what it wrote"
        wrong = differences(path.read_text(), text)
        assert not wrong, f"{path} differs: if it should, run `make golden`: {wrong}\n{text}"

    return compare


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="no CUDA device on this machine")
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(skip)
