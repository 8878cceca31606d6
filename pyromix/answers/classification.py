"""How well rows can be assigned to sources: average posteriors, and assigned against expected."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.answers.predict import predict_proba
from pyromix.data.frames import to_pandas
from pyromix.data.relation.door import read_rows
from pyromix.data.weights import COUNTS
from pyromix.errors import QueryError
from pyromix.exact.likelihood import responsibilities
from pyromix.fitting.inputs import table_of
from pyromix.fitting.record import Fit
from pyromix.model.printed import columns_of_text
from pyromix.model.ties import ROUNDING

if TYPE_CHECKING:
    import pandas as pd

    from pyromix.model.spec import MixtureSpec

ASSIGNED = "assigned"
"""The column of ``membership`` that names the likeliest source."""


@dataclass(frozen=True, eq=False)
class Classification:
    """Rows assigned to their likeliest source, against where they are expected.

    Attributes:
        spec: of the fit.
        table: rows, ``(k, k)``: assigned to source l (first axis), expected in source u (second).
        entropy_r2: 1 where every row's source is certain, 0 where none is.
    """

    spec: MixtureSpec
    table: Float[Tensor, "k k"]
    entropy_r2: float

    @property
    def average_posterior(self) -> Float[Tensor, "k k"]:
        """Mean of P(U = u | row) over the rows assigned to l; nan where none is."""
        return self.table / self.table.sum(1, keepdim=True)

    @property
    def assigned_given_source(self) -> Float[Tensor, "k k"]:
        """P(assigned to l | U = u), ``[u, l]``: what three-step estimators correct for.

        Nan for a source in which no row is expected.
        """
        return (self.table / self.table.sum(0)).T

    @property
    def error(self) -> float:
        """Expected share of rows that are assigned to another source than their own."""
        return 1 - float(self.table.diagonal().sum() / self.table.sum())

    def to_frame(self) -> pd.DataFrame:
        """A row for each pair of an assigned and an expected source.

        Columns ``assigned``, ``source``, ``rows`` (expected in the source, of those assigned),
        ``average_posterior`` (mean P(source | row) over the assigned), ``assigned_given_source``
        (P(assigned | source)).
        """
        states, k = self.spec.source_states, self.spec.n_sources
        return to_pandas(
            {
                ASSIGNED: [states[one] for one in range(k) for _ in range(k)],
                "source": list(states) * k,
                "rows": self.table.flatten().tolist(),
                "average_posterior": self.average_posterior.flatten().tolist(),
                "assigned_given_source": self.assigned_given_source.T.flatten().tolist(),
            }
        )

    def __str__(self) -> str:
        """Average posteriors by assigned source, and the share of wrong assignments."""
        names = [str(state) for state in self.spec.source_states]
        header = [ASSIGNED, "rows", *(f"P({name})" for name in names)]
        rows = [
            [name, f"{size:.6g}", *(f"{p:.3f}" for p in own)]
            for name, size, own in zip(
                names,
                self.assigned_rows.tolist(),
                self.average_posterior.tolist(),
                strict=True,
            )
        ]
        said = (
            f"entropy R2 {self.entropy_r2:.3f}; {self.error:.1%} of the rows are expected "
            "elsewhere than where they are assigned"
        )
        return "\n".join([*columns_of_text(header, rows, n_left=1), said])

    __repr__ = __str__

    @property
    def assigned_rows(self) -> Float[Tensor, " k"]:
        """Rows assigned to each source."""
        return self.table.sum(1)


def classification(
    fit: Fit,
    data: Any = None,
    *,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing_values: Any = None,
) -> Classification:
    """Assign every row to its likeliest source, and tell how sure that is.

    Args:
        fit: whose sources.
        data: a table; the one of the fit when left out.
        sample_weight: column name of ``data`` or one weight per row.
        weights_are: as in ``fit``.
        missing_values: as in ``fit``.

    Raises:
        DataError: the fit holds no table, the data do not fit, or weights come without data.
        QueryError: a row is impossible in every source.
    """
    counts = table_of(fit, data, sample_weight, weights_are, missing_values)
    counts = counts.to(fit.mixture.device)
    shares = responsibilities(fit.mixture, counts.rows)
    if bool(impossible := shares.isnan().any(-1).sum()):
        raise QueryError(
            f"expected rows that some source can produce, found {int(impossible)} distinct rows "
            "that none can; fit with a prior, or with data that hold such rows"
        )
    return classified(fit.spec, shares, counts.weights)


def classified(
    spec: MixtureSpec, shares: Float[Tensor, "m k"], weights: Float[Tensor, " m"]
) -> Classification:
    """Sum posteriors of rows by the source they are assigned to.

    Args:
        spec: whose sources.
        shares: P(U | row).
        weights: of each row.
    """
    k = spec.n_sources
    table = torch.zeros(k, k, dtype=shares.dtype, device=shares.device)
    table.index_add_(0, likeliest(shares), shares * weights[:, None])
    entropy = float(weights @ torch.special.entr(shares).sum(-1))
    most = float(weights.sum()) * torch.log(torch.tensor(float(k))).item()
    return Classification(spec, table.cpu(), 1.0 if k == 1 else 1 - entropy / most)


def likeliest(shares: Float[Tensor, "m k"]) -> Int[Tensor, " m"]:
    """The likeliest source of each row; of equal ones the first, whatever rounding says."""
    return (shares >= shares.amax(-1, keepdim=True) - ROUNDING).to(torch.uint8).argmax(-1)


def membership(fit: Fit, data: Any, *, missing_values: Any = None) -> pd.DataFrame:
    """P(U | row) of every row of a table, and the source that each is assigned to.

    Args:
        fit: whose sources.
        data: as in ``predict_proba``.
        missing_values: as in ``fit``.

    Returns:
        The columns of ``predict_proba``, then ``assigned``, the likeliest source by name; None
        where a row is impossible in every source.

    Raises:
        DataError: a column is missing or a value is no state.
        QueryError: a source is called ``"assigned"``.
    """
    return assigned(predict_proba(fit, read_rows(data, missing_values)), fit.spec.source_states)


def assigned(frame: pd.DataFrame, states: Sequence[Hashable]) -> pd.DataFrame:
    """Posteriors with the likeliest source of each row; None where a row has none.

    Args:
        frame: a column per source.
        states: names of the sources.

    Raises:
        QueryError: one is called ``"assigned"``.
    """
    if ASSIGNED in states:
        raise QueryError(
            f"expected sources of other names than {ASSIGNED!r}, which is that of a column of this "
            f"table, found {list(states)}; see predict_proba, which has no such column"
        )
    shares = torch.from_numpy(frame.to_numpy(copy=True))
    known = ~shares.isnan().any(-1)
    places = likeliest(shares).tolist()
    named = [states[u] if ok else None for u, ok in zip(places, known.tolist(), strict=True)]
    return frame.assign(**{ASSIGNED: named})
