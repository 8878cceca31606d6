"""``bounds``: the range of an answer among mixtures that fit as well as the best."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch

from pyromix.answers.bounds import Bounds, Range
from pyromix.answers.delta import (
    Delta,
    difference_interval,
    finite_gradients,
    probability_interval,
)
from pyromix.answers.fitted_law import check_size, law_of_fit, law_of_population
from pyromix.answers.heard import Hearing, formable, hear
from pyromix.answers.intervals import Basis
from pyromix.answers.natural import Pair, difference_of, natural_bounds
from pyromix.answers.nearby import Nearby
from pyromix.answers.ranges import Found, find_range, with_one_more
from pyromix.answers.searched import Searched
from pyromix.answers.wording import conditions, question, scenarios
from pyromix.data.population import Population, population
from pyromix.errors import QueryError, SpecError, StatesOnlyError
from pyromix.estimate.starts import batch_of
from pyromix.exact.elimination import log_evidence
from pyromix.fitting.record import Fit
from pyromix.identify.certificate import query_gradient
from pyromix.identify.verdict import judge
from pyromix.model.arguments import level_of, shown, whole
from pyromix.model.mixed import MixedMixture
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.only_states import A_FIT_OF_STATES
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.randomness import RandomState, check_seed
from pyromix.model.spec import SOURCE, MixtureSpec

MOST_STARTS = 10_000
"""Starts that are taken."""


def bounds(
    mixture: Fit | BayesNetMixture | Population,
    outcome: str | Sequence[str],
    do: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Hashable] | None = None,
    *,
    level: float = 0.95,
    n_starts: int = 24,
    random_state: RandomState = 0,
) -> Bounds:
    """Find between what P(outcome | do, evidence) lies, where data do not make it a point.

    The range is that of all mixtures of this graph and k with the law that fits best, without the
    prior's penalty; the same with k + 1 sources and that law; and the natural bounds of it, which
    hold for any k [manski90]. Rows of tables that no data reach are free in it. With a table,
    ``interval()`` adds what sampling leaves open: all answers whose log-likelihood is within half
    the chi-square quantile of the best with k sources (THEORY 14.6), or, where the verdict is weak,
    within the limit that holds there. Searches find ends from inside: how many reached each is
    told, and more starts may find wider ones.

    Args:
        mixture: a fit; or a mixture or population, whose law is then known exactly. The graph and
            k of a population may be others than those of its mixture.
        outcome: outcome or outcomes.
        do: as in ``query``; a list of two states of the treatment also has a ``difference``.
        evidence: per variable a state name.
        level: of the interval.
        n_starts: from which ends are searched, beside the fit itself; rounded up to a multiple of
            three.
        random_state: of the starts.

    Raises:
        QueryError: a name, state or option is unknown, a variable is asked in two places, or the
            source is one of them.
        SpecError: neither a fit, a mixture nor a population, or one too large to be searched.
        DataError: the mixture has batch axes.
        PositivityError: the evidence is impossible under the do.
    """
    level = level_of(level)
    n_starts = whole("n_starts", n_starts, 1, MOST_STARTS, QueryError)
    check_seed(random_state)
    if isinstance(mixture, BayesNetMixture):
        mixture = population(mixture)
    if isinstance(getattr(mixture, "mixture", mixture), MixedMixture):
        raise StatesOnlyError(
            f"bounds are those of probability tables, found a {type(mixture).__name__}, in which "
            f"some variables are numbers; {A_FIT_OF_STATES}"
        )
    if not isinstance(mixture, Fit | Population):
        raise SpecError(f"expected a fit, a mixture or a population, found {shown(mixture)}")
    spec = mixture.spec
    asked = _asked(spec, outcome, do, evidence)
    if isinstance(mixture, Fit):
        heard = hear(mixture, (asked,), _affordable(mixture))
        certainty = heard.verdict.level
        law = law_of_fit(mixture, heard.verdict)
    else:
        heard, certainty = None, judge(spec, (asked,)).level
        law = law_of_population(mixture, random_state)
    more = spec.with_n_sources(spec.n_sources + 1)
    check_size(law.map(more), certainty)
    log_evidence(law.mixture, asked)
    values = Searched(asked, prod(spec.cards[v] for v in asked.outcomes))
    found = find_range(law.map(spec), values, law.mixture, n_starts, random_state)
    known = batch_of(law.mixture, found.extreme)
    next_found = find_range(
        law.map(more), values, with_one_more(known, more), n_starts, random_state
    )
    near = next_near = None
    refused = ""
    if not isinstance(mixture, Fit) or heard is None:
        refused = "the law is known, there are no rows"
    elif heard.inquiry is None or not heard.inquiry.searches:
        refused = heard.missing or "the table is too large for searches of its likelihood"
    else:
        table, best = mixture.counts.to(law.mixture.device), law.log_likelihood
        next_near = Nearby(table, best, next_found.extreme)
        heard = replace(heard, inquiry=replace(heard.inquiry, further=found.extreme))
        if not heard.verdict.structural.at_least(Certainty.LOCAL):
            near = Nearby(table, best, found.extreme)
    ranges = _Ranges(spec, values, law.mixture, heard, near, next_near, refused)
    return _assembled(ranges, found, next_found, certainty, level)


def _asked(spec: MixtureSpec, outcome: Any, do: Any, evidence: Any) -> DoQuery:
    """The question in numbers.

    Raises:
        QueryError: as ``DoQuery.from_names``, or the source is named.
    """
    asked = DoQuery.from_names(spec, outcome, do, evidence)
    if SOURCE in (*asked.outcomes, *asked.do, *asked.evidence):
        raise QueryError(
            f"expected a question about observed variables, found {spec.source!r} in it: mixtures "
            "that fit as well give its states other names, and nothing bounds what is within one"
        )
    return asked


def _affordable(fit: Fit) -> bool | None:
    return True if fit.table is not None and formable(fit) else None


@dataclass(frozen=True, eq=False)
class _Ranges:
    """What ranges of probabilities and of differences are made of."""

    spec: MixtureSpec
    values: Searched
    mixture: BayesNetMixture
    heard: Hearing | None
    near: Nearby | None
    next_near: Nearby | None
    refused: str

    def own(self, found: Found, *, differences: bool, shape: tuple[int, ...]) -> Range:
        """With as many sources as the fit."""
        part = self.values.part(differences=differences)

        def sampling(level: float) -> Pair:
            if self.near is not None:
                lows, highs = self.near.ends(self.values, self.values.n_cells, level)
                lows, highs = lows[part], highs[part]
            else:
                ends = [basis.interval(level) for basis in self._bases[part]]
                lows = [float(end.low[0]) for end in ends]
                highs = [float(end.high[0]) for end in ends]
            low, high = self.values.unfolded(lows, highs, differences=differences)
            return low.reshape(shape), high.reshape(shape)

        return self._range(found, self.spec.n_sources, sampling, differences, shape)

    def next(self, own: Range, found: Found, *, differences: bool, shape: tuple[int, ...]) -> Range:
        """With one more; whatever k sources can be, k + 1 can."""
        part = self.values.part(differences=differences)

        def sampling(level: float) -> Pair:
            assert self.next_near is not None
            low, high = self.next_near.ends(self.values, self.values.n_cells, level)
            low, high = self.values.unfolded(low[part], high[part], differences=differences)
            least, most = own.interval(level)
            return np.minimum(low.reshape(shape), least), np.maximum(high.reshape(shape), most)

        return self._range(found, self.spec.n_sources + 1, sampling, differences, shape)

    def _range(
        self, found: Found, k: int, sampling: Any, differences: bool, shape: tuple[int, ...]
    ) -> Range:
        part = self.values.part(differences=differences)
        low, high = self.values.unfolded(
            found.low[part].cpu(), found.high[part].cpu(), differences=differences
        )
        n_low, n_high = self.values.counts(found, differences=differences)
        return Range(
            k,
            low.reshape(shape),
            high.reshape(shape),
            found.n_searches,
            n_low.reshape(shape),
            n_high.reshape(shape),
            None if self.next_near is None else sampling,
            self.refused,
        )

    @cached_property
    def _bases(self) -> tuple[Basis, ...]:
        """What intervals of a fit's answers are made of, one for each that is searched."""
        heard, values = self.heard, self.values
        assert heard is not None
        assert heard.inquiry is not None
        at = heard.inquiry.fit.mixture
        slopes = None
        if heard.information is not None:
            slopes = values.slopes(finite_gradients(query_gradient(at, values.query)))
        with torch.no_grad():
            points = values(batch_of(at))[0].cpu().numpy()
        bases = []
        for i in range(len(points)):
            one, probability = slice(i, i + 1), i < values.n_cells
            delta = None
            if slopes is not None and heard.information is not None:
                delta = Delta(slopes[one], heard.information)
            basis = Basis(
                values=points[one],
                bounds=(0.0, 1.0) if probability else (-1.0, 1.0),
                normal=probability_interval if probability else difference_interval,
                scale=_log_odds if probability else np.asarray,
                delta=delta,
                draws=None,
                targets=values.only(one),
                inquiry=heard.inquiry,
                refused=heard.missing,
            )
            bases.append(basis)
        return tuple(bases)


def _log_odds(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(values) - np.log1p(-values)


def _assembled(
    ranges: _Ranges, found: Found, more: Found, certainty: Certainty, level: float
) -> Bounds:
    """Names, shapes, and natural bounds."""
    spec, values = ranges.spec, ranges.values
    query = values.query
    cards = tuple(spec.cards[v] for v in query.outcomes)
    names = tuple(spec.name(v) for v in query.outcomes)
    cells = tuple(itertools.product(*(spec.states_of(v) for v in query.outcomes)))
    natural = natural_bounds(ranges.mixture[0], query)
    contrast = None
    if query.n_scenarios == 2:
        own = ranges.own(found, differences=True, shape=cards)
        contrast = Bounds(
            _difference_in_words(spec, query),
            names,
            cells,
            certainty,
            own,
            ranges.next(own, more, differences=True, shape=cards),
            None if natural is None else difference_of(natural),
            level,
        )
    shape = cards
    if query.n_scenarios is not None:
        shape = (query.n_scenarios, *cards)
        names = ("scenario", *names)
        cells = tuple((s, *cell) for s in scenarios(spec, query) for cell in cells)
    own = ranges.own(found, differences=False, shape=shape)
    return Bounds(
        question(spec, query),
        names,
        cells,
        certainty,
        own,
        ranges.next(own, more, differences=False, shape=shape),
        natural,
        level,
        contrast,
    )


def _difference_in_words(spec: MixtureSpec, query: DoQuery) -> str:
    outcomes = ", ".join(spec.name(v) for v in query.outcomes)
    seen = conditions(spec, replace(query, do={}))
    one, other = scenarios(spec, query)
    given = f", {seen}" if seen else ""
    return f"P({outcomes} | do({other}){given}) - P({outcomes} | do({one}){given})"
