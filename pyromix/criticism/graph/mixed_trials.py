"""A fit with numbers, and every change of its graph by one edge: tested, bounded, or fitted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyromix.criticism.graph.dimension import dimension
from pyromix.criticism.graph.edits import ADD, Edit
from pyromix.criticism.graph.trials import log_tail
from pyromix.data.records import Records
from pyromix.estimate.mixed.climb import MixedEnd, climb_mixed
from pyromix.estimate.mixed.nested_tests import Smaller, Tested, wald_test
from pyromix.estimate.mixed.prior import MixedPrior, family_rows, seen_before, settled
from pyromix.estimate.mixed.step import log_likelihood, look
from pyromix.fitting.mixed.record import MixedRecord
from pyromix.model.edges import parents_of
from pyromix.model.families.nested import of_every_source, tangent, with_parent
from pyromix.model.mixed import MixedMixture, MixedSpec
from pyromix.model.spec import SOURCE, MixtureSpec

TOLERANCE = 1e-8
"""Nats per row that a step of EM must gain."""

STEPS = 500
"""Steps of EM after a change."""


@dataclass(frozen=True)
class MixedTrial:
    """A change, tested: a statistic, and degrees of freedom that a table can show."""

    statistic: float
    df: int

    @property
    def log_p(self) -> float:
        """Logarithm of the p-value; zero where there is nothing to test."""
        return log_tail(self.statistic, self.df) if self.df else 0.0


class MixedBench:
    """The fit, and changes of its graph by one edge."""

    def __init__(self, fit: MixedRecord) -> None:
        self.fit, self.spec, self.records = fit, fit.spec, fit.records
        self.smaller = Smaller(
            fit.mixture, fit.records, fit.scores, fit.information.inverse_curvature
        )

    @cached_property
    def log_likelihood(self) -> float:
        """Of the fit, in our units."""
        with torch.no_grad():
            return float(log_likelihood(self.fit.mixture, list(self.records.parts())))

    @cached_property
    def shares(self) -> Float[Tensor, "rows k"]:
        """P(U | row)."""
        found = self.records.weights.new_zeros(self.records.n_rows, self.spec.n_sources)
        with torch.no_grad():
            for part in self.records.parts():
                found[part.rows] = look(self.fit.mixture, part).posterior()
        return found

    def tested(self, edit: Edit) -> MixedTrial:
        """Test the smaller graph of the two."""
        changed = self.changed(edit)
        before, after = dimension(self.spec.binned), dimension(changed.spec.binned)
        if before is not None and before == after:
            return MixedTrial(0.0, 0)
        found = self._score(edit, changed) if edit.kind == ADD else self._wald(edit)
        return MixedTrial(found.statistic, found.df)

    def fitted(self, edit: Edit) -> MixedEnd:
        """Climb on in the changed graph."""
        changed = self.changed(edit)
        start, prior = changed.start(self.shares)
        parts = list(changed.records.parts())
        return climb_mixed(start, parts, prior, max_iter=STEPS, tol=TOLERANCE)

    def bound(self, edit: Edit) -> float:
        """Log-likelihood that the changed graph reaches at the least."""
        changed = self.changed(edit)
        start, _ = changed.start(self.shares)
        with torch.no_grad():
            return float(log_likelihood(start, list(changed.records.parts())))

    def changed(self, edit: Edit) -> Changed:
        """The graph after a change, and the fit in its order."""
        return Changed.of(self.fit, edit)

    def _score(self, edit: Edit, changed: Changed) -> Tested:
        mixture, head = self.fit.mixture, edit.head
        cpd = mixture.cpds[head]
        larger = changed.written(_grown(self.spec, edit))
        return self.smaller.score_test(
            larger,
            changed.records,
            changed.order,
            changed.order.index(head),
            tangent(cpd, _grown(self.spec, edit)),
        )

    def _wald(self, edit: Edit) -> Tested:
        spec, head = self.spec, edit.head
        place = spec.parents[head].index(edit.tail)
        parent = spec.layout(head).parents[place]
        small = self.changed(edit).standard()
        grown = tangent(small, lambda cpd: with_parent(cpd, place, parent))
        return wald_test(self.fit.mixture, self.fit.information, head, grown)


def _grown(spec: MixedSpec, edit: Edit) -> Callable[[Any], Any]:
    """Write the family of the head for the edge that is added."""
    if edit.tail == SOURCE:
        return of_every_source
    entry = spec.entry(edit.tail)
    return lambda cpd: with_parent(cpd, len(spec.parents[edit.head]), entry)


@dataclass(frozen=True, eq=False)
class Changed:
    """A graph by one edge away, and the parts of the fit in its order.

    Attributes:
        fit: to the graph as it is.
        spec: the changed graph.
        order: of its vertices, in numbers of the graph as it is.
        head: whose family changes, in numbers of ``spec``.
    """

    fit: MixedRecord
    spec: MixedSpec
    order: tuple[int, ...]
    head: int

    @staticmethod
    def of(fit: MixedRecord, edit: Edit) -> Changed:
        """Apply a change; parents keep their order, a new one comes last."""
        spec, graph = fit.spec, fit.spec.binned
        parents, free = edit.applied(parents_of(graph), graph.uninfluenced)
        above = {
            v: sorted(
                found, key=lambda p, own=graph.parents[v]: own.index(p) if p in own else math.inf
            )
            for v, found in enumerate(parents)
        }
        changed = MixtureSpec.from_parents(
            dict(zip(graph.variables, graph.states, strict=True)),
            {graph.name(v): [graph.name(p) for p in found] for v, found in above.items()},
            graph.n_sources,
            source=graph.source,
            uninfluenced=[graph.name(v) for v in sorted(free)],
            coarse=[graph.name(v) for v in graph.coarse],
            source_states=graph.source_states,
        )
        order = tuple(graph.vertex(name) for name in changed.variables)
        kinds = tuple(spec.kind(v) for v in order)
        return Changed(fit, MixedSpec(changed, kinds), order, order.index(edit.head))

    @cached_property
    def records(self) -> Records:
        """The table, columns in the order of the graph."""
        own = self.fit.records
        return replace(
            own,
            kinds=tuple(own.kinds[v] for v in self.order),
            units=tuple(own.units[v] for v in self.order),
            columns=tuple(own.columns[v] for v in self.order),
        )

    def standard(self) -> Any:
        """The family of the head after the change, knowing nothing."""
        return self.spec.standard_cpd(self.head, self.records.device)

    def written(self, grown: Callable[[Any], Any]) -> MixedMixture:
        """The fit as a mixture of this graph, the family of the head written larger."""
        return self._with(grown(self.fit.mixture.cpds[self.order[self.head]]))

    def start(self, shares: Float[Tensor, "rows k"]) -> tuple[MixedMixture, MixedPrior]:
        """The family of the head estimated anew from P(U | row), and what was seen before."""
        records = self.records
        own = seen_before(self.spec, records, self.head)
        values, parents, seen = family_rows(self.spec, records, self.head)
        weighted = (shares * records.weights[:, None])[seen]
        cpd = settled(self.standard(), values, parents, weighted, own)
        prior = self.fit.prior
        statistics = [prior.statistics[v] for v in self.order]
        statistics[self.head] = own
        return self._with(cpd), replace(prior, statistics=tuple(statistics))

    def _with(self, cpd: Any) -> MixedMixture:
        mixture = self.fit.mixture
        cpds = [mixture.cpds[v] for v in self.order]
        cpds[self.head] = cpd
        return MixedMixture(self.spec, self.records.units, mixture.weights, tuple(cpds))
