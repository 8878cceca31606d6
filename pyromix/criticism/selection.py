"""How many sources: rank tests, criteria, held-out likelihood (THEORY section 8)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from pyromix.criticism.prediction import predictive_check
from pyromix.data.asking import Asked
from pyromix.data.counts import Counts
from pyromix.data.folds import EQUAL_SCORES, compared, folds
from pyromix.data.frames import to_pandas
from pyromix.data.moments import Rows
from pyromix.data.weights import COUNTS
from pyromix.errors import DataError, PyromixWarning, SpecError
from pyromix.estimate.em import climb, random_starts
from pyromix.estimate.starts import batch_of, inside
from pyromix.exact.likelihood import log_prob
from pyromix.exact.threads import one_thread_unless
from pyromix.fitting.engine import fit
from pyromix.fitting.inputs import take_in, without_edges
from pyromix.fitting.record import Fit
from pyromix.identify.network.ranks import network_rank
from pyromix.identify.product.rank import RankEstimate, product_rank
from pyromix.identify.verdict import judge
from pyromix.model.arguments import level_of, listed, real, whole
from pyromix.model.note import sentences
from pyromix.model.printed import Grid, Printed
from pyromix.model.query import Certainty
from pyromix.model.randomness import RandomState, check_seed, torch_generator
from pyromix.model.spec import MAX_SOURCES, MixtureSpec
from pyromix.model.ties import first_smallest

if TYPE_CHECKING:
    import pandas as pd

HELD_OUT_PRIOR = 0.5
"""Pseudo-count per cell of the fits that are scored on held-out rows, unless the user sets one.

Without any, a held-out row that holds a combination new to a source has probability zero.
"""

HELD_OUT_STARTS = 2
"""Random starts of a fold beside the estimate from all rows."""

NOT_REPRODUCED = (
    "the chosen k does not reproduce all pair margins: an edge may be missing, or k be too small "
    "(fit.predictive_check())"
)

RANKS_ONLY = (
    "rank tests alone: the data answer moments only, and BIC, ICL and held-out likelihood need rows"
)

CRITERIA = ("rank", "bic", "icl", "held_out")


@dataclass(frozen=True)
class Candidate:
    """One number of sources.

    Attributes:
        n_sources: k.
        identified: ``"yes"`` where the mixture is locally identified at this k, ``"no"`` where it
            is not, ``"unknown"`` where the model is too large for the certificate.
        n_parameters: free probabilities.
        log_likelihood: of the fit, sum over rows.
        bic: smaller is better.
        icl: smaller is better.
        entropy_r2: 1 where every row's source is certain, 0 where none is.
        held_out: mean log-likelihood of held-out rows, in nats per row.
        held_out_error: standard error of its difference from the best candidate's.
        rank_p_value: smallest p-value, after Holm's correction, of the hypothesis that k sources
            suffice; nan where no table can contradict it.
        fit_p_value: smallest p-value, after Holm's correction, over the pair margins of the fit: of
            the hypothesis that this k and this graph are right. One where there are no pairs.
        n_starts: starts of the fit.
        n_best: starts that reached the best optimum.
    """

    n_sources: int
    identified: str
    n_parameters: int
    log_likelihood: float
    bic: float
    icl: float
    entropy_r2: float
    held_out: float
    held_out_error: float
    rank_p_value: float
    fit_p_value: float
    n_starts: int
    n_best: int


@dataclass(frozen=True)
class Selection:
    """Candidates for k, and what each criterion says.

    Attributes:
        candidates: by increasing k.
        ranks: estimated numbers of sources by rank tests; empty where no blocks can be tested.
        level: of the rank tests.
        notes: sentences.
        fits: of the candidates; none where there were no rows.
    """

    candidates: tuple[Candidate, ...]
    ranks: tuple[RankEstimate, ...]
    level: float
    notes: tuple[str, ...]
    fits: tuple[Fit, ...] = field(default=(), compare=False, repr=False)

    @property
    def choices(self) -> dict[str, int]:
        """The k that each criterion chooses.

        ``bic`` and ``icl`` the smallest value, of equal ones that of the smallest k; ``held_out``
        the smallest k within one standard error of the best; ``rank`` the first that no test
        rejects. Only candidates that are not known to be unidentified stand for election, where
        there are any. Data that answer moments only are judged by ``rank`` alone.
        """
        chosen = {"rank": max(r.rank for r in self.ranks)} if self.ranks else {}
        if self.by_ranks_alone:
            return chosen
        elect = [c for c in self.candidates if c.identified != "no"] or list(self.candidates)
        highest = max(c.held_out for c in elect)
        chosen |= {
            "bic": elect[first_smallest(c.bic for c in elect)].n_sources,
            "icl": elect[first_smallest(c.icl for c in elect)].n_sources,
            "held_out": min(
                c.n_sources
                for c in elect
                if c.held_out >= highest - c.held_out_error - EQUAL_SCORES
            ),
        }
        return {name: chosen[name] for name in CRITERIA if name in chosen}

    @property
    def best(self) -> int:
        """The choice of BIC; of the rank tests where the data have no rows."""
        return self.choices["rank" if self.by_ranks_alone else "bic"]

    @property
    def by_ranks_alone(self) -> bool:
        """Whether there were no rows: nothing was fitted, and likelihoods are nan."""
        return all(math.isnan(c.log_likelihood) for c in self.candidates)

    @property
    def agree(self) -> bool:
        """Whether rank tests, BIC and held-out likelihood choose the same k.

        ICL answers another question: how many sources rows can be told apart by. Effects do not
        need that.
        """
        return len({k for name, k in self.choices.items() if name != "icl"}) == 1

    @property
    def reproduced(self) -> bool:
        """Whether the chosen candidate reproduces all pair margins of the table, at the level.

        Where it does not, an edge may be missing, and a larger k may be standing in for it. Without
        rows no candidate is contradicted.
        """
        chosen = next(c for c in self.candidates if c.n_sources == self.best)
        return not chosen.fit_p_value < self.level

    def to_frame(self) -> pd.DataFrame:
        """The table, one row per candidate."""
        rows = [asdict(c) for c in self.candidates]
        return to_pandas({name: [row[name] for row in rows] for name in rows[0]})

    def __str__(self) -> str:
        """The table, then what each criterion chooses."""
        head = (
            f"{'k':>2} {'identified':>10} {'params':>7} {'logL':>13} {'BIC':>12} {'ICL':>12} "
            f"{'R2':>5} {'held-out':>9} {'(s.e.)':>8} {'rank p':>8} {'fit p':>8} "
            f"{'starts':>9}"
        )
        lines = [head]
        for c in self.candidates:
            p = "-" if math.isnan(c.rank_p_value) else f"{c.rank_p_value:.2g}"
            lines.append(
                f"{c.n_sources:>2} {c.identified:>10} {c.n_parameters:>7} "
                f"{c.log_likelihood:>13.3f} {c.bic:>12.2f} {c.icl:>12.2f} {c.entropy_r2:>5.2f} "
                f"{c.held_out:>9.4f} {c.held_out_error:>8.4f} {p:>8} "
                f"{f'{c.fit_p_value:.2g}':>8} {f'{c.n_best}/{c.n_starts}':>9}"
            )
        said = ", ".join(
            f"{name} {k}{' or more' if name == 'rank' and self.rank_at_limit else ''}"
            for name, k in self.choices.items()
        )
        verdict = (
            f"rank tests, BIC and held-out likelihood agree on {self.best}"
            if self.agree
            else "they disagree: compare the answers under each"
        )
        verdict = RANKS_ONLY if self.by_ranks_alone else verdict
        misfit = [] if self.reproduced else [NOT_REPRODUCED]
        return "\n".join([*lines, f"chosen: {said}", verdict, *misfit, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        rows = [
            [value if isinstance(value, str) else f"{value:.6g}" for value in asdict(c).values()]
            for c in self.candidates
        ]
        said = str(self).splitlines()[1 + len(rows) :]
        grid = Grid(list(asdict(self.candidates[0])), rows, n_left=0)
        return Printed("Numbers of sources", (grid,), tuple(said)).html()

    @property
    def rank_at_limit(self) -> bool:
        """Whether the rank tests rejected every rank that they can contradict."""
        return any(r.at_limit for r in self.ranks)


def select_n_sources(
    model: Any,
    data: Any,
    candidates: Iterable[int] = range(1, 7),
    *,
    n_folds: int = 5,
    level: float = 0.05,
    prior: float | None = None,
    sample_weight: Any = None,
    weights_are: str = COUNTS,
    missing: str = "mar",
    missing_values: Any = None,
    state_names: Mapping[str, Sequence[Hashable]] | None = None,
    device: torch.device | str | None = None,
    random_state: RandomState = 0,
    **options: Any,
) -> Selection:
    """Fit every number of sources and say what each criterion makes of them.

    Args:
        model: as in ``fit``; None for variables without edges, as in ``fit_product``.
        data: a table or Counts, as in ``fit``; of data that answer moments only, as a Population
            does, the rank tests alone are made, and that is said.
        candidates: numbers of sources.
        n_folds: of the held-out likelihood.
        level: of the rank tests, over all blocks of one rank.
        prior: a pseudo-count per cell; by default none, as BIC supposes, and ``HELD_OUT_PRIOR`` for
            the fits that are scored on held-out rows.
        sample_weight: as in ``fit``.
        weights_are: as in ``fit``.
        missing: as in ``fit``.
        missing_values: as in ``fit``.
        state_names: as in ``fit``.
        device: as in ``fit``.
        random_state: of folds, blocks and starts.
        **options: further ones of ``fit``.

    Raises:
        SpecError: a candidate is no number of sources, or the model is unusable.
        DataError: the table is unusable; or there are no rows, and no blocks for a rank test.
        QueryError: an option is unknown.
    """
    numbers = _candidates(candidates)
    level, n_folds = level_of(level), whole("n_folds", n_folds, 2, error=DataError)
    if prior is not None:
        prior = real("prior", prior, 0.0, advice="a pseudo-count per cell")
    check_seed(random_state)
    if model is None:
        model, data = without_edges(data, sample_weight, state_names, missing_values)
    taken, notes = take_in(
        model,
        data,
        numbers[0],
        state_names,
        sample_weight,
        missing,
        device,
        weights_are,
        missing_values,
    )
    generator = torch_generator(random_state)
    spec = taken.spec
    if not isinstance(taken, Rows):
        return _by_ranks(taken, numbers, level, generator, sentences(notes))
    counts = taken.as_counts()
    with one_thread_unless(len(counts.rows) * spec.n_variables):
        ranks = _ranks(taken, max(numbers), level, generator)
        parts = folds(counts, n_folds, generator)
        fits, scores = [], []
        for k in numbers:
            with warnings.catch_warnings():
                # What a fit says of its k is what the table shows.
                warnings.simplefilter("ignore", PyromixWarning)
                found = fit(
                    spec.with_n_sources(k),
                    counts,
                    prior=prior,
                    random_state=generator,
                    **{"show_progress": False, **options},
                )
                fits.append(found)
                scores.append(_held_out(found, parts, prior or HELD_OUT_PRIOR, generator))
    weights = torch.cat([own.weights for _, own in parts])
    rows = torch.stack([torch.cat(one) for one in scores])
    means, errors = (t.tolist() for t in compared(rows, weights))
    table = [
        _candidate(found, mean, error, ranks)
        for found, mean, error in zip(fits, means, errors, strict=True)
    ]
    return Selection(tuple(table), ranks, level, sentences(notes), tuple(fits))


def _candidates(candidates: Iterable[int]) -> list[int]:
    """Numbers of sources, each once, in order.

    Raises:
        SpecError: one is none, or there is none.
    """
    given = listed("candidates", candidates, "numbers of sources")
    if not given:
        raise SpecError("candidates must be numbers of sources >= 1, found none")
    advice = "every source has tables of its own: ask for fewer"
    return sorted({whole("candidates", k, 1, MAX_SOURCES, SpecError, advice) for k in given})


def _by_ranks(
    moments: Asked,
    numbers: Sequence[int],
    level: float,
    generator: torch.Generator,
    notes: tuple[str, ...],
) -> Selection:
    """What can be said without rows."""
    ranks = _ranks(moments, max(numbers), level, generator)
    if not ranks:
        raise DataError(
            "expected rows, or blocks of variables for rank tests, found a "
            f"{type(moments.data).__name__} that answers moments only, and no two d-separated "
            "blocks in the graph; pass a table"
        )
    none = math.nan
    table = []
    for k in numbers:
        spec, p_value = moments.spec.with_n_sources(k), _rank_p_value(ranks, k)
        numbers_of = (spec.n_parameters, none, none, none, none, none, none, p_value, none, 0, 0)
        table.append(Candidate(k, _identified(spec), *numbers_of))
    return Selection(tuple(table), ranks, level, notes)


def _ranks(
    moments: Asked, most: int, level: float, generator: torch.Generator
) -> tuple[RankEstimate, ...]:
    """Rank tests between blocks that are independent within each source."""
    if moments.spec.n_variables < 2:
        return ()
    if any(moments.spec.parents):
        return network_rank(moments, max_rank=most, level=level, random_state=generator)
    return (product_rank(moments, max_rank=most, level=level, random_state=generator),)


def _held_out(
    found: Fit,
    parts: Sequence[tuple[Counts, Counts]],
    prior: float,
    generator: torch.Generator,
) -> list[torch.Tensor]:
    """Log-likelihood of every distinct held-out row, fold by fold."""
    scores = []
    for rest, own in parts:
        starts = batch_of(
            inside(found.mixture),
            random_starts(found.spec, HELD_OUT_STARTS, generator, device=rest.device, counts=rest),
        )
        result = climb(rest.with_spec(found.spec), starts, prior=prior, check_saddle=False)
        scores.append(log_prob(result.mixture, own.rows))
    return scores


def _candidate(
    found: Fit, held_out: float, error: float, ranks: Sequence[RankEstimate]
) -> Candidate:
    k = found.spec.n_sources
    return Candidate(
        n_sources=k,
        identified=_identified(found.spec),
        n_parameters=found.n_parameters,
        log_likelihood=found.log_likelihood,
        bic=found.bic,
        icl=found.icl,
        entropy_r2=found.entropy_r2,
        held_out=held_out,
        held_out_error=error,
        rank_p_value=_rank_p_value(ranks, k),
        fit_p_value=min((p.adjusted for p in predictive_check(found).pairs), default=1.0),
        n_starts=len(found.climb.log_likelihoods),
        n_best=found.climb.n_best,
    )


def _rank_p_value(ranks: Sequence[RankEstimate], k: int) -> float:
    """Smallest p-value of the hypothesis that k sources suffice; nan where none was tested."""
    return min((r.p_values[k - 1] for r in ranks if len(r.p_values) >= k), default=math.nan)


def _identified(spec: MixtureSpec) -> str:
    found = judge(spec)
    if found.structural is Certainty.UNCHECKED:
        return "unknown"
    return "yes" if found.structural.at_least(Certainty.LOCAL) else "no"
