"""Observed information: how sharply the rows determine a mixture, and what follows for an answer.

In log-odds (as ``certificate``: every row of a table against its last state) the information of
rows has a closed form [louis82] (THEORY section 17):

    I_o = sum_c w_c H_c - sum_c w_c s_c s_c' + s_o s_o',    s_o = sum_c w_c s_c,

over the completions c of a row's observed cells o, its source included, with w_c = P(c | o), s_c
the score and H_c the information of the complete row. The score of source u lives in the tables of
u alone and in the weights, so that everything is a product of matrices of (rows, parameters). An
answer q has by the delta method the variance grad q' I^-1 grad q.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import DataError, SpecError
from pyromix.exact import linalg
from pyromix.exact.cells import row_numbers
from pyromix.exact.completions import Completions, completed, n_completions
from pyromix.exact.labelled import of_labelled_rows, of_prior
from pyromix.exact.likelihood import log_joint, responsibilities
from pyromix.exact.rows import CellIndex
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.parameters import ParameterAxis
from pyromix.model.prior import PseudoCounts
from pyromix.model.spec import SOURCE, MixtureSpec
from pyromix.model.status import refuse

MAX_INFORMATION_PARAMETERS = 3000
"""Largest number of parameters for which the dense matrix is formed."""

MAX_COMPLETIONS = 2**22
"""Complete rows that rows with missing cells may stand for, over the whole table."""

NUMBERS_OF_SCORES = 2**24
"""Numbers of a block of rows times parameters that are held at once."""

SEEN = 1e-9
"""A direction with less information than this, in rows, is one nothing is known of."""

HIDDEN = 1e-12
"""Share of a squared gradient along which nothing may be known and the rest still be told."""

LOOSE = 0.15
"""Standard error of a free probability along a direction, from which on the direction is hardly
determined: the normal approximation means little there (THEORY section 15.3)."""


@runtime_checkable
class Known(Protocol):
    """What is known at an estimate: ``Information``, or ``implicit.ImplicitInformation``."""

    def solve(self, gradients: Float[Tensor, "n p"]) -> Float[Tensor, "n p"]:
        """The inverse times gradients."""
        ...

    def variances(self, gradients: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
        """Variances of functions by the delta method."""
        ...

    def loose_shares(self, gradients: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
        """Shares of these from directions that the rows hardly determine."""
        ...


@dataclass(frozen=True, eq=False)
class Information:
    """Observed information at an estimate, by its eigenvectors.

    Attributes:
        mixture: the estimate.
        values: eigenvalues, ascending, in rows; negative ones (no maximum) count as zero.
        basis: eigenvectors, one per column.
    """

    mixture: BayesNetMixture
    values: Float[Tensor, " p"]
    basis: Float[Tensor, "p p"]

    def solve(self, gradients: Float[Tensor, "n p"]) -> Float[Tensor, "n p"]:
        """The inverse times gradients; directions that nothing is known of have ``SEEN`` rows."""
        return (gradients @ self.basis / self.values.clamp_min(SEEN)) @ self.basis.T

    def variances(self, gradients: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
        """Variance of functions by the delta method.

        Args:
            gradients: of each function in the log-odds.

        Returns:
            Infinite where a function moves in a direction that nothing is known of.
        """
        parts = (gradients @ self.basis).square()
        unseen = self.values < SEEN
        floor = HIDDEN * parts.sum(-1, keepdim=True)
        hidden = (parts > floor) & unseen
        each = torch.where(unseen, 0.0, parts / self.values.clamp_min(SEEN))
        return torch.where(hidden.any(-1), torch.inf, each.sum(-1))

    def loose_shares(self, gradients: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
        """Share of each variance from directions that the rows hardly determine.

        These are the principal axes of the covariance of the free probabilities along which their
        standard error exceeds ``LOOSE``. A log-odd moves a probability by at most a half, so that
        they lie, nearly, in what eigenvectors with less than (.5 / ``LOOSE``)^2 rows span: only
        these are turned into probabilities.

        Args:
            gradients: of each function in the log-odds.
        """
        roots = self.values.clamp_min(SEEN).rsqrt()
        parts = (gradients @ self.basis) * roots
        few = roots > 2 * LOOSE
        axes = linalg.svd(of_probabilities(self.mixture, self.basis[:, few] * roots[few]))
        loose = torch.where(axes.values > LOOSE, (parts[:, few] @ axes.vh.mT).square(), 0.0).sum(-1)
        total = parts.square().sum(-1)
        return torch.where(total > 0, loose / total, 0.0)


def of_probabilities(mixture: BayesNetMixture, odds: Float[Tensor, "p r"]) -> Float[Tensor, "p r"]:
    """How free probabilities move with log-odds, to first order: ``diag(p) - p p'`` per row.

    Args:
        mixture: without batch axes.
        odds: changes of the log-odds, one per column.
    """
    axis = ParameterAxis(mixture.spec)
    free = axis.free(mixture.tables)
    found = torch.empty_like(odds)
    for v in range(SOURCE, axis.spec.n_variables):
        part, size = axis.block(v), axis.spec.card(v) - 1
        if not size:  # one state: nothing moves
            continue
        p = free[part].reshape(-1, size, 1)
        moved = odds[part].reshape(len(p), size, -1)
        found[part] = (p * (moved - (p * moved).sum(1, keepdim=True))).reshape_as(odds[part])
    return found


def observed_information(
    mixture: BayesNetMixture,
    rows: Int[Tensor, "m n"],
    row_weights: Float[Tensor, " m"],
    prior: PseudoCounts,
) -> Information:
    """Take the observed information of weighted rows, and of pseudo-counts, at a mixture.

    Cells are taken to be missing at random: the observed form of the information stays right where
    the expected one would need the law of what is missing [kenward98].

    Args:
        mixture: the estimate, without batch axes.
        rows: state numbers; missing cells are -1.
        row_weights: of the rows.
        prior: pseudo-counts; they add the information of as many labelled rows, learned ones only
            on how rows differ.

    Raises:
        DataError: so many cells are missing that the rows have more than ``MAX_COMPLETIONS``
            completions.
        SpecError: more parameters than ``MAX_INFORMATION_PARAMETERS``, or a matrix that is not
            finite.
    """
    return information_terms(mixture, rows, row_weights).information(mixture, prior)


@dataclass(frozen=True, eq=False)
class InformationTerms:
    """Sums over rows that the observed information is made of.

    Attributes:
        matrix: of scores times scores, less what is in them beside their mean.
        sources: expected number of rows of each source.
        masses: per vertex the expected number of rows behind each CPT row.
    """

    matrix: Float[Tensor, "p p"]
    sources: Float[Tensor, " k"]
    masses: tuple[Float[Tensor, ...], ...]

    def plus(self, other: InformationTerms) -> InformationTerms:
        """The sums over both sets of rows."""
        masses = tuple(a + b for a, b in zip(self.masses, other.masses, strict=True))
        return InformationTerms(self.matrix + other.matrix, self.sources + other.sources, masses)

    def times(self, factor: float) -> InformationTerms:
        """The sums over so many times the rows."""
        masses = tuple(mass * factor for mass in self.masses)
        return InformationTerms(self.matrix * factor, self.sources * factor, masses)

    def information(self, mixture: BayesNetMixture, prior: PseudoCounts) -> Information:
        """The observed information of these rows, and of pseudo-counts.

        Args:
            mixture: at which they were taken.
            prior: pseudo-counts.

        Raises:
            SpecError: the matrix is not finite.
        """
        total = self.matrix + of_labelled_rows(mixture, self.sources.sum(), list(self.masses))
        total += of_prior(mixture, prior)
        return _of_matrix(mixture, (total + total.T) / 2)


def information_terms(
    mixture: BayesNetMixture, rows: Int[Tensor, "m n"], row_weights: Float[Tensor, " m"]
) -> InformationTerms:
    """Take what some rows add to the observed information at a mixture.

    Args:
        mixture: without batch axes.
        rows: state numbers; missing cells are -1.
        row_weights: of the rows.

    Raises:
        DataError, SpecError: as of ``observed_information``.
    """
    spec, p = mixture.spec, mixture.spec.n_parameters
    if p > MAX_INFORMATION_PARAMETERS:
        raise SpecError(
            f"the information matrix is that of at most {MAX_INFORMATION_PARAMETERS:,} "
            f"parameters, found {p:,}: fit.implicit_information has standard errors without it"
        )
    sizes = n_completions(spec, rows)
    if float(sizes.sum()) > MAX_COMPLETIONS:
        raise DataError(
            "the information matrix lists the completions of every row with missing cells, "
            f"expected at most {MAX_COMPLETIONS:,} of them, found {float(sizes.sum()):.3g}: "
            "fit.implicit_information has standard errors without it"
        )
    total = mixture.weights.new_zeros(p, p)
    sources = torch.zeros_like(mixture.weights)
    masses = [torch.zeros_like(c[..., 0]) for c in mixture.cpts]
    for part in _parts(sizes, NUMBERS_OF_SCORES // (p + 1)):
        weight, found = row_weights[part], completed(spec, rows[part])
        of_owner = weight[found.owner]
        shares = _shares(mixture, found, len(weight))
        sources += of_owner @ shares
        score = torch.zeros(len(weight), p, dtype=torch.float64, device=rows.device)
        for u, place, mine in _complete_scores(mixture, found.rows):
            share = shares[:, u : u + 1] * mine
            total[place[:, None], place] -= mine.T @ (of_owner.unsqueeze(1) * share)
            summed = torch.zeros(len(weight), len(place), dtype=torch.float64, device=rows.device)
            score[:, place] += summed.index_add_(0, found.owner, share)
        total += score.T @ (weight.unsqueeze(1) * score)
        _add_masses(spec, masses, found.rows, shares * of_owner.unsqueeze(1))
    return InformationTerms(total, sources, tuple(masses))


def _parts(sizes: Float[Tensor, " m"], most: int) -> Iterator[Int[Tensor, " rows"]]:
    """Numbers of rows that together have about ``most`` completions, one row at least."""
    order = sizes.argsort(stable=True)
    number = (sizes[order].cumsum(0) / max(most, 1)).floor()
    yield from order.split(number.unique_consecutive(return_counts=True)[1].tolist())


def _shares(
    mixture: BayesNetMixture, found: Completions, n_rows: int
) -> Float[Tensor, "completions k"]:
    """P(U, completion | observed cells of the row): they sum to one over each row's completions."""
    joint = log_joint((mixture.weights, mixture.cpts), CellIndex(mixture.spec, found.rows))
    largest = joint.new_full((n_rows,), -torch.inf)
    largest.scatter_reduce_(0, found.owner, joint.amax(-1), "amax")
    scaled = (joint - largest[found.owner].unsqueeze(1)).exp()
    sums = scaled.new_zeros(n_rows).index_add_(0, found.owner, scaled.sum(-1))
    return scaled / sums[found.owner].unsqueeze(1)


def expected_information(
    mixture: BayesNetMixture,
    scores: Float[Tensor, "m p"],
    n_rows: float,
    prior: PseudoCounts,
) -> Information:
    """Take the information that so many rows of a mixture have on average, and pseudo-counts.

    Never negative, and as noisy as the scores are few, whatever the rows at hand say.

    Args:
        mixture: without batch axes.
        scores: of rows drawn from it.
        n_rows: how many rows the information is of.
        prior: pseudo-counts; they add the information of as many labelled rows.

    Raises:
        SpecError: the matrix is not finite.
    """
    total = scores.T @ scores * (n_rows / len(scores))
    total += of_prior(mixture, prior)
    return _of_matrix(mixture, total)


def _of_matrix(mixture: BayesNetMixture, total: Float[Tensor, "p p"]) -> Information:
    """Eigenvalues and eigenvectors of an information matrix.

    Raises:
        SpecError: there are none.
    """
    found = linalg.eigh(total)
    refuse(
        found.status,
        SpecError,
        "an information matrix with eigenvalues, for standard errors",
        "look for nan in the tables of the estimate and in the weights of the rows, or take "
        "fit.bootstrap() for an interval",
    )
    return Information(mixture, found.values.clamp_min(0), found.vectors)


def prior_gradient(mixture: BayesNetMixture, prior: PseudoCounts) -> Float[Tensor, " p"]:
    """Gradient of the log-density of pseudo-counts in the log-odds.

    Args:
        mixture: without batch axes.
        prior: pseudo-counts.
    """
    pairs = zip(prior.tables, mixture.tables, strict=True)
    # Of a shared table the first copy is taken: its pseudo-counts stand in each, and count once.
    return ParameterAxis(mixture.spec).free([a - a.sum(-1, True) * table for a, table in pairs])


def scores(mixture: BayesNetMixture, rows: Int[Tensor, "m n"]) -> Float[Tensor, "m p"]:
    """Gradient of log P(row) in the log-odds, U summed out.

    Args:
        mixture: without batch axes.
        rows: state numbers, no cell missing.
    """
    rows = rows.long()
    shares = responsibilities(mixture, rows)
    found = shares.new_zeros(len(rows), mixture.spec.n_parameters)
    for u, place, mine in _complete_scores(mixture, rows):
        found[:, place] += shares[:, u : u + 1] * mine
    return found


def _complete_scores(
    mixture: BayesNetMixture, rows: Int[Tensor, "m n"]
) -> Iterator[tuple[int, Int[Tensor, " q"], Float[Tensor, "m q"]]]:
    """Per source its number, the positions of its parameters, and the gradients in these."""
    axis = ParameterAxis(mixture.spec)
    for u in range(mixture.n_sources):
        place = axis.of_source(u).to(rows.device)
        yield u, place, _complete_score(mixture, rows, u)


def _complete_score(
    mixture: BayesNetMixture, rows: Int[Tensor, "m n"], source: int
) -> Float[Tensor, "m q"]:
    """Gradient of log P(U = source, row) in the log-odds of P(U) and of the source's tables."""
    spec, m = mixture.spec, rows.shape[0]
    number = torch.arange(m, device=rows.device)
    indicator = torch.zeros_like(mixture.weights)
    indicator[source] = 1
    blocks = [(indicator - mixture.weights).expand(m, -1)[:, :-1]]
    for v, cpt in enumerate(mixture.cpts):
        table = cpt[source].reshape(-1, spec.card(v))
        block = cpt.new_zeros(m, table.shape[0], spec.card(v) - 1)
        # A vertex that is left open (see ``completions``) has no say, in whatever state.
        known = number[rows[:, v] >= 0]
        used = row_numbers(spec, v, rows[known])
        observed = torch.nn.functional.one_hot(rows[known, v], spec.card(v))
        block[known, used] = (observed - table[used])[:, :-1]
        blocks.append(block.flatten(1))
    return torch.cat(blocks, 1)


def _add_masses(
    spec: MixtureSpec,
    masses: Sequence[Tensor],
    rows: Int[Tensor, "m n"],
    shares: Float[Tensor, "m k"],
) -> None:
    """Expected number of rows behind every CPT row, in place."""
    for v, mass in enumerate(masses):
        flat, known = mass.reshape(spec.n_sources, -1), rows[:, v] >= 0
        flat.T.index_add_(0, row_numbers(spec, v, rows[known]), shares[known])
