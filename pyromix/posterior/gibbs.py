"""Gibbs sampling of the posterior: sources of the rows given tables, tables given sources.

With Dirichlet priors both conditionals have a closed form [J. Diebolt and C. P. Robert, Estimation
of finite mixture distributions through Bayesian sampling, JRSS B 56, 1994]:

- the rows behind one pattern are alike, so their sources are one multinomial draw with the
  responsibilities of the pattern: the cost is per distinct pattern, not per row;
- missing cells are summed out while sources are drawn, and then filled in by one multinomial draw
  over the completions of each open component and source (see ``exact/missing.py``); a missing
  vertex without observed descendants is left out of both, which leaves the posterior as it is;
- every row of every table is a Dirichlet draw; a vertex that sources share has one table.

Where pseudo-counts lie at a place that was learned from the table (``estimate.pooled_prior``), the
place is drawn too: from the Dirichlet law of the rows that all sources together have there. That is
exact where sources are alike, and hardly matters where they are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from os import PathLike
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.errors import DataError, FileError, RefinementError
from pyromix.estimate.pooled_prior import expected_cells_of
from pyromix.estimate.pooling import Pooling
from pyromix.estimate.progress import progress_bar
from pyromix.estimate.starts import batch_of, inside, jittered
from pyromix.estimate.step import EMMap, Point
from pyromix.exact.cells import CellAxis
from pyromix.exact.rows import CellIndex
from pyromix.exact.threads import one_thread_unless
from pyromix.formats.checkpoint import NOT_KEPT, Step, checkpoint_of
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import RandomState
from pyromix.model.spec import MixtureSpec
from pyromix.posterior.chains import (
    asked_of,
    check_draws,
    check_start,
    check_steps,
    check_whole,
    own_generator,
)
from pyromix.posterior.draws import LEAST_DRAWS, Posterior, relabelled
from pyromix.posterior.variates import multinomial, standard_gamma

SWEEPS_OF_A_STEP = 250
"""Sweeps after which a checkpoint is written."""

WHOLE = 1e-6
"""How far a number of rows may be from a whole one."""


def gibbs(
    counts: Counts,
    mixture: BayesNetMixture,
    *,
    prior: PseudoCounts,
    row_masses: tuple[Float[Tensor, ...], ...] | None = None,
    num_samples: int = 1000,
    warmup_steps: int = 500,
    num_chains: int = 4,
    thinning: int = 1,
    random_state: RandomState = 0,
    show_progress: bool | None = None,
    checkpoint: str | PathLike[str] | None = None,
) -> Posterior:
    """Draw mixtures from the posterior, all chains at once.

    The first chain starts at the estimate, the others around it.

    Args:
        counts: distinct rows; weights are whole numbers of rows.
        mixture: the estimate, without batch axes; gives the labels.
        prior: pseudo-counts of the estimator; the prior is their ``concentrations``.
        row_masses: as for ``draws.matched``.
        num_samples: draws of each chain that are kept.
        warmup_steps: sweeps before the first of them.
        num_chains: number of chains.
        thinning: sweeps from one kept draw to the next.
        random_state: an integer or a Generator.
        show_progress: None shows a bar on a terminal only.
        checkpoint: a file that keeps the sweeps that are done; where it is there, the chains go on
            from it.

    Returns:
        Draws of batch shape ``(num_chains, num_samples)``, labels those of the estimate.

    Raises:
        DataError: a weight is no whole number of rows, or missing cells have too many
            completions.
        SpecError: the mixture does not fit the data.
        QueryError: a number is out of range.
        RefinementError: a table left the simplex.
        FileError: the checkpoint is damaged, of another table, estimate or option, or cannot be
            written to.
    """
    check_start(counts, mixture)
    check_whole(
        {
            "num_samples": (num_samples, LEAST_DRAWS),
            "warmup_steps": (warmup_steps, 0),
            "num_chains": (num_chains, 1),
            "thinning": (thinning, 1),
        }
    )
    check_steps(num_chains * (warmup_steps + thinning * num_samples))
    check_draws(mixture.spec, num_chains * num_samples, "take fewer draws, or fewer chains")
    sweeps = Sweep.of(counts, prior, mixture.spec)
    spec = mixture.spec
    if prior.learned and spec.n_sources > 1:
        sweeps = replace(sweeps, places=Places.of(sweeps.em.axis, counts, mixture, prior))
    generator = own_generator(random_state, counts.device)
    kept = NOT_KEPT
    if checkpoint is not None:
        asked = {
            **asked_of(counts, mixture, prior, generator),
            "num_samples": num_samples,
            "warmup_steps": warmup_steps,
            "num_chains": num_chains,
            "thinning": thinning,
        }
        kept = checkpoint_of(checkpoint, "gibbs", asked)
    at = Point.of(batch_of(inside(mixture)))
    if num_chains > 1:
        others = jittered(spec, at, num_chains - 1, generator)
        at = Point(torch.cat([at.weights, others.weights]), torch.cat([at.table, others.table], 1))
    size = counts.n_patterns * spec.n_variables * num_chains * spec.n_sources
    n_sweeps = warmup_steps + thinning * num_samples
    with one_thread_unless(size), progress_bar(show_progress, n_sweeps, "Gibbs") as tell:

        def swept(numbers: range, at: Point) -> Stretch:
            drawn, likelihoods = [], []
            for sweep in numbers:
                completed = sweeps.complete(at, generator)
                if sweep > warmup_steps and (sweep - warmup_steps) % thinning == 0:
                    likelihoods.append(completed.log_likelihood)
                at = sweeps.tables(completed, generator)
                if sweep >= warmup_steps and (sweep - warmup_steps + 1) % thinning == 0:
                    drawn.append(at)
                tell(sweep + 1, "")
            return Stretch.of(at, drawn, likelihoods)

        stretches = []
        for first in range(0, n_sweeps, SWEEPS_OF_A_STEP):
            numbers = range(first, min(first + SWEEPS_OF_A_STEP, n_sweeps))
            work, read = partial(swept, numbers, at), partial(_read, at, generator)
            found = kept.step(f"sweeps from {first}", work, partial(_packed, generator), read)
            stretches.append(found)
            at = found.at
        last = sweeps.complete(at, generator).log_likelihood
    weights = torch.cat([s.weights for s in stretches], 1)
    table = torch.cat([s.table for s in stretches], 2)
    log_likelihood = torch.cat([*(s.log_likelihood for s in stretches), last[:, None]], 1)
    if not bool(table.isfinite().all() & log_likelihood.isfinite().all()):
        raise RefinementError(
            f"Gibbs: expected finite tables and likelihoods, found "
            f"{int((~log_likelihood.isfinite()).sum())} draws of likelihood zero or nan in "
            f"{num_samples} sweeps of {num_chains} chains; please report this table"
        )
    drawn = BayesNetMixture(spec, weights, sweeps.em.axis.unstack(table))
    return relabelled(mixture, drawn, log_likelihood, row_masses=row_masses)


@dataclass(frozen=True, eq=False)
class Stretch:
    """Some sweeps of all chains.

    Attributes:
        at: where the chains stand after them.
        weights: P(U) of the draws that are kept, ``(chains, draws, k)``.
        table: their CPTs, ``(cells, chains, draws, k)``.
        log_likelihood: of the draws that a sweep went on from, ``(chains, n)``.
    """

    at: Point
    weights: Float[Tensor, "chains draws k"]
    table: Float[Tensor, "cells chains draws k"]
    log_likelihood: Float[Tensor, "chains n"]

    @staticmethod
    def of(at: Point, drawn: Sequence[Point], likelihoods: Sequence[Tensor]) -> Stretch:
        """Stack what was kept, which may be nothing."""
        weights, table = at.weights[:, None][:, :0], at.table[:, :, None][:, :, :0]
        if drawn:
            weights = torch.stack([p.weights for p in drawn], 1)
            table = torch.stack([p.table for p in drawn], 2)
        nothing = at.weights[:, :0]
        likelihood = torch.stack(list(likelihoods), 1) if likelihoods else nothing
        return Stretch(at, weights, table, likelihood)


def _packed(generator: torch.Generator, found: Stretch) -> Step:
    """The tensors of a stretch, and where the generator stands after it."""
    tensors = {
        "at/weights": found.at.weights,
        "at/table": found.at.table,
        "weights": found.weights,
        "table": found.table,
        "log_likelihood": found.log_likelihood,
        "state": generator.get_state(),
    }
    return tensors, {}


def _read(
    start: Point, generator: torch.Generator, tensors: Mapping[str, Tensor], _: Mapping[str, Any]
) -> Stretch:
    """The inverse, for chains that were at some point before; the generator goes on after it."""
    device = start.weights.device
    at = Point(tensors["at/weights"].to(device), tensors["at/table"].to(device))
    names = ("weights", "table", "log_likelihood")
    found = Stretch(at, *(tensors[name].to(device) for name in names))
    like = (at.weights.shape, at.table.shape) == (start.weights.shape, start.table.shape)
    n = found.weights.shape[1]
    cells, chains, k = start.table.shape
    shapes = (found.weights.shape, found.table.shape, found.log_likelihood.shape[:1])
    if not like or shapes != ((chains, n, k), (cells, chains, n, k), (chains,)):
        raise FileError(f"expected draws of {chains} chains of {k} sources, found {shapes}")
    generator.set_state(tensors["state"])
    return found


@dataclass(frozen=True, eq=False)
class Completed:
    """Rows with their sources, and missing cells, drawn.

    Attributes:
        log_likelihood: of the point they were drawn at.
        sources: rows of each source.
        cells: rows of each CPT cell; what each source contributes, also where they share it.
    """

    log_likelihood: Float[Tensor, " chains"]
    sources: Float[Tensor, "chains k"]
    cells: Float[Tensor, "cells chains k"]


@dataclass(frozen=True, eq=False)
class Places:
    """Learned pseudo-counts on the stacked axis of cells; zeros where sources share a table.

    Attributes:
        strength: pseudo-counts of a row at the learned place.
        given: concentration of a cell beside them.
        base: concentration of the place itself, before any row.
    """

    strength: Float[Tensor, "cells 1 1"]
    given: Float[Tensor, "cells 1 1"]
    base: Float[Tensor, "cells 1 1"]

    @staticmethod
    def of(axis: CellAxis, counts: Counts, mixture: BayesNetMixture, prior: PseudoCounts) -> Places:
        """Read a learned prior; the place of a row with few rows is held by the marginal."""
        spec = mixture.spec
        pooling, cells = Pooling(spec, mixture.device), expected_cells_of(counts, mixture)
        expected = axis.unstack(cells[:, 0])
        among_rows = pooling.among_parent_states(pooling.together(cells))[:, 0].tolist()
        strength, given, base = [], [], []
        for v, (n, a) in enumerate(zip(expected, prior.cpts, strict=True)):
            t = 0.0 if v in spec.uninfluenced else prior.learned[v]
            strength.append(torch.full_like(a, t))
            given.append(((a.sum(-1, keepdim=True) - t) / a.shape[-1] + 1).expand_as(a))
            whole = n.sum(tuple(range(n.ndim - 1))) + 1 / n.shape[-1]
            # A single row is its own marginal, and that holds it nowhere.
            held = among_rows[v] if spec.parents[v] else 1.0
            base.append((held * whole / whole.sum()).expand_as(a))
        stacked = (axis.stack(t)[:, :1].unsqueeze(1) for t in (strength, given, base))
        return Places(*stacked)


@dataclass(frozen=True, eq=False)
class Sweep:
    """The two conditionals of the posterior of a table.

    Attributes:
        em: rows, their numbers, and Dirichlet concentrations in place of pseudo-counts.
        places: where learned pseudo-counts lie; None where none are learned.
    """

    em: EMMap
    places: Places | None = None

    @staticmethod
    def of(counts: Counts, prior: PseudoCounts, spec: MixtureSpec) -> Sweep:
        """Read a table, columns in the order of the spec.

        Raises:
            DataError: a weight is no whole number of rows.
        """
        rows = counts.in_rows().weights
        off = (rows - rows.round()).abs()
        if bool((off > WHOLE * rows.clamp_min(1)).any()):
            raise DataError(
                f"Gibbs draws the source of every row, so weights must be whole numbers of rows; "
                f"found {int((off > WHOLE).sum())} of {len(rows)} patterns with others, e.g. "
                f"{float(counts.weights[int(off.argmax())]):.6g}. Divide them by the "
                "weight of one row, or take method='nuts', where weights are exponents of the "
                "likelihood, or fit.bootstrap()"
            )
        index = CellIndex(spec, counts.rows)
        return Sweep(EMMap(spec, index, rows.round(), prior.concentrations))

    @cached_property
    def _concentrations(self) -> Float[Tensor, "cells 1 k"]:
        return self.em.axis.stack(self.em.prior.cpts).unsqueeze(1)

    @cached_property
    def _shared(self) -> Tensor:
        return self.em.axis.uninfluenced(self.em.index.device)

    @torch.no_grad()
    def complete(self, at: Point, generator: torch.Generator) -> Completed:
        """Draw the source of every row, and its missing cells, given tables."""
        index = self.em.index
        batch, k = at.weights.shape
        log_table = at.table.reshape(-1, batch * k).log()
        units = index.unit_table(log_table)
        counts, log_weights = torch.zeros_like(units), at.weights.log()
        sources = torch.zeros_like(at.weights)
        log_likelihood = torch.zeros_like(at.weights[:, 0])
        sizes = [block.n_rows for block in index.blocks]
        for block, n_rows in zip(index.blocks, self.em.row_weights.split(sizes), strict=True):
            joint = block.gather_sums(units).view(-1, batch, k) + log_weights
            top = joint.amax(-1, keepdim=True)
            joint = (joint - top).exp_()
            total = joint.sum(-1)
            log_likelihood += n_rows @ (total.log() + top.squeeze(-1))
            if k > 1:
                joint = multinomial(n_rows[:, None].expand(-1, batch), joint, generator)
            else:
                joint = n_rows[:, None, None].expand_as(joint).contiguous()
            sources += joint.sum(0)
            counts += block.scatter_sums(joint.reshape(-1, batch * k))
        cells = self._cells(counts, log_table, generator)
        return Completed(log_likelihood, sources, cells.view(-1, batch, k))

    def tables(self, completed: Completed, generator: torch.Generator) -> Point:
        """Draw all tables given the rows of every cell."""
        cells = completed.cells
        if len(self._shared):
            cells[self._shared, :, :1] = cells[self._shared].sum(-1, keepdim=True)
        alpha = cells + self._concentrations
        if (places := self.places) is not None:
            together = standard_gamma(cells.sum(-1, keepdim=True) + places.base, generator)
            drawn = together / self.em.spread(self.em.row_sums(together))
            alpha = torch.where(places.strength > 0, cells + places.given, alpha)
            alpha = alpha + places.strength * drawn
        table = standard_gamma(alpha, generator)
        if len(self._shared):
            table[self._shared] = table[self._shared, :, :1].expand(-1, -1, alpha.shape[-1])
        table = table / self.em.spread(self.em.row_sums(table))
        weights = completed.sources + self.em.prior.weights
        weights = standard_gamma(weights, generator)
        return Point(weights / weights.sum(-1, keepdim=True), table)

    def _cells(self, counts: Tensor, log_table: Tensor, generator: torch.Generator) -> Tensor:
        """Rows of each CPT cell from those of the units; open components are filled in."""
        index = self.em.index
        sizes = (index.axis.n_cells, index.joint_cells.n_rows, index.open.n_units)
        cells, joint, open_ = counts.split(sizes)
        if index.joint_cells.n_rows:
            cells = cells + index.joint_cells.scatter_sums(joint)
        if not index.open.n_units:
            return cells
        filled = []
        runs = index.open.completed(log_table)
        parts = open_.split([n for n, _ in index.open.sizes])
        for run, n_rows in zip(runs, parts, strict=True):
            top = run.amax(1, keepdim=True)
            shares = (run - top.masked_fill(top == -torch.inf, 0.0)).exp().movedim(1, -1)
            drawn = multinomial(n_rows, shares, generator).movedim(-1, 1)
            filled.append(drawn.flatten(0, 1))
        return cells + index.open.completions.scatter_sums(torch.cat(filled))
