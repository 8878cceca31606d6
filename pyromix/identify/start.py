"""The moment stage of the front door: from data or a population to a mixture to start from."""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import replace

from torch import Tensor

from pyromix.data.asking import Asked, asked
from pyromix.data.counts import Counts
from pyromix.data.moments import MomentSource, Rows
from pyromix.data.thinning import thinned
from pyromix.errors import PlanError
from pyromix.exact.likelihood import log_prob
from pyromix.exact.rows import CellIndex
from pyromix.identify.identifiers import Identifier, chosen_by_graph
from pyromix.identify.stage import MomentStage, MomentStart
from pyromix.identify.views.patterns import all_assignments
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import Note, NoteKind
from pyromix.model.randomness import RandomState
from pyromix.model.spec import MixtureSpec
from pyromix.model.status import Status

ROWS_OF_A_START = 30_000
"""Rows that moments are taken of, where EM on all rows follows and a table has more distinct ones:
their noise is small beside the basin of the optimum."""

PSEUDO_ROWS = 1.0
"""Rows of the uniform distribution that every CPT row is mixed with.

A probability that came out as zero would stay zero, and forbid rows that occur.
"""


def start_from_moments(
    moments: MomentSource,
    random_state: RandomState = 0,
    *,
    spec: MixtureSpec | None = None,
    strict: bool = False,
    identifier: Identifier | None = None,
    index: CellIndex | None = None,
) -> MomentStart:
    """Recover a mixture from the moments of its variables.

    Args:
        moments: data, or a population.
        random_state: of the splits tried and of random combinations.
        spec: the graph and k; what the data carry when left out.
        strict: raise where moments do not determine the mixture.
        identifier: the way; by default the one that suits the graph.
        index: of the rows, where the moments are those of a table and it has been made.

    Returns:
        The mixture, mixed with ``PSEUDO_ROWS`` uniform rows per CPT row unless moments are exact.

    Raises:
        PlanError: strict, and the way has no plan for the graph.
        RankError: strict, and the k-th singular value lies under the noise floor.
        SeparationError: strict, and sources are equal, or eigenvalues complex.
        IdentificationError: strict, and any other outcome.
    """
    moments = asked(moments, spec)
    way = chosen_by_graph(moments.spec) if identifier is None else identifier
    try:
        plan = way.plan(moments.spec)
    except PlanError as error:
        if strict:
            raise
        note = Note(NoteKind.UNSOLVED, str(error))
        return MomentStart(None, MomentStage(Status.NO_PLAN, math.nan, (), (note,)))
    found = way.solve(moments, plan, random_state, strict=strict)
    # Exact moments are no table: zeros are zeros.
    if found.mixture is None or moments.exact:
        return found
    if index is not None:
        counts = moments.as_counts()
        mixture = _smoothed(found.mixture, moments, _rows_behind(counts, index))
        log_likelihood = float(counts.weights @ log_prob(mixture, index))
        return MomentStart(mixture, replace(found.stage, log_likelihood=log_likelihood))
    mixture = _smoothed(found.mixture, moments)
    if not isinstance(moments, Rows):
        return MomentStart(mixture, found.stage)
    log_likelihood = math.fsum(
        float(weights @ log_prob(mixture, rows))
        for rows, weights in moments.blocks(range(mixture.spec.n_variables))
    )
    return MomentStart(mixture, replace(found.stage, log_likelihood=log_likelihood))


def start_for_em(
    counts: Counts,
    spec: MixtureSpec,
    random_state: RandomState = 0,
    *,
    identifier: Identifier | None = None,
    index: CellIndex | None = None,
) -> MomentStart:
    """The same where EM on all rows follows: from rows drawn at random where a table has many.

    Where these do not determine the mixture, all rows are asked.

    Args:
        counts: the table, columns in the order of the spec.
        spec: the graph and k.
        random_state: as for ``start_from_moments``, and of the rows drawn.
        identifier: as for ``start_from_moments``; of plans the first that is good enough.
        index: of the rows, where it has been made.
    """
    way = chosen_by_graph(spec, settle=True) if identifier is None else identifier
    options = {"spec": spec, "identifier": way}
    if counts.n_patterns <= 2 * ROWS_OF_A_START:
        return start_from_moments(counts, random_state, index=index, **options)
    some = thinned(counts, ROWS_OF_A_START, random_state)
    found = start_from_moments(some, random_state, **options)
    if found.mixture is None or not found.stage.ok:
        return start_from_moments(counts, random_state, index=index, **options)
    rows = counts.rows if index is None else index
    value = float(counts.weights @ log_prob(found.mixture, rows))
    drawn = found.stage.n_drawn or ROWS_OF_A_START
    stage = replace(found.stage, log_likelihood=value, n_drawn=drawn)
    return MomentStart(found.mixture, stage)


def _rows_behind(counts: Counts, index: CellIndex) -> tuple[Tensor, ...] | None:
    """Number of rows behind each CPT row, per vertex, in one pass; None where cells are missing."""
    if not counts.complete:
        return None
    sizes = [block.n_rows for block in index.blocks]
    parts = counts.weights.unsqueeze(1).split(sizes)
    each = (block.scatter_sums(part) for block, part in zip(index.blocks, parts, strict=True))
    units = functools.reduce(operator.add, each)
    cells = index.cell_counts(units, units[: index.axis.n_cells])
    rows = index.axis.rows(counts.device).scatter_sums(cells) / counts.weight_of_a_row
    return tuple(mass[0] for mass in index.axis.unstack_rows(rows))


def _noise(moments: Asked, parents: tuple[int, ...]) -> Tensor:
    """Number of rows behind each joint state of some vertices."""
    rows = moments.noise(parents, all_assignments(moments.spec.joint_shape(parents)))
    return rows.reshape([moments.spec.cards[p] for p in parents])


def _smoothed(
    mixture: BayesNetMixture, moments: Asked, behind: tuple[Tensor, ...] | None = None
) -> BayesNetMixture:
    """Mix every CPT row with rows of the uniform distribution, relative to the rows behind it."""
    spec, n_rows = mixture.spec, moments.n_rows
    weights = mixture.weights * n_rows + PSEUDO_ROWS
    weights = weights / weights.sum()
    cpts = []
    for v, cpt in enumerate(mixture.cpts):
        parents = spec.parents[v]
        rows = _noise(moments, parents) if behind is None else behind[v]
        mine = weights.amin().expand_as(weights) if v in spec.uninfluenced else weights
        own = mine.reshape(-1, *(1 for _ in parents)) * rows
        share = (PSEUDO_ROWS / (PSEUDO_ROWS + own)).unsqueeze(-1)
        cpts.append((1 - share) * cpt + share / cpt.shape[-1])
    return replace(mixture, weights=weights, cpts=tuple(cpts))
