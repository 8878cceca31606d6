"""Climbs of EM, and what held-out rows choose, as steps of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.errors import FileError
from pyromix.estimate.em import climb
from pyromix.estimate.restarts import Climber
from pyromix.estimate.result import EMResult, Ends
from pyromix.estimate.step import WeightedRows
from pyromix.fitting.typed import checked
from pyromix.formats.checkpoint import NOT_KEPT, Checkpoint, Step, checkpoint_of, digest
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import MixtureSpec

NUMBERS = ("log_likelihood", "objective", "total_weight", "gain", "reached_mass")
COUNTED = {"n_iter": int, "n_identified": int, "n_raced": int, "converged": bool, "saddle": bool}
FOUND = {"duplicates": tuple[tuple[int, int], ...], "empty": tuple[int, ...]}
STARTS = ("start_log_likelihoods", "start_objectives")

Chosen = tuple[EMResult, PseudoCounts, str, tuple[tuple[str, float], ...]]
"""EM under the prior that was chosen, the prior, its name, and each candidate's held-out score."""


def checkpoint_of_fit(
    path: str | PathLike[str] | None,
    spec: MixtureSpec,
    counts: Counts,
    state: Tensor,
    asked: Mapping[str, Any],
) -> Checkpoint:
    """Open the checkpoint of a fit; nothing is kept without a path.

    Args:
        path: of the file.
        spec: the graph, and k.
        counts: the table.
        state: of the generator before anything is drawn.
        asked: further options by name.

    Raises:
        FileError: it is damaged, or of another table, graph or option.
    """
    asked = {
        "n_sources": spec.n_sources,
        "source_states": spec.source_states,
        "random_state": digest(state),
        **asked,
    }
    return checkpoint_of_table(path, "fit", spec, counts, asked)


def checkpoint_of_table(
    path: str | PathLike[str] | None,
    work: str,
    spec: MixtureSpec,
    counts: Counts,
    asked: Mapping[str, Any],
) -> Checkpoint:
    """Open the checkpoint of some work on a table and a graph; nothing is kept without a path.

    Args:
        path: of the file.
        work: name of the work.
        spec: the graph; of k and the names of sources say in ``asked`` what matters.
        counts: the table.
        asked: further options by name.

    Raises:
        FileError: it is damaged, or of another table, graph or option.
    """
    if path is None:
        return NOT_KEPT
    graph = (
        spec.variables,
        spec.states,
        spec.parents,
        sorted(spec.uninfluenced),
        spec.source,
        *spec.coarse,
    )
    return checkpoint_of(
        path,
        work,
        {
            "table": digest(counts.rows, counts.weights),
            "graph": repr(graph),
            **{name: repr(value) for name, value in asked.items()},
        },
    )


def kept_climber(kept: Checkpoint) -> Climber:
    """Return EM that takes what it found before from a checkpoint, climb after climb."""
    if not kept.kept:
        return climb
    done: list[int] = []

    def run(counts: WeightedRows, starts: BayesNetMixture, **options: Any) -> EMResult:
        done.append(len(done) + 1)
        compute = partial(climb, counts, starts, **options)
        read = partial(_result_of, starts.spec, starts.device)
        return kept.step(f"climb {done[-1]}", compute, _step_of, read)

    return run


def chosen_step(
    kept: Checkpoint,
    spec: MixtureSpec,
    device: torch.device,
    generator: torch.Generator,
    compute: Callable[[], Chosen],
) -> Chosen:
    """Return what held-out rows chose, from the checkpoint where it is there.

    Args:
        kept: the checkpoint.
        spec: of the fit.
        device: of its tables.
        generator: of the folds; it goes on after them.
        compute: chooses.

    Raises:
        FileError: the step is damaged, or cannot be written.
    """

    def pack(chosen: Chosen) -> Step:
        result, prior, name, held_out = chosen
        tensors, fields = _step_of(result)
        tables = {f"prior/{i}": table for i, table in enumerate(prior.tables)}
        scores = torch.tensor([score for _, score in held_out], dtype=torch.float64)
        more = {"name": name, "learned": prior.learned, "candidates": [n for n, _ in held_out]}
        state = {"state": generator.get_state(), "held_out": scores}
        return {**tensors, **tables, **state}, {**fields, **more}

    def unpack(tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> Chosen:
        result = _result_of(spec, device, tensors, fields)
        tables = [tensors[f"prior/{i}"].to(device) for i in range(spec.n_variables + 1)]
        learned = checked(tuple[float, ...], fields["learned"], "learned")
        prior = PseudoCounts.from_tables(tables, learned)
        names = checked(tuple[str, ...], fields["candidates"], "candidates")
        held_out = tuple(zip(names, tensors["held_out"].tolist(), strict=True))
        generator.set_state(tensors["state"])
        return result, prior, checked(str, fields["name"], "name"), held_out

    return kept.step("prior", compute, pack, unpack)


def _step_of(result: EMResult) -> Step:
    """Tensors and fields of a climb, which has said nothing yet."""
    numbers = [getattr(result, name) for name in NUMBERS]
    tensors = {
        "numbers": torch.tensor(numbers, dtype=torch.float64),
        **{name: getattr(result, name) for name in STARTS},
        **{f"mixture/{i}": t for i, t in enumerate(result.mixture.tables)},
        **{f"row_masses/{v}": t for v, t in enumerate(result.row_masses)},
        **{f"ends/{i}": t for i, t in enumerate(result.ends.mixtures.tables)},
        "ends/objectives": result.ends.objectives,
        "ends/converged": result.ends.converged,
    }
    return tensors, {name: getattr(result, name) for name in (*COUNTED, *FOUND)}


def _result_of(
    spec: MixtureSpec,
    device: torch.device,
    tensors: Mapping[str, Tensor],
    fields: Mapping[str, Any],
) -> EMResult:
    """The inverse, held against the structure."""
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    n = spec.n_variables
    mixture = BayesNetMixture.from_tables(spec, [tensors[f"mixture/{i}"] for i in range(n + 1)])
    ends = BayesNetMixture.from_tables(spec, [tensors[f"ends/{i}"] for i in range(n + 1)])
    masses = tuple(tensors[f"row_masses/{v}"] for v in range(n))
    lengths = [len(tensors[name]) for name in STARTS]
    shapes = [tuple(m.shape) for m in masses]
    fits = mixture.batch_shape == () and shapes == [spec.cpt_shape(v)[:-1] for v in range(n)]
    if not fits or lengths[0] != lengths[1] or len(tensors["numbers"]) != len(NUMBERS):
        raise FileError(f"expected one estimate of {n} variables with as many ends as starts")
    plain = {name: checked(hint, fields[name], name) for name, hint in (COUNTED | FOUND).items()}
    return EMResult(
        mixture=mixture,
        **dict(zip(NUMBERS, tensors["numbers"].tolist(), strict=True)),
        **{name: tensors[name] for name in STARTS},
        **plain,
        row_masses=masses,
        ends=Ends(ends, tensors["ends/objectives"], tensors["ends/converged"].bool()),
        notes=(),
    )
