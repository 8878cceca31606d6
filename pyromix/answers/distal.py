"""Distal outcomes: what a variable outside the model is like within each source, in three steps.

Step one is the fit; step two assigns each row to its likeliest source W; step three describes the
outcome f by W, and corrects for rows assigned wrongly by D[j, l] = P(W = l | U = j). Where f is
independent of the items given U,

    BCH [A. Bolck, M. Croon, J. Hagenaars, Estimating latent structure models with categorical
    variables: one-step versus three-step estimators, Political Analysis 12, 2004] weighs row i for
    source j by the entry (W_i, j) of the inverse of D: E[inverse of D at (W, j) | U] = 1[U = j];

    ML [J. K. Vermunt, Latent class modeling with covariates: two improved three-step approaches,
    Political Analysis 18, 2010] maximises sum over rows of log sum over j of q_j D[j, W] g_j(f).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.special import ndtr, ndtri
from torch import Tensor

from pyromix.answers.classification import likeliest
from pyromix.answers.third_step import ThirdStep, third_step
from pyromix.data.counts import Counts
from pyromix.data.covariates import Covariates
from pyromix.data.frames import encode, to_pandas
from pyromix.data.reading import RawTable
from pyromix.data.relation.door import read_rows
from pyromix.errors import IdentificationError, NumericalWarning, QueryError, warn
from pyromix.estimate.em import climb_replicates
from pyromix.estimate.indexed import IndexedRows
from pyromix.estimate.starts import batch_of, inside
from pyromix.exact.likelihood import responsibilities
from pyromix.fitting.record import Fit
from pyromix.model.arguments import level_of, listed, one_of, plain, shown, whole
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.printed import columns_of_text
from pyromix.model.randomness import RandomState, check_seed, numpy_generator
from pyromix.posterior.chains import check_draws
from pyromix.posterior.draws import matched

if TYPE_CHECKING:
    import pandas as pd

DISTAL_METHODS = ("bch", "ml", "modal", "proportional")

NUMBERS = 2**20
"""Rows times replicates that are held at once."""

TOL = 1e-8
"""Nats per row at which EM of a replicate stops."""

MEAN = "mean"


@dataclass(frozen=True, eq=False)
class DistalOutcome:
    """An outcome within each source.

    Attributes:
        outcome: name of the column.
        method: how it was estimated.
        sources: names of the sources.
        values: what is estimated: ``"mean"``, or the states whose probabilities they are.
        estimates: ``(k, values)``.
        draws: the same from tables of rows drawn anew, step one included, ``(n, k, values)``.
        entropy_r2: how sharply rows are told apart: near 1 every method says the same.
    """

    outcome: str
    method: str
    sources: tuple[Hashable, ...]
    values: tuple[Hashable, ...]
    estimates: Float[Tensor, "k values"]
    draws: Float[Tensor, "n k values"]
    entropy_r2: float

    @property
    def standard_errors(self) -> Float[Tensor, "k values"]:
        """Standard deviations of the draws; nan without any."""
        return _spread(self.draws)

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """A row per source and value: ``source``, ``value``, ``estimate``, ``standard_error``,
        ``low``, ``high``.

        Raises:
            QueryError: the level does not lie between 0 and 1.
        """  # noqa: D205
        half = _half(level) * self.standard_errors
        cells = [(u, v) for u in range(len(self.sources)) for v in range(len(self.values))]
        return to_pandas(
            {
                "source": [self.sources[u] for u, _ in cells],
                "value": [self.values[v] for _, v in cells],
                "estimate": [float(self.estimates[c]) for c in cells],
                "standard_error": [float(self.standard_errors[c]) for c in cells],
                "low": [float((self.estimates - half)[c]) for c in cells],
                "high": [float((self.estimates + half)[c]) for c in cells],
            }
        )

    def contrasts(self, level: float = 0.95) -> pd.DataFrame:
        """Differences between every two sources: ``source`` less ``reference``, with Wald's
        ``p_value``.

        Raises:
            QueryError: the level does not lie between 0 and 1.
        """  # noqa: D205
        k, rows = len(self.sources), []
        for j in range(k):
            for u in range(j + 1, k):
                gap = self.estimates[u] - self.estimates[j]
                errors = _spread(self.draws[:, u] - self.draws[:, j])
                for v, value in enumerate(self.values):
                    d, e = float(gap[v]), float(errors[v])
                    p = 2 * float(ndtr(-abs(d) / e)) if e > 0 else float("nan")
                    ends = (d - _half(level) * e, d + _half(level) * e)
                    rows.append((self.sources[u], self.sources[j], value, d, e, p, *ends))
        names = ("source", "reference", "value", "difference", "standard_error", "p_value")
        columns = (*names, "low", "high")
        return to_pandas({name: [row[i] for row in rows] for i, name in enumerate(columns)})

    def __str__(self) -> str:
        """One line per source."""
        header = ["source", *(str(v) for v in self.values)]
        rows = [
            [
                str(source),
                *(
                    f"{x:.3f}" + (f" ({e:.3f})" if e == e else "")
                    for x, e in zip(own.tolist(), errors.tolist(), strict=True)
                ),
            ]
            for source, own, errors in zip(
                self.sources, self.estimates, self.standard_errors, strict=True
            )
        ]
        said = f"{self.outcome} within each source by {self.method}"
        if len(self.draws):
            said += f" (standard errors of {len(self.draws)} tables drawn anew)"
        return "\n".join([said, *columns_of_text(header, rows, n_left=1)])

    __repr__ = __str__


def distal(
    fit: Fit,
    data: Any,
    outcome: str,
    *,
    method: str = "bch",
    states: Sequence[Hashable] | None = None,
    n_bootstrap: int = 200,
    sample_weight: Any = None,
    missing_values: Any = None,
    random_state: RandomState = 0,
) -> DistalOutcome:
    """Describe an outcome outside the model within each source, by a three-step estimator.

    All of them suppose that the outcome depends on the variables of the fit through the source
    alone, and take step one as it is: it tells rows apart a little too well on the rows it was
    fitted to, so that differences come out smaller by a share that falls as one over the number of
    rows (``tests/studies/bch_bias.py``).

    Rows without any observed cell of the fit, or of weight zero, say nothing of the source and are
    left out; rows without the outcome still count in step one. Standard errors are those of rows
    drawn anew, with all three steps repeated.

    Args:
        fit: step one.
        data: a table with the variables of the fit and the outcome, a row per unit.
        outcome: the column; of numbers the mean is estimated, of anything else, and of numbers
            with ``states``, the probability of each state.
        method: ``"bch"``; ``"ml"``, where numbers are taken as normal with one variance for all
            sources; ``"modal"`` and ``"proportional"``, the naive means by assigned source or by
            P(U | row), which shrink differences between sources.
        states: of the outcome.
        n_bootstrap: tables drawn anew for standard errors; 0 for none.
        sample_weight: column name or one weight per row: numbers of rows.
        missing_values: as in ``fit``.
        random_state: of these tables.

    Raises:
        QueryError: the outcome is a variable of the fit, or an option is unknown.
        DataError: a column is missing or cannot be read.
        IdentificationError: a source has no row assigned to it, or the sources cannot be told
            apart by whom rows are assigned to.
    """
    one_of("method", method, DISTAL_METHODS)
    n_bootstrap = whole("n_bootstrap", n_bootstrap, 0)
    check_seed(random_state)
    if not isinstance(outcome, str):
        raise QueryError(f"outcome must be the name of a column, found {shown(outcome)}")
    if n_bootstrap:
        check_draws(fit.spec, n_bootstrap, "take fewer tables (n_bootstrap)")
    if outcome in fit.spec.variables:
        raise QueryError(
            f"expected an outcome outside the model, found {outcome!r}, one of its variables "
            f"{list(fit.spec.variables)}: ask fit.query({outcome!r}, evidence=...) instead"
        )
    table = read_rows(data, missing_values)
    values, features, told = _features(table, outcome, states)
    coded = encode(table, fit.spec, sample_weight=sample_weight, warn=False)
    usable = (coded.codes >= 0).any(1) & (coded.weights > 0)
    codes, weights = coded.codes[usable], coded.weights[usable]
    features, told = features[usable], told[usable]
    counts = Counts.from_codes(fit.spec, codes, weights)
    everyone = _Everyone(codes, weights, features, told, states is not None or len(values) > 1)
    found = everyone.described(batch_of(fit.mixture), weights[:, None], method)
    if not bool(found.ok.all()):
        raise IdentificationError(
            f"expected every one of {fit.spec.n_sources} sources to have rows assigned to it that "
            "tell it apart from the others, found one that has none; ask for fewer sources, or "
            'method="proportional"'
        )
    seed = int(numpy_generator(random_state).integers(2**62))
    parts = [
        everyone.described(mixtures, drawn, method)
        for mixtures, drawn in _drawn_anew(fit, counts, everyone, n_bootstrap, seed)
    ]
    empty = found.estimates[:0]
    draws = torch.cat([empty, *(part.estimates[part.ok] for part in parts)])
    _say(found.estimates[0], values, n_bootstrap - len(draws), n_bootstrap)
    shares = responsibilities(fit.mixture, codes)
    entropy = float(weights @ torch.special.entr(shares).sum(-1))
    most = float(weights.sum()) * float(np.log(max(fit.spec.n_sources, 2)))
    return DistalOutcome(
        outcome,
        method,
        fit.spec.source_states,
        values,
        found.estimates[0],
        draws,
        1 - entropy / most,
    )


@dataclass(frozen=True, eq=False)
class _Everyone:
    """Units: their cells, weights, and the outcome as numbers.

    Attributes:
        codes: state numbers of the variables of the fit.
        weights: of each.
        features: the outcome, or one column per state of it.
        told: whether the outcome was observed.
        discrete: whether features are states.
    """

    codes: Int[Tensor, "rows variables"]
    weights: Float[Tensor, " rows"]
    features: Float[Tensor, "rows values"]
    told: Bool[Tensor, " rows"]
    discrete: bool

    def described(
        self, mixtures: BayesNetMixture, weights: Float[Tensor, "rows n"], method: str
    ) -> ThirdStep:
        """Steps two and three under each mixture of a batch, units weighed by a column each."""
        distinct, place = self.codes.unique(dim=0, return_inverse=True)
        shares = responsibilities(mixtures, distinct)[:, place]
        return third_step(
            shares,
            torch.stack([likeliest(one) for one in shares]),
            weights.T,
            self.features,
            self.told,
            method,
            discrete=self.discrete,
        )


def _features(
    table: RawTable, outcome: str, states: Sequence[Hashable] | None
) -> tuple[tuple[Hashable, ...], Float[Tensor, "rows values"], Bool[Tensor, " rows"]]:
    """What is estimated, the outcome as numbers, and where it was observed."""
    declared = {} if states is None else {outcome: plain(listed("states", states, "states"))}
    reader = Covariates.of(table, [outcome], declared)
    numbers = torch.from_numpy(reader.read(table))[:, 1:]
    told = numbers.isfinite().all(1)
    numbers = numbers.nan_to_num(0.0)
    names = reader.codings[0].states
    if not names:
        return (MEAN,), numbers, told
    return names, torch.cat([1 - numbers.sum(1, keepdim=True), numbers], 1), told


def _drawn_anew(
    fit: Fit, counts: Counts, everyone: _Everyone, n: int, seed: int
) -> Iterator[tuple[BayesNetMixture, Float[Tensor, "rows n"]]]:
    """Step one on tables of units drawn anew; each from a branch of its own."""
    table = IndexedRows.of(fit.spec, counts)
    place = _pattern_of(counts.rows, everyone.codes)
    law = (everyone.weights / everyone.weights.sum()).numpy()
    total = max(1, round(float(everyone.weights.sum())))
    step = max(1, NUMBERS // len(law))
    for first in range(0, n, step):
        numbers = range(first, min(first + step, n))
        columns = [np.random.default_rng((seed, i)).multinomial(total, law) for i in numbers]
        drawn = torch.from_numpy(np.stack(columns, 1).astype(np.float64))
        weights = torch.zeros(counts.n_patterns, len(numbers), dtype=torch.float64)
        ends = climb_replicates(
            table,
            batch_of(*[inside(fit.mixture)] * len(numbers)),
            weights.index_add(0, place, drawn),
            prior=fit.prior,
            tol=TOL,
        )
        yield matched(fit.mixture, ends.mixtures)[0], drawn


def _pattern_of(
    patterns: Int[Tensor, "patterns variables"], rows: Int[Tensor, "rows variables"]
) -> Int[Tensor, " rows"]:
    """Which of the distinct patterns each row is; every row is one of them."""
    n = len(patterns)
    both = torch.cat([patterns.to(rows.dtype), rows])
    number = both.unique(dim=0, return_inverse=True)[1]
    return number[:n].argsort()[number[n:]]


def _say(estimates: Tensor, values: Sequence[Hashable], lost: int, n: int) -> None:
    """What a reader of the numbers must know."""
    if len(values) > 1 and bool(((estimates < 0) | (estimates > 1)).any()):
        warn(
            "a probability was estimated outside 0..1, as BCH does where a source is small or "
            'rows are hardly told apart: method="ml" stays inside',
            NumericalWarning,
        )
    if lost:
        warn(
            f"on {lost} of {n} tables drawn anew a source had no row assigned to it: they are "
            "left out of the standard errors",
            NumericalWarning,
        )


def _spread(draws: Float[Tensor, "n ..."]) -> Float[Tensor, ...]:
    return draws.std(0) if len(draws) > 1 else torch.full_like(draws.sum(0), torch.nan)


def _half(level: float) -> float:
    return float(ndtri((1 + level_of(level)) / 2))
