"""Tests of shapes mean something only where calls are checked: `make shapes` turns that on."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if config.getoption("jaxtyping_packages") else True
