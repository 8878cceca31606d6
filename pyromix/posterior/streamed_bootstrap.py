"""Replicates of a fit to a stream of rows: all of them climb in the same passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from pyromix.errors import FileError
from pyromix.estimate.ascent import Options, ascend
from pyromix.estimate.pooling import Pooling
from pyromix.estimate.starts import batch_of, inside_by_rows
from pyromix.estimate.step import Point
from pyromix.estimate.streamed import Batches, StreamedMap
from pyromix.estimate.streamed_replicates import Pass, ReplicatedMap
from pyromix.exact.likelihood import ExpectedCounts
from pyromix.formats.checkpoint import NOT_KEPT, Step, checkpoint_of, digest
from pyromix.model.arguments import one_of, whole
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import RandomState, numpy_generator
from pyromix.posterior.bootstrap import (
    BOOTSTRAP_KINDS,
    ROUNDS_OF_POOLING,
    Replicates,
    learned_anew,
)
from pyromix.posterior.chains import check_draws
from pyromix.posterior.draws import matched

SUMS = ("log_likelihood", "sources", "cells")


def replicate_stream(
    stream: Batches,
    n_rows: float,
    identity: str,
    mixture: BayesNetMixture,
    row_masses: Sequence[Tensor],
    n: int,
    *,
    kind: str = "multinomial",
    prior: PseudoCounts,
    random_state: RandomState = 0,
    max_iter: int = 2000,
    tol: float = 1e-8,
    checkpoint: str | PathLike[str] | None = None,
) -> Replicates:
    """Estimate from n reweightings of a stream, each started at the estimate.

    Like ``bootstrap.replicate``, with weights whose sum is not fixed (``streamed_replicates``), and
    one pass over the rows a step, of all replicates that have not converged.

    Args:
        stream: starts a pass; columns have the order of the mixture.
        n_rows: sum of the weights.
        identity: tells the table from others.
        mixture: the estimate, without batch axes.
        row_masses: of the estimate: its zeros get one row to move by.
        n: how many; memory holds as many mixtures.
        kind: ``"multinomial"`` or ``"dirichlet"``.
        prior: pseudo-counts of the estimator.
        random_state: of the weights.
        max_iter: limit on steps, which are passes.
        tol: nats per row at which EM stops.
        checkpoint: a file to which every pass is written; where it is there, the work goes on.

    Raises:
        QueryError: an unknown kind, or n is no positive integer.
        FileError: the checkpoint is damaged, of another table, estimate or option, or cannot be
            written to.
        DataError: the engine fails, the table changes, or its rows come in another order.
    """
    one_of("kind", kind, BOOTSTRAP_KINDS)
    n = whole("the number of replicates", n, 1)
    spec = mixture.spec
    check_draws(spec, n, "take fewer replicates")
    seed = int(numpy_generator(random_state).integers(2**62))
    kept = NOT_KEPT
    if checkpoint is not None:
        asked = {
            "table": identity,
            "estimate": digest(*mixture.tables),
            "prior": digest(*prior.tables),
            "n": n,
            "kind": kind,
            "random_state": str(seed),
            "max_iter": max_iter,
            "tol": tol,
        }
        kept = checkpoint_of(checkpoint, "bootstrap of a stream", asked)

    def keep(number: int, compute: Callable[[], Pass]) -> Pass:
        return kept.step(f"pass {number}", compute, _packed, _unpacked)

    em = ReplicatedMap.drawn(spec, stream, n_rows, prior, kind, seed, n, keep)
    options = Options(max_iter, tol, True, None)
    start = inside_by_rows(mixture, row_masses, 1.0)
    found = ascend(em, Point.of(batch_of(*[start] * n)), options)
    if prior.learned:
        pooling = Pooling(spec, mixture.device)
        plain = StreamedMap.of(spec, stream, n_rows, prior)
        everything = plain.expected_cells(Point.of(batch_of(mixture)))
        among = pooling.among_parent_states(pooling.together(everything))
        for _ in range(ROUNDS_OF_POOLING):
            own = learned_anew(pooling, em.expected_cells(found.point), prior, among)
            found = ascend(replace(em, prior=own), found.point, options)
    mixtures, _, ambiguous = matched(mixture, found.point.mixture(spec))
    return Replicates(mixtures, found.converged, ambiguous)


def _packed(found: Pass) -> Step:
    sums, checksum = found
    return {name: getattr(sums, name) for name in SUMS}, {"checksum": checksum}


def _unpacked(tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> Pass:
    checksum = fields["checksum"]
    if not isinstance(checksum, int) or tensors["cells"].dtype != torch.float64:
        raise FileError("expected the sums of a pass")
    return ExpectedCounts(*(tensors[name] for name in SUMS)), checksum
