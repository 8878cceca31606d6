"""Rows put to a mixture: which source they are from, and how likely they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.answers.intervals import quantiles
from pyromix.data.frames import check_schema, encode, labels_of, to_pandas
from pyromix.data.relation.counting import grouped
from pyromix.data.relation.digits import Packed
from pyromix.data.relation.door import read_table
from pyromix.data.relation.joining import with_columns
from pyromix.data.relation.table import RelationTable
from pyromix.data.weights import COUNTS, SAMPLING
from pyromix.errors import DataError, NumericalWarning, warn
from pyromix.exact.likelihood import log_prob, responsibilities
from pyromix.fitting.inputs import counted
from pyromix.fitting.record import Fit
from pyromix.model.arguments import level_of
from pyromix.model.mixture import BayesNetMixture, mixture_of

DRAWN_AT_ONCE = 2**24
"""Rows times draws times sources that an interval is taken of at once."""

ROWS_PER_CHUNK = 100_000
"""Rows whose responsibilities are computed at once."""


def predict_proba(
    mixture: BayesNetMixture | Fit,
    data: Any,
    *,
    level: float | None = None,
    missing_values: Any = None,
) -> Any:
    """P(U | row) of every row of a table.

    Args:
        mixture: a fit, or tables without batch axes.
        data: whatever ``fit`` accepts as a table; missing cells are summed out.
        level: also the ends of an equal-tailed interval over the draws of a fit.
        missing_values: as in ``fit``.

    Returns:
        One row per data row, in the order of the data and with the index of a pandas frame, one
        column per source, named by the source states; nan, with a NumericalWarning, where a row is
        impossible in every source. With a level the columns have two levels: ``estimate``, ``low``
        and ``high``, and the sources under each.

        Of a relation (of DuckDB, of Ibis, a glob of files): that relation, not run yet, with
        further columns ``U_0`` and so on, by source and state, and with a level ``U_0_low`` and
        ``U_0_high``.

    Raises:
        DataError: a column is missing or a value is no state.
        QueryError: a level without draws, or one not between 0 and 1.
    """
    fit, mixture = mixture, mixture_of(mixture)
    table = read_table(data, missing_values)
    if isinstance(table, RelationTable):
        return _joined(fit, table, level)
    codes = encode(table, mixture.spec).codes.to(mixture.device)
    shares = _shares(mixture, codes)
    _warn_of_impossible(mixture, shares)
    columns = [str(s) for s in mixture.spec.source_states]
    if len(set(columns)) < len(columns):
        columns = list(mixture.spec.source_states)  # 1 and "1" are two sources
    if level is None:
        return to_pandas(dict(zip(columns, shares.T.numpy(), strict=True)), labels_of(table))
    low, high = _ends(codes, fit, level)
    parts = {"estimate": shares.numpy(), "low": low, "high": high}
    return to_pandas(
        {
            (name, column): part[:, u]
            for name, part in parts.items()
            for u, column in enumerate(columns)
        },
        labels_of(table),
    )


def _joined(fit: BayesNetMixture | Fit, table: RelationTable, level: float | None) -> Any:
    """A relation with a column of P(U | row) for each source, not run yet."""
    mixture = mixture_of(fit)
    spec = mixture.spec
    check_schema(spec, table)
    packed = Packed.of(table, spec)
    codes = grouped(table, packed).codes
    shares = _shares(mixture, codes.to(mixture.device))
    _warn_of_impossible(mixture, shares)
    parts = {"": shares.numpy()}
    if level is not None:
        low, high = _ends(codes.to(mixture.device), fit, level)
        parts |= {"_low": low, "_high": high}
    columns = {
        f"{spec.source}_{state}{end}": part[:, u]
        for end, part in parts.items()
        for u, state in enumerate(spec.source_states)
    }
    if taken := [name for name in columns if name in table.columns]:
        raise DataError(
            f"expected a table without the columns {taken}, which P({spec.source} | row) would be; "
            "rename them"
        )
    return with_columns(table, packed, codes, columns)


def _shares(
    mixture: BayesNetMixture, codes: Int[Tensor, "rows variables"]
) -> Float[Tensor, "rows k"]:
    chunks = codes.split(ROWS_PER_CHUNK)
    return torch.cat([responsibilities(mixture, chunk).cpu() for chunk in chunks])


def _warn_of_impossible(mixture: BayesNetMixture, shares: Float[Tensor, "rows k"]) -> None:
    """Say where rows, or distinct rows of a relation, have probability zero."""
    impossible = shares.isnan().any(-1).nonzero().flatten()
    if len(impossible):
        warn(
            f"{len(impossible)} of {len(shares)} rows have probability zero in every source, "
            f"the first is row {int(impossible[0])}; their P({mixture.spec.source}) is nan. Fit "
            "with a prior, or with data that hold such rows",
            NumericalWarning,
        )


def _ends(
    codes: Int[Tensor, "rows variables"], fit: BayesNetMixture | Fit, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of P(U | row) over draws, once per distinct row."""
    draws = fit.draws if isinstance(fit, Fit) else fit
    distinct, number = codes.unique(dim=0, return_inverse=True)
    n_draws = draws.batch_shape.numel()
    ends = [
        _interval(responsibilities(draws, part), level)
        for part in distinct.split(max(1, DRAWN_AT_ONCE // (n_draws * draws.n_sources)))
    ]
    low, high = (np.concatenate(part)[number.cpu().numpy()] for part in zip(*ends, strict=True))
    return low, high


def _interval(shares: Float[Tensor, "draws ..."], level: float) -> tuple[np.ndarray, np.ndarray]:
    """Interval over the draws in which a row is possible at all."""
    possible = shares.isfinite()
    if bool(possible.all()):
        return quantiles(shares, level)
    level = level_of(level)
    ends = np.nanquantile(shares.cpu().numpy(), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return ends[0], ends[1]


def score(
    mixture: BayesNetMixture | Fit,
    data: Any,
    sample_weight: Any = None,
    *,
    missing_values: Any = None,
) -> float:
    """Mean log-likelihood per row, in nats, U and missing cells summed out.

    Args:
        mixture: a fit, or tables without batch axes.
        data: a table, or Counts.
        sample_weight: column name or one weight per row of a table.
        missing_values: as in ``fit``.

    Raises:
        DataError: a column is missing, a value is no state, a weight is unusable.
    """
    mixture = mixture_of(mixture)
    # a mean is the same whatever its weights are; nobody need be asked
    weights_are = COUNTS if sample_weight is None else SAMPLING
    counts = counted(data, mixture.spec, sample_weight, weights_are, missing_values)
    counts = counts.to(mixture.device)
    return float(counts.weights @ log_prob(mixture, counts.rows)) / counts.n_rows
