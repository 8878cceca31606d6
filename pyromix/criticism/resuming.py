"""Candidates of a selection as steps of a checkpoint: the fit of each, and its held-out scores."""

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
from pyromix.formats.checkpoint import NOT_KEPT, Checkpoint, Step, checkpoint_of, digest
from pyromix.model.spec import MixtureSpec

Scored = tuple[Fit, Sequence[Tensor]]
"""The fit of a candidate, and the log-likelihood of every held-out row, fold by fold."""

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
    if path is None:
        return NOT_KEPT
    edges = (
        spec.variables,
        spec.states,
        spec.parents,
        sorted(spec.uninfluenced),
        spec.source,
        *spec.coarse,
    )
    return checkpoint_of(
        path,
        "select_n_sources",
        {
            "table": digest(counts.rows, counts.weights),
            "graph": repr(edges),
            "random_state": digest(generator.get_state()),
            **{name: repr(value) for name, value in asked.items()},
        },
    )


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
