"""Why criteria choose different numbers of sources, in the figures that decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class Scored(Protocol):
    """What a criterion looks at; a ``Candidate`` is one."""

    @property
    def n_sources(self) -> int:
        """The number, k."""
        ...

    @property
    def n_parameters(self) -> int:
        """Free probabilities."""
        ...

    @property
    def log_likelihood(self) -> float:
        """Of the fit, in nats."""
        ...

    @property
    def held_out(self) -> float:
        """Nats per held-out row."""
        ...

    @property
    def held_out_error(self) -> float:
        """Standard error of its difference from the best candidate's."""
        ...

    @property
    def entropy_r2(self) -> float:
        """How certain rows are of their source."""
        ...

    @property
    def rank_p_value(self) -> float:
        """Of the hypothesis that so many sources suffice."""
        ...


def why_others_differ(
    candidates: Sequence[Scored], choices: Mapping[str, int], chosen: int, level: float
) -> tuple[str, ...]:
    """Say of each criterion that does not choose the k of BIC what it saw there.

    BIC takes k over k' where 2 (l_k - l_k') > (p_k - p_k') log N; in nats per parameter its price
    is (log N) / 2, that of AIC 1 (THEORY section 8).

    Args:
        candidates: at least those that are chosen.
        choices: criterion to k, as ``Selection.choices``.
        chosen: the k of BIC.
        level: of the rank tests.
    """
    at = {c.n_sources: c for c in candidates}
    one, sentences = at[chosen], []
    for criterion, k in choices.items():
        if k == chosen or k not in at:
            continue
        other, said = at[k], _WHY.get(criterion)
        if said is not None:
            name = _NAMES.get(criterion, criterion.upper())
            sentences.append(f"{name} {k}: {said(one, other, level)}")
    return tuple(sentences)


def _by_rank(one: Scored, other: Scored, level: float) -> str:
    if other.n_sources > one.n_sources:
        return (
            f"a rank test rejects {one.n_sources} sources (p = {one.rank_p_value:.2g}, level "
            f"{level:g}), in a pair of blocks of variables; {_gain(one, other)}, too few for BIC"
        )
    return (
        f"no rank test rejects {other.n_sources} sources (smallest p = {other.rank_p_value:.2g}), "
        f"though {_gain(other, one)}, enough for BIC: more than pairs of blocks show, or a missing "
        "edge that a further source stands in for"
    )


def _by_held_out(one: Scored, other: Scored, _: float) -> str:
    if other.held_out > one.held_out:
        return (
            f"with {one.n_sources} sources held-out rows are less likely than at the best number "
            f"by more than a standard error ({one.held_out_error:.4f} nats each)"
        )
    return (
        f"held-out rows are as likely, within a standard error ({other.held_out_error:.4f} nats "
        f"each), as at the best number, and {other.n_sources} is the smallest of which that holds"
    )


def _by_certainty(one: Scored, other: Scored, _: float) -> str:
    return (
        f"it asks how many sources rows can be told apart by, which an effect does not need; "
        f"entropy R2 is {one.entropy_r2:.2f} with {one.n_sources} and {other.entropy_r2:.2f} with "
        f"{other.n_sources}"
    )


def _by_price(one: Scored, other: Scored, _: float) -> str:
    less, more = sorted((one, other), key=lambda c: c.n_sources)
    dearer = "lower" if more is other else "higher"
    return f"a parameter has a {dearer} price than in BIC; {_gain(less, more)}"


def _gain(less: Scored, more: Scored) -> str:
    nats = more.log_likelihood - less.log_likelihood
    parameters = more.n_parameters - less.n_parameters
    return (
        f"from {less.n_sources} to {more.n_sources} sources the log-likelihood gains {nats:.1f} "
        f"nats for {parameters} parameters"
    )


_NAMES = {"rank": "rank", "held_out": "held-out"}

_WHY = {
    "rank": _by_rank,
    "held_out": _by_held_out,
    "icl": _by_certainty,
    "aic": _by_price,
    "caic": _by_price,
    "sabic": _by_price,
}
