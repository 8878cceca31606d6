"""Steps of a checkpoint: candidates of a selection with their scores, tables of a test of k."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.errors import FileError
from pyromix.fitting.bundle import fit_of_step, step_of_fit
from pyromix.fitting.record import Fit
from pyromix.fitting.resuming import checkpoint_of_table
from pyromix.formats.checkpoint import Checkpoint, Step, digest
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import MixtureSpec

Scored = tuple[Fit, Sequence[Tensor]]
"""The fit of a candidate, and the log-likelihood of every held-out row, fold by fold."""

Observed = tuple[float, float, BayesNetMixture]
"""Of a test: the gain on the table, the log-likelihood of k - 1 sources, and their mixture."""

SCORES, STATE = "scores", "state"


def checkpoint_of_selection(
    path: str | PathLike[str] | None,
    spec: MixtureSpec,
    counts: Counts,
    generator: torch.Generator,
    asked: Mapping[str, Any],
) -> Checkpoint:
    """Open the checkpoint of a selection; nothing is kept without a path.

    Args:
        path: of the file.
        spec: the graph.
        counts: the table.
        generator: as it stands before anything is drawn.
        asked: further options by name.

    Raises:
        FileError: it is damaged, or of another table, graph or option.
    """
    asked = {"random_state": digest(generator.get_state()), **asked}
    return checkpoint_of_table(path, "select_n_sources", spec, counts, asked)


def checkpoint_of_test(
    path: str | PathLike[str] | None,
    spec: MixtureSpec,
    counts: Counts,
    asked: Mapping[str, Any],
) -> Checkpoint:
    """Open the checkpoint of a likelihood-ratio test; nothing is kept without a path.

    Args:
        path: of the file.
        spec: the graph, and k.
        counts: the table.
        asked: further options by name.

    Raises:
        FileError: it is damaged, or of another table, graph or option.
    """
    asked = {"n_sources": spec.n_sources, **asked}
    return checkpoint_of_table(path, "bootstrap_lrt", spec, counts, asked)


def scored_step(
    kept: Checkpoint,
    spec: MixtureSpec,
    counts: Counts,
    generator: torch.Generator,
    compute: Callable[[], Scored],
) -> Scored:
    """Return one candidate, from the checkpoint where it is there; the generator goes on after it.

    Args:
        kept: the checkpoint.
        spec: of the candidate.
        counts: the table of its fit.
        generator: of its starts.
        compute: fits it and scores it.

    Raises:
        FileError: the step is damaged, or cannot be written.
    """

    def pack(found: Scored) -> Step:
        tensors, fields = step_of_fit(found[0])
        scores = {f"{SCORES}/{i}": score for i, score in enumerate(found[1])}
        return {**tensors, **scores, STATE: generator.get_state()}, fields

    def unpack(tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> Scored:
        n = sum(name.startswith(SCORES) for name in tensors)
        scores = [tensors[f"{SCORES}/{i}"].to(counts.device) for i in range(n)]
        if not n or any(score.ndim != 1 or not bool(score.isfinite().all()) for score in scores):
            raise FileError("expected finite scores of rows, found none, or others")
        found = fit_of_step(spec, counts, tensors, fields)
        generator.set_state(tensors[STATE])
        return found, scores

    return kept.step(f"k = {spec.n_sources}", compute, pack, unpack)


def observed_step(
    kept: Checkpoint, spec: MixtureSpec, device: torch.device, compute: Callable[[], Observed]
) -> Observed:
    """Return what the table itself says in a test, from the checkpoint where it is there.

    Args:
        kept: the checkpoint.
        spec: with k - 1 sources.
        device: of the mixture.
        compute: climbs.

    Raises:
        FileError: the step is damaged, or cannot be written.
    """

    def pack(found: Observed) -> Step:
        tables = {f"mixture/{i}": table for i, table in enumerate(found[2].tables)}
        return {**tables, "numbers": torch.tensor(found[:2], dtype=torch.float64)}, {}

    def unpack(tensors: Mapping[str, Tensor], _: Mapping[str, Any]) -> Observed:
        tables = [tensors[f"mixture/{i}"].to(device) for i in range(spec.n_variables + 1)]
        gain, top = tensors["numbers"].tolist()
        return gain, top, BayesNetMixture.from_tables(spec, tables)

    return kept.step("table", compute, pack, unpack)


def gains_step(
    kept: Checkpoint, numbers: range, compute: Callable[[], tuple[list[float], Any]]
) -> list[float]:
    """Return the gains on some simulated tables, from the checkpoint where they are there.

    Args:
        kept: the checkpoint.
        numbers: of the tables.
        compute: climbs; only the gains are kept.

    Raises:
        FileError: the step is damaged, or cannot be written.
    """

    def pack(gains: list[float]) -> Step:
        return {"gains": torch.tensor(gains, dtype=torch.float64)}, {}

    def unpack(tensors: Mapping[str, Tensor], _: Mapping[str, Any]) -> list[float]:
        gains = tensors["gains"]
        if gains.shape != (len(numbers),) or not bool(gains.isfinite().all()):
            raise FileError(f"expected {len(numbers)} finite gains, found others")
        return gains.tolist()

    return kept.step(f"tables {numbers[0]}", lambda: compute()[0], pack, unpack)
