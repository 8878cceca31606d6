"""Latent class regression: a product mixture whose weights depend on covariates."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.counts import Counts
from pyromix.data.covariates import Covariates
from pyromix.data.frames import MISSING_RULES, encode
from pyromix.data.reading import RawTable, check_columns
from pyromix.data.relation.door import read_rows
from pyromix.data.weights import COUNTS, row_weight
from pyromix.errors import (
    ConvergenceWarning,
    DataError,
    DataRepairWarning,
    PyromixWarning,
    QueryError,
    SpecError,
    StartsDisagreeWarning,
    WeakIdentificationWarning,
    warn,
)
from pyromix.estimate.class_information import ClassInformation, class_information
from pyromix.estimate.class_regression import (
    CovariateRows,
    Regressed,
    climb_regression,
    joint,
    mean_weights,
)
from pyromix.estimate.progress import progress_bar
from pyromix.estimate.result import in_best
from pyromix.estimate.starts import batch_of, inside, random_starts
from pyromix.exact.rows import CellIndex
from pyromix.fitting import engine
from pyromix.fitting.inputs import declared_states, is_asked, take_in, without_edges
from pyromix.model.arguments import listed, one_of, real, shown, whole
from pyromix.model.match import canonical_order
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import RandomState, check_seed, torch_generator
from pyromix.model.spec import MixtureSpec

N_INIT = 10
"""Random starts beside the fit without covariates."""

N_INIT_OF_PLAIN = 4
"""Random starts of that fit, beside moments: it is a start, and need not be the best."""


@dataclass(frozen=True, eq=False)
class RegressionDraws:
    """Replicates of a regression, under its labels.

    Attributes:
        coefficients: zero for the first source of each.
        mixture: items and average weights, batch shape ``(n,)``.
    """

    coefficients: Float[Tensor, "n k p"]
    mixture: BayesNetMixture


@dataclass(frozen=True, eq=False)
class Regression:
    """A product mixture whose weights depend on covariates, by a multinomial logit.

    Attributes:
        mixture: the sources, by decreasing average weight; ``weights`` are averages over the rows.
        covariates: how columns are read as numbers.
        coefficients: ``(k, p)``, the intercept first; zero for the first source.
        information: covariances of coefficients and of log-odds of the items.
        log_likelihood: of the items given the covariates, in nats.
        n_rows: rows it was fitted to, by weight.
        converged: whether EM ended by its tolerance.
        n_iter: EM steps.
        start_log_likelihoods: where every start ended; the fit without covariates leads.
        rows: distinct rows of items and covariates.
        draws: replicates around the estimate; None for a point estimate.
    """

    mixture: BayesNetMixture
    covariates: Covariates
    coefficients: Float[Tensor, "k p"]
    information: ClassInformation
    log_likelihood: float
    n_rows: float
    converged: bool
    n_iter: int
    start_log_likelihoods: tuple[float, ...]
    rows: CovariateRows
    draws: RegressionDraws | None = None

    @property
    def spec(self) -> MixtureSpec:
        """Items, states, sources."""
        return self.mixture.spec

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Names of the covariates."""
        return self.covariates.names

    @property
    def shares(self) -> Float[Tensor, "m k"]:
        """P(U | items, covariates) of the distinct rows."""
        return joint(self.rows, self.coefficients, self.mixture.cpts).softmax(-1)

    @property
    def n_best(self) -> int:
        """How many starts reached the best optimum."""
        ends = torch.tensor(self.start_log_likelihoods, dtype=torch.float64, device="cpu")
        return int(in_best(ends, self.n_rows).sum())

    @property
    def n_parameters(self) -> int:
        """Free probabilities of the items, and coefficients."""
        k, p = self.coefficients.shape
        return (k - 1) * p + self.spec.n_parameters - (k - 1)

    @property
    def aic(self) -> float:
        """Akaike's criterion, ``2 p - 2 logL``; smaller is better, as of the others."""
        return self._penalised(2.0)

    @property
    def bic(self) -> float:
        """Schwarz's criterion, ``p log N - 2 logL``."""
        return self._penalised(math.log(self.n_rows))

    @property
    def caic(self) -> float:
        """Bozdogan's consistent AIC, ``p (log N + 1) - 2 logL``."""
        return self._penalised(math.log(self.n_rows) + 1)

    @property
    def sabic(self) -> float:
        """BIC adjusted for the size of the sample, ``p log((N + 2) / 24) - 2 logL``."""
        return self._penalised(math.log((self.n_rows + 2) / 24))

    @property
    def entropy(self) -> float:
        """Entropy of P(U | items, covariates), summed over rows, in nats."""
        return float(self.rows.weights @ torch.special.entr(self.shares).sum(-1))

    @property
    def icl(self) -> float:
        """Integrated completed likelihood, ``bic + 2 entropy``."""
        return self.bic + 2 * self.entropy

    @property
    def entropy_r2(self) -> float:
        """``1 - entropy / (N log k)``: 1 when every row is certain, 0 when none is; 1 for k = 1."""
        if self.spec.n_sources == 1:
            return 1.0
        return 1 - self.entropy / (self.n_rows * math.log(self.spec.n_sources))

    def _penalised(self, price: float) -> float:
        return price * self.n_parameters - 2 * self.log_likelihood


def regress(
    data: Any,
    n_sources: int,
    covariates: Sequence[str],
    *,
    n_init: int | None = None,
    prior: None = None,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing: str = "mar",
    missing_values: Any = None,
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    random_state: RandomState = 0,
    show_progress: bool | None = None,
    max_iter: int = 5000,
    tol: float = 1e-10,
) -> Regression:
    """Fit a product mixture with covariates on the source; see ``px.fit_product``."""
    names = _names(covariates)
    if prior is not None:
        raise QueryError(
            f"prior must be None where there are covariates, found {shown(prior)}: coefficients "
            "and items are fitted by maximum likelihood; leave prior out"
        )
    n_init = N_INIT if n_init is None else whole("n_init", n_init, 0, error=SpecError)
    max_iter = whole("max_iter", max_iter, 1, error=SpecError)
    tol = real("tol", tol, 0.0, error=SpecError, advice="nats per row, e.g. tol=1e-9")
    missing = one_of("missing", missing, MISSING_RULES, DataError)
    check_seed(random_state)
    if is_asked(data):
        raise DataError(
            f"expected a table with the columns {list(names)}, found {shown(data)}, whose rows "
            "hold items alone; pass the table itself"
        )
    table = read_rows(data, missing_values)
    check_columns(table, names)
    declared = declared_states(state_names)
    reader = Covariates.of(table, names, {n: declared.pop(n) for n in names if n in declared})
    generator = torch_generator(random_state)
    spec, codes, weights = _items(
        table, names, n_sources, declared, sample_weight, missing, weights_are
    )
    design = torch.from_numpy(reader.read(table))
    kept = _kept(codes, design, weights, names, missing)
    codes, design, weights = codes[kept], design[kept], weights[kept]
    weights = weights / row_weight(weights, weights_are)
    rows = distinct(spec, codes, design, weights)
    starts = _starts(Counts.from_codes(spec, codes, weights), spec, n_init, generator)
    with progress_bar(show_progress, max_iter, "EM") as tell:
        found = climb_regression(rows, starts, max_iter=max_iter, tol=tol, tell=tell)
    result = _assembled(spec, rows, reader, found)
    _say(result)
    return result


def _say(result: Regression) -> None:
    """What a reader of the numbers must know."""
    if not result.converged:
        warn(
            f"EM stopped at max_iter, after {result.n_iter} steps, before its tolerance. Raise "
            "max_iter or loosen tol.",
            ConvergenceWarning,
        )
    if not result.information.determined:
        warn(
            "the rows do not determine all coefficients and probabilities: standard errors are "
            "nan. Ask for fewer sources or covariates, or bring more rows.",
            WeakIdentificationWarning,
        )
    n = len(result.start_log_likelihoods)
    if n > 1 and result.n_best < 2:
        warn(
            f"the best log-likelihood was reached by 1 of {n} starts of EM. Increase n_init.",
            StartsDisagreeWarning,
        )


def distinct(
    spec: MixtureSpec,
    codes: Int[Tensor, "rows items"],
    design: Float[Tensor, "rows p"],
    weights: Float[Tensor, " rows"],
) -> CovariateRows:
    """Rows of equal items and covariates as one."""
    both, place = torch.cat([codes.double(), design], 1).unique(dim=0, return_inverse=True)
    sums = torch.zeros(len(both), dtype=torch.float64).index_add(0, place, weights)
    items = both[:, : codes.shape[1]].to(codes.dtype)
    return CovariateRows(CellIndex(spec, items), both[:, codes.shape[1] :].contiguous(), sums)


def _names(covariates: Any) -> tuple[str, ...]:
    """Names of the covariates, each once.

    Raises:
        QueryError: there is none, or one twice.
    """
    if isinstance(covariates, str):
        covariates = [covariates]
    names = tuple(listed("covariates", covariates, "names of columns"))
    known = all(isinstance(name, Hashable) for name in names)
    if not names or not known or len(set(names)) < len(names):
        raise QueryError(
            f"covariates must be names of columns, each once, found {shown(list(names))}"
        )
    return names


def _items(
    table: RawTable,
    names: Sequence[str],
    n_sources: int,
    declared: Mapping[str, Sequence[Hashable]],
    sample_weight: Any,
    missing: str,
    weights_are: str,
) -> tuple[MixtureSpec, Int[Tensor, "rows items"], Float[Tensor, " rows"]]:
    """The items as state numbers, row by row."""
    if sample_weight is not None and isinstance(sample_weight, str) and sample_weight in names:
        raise QueryError(f"column {sample_weight!r} cannot be both a covariate and the weight")
    alone = replace(table, frame=table.frame.drop(list(names)))
    structure, alone = without_edges(alone, sample_weight, declared)
    read = "error" if missing == "error" else "mar"
    taken, _ = take_in(
        structure, alone, n_sources, declared, sample_weight, read, weights_are=weights_are
    )
    coded = encode(alone, taken.spec, sample_weight=sample_weight, missing=read, warn=False)
    return taken.spec, coded.codes, coded.weights


def _kept(
    codes: Int[Tensor, "rows items"],
    design: Float[Tensor, "rows p"],
    weights: Float[Tensor, " rows"],
    names: Sequence[str],
    missing: str,
) -> Tensor:
    """Rows that can be used: covariates have no law by which they could be summed out.

    Raises:
        DataError: a covariate is missing and that is an error, or no row is left.
    """
    told = design.isfinite().all(1)
    lost = int((~told).sum())
    if lost and missing == "error":
        raise DataError(
            f"expected no missing cells (missing='error'), found {lost} rows in which one of the "
            f"covariates {list(names)} is missing; drop them first"
        )
    observed = (codes >= 0).all(1) if missing == "drop" else (codes >= 0).any(1)
    kept = told & observed & (weights > 0)
    if not bool(kept.any()):
        raise DataError(
            f"no row is left: each of {len(kept)} rows lacks a covariate of {list(names)}, or items"
        )
    if lost:
        warn(
            f"{lost} of {len(told)} rows were dropped: one of the covariates {list(names)} is "
            "missing there.",
            DataRepairWarning,
        )
    return kept


def _starts(
    counts: Counts, spec: MixtureSpec, n_init: int, generator: torch.Generator
) -> BayesNetMixture:
    """The fit without covariates, and random starts."""
    with warnings.catch_warnings():
        # What a fit without covariates has to say is not of this one.
        warnings.simplefilter("ignore", PyromixWarning)
        plain = engine.fit(
            spec,
            counts,
            n_init=N_INIT_OF_PLAIN,
            tol=1e-7,
            prior=None,
            random_state=generator,
            show_progress=False,
        )
    first = batch_of(inside(plain.mixture))
    if not n_init or spec.n_sources == 1:
        return first
    return batch_of(first, random_starts(spec, n_init, generator, counts=counts))


def _assembled(
    spec: MixtureSpec, rows: CovariateRows, reader: Covariates, found: Regressed
) -> Regression:
    """Sources in their order, coefficients against the first."""
    mixture = BayesNetMixture(spec, mean_weights(rows, found.coefficients), found.tables)
    order = canonical_order(mixture)
    mixture = mixture.relabel(order)
    gamma = found.coefficients[order]
    gamma = gamma - gamma[:1]
    return Regression(
        mixture=mixture,
        covariates=reader,
        coefficients=gamma,
        information=class_information(rows, gamma, mixture.cpts),
        log_likelihood=found.log_likelihood,
        n_rows=rows.total_weight,
        converged=found.converged,
        n_iter=found.n_iter,
        start_log_likelihoods=tuple(found.start_log_likelihoods.tolist()),
        rows=rows,
    )
