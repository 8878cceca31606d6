"""A fit of columns that were cut into states, fitted again where they are cut elsewhere.

The sources that were found are where EM starts, so k, graph and optimum stay and only the states
differ. A fit holds states and no numbers: the table of numbers is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.data.bins import edges_of, intervals
from pyromix.data.codes import smallest_dtype
from pyromix.data.counts import Counts
from pyromix.data.cut_points import merged_states, other_cuts
from pyromix.data.distinct import distinct_rows
from pyromix.data.intake_report import DataReport
from pyromix.data.numbers import numbers
from pyromix.data.reading import RawTable, check_columns
from pyromix.data.relation.door import read_rows, read_table
from pyromix.data.relation.table import RelationTable
from pyromix.errors import DataError, QueryError
from pyromix.estimate.pooled_prior import Shrinkage
from pyromix.exact.likelihood import responsibilities
from pyromix.fitting.inputs import is_asked
from pyromix.fitting.record import Fit
from pyromix.fitting.warm import fit_from
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.note import NoteKind
from pyromix.model.prior import Prior
from pyromix.model.spec import MixtureSpec

ALIKE = 1e-9
"""Relative difference of weights that are the same, but for rounding."""


@dataclass(frozen=True, eq=False)
class Recut:
    """The same table with one column cut elsewhere.

    Attributes:
        words: which column, where, and how that differs.
        name: of the column.
        before: its states in the fit.
        after: its states here.
        counts: the table.
        start: the sources of the fit, in these states.
    """

    words: str
    name: str
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    counts: Counts
    start: BayesNetMixture

    def asked(self, question: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        """A question about the states of the fit, of those that have their place here.

        With another number of states the lowest and the highest have one.

        Args:
            question: outcomes, do and evidence, by name.

        Raises:
            QueryError: a state that is asked about has none.
        """
        outcomes, do, evidence = question
        listed = [outcomes] if isinstance(outcomes, str) else list(outcomes)
        same = len(self.before) == len(self.after)
        if self.name in listed and not same:
            raise QueryError(
                f"the question is about every state of {self.name!r}, and here it has "
                f"{len(self.after)} instead of {len(self.before)}"
            )
        return outcomes, self._settings(do), self._settings(evidence)

    def _settings(self, given: Any) -> Any:
        if not isinstance(given, Mapping) or self.name not in given:
            return given
        return {**given, self.name: self._setting(given[self.name])}

    def _setting(self, setting: Any) -> Any:
        if isinstance(setting, Mapping):
            return {self._state(state): p for state, p in setting.items()}
        if isinstance(setting, list | tuple):
            return [self._setting(one) for one in setting]
        return self._state(setting)

    def _state(self, state: Any) -> Any:
        pairs = list(zip(self.before, self.after, strict=False))
        if len(self.before) != len(self.after):
            pairs = [(self.before[0], self.after[0]), (self.before[-1], self.after[-1])]
        for one, other in pairs:
            if one == state:
                return other
        raise QueryError(
            f"the question is about {self.name}={state!r}, which has no counterpart among "
            f"{len(self.after)} states"
        )

    def fitted(
        self, fit: Fit, prior: str | Prior | Shrinkage | None, generator: torch.Generator
    ) -> Fit:
        """The fit to this table, from the sources of another.

        Raises:
            PyromixError: EM cannot start.
        """
        found = fit_from(self.start, self.counts, prior, generator)
        searched = tuple(note for note in fit.notes if note.kind is NoteKind.DISCOVERED)
        return replace(found, notes=(*searched, *found.notes))


def cut_variables(spec: MixtureSpec) -> dict[str, tuple[float, ...]]:
    """Names of variables whose states are intervals between edges, and these."""
    found = {name: edges_of(spec.states[spec.vertex(name)]) for name in spec.variables}
    return {name: edges for name, edges in found.items() if edges}


def recut(
    fit: Fit, data: Any, sample_weight: Any = None, missing_values: Any = None
) -> Iterator[Recut]:
    """Cut the columns that were cut elsewhere, one at a time.

    Args:
        fit: to states that are intervals.
        data: the table of numbers that it was fitted to.
        sample_weight: as it was fitted with.
        missing_values: as it was fitted with.

    Raises:
        QueryError: no variable of the fit has intervals as states.
        DataError: the table holds states in place of numbers, or is another one.
    """
    cut = cut_variables(fit.spec)
    if not cut:
        raise QueryError(
            "data: no variable of this fit was cut into states (discretize= of px.fit), so there "
            "are no cut points to vary; leave data out"
        )
    if is_asked(data):
        raise DataError(
            f"data: expected the table of numbers that {', '.join(map(repr, cut))} was cut in, "
            f"found a {type(data).__name__}, whose variables have states"
        )
    table = read_table(data, missing_values)
    check_columns(table, list(fit.spec.variables))
    for name, edges in cut.items():
        values = _numbers(table, name)
        others = other_cuts(edges, values)
        fine = tuple(sorted({*edges, *(edge for _, own in others for edge in own)}))
        rows = Counts.from_frame(
            table, _restated(fit.spec, name, fine), sample_weight=sample_weight
        )
        own = _merged(fit, rows, fit.spec, name, merged_states(fine, edges))
        _check_same(fit.counts, own)
        codes = rows.rows.long()
        v = fit.spec.vertex(name)
        codes[:, v] = _looked_up(merged_states(fine, edges), codes[:, v])
        shares = responsibilities(fit.mixture, codes.to(fit.mixture.device)).cpu()
        for words, new in others:
            spec = _restated(fit.spec, name, new)
            counts = _merged(fit, rows, spec, name, merged_states(fine, new))
            places = _looked_up(merged_states(fine, new), rows.rows[:, v].long())
            codes = rows.rows.long()
            codes[:, v] = places
            start = _start(fit, spec, v, codes, rows.weights[:, None] * shares)
            at = ", ".join(f"{edge:.4g}" for edge in new)
            yield Recut(
                f"{name} cut at {at} ({words})",
                name,
                fit.spec.states[v],
                spec.states[v],
                counts.to(fit.mixture.device),
                start.to(fit.mixture.device),
            )


def _numbers(table: RawTable | RelationTable, name: str) -> Float[Tensor, " rows"]:
    """A column as it was before it was cut.

    Raises:
        DataError: it holds states.
    """
    try:
        return numbers(read_rows(table, columns=[name]), name)
    except DataError as error:
        raise DataError(
            f"data: expected {name!r} as it was before it was cut; {error}, or pass the table that "
            "has its numbers"
        ) from None


def _restated(spec: MixtureSpec, name: str, edges: Sequence[float]) -> MixtureSpec:
    """The same structure with a variable in other intervals."""
    states = list(spec.states)
    states[spec.vertex(name)] = intervals(name, edges)
    return replace(spec, states=tuple(states))


def _looked_up(places: Int[Tensor, " fine"], codes: Int[Tensor, " m"]) -> Int[Tensor, " m"]:
    """New states of old ones; what is missing stays so."""
    return torch.where(codes < 0, -1, places[codes.clamp_min(0)])


def _merged(
    fit: Fit, rows: Counts, spec: MixtureSpec, name: str, places: Int[Tensor, " fine"]
) -> Counts:
    """The rows in fewer states, with as many rows as the fit has."""
    v, codes, weights = spec.vertex(name), rows.rows.long(), rows.weights
    codes[:, v] = _looked_up(places, codes[:, v])
    if fit.counts.complete:
        kept = (codes >= 0).all(1)
        codes, weights = codes[kept], weights[kept]
    if not len(codes):
        raise _another("none of its rows is complete")
    weights = weights * (fit.counts.n_rows / float(weights.sum()))
    report = DataReport(n_rows=len(codes), n_variables=spec.n_variables, n_patterns=len(codes))
    codes = codes.to(smallest_dtype(spec))
    return Counts(spec, *distinct_rows(spec, codes, weights, report))


def _check_same(own: Counts, other: Counts) -> None:
    """Refuse a table that is not the one a fit was made of.

    Raises:
        DataError: it is another one.
    """
    if own.n_patterns != other.n_patterns:
        raise _another(f"it has {other.n_patterns:,} distinct rows, the fit {own.n_patterns:,}")
    same = bool((own.rows.cpu() == other.rows).all()) and torch.allclose(
        own.weights.cpu(), other.weights, rtol=ALIKE, atol=0
    )
    if not same:
        raise _another("its distinct rows are as many, but others or of other weights")


def _another(found: str) -> DataError:
    return DataError(
        f"data: expected the table that was fitted, found another one: cut as the fit is, {found}; "
        "give sample_weight and missing_values as they were"
    )


def _start(
    fit: Fit,
    spec: MixtureSpec,
    v: int,
    codes: Int[Tensor, "m n"],
    shares: Float[Tensor, "m k"],
) -> BayesNetMixture:
    """The mixture of the fit; tables that know the variable, by the shares of the rows."""
    cpts = []
    for w, cpt in enumerate(fit.mixture.cpts):
        columns = [*spec.parents[w], w]
        if v not in columns:
            cpts.append(cpt.cpu())
            continue
        seen = (codes[:, columns] >= 0).all(1)
        shape = spec.cpt_shape(w)
        cell = torch.zeros(int(seen.sum()), dtype=torch.int64)
        for column in columns:
            cell = cell * spec.card(column) + codes[seen, column]
        sums = torch.zeros(prod(shape[1:]), shape[0], dtype=torch.float64)
        sums = sums.index_add_(0, cell, shares[seen]).T.reshape(shape)
        if w in spec.uninfluenced:
            sums = sums.sum(0, keepdim=True).expand(shape)
        total = sums.sum(-1, keepdim=True)
        cpts.append(torch.where(total > 0, sums / total.clamp_min(1e-300), 1 / shape[-1]))
    return BayesNetMixture.unchecked(spec, [fit.mixture.weights.cpu(), *cpts])
