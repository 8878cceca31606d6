"""Gibbs sampling of mixtures with numbers: sources of the rows given laws, laws given sources.

Missing cells that EM conditions on are drawn with the sources, given what was observed: states by
the weights of their completions, numbers from their joint normal law (THEORY section 18.3). Cells
without an observed descendant drop out with their factor, as in EM. What EM refuses is refused.
Given complete rows every vertex is drawn by itself, see ``laws``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pyromix.data.records import Part, Records
from pyromix.errors import DataError, QueryError, RefinementError
from pyromix.estimate.mixed.prior import MixedPrior
from pyromix.estimate.mixed.step import Seen, look, present_vertices
from pyromix.estimate.progress import progress_bar
from pyromix.exact import linalg
from pyromix.exact.threads import one_thread_unless
from pyromix.model.cpd import TableCPD
from pyromix.model.families.hurdle import HurdleCPD
from pyromix.model.match import best_assignments
from pyromix.model.memory import check_numbers
from pyromix.model.mixed import MixedMixture
from pyromix.model.randomness import RandomState
from pyromix.posterior.chains import check_steps, check_whole, own_generator
from pyromix.posterior.draws import (
    AMBIGUOUS,
    LEAST_DRAWS,
    Labels,
    SamplingReport,
    assessed_series,
)
from pyromix.posterior.gibbs import WHOLE
from pyromix.posterior.mixed.laws import Family, draw_law
from pyromix.posterior.variates import standard_gamma

JITTER = 0.2
"""How far chains begin from the estimate: standard deviation of free coordinates, which are
log-odds, logarithms, and lines in standard units."""


@dataclass(frozen=True, eq=False)
class MixedPosterior:
    """Draws of several chains, labels those of an estimate.

    Attributes:
        mixture: the estimate.
        points: free coordinates.
        log_likelihood: of every draw, in our units.
        labels: what brought each draw to the labels of the estimate.
    """

    mixture: MixedMixture
    points: Float[Tensor, "chains draws free"]
    log_likelihood: Float[Tensor, "chains draws"]
    labels: Labels

    @property
    def flat(self) -> Float[Tensor, "n free"]:
        """All draws along one axis, chain after chain."""
        return self.points.flatten(0, 1)

    def assessed(self, method: str = "gibbs") -> SamplingReport:
        """Whether the draws are to be relied on: split R-hat and effective numbers."""
        series = torch.cat([self.log_likelihood[..., None], self.points], -1)

        def name(column: int) -> str:
            return name_of(self.mixture, column - 1) if column else "the log-likelihood"

        return assessed_series(method, series, name, self.labels)


def name_of(mixture: MixedMixture, coordinate: int) -> str:
    """What a free coordinate belongs to."""
    spec = mixture.spec
    for v in range(spec.n_variables):
        block = mixture.block(v)
        if block.start <= coordinate < block.stop:
            return f"the law of {spec.name(v)!r}"
    return f"P({spec.source})"


def gibbs_mixed(
    mixture: MixedMixture,
    records: Records,
    prior: MixedPrior,
    *,
    num_samples: int = 250,
    warmup_steps: int = 250,
    num_chains: int = 4,
    thinning: int = 2,
    random_state: RandomState = 0,
    show_progress: bool | None = None,
) -> MixedPosterior:
    """Draw mixtures from the posterior, chain after chain.

    The first chain starts at the estimate, the others around it.

    Args:
        mixture: the estimate; gives the labels.
        records: rows; weights are whole numbers of rows.
        prior: what every source is taken to have seen before; see ``laws``.
        num_samples: draws of each chain that are kept.
        warmup_steps: sweeps before the first of them.
        num_chains: number of chains.
        thinning: sweeps from one kept draw to the next.
        random_state: an integer or a Generator.
        show_progress: None shows a bar on a terminal only.

    Raises:
        DataError: a weight is no whole number of rows, or missing cells that cannot be summed or
            integrated out.
        QueryError: a number is out of range, or logits or rates have no prior.
        RefinementError: a draw is not finite.
    """
    check_whole(
        {
            "num_samples": (num_samples, LEAST_DRAWS),
            "warmup_steps": (warmup_steps, 0),
            "num_chains": (num_chains, 1),
            "thinning": (thinning, 1),
        }
    )
    n_sweeps = warmup_steps + thinning * num_samples
    check_steps(num_chains * n_sweeps)
    n_numbers = num_chains * num_samples * len(mixture.parameters)
    advice = "take fewer draws, or fewer chains"
    check_numbers(f"{num_chains * num_samples:,} draws", n_numbers, advice, QueryError)
    _check_prior(mixture, prior)
    rows = in_rows(records)
    sweeps = Sweep.of(mixture, rows, prior)
    generator = own_generator(random_state, rows.device)
    reference = sweeps.sources_of(mixture)
    points, values, costs = [], [], []
    size = rows.n_rows * mixture.spec.n_variables * mixture.n_sources
    total = num_chains * n_sweeps
    with one_thread_unless(size), progress_bar(show_progress, total, "Gibbs") as tell:
        for chain in range(num_chains):
            at = mixture if chain == 0 else _jittered(mixture, generator)
            for sweep in range(n_sweeps + 1):
                completed = sweeps.complete(at, generator)
                if sweep > warmup_steps and (sweep - warmup_steps) % thinning == 0:
                    points.append(at.parameters)
                    values.append(completed.log_likelihood)
                    costs.append(_costs(reference, completed.posterior))
                if sweep < n_sweeps:
                    at = sweeps.laws(at, completed, generator)
                    tell(chain * n_sweeps + sweep + 1, f"chain {chain + 1} of {num_chains}")
    order, best, second = best_assignments(torch.stack(costs), second=True)
    drawn = torch.stack([_under(mixture, p, o) for p, o in zip(points, order, strict=True)])
    log_likelihood = torch.stack(values)
    if not bool(drawn.isfinite().all() & log_likelihood.isfinite().all()):
        raise RefinementError(
            f"Gibbs: expected finite draws, found {int((~drawn.isfinite()).any(1).sum())} of "
            f"{len(drawn)} that are not; a column may hold numbers of unlike magnitude"
        )
    shape = (num_chains, num_samples)
    labels = Labels(order.unflatten(0, shape), (best > AMBIGUOUS * second).unflatten(0, shape))
    return MixedPosterior(
        mixture, drawn.unflatten(0, shape), log_likelihood.unflatten(0, shape), labels
    )


def in_rows(records: Records) -> Records:
    """One line for every row that a weight stands for.

    Raises:
        DataError: a weight is no whole number of rows.
    """
    weights = records.weights
    off = (weights - weights.round()).abs()
    if bool((off > WHOLE * weights.clamp_min(1)).any()):
        raise DataError(
            "Gibbs draws the source of every row, so weights must be whole numbers of rows; found "
            f"{int((off > WHOLE).sum())} of {len(weights)} rows with others, e.g. "
            f"{float(weights[int(off.argmax())]):.6g}. Divide them by the weight of one row, or "
            "take fit.bootstrap()"
        )
    if bool((weights.round() == 1).all()):
        return records
    n_numbers = round(records.total_weight) * len(records.columns)
    check_numbers("a line for every row", n_numbers, "take fit.bootstrap()", DataError)
    every = torch.arange(records.n_rows, device=records.device)
    found = records.only(every.repeat_interleave(weights.round().long()))
    return replace(found, weights=torch.ones_like(found.weights))


@dataclass(frozen=True, eq=False)
class Completed:
    """Rows with their sources, and missing cells, drawn.

    Attributes:
        columns: per vertex; cells without an observed descendant stay missing.
        sources: of each row.
        log_likelihood: of the point they were drawn at, in our units.
        posterior: P(U | observed cells) there.
    """

    columns: tuple[Tensor, ...]
    sources: Int[Tensor, " rows"]
    log_likelihood: Tensor
    posterior: Float[Tensor, "rows k"]


@dataclass(frozen=True, eq=False)
class Sweep:
    """The two conditionals of the posterior of a table.

    Attributes:
        estimate: that of the fit.
        records: one line for every row.
        parts: the same by what is missing.
        prior: what every source is taken to have seen before.
        counts: per vertex, the rows in whose likelihood it has a factor; None for all.
    """

    estimate: MixedMixture
    records: Records
    parts: tuple[Part, ...]
    prior: MixedPrior
    counts: tuple[Bool[Tensor, " rows"] | None, ...]

    @staticmethod
    def of(estimate: MixedMixture, records: Records, prior: MixedPrior) -> Sweep:
        """Look which vertices count in which rows."""
        spec = estimate.spec
        present = torch.zeros(
            spec.n_variables, records.n_rows, dtype=torch.bool, device=records.device
        )
        parts = tuple(records.parts())
        for part in parts:
            for v in present_vertices(spec, part.missing):
                present[v, part.rows] = True
        counts = tuple(None if bool(row.all()) else row for row in present)
        return Sweep(estimate, records, parts, prior, counts)

    @torch.no_grad()
    def sources_of(self, mixture: MixedMixture) -> Float[Tensor, "rows k"]:
        """P(U | observed cells) of every row."""
        found = self.records.weights.new_zeros(self.records.n_rows, mixture.n_sources)
        for part in self.parts:
            found[part.rows] = look(mixture, part).posterior()
        return found

    @torch.no_grad()
    def complete(self, at: MixedMixture, generator: torch.Generator) -> Completed:
        """Draw the source of every row, and its missing cells, given laws."""
        records, k = self.records, at.n_sources
        columns = list(records.columns)
        sources = torch.zeros(records.n_rows, dtype=torch.long, device=records.device)
        posterior = records.weights.new_zeros(records.n_rows, k)
        value = records.weights.new_zeros(())
        for part in self.parts:
            seen = look(at, part)
            joint = seen.joint.flatten(1)
            top = joint.logsumexp(1)
            value = value + top.sum()
            rising = (joint - top[:, None]).exp().cumsum(1)
            uniform = torch.rand(
                len(top), 1, dtype=top.dtype, generator=generator, device=generator.device
            )
            chosen = (rising <= uniform.to(top.device) * rising[:, -1:]).sum(1)
            way, source = chosen // k, chosen % k
            sources[part.rows] = source
            posterior[part.rows] = seen.posterior()
            for v, cells in _filled(at, part.missing, seen, way, source, generator):
                if columns[v] is records.columns[v]:
                    columns[v] = columns[v].clone()
                columns[v][part.rows] = cells
        return Completed(tuple(columns), sources, value, posterior)

    @torch.no_grad()
    def laws(
        self, at: MixedMixture, completed: Completed, generator: torch.Generator
    ) -> MixedMixture:
        """Draw P(U) and the law of every vertex given complete rows."""
        spec, k = at.spec, at.n_sources
        n = torch.bincount(completed.sources, minlength=k)
        weights = standard_gamma(n + self.prior.weights + 1, generator)
        shares = torch.nn.functional.one_hot(completed.sources, k).to(torch.float64)
        cpds = []
        for v, cpd in enumerate(at.cpds):
            above = tuple(completed.columns[p] for p in spec.parents[v])
            family = Family(completed.columns[v], above, completed.sources, shares)
            counts = self.counts[v]
            family = family if counts is None else family.only(counts)
            estimate, prior = self.estimate.cpds[v], self.prior.statistics[v]
            cpds.append(draw_law(cpd, estimate, family, prior, generator))
        return replace(at, weights=weights / weights.sum(), cpds=tuple(cpds))


def _filled(
    at: MixedMixture,
    missing: Sequence[int],
    seen: Seen,
    way: Int[Tensor, " m"],
    source: Int[Tensor, " m"],
    generator: torch.Generator,
) -> Iterator[tuple[int, Tensor]]:
    """Cells of missing states and numbers that count, in the way and source drawn for each row."""
    m, n_ways, _ = seen.joint.shape
    row = torch.arange(m, device=way.device) * n_ways + way
    numbers = () if seen.gaps is None else seen.gaps.missing
    for v in missing:
        if v in seen.present and v not in numbers:
            yield v, seen.columns[v][row]
    if seen.gaps is None:
        return
    found = linalg.eigh(seen.gaps.covariance[row, source])
    root = found.vectors * found.values.clamp_min(0.0).sqrt()[..., None, :]
    noise = torch.randn(
        m, len(numbers), 1, dtype=root.dtype, generator=generator, device=generator.device
    )
    drawn = seen.gaps.mean[row, source] + (root @ noise.to(root.device))[..., 0]
    yield from zip(numbers, drawn.unbind(-1), strict=True)


def _costs(
    reference: Float[Tensor, "rows k"], posterior: Float[Tensor, "rows k"]
) -> Float[Tensor, "k k"]:
    """Mean total variation of P(U = i | row) under one mixture and P(U = j | row) under another."""
    pairs = [(one[:, None] - posterior).abs().mean(0) for one in reference.unbind(1)]
    return torch.stack(pairs) / 2


def _under(
    mixture: MixedMixture, point: Float[Tensor, " free"], order: Int[Tensor, " k"]
) -> Float[Tensor, " free"]:
    """Free coordinates after sources are put in an order."""
    if order.tolist() == list(range(len(order))):
        return point
    return mixture.with_parameters(point).relabel(order).parameters


def _jittered(mixture: MixedMixture, generator: torch.Generator) -> MixedMixture:
    at = mixture.parameters
    noise = torch.randn(at.shape, dtype=at.dtype, generator=generator, device=generator.device).to(
        at.device
    )
    return mixture.with_parameters(at + JITTER * noise)


def _check_prior(mixture: MixedMixture, prior: MixedPrior) -> None:
    """Refuse laws whose posterior need not exist: a source without rows, and no prior.

    Raises:
        QueryError: naming the variable.
    """
    for v, (cpd, own) in enumerate(zip(mixture.cpds, prior.statistics, strict=True)):
        gate = cpd.gate if isinstance(cpd, HurdleCPD) else cpd
        seen = own.gate if isinstance(cpd, HurdleCPD) and own is not None else own
        if seen is None and not isinstance(gate, TableCPD):
            raise QueryError(
                f"the prior of this fit says nothing of the log-odds or rates of "
                f"{mixture.spec.name(v)!r}, so where a source has few rows there need not be a "
                'posterior; fit with prior="pooled", or take fit.bootstrap()'
            )
