"""Nats below the maximum after passes over a stream, beside what takes fewer or other passes.

    python tests/studies/streams.py 1000000

Every table is drawn from a planted mixture of three sources: Sachs' network with random tables
(rare cells), overlapping sources, easy tables. The stream is the table in memory, handed out pass
by pass: what a pass sums is the same, and passes alone are counted. Beside it: SQUAREM without a
sample to aim by, from the same start, at equal passes; the estimate from moments of all rows; EM to
its end on a sample of 50,000 rows; online EM (O. Cappe and E. Moulines, On-line
expectation-maximization algorithm for latent data models, JRSS B 71, 2009) from the moments, 5,000
rows a step in random order, with steps t ** -0.6; the last two on the first two tables of a kind.
The maximum is the best that any of these found, and the same climb from the planted mixture and
from where the stream ended, to a hundredth of a nat. The tables on which the rules of ``sampled``
and ``streamed`` were chosen had seeds from 100 on; these have seeds from 0 on. Writes streams.csv.
"""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

import pyromix as px
from pyromix.data.counts import Counts
from pyromix.data.thinning import thinned
from pyromix.estimate.em import evaluate
from pyromix.estimate.sampled import Sample
from pyromix.estimate.starts import batch_of, inside_by_rows
from pyromix.estimate.step import EMMap, Point
from pyromix.estimate.streamed import Place, climb_stream
from pyromix.exact.likelihood import ExpectedCounts, expected_counts
from pyromix.exact.rows import CellIndex
from pyromix.fitting import streaming
from pyromix.model.prior import PseudoCounts

K = 3
SUBSAMPLE = 50_000
SHOWN = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15)
ONLINE_STEP, ONLINE_PASSES = 5_000, (1, 3)
NEVER_BELIEVED = 1e200


@dataclass(eq=False)
class Held:
    """A table in memory that answers as a stream does."""

    counts: Counts
    passes: int = field(default=0)

    @property
    def schema(self) -> px.Schema:
        return self.counts.schema

    @property
    def n_rows(self) -> float:
        return self.counts.n_rows

    @property
    def fingerprint(self) -> str:
        return ""

    def recall(self, fingerprint: str) -> None: ...

    def identity(self) -> str:
        return ""

    def table(self, *asked) -> Tensor:
        return self.counts.table(*asked)

    def mass(self, *asked) -> Tensor:
        return self.counts.mass(*asked)

    def sample(self, n_rows: int) -> Counts:
        return thinned(self.counts, n_rows, 1)

    def batches(self, condition: str = "") -> Iterator[tuple[Tensor, Tensor]]:
        self.passes += 1
        yield from self.counts.blocks(range(self.schema.n_variables))


def tables() -> Iterator[tuple[str, px.BayesNetMixture]]:
    sachs = px.read(px.datasets.read_card("sachs").folder / "network.bif").spec
    planted = px.MixtureSpec.from_parents(
        dict(zip(sachs.variables, sachs.states, strict=True)),
        {sachs.name(v): [sachs.name(p) for p in sachs.parents[v]] for v in range(11)},
        K,
    )
    for seed in range(10):
        yield f"sachs {seed}", px.random_mixture(planted, seed)
    kinds = (
        ("overlapping", 0.15, 10, 5),
        ("overlapping, 8 views", 0.1, 8, 5),
        ("easy", 0.4, 12, 4),
    )
    for kind, separation, n, n_seeds in kinds:
        states = {f"v{i}": (0, 1, 2)[: 2 + i % 2] for i in range(n)}
        spec = px.MixtureSpec.from_parents(states, {}, K)
        for seed in range(n_seeds):
            yield f"{kind} {seed}", px.random_mixture(spec, seed, separation=separation)


def counted(truth: px.BayesNetMixture, n_rows: int) -> Counts:
    parts = [min(10**5, n_rows - start) for start in range(0, n_rows, 10**5)]
    found = [
        Counts.from_frame(px.simulate(truth, n, random_state=seed), truth.spec)
        for seed, n in enumerate(parts)
    ]
    rows, weights = (torch.cat([getattr(c, name) for c in found]) for name in ("rows", "weights"))
    return Counts.from_codes(truth.spec, rows, weights)


def streamed(
    counts: Counts, spec: px.MixtureSpec
) -> tuple[list[Place], list[float], px.BayesNetMixture | None, tuple[EMMap, Sample]]:
    """The route of ``px.fit``, where it stood after every pass, SQUAREM, the moments, the map."""
    held: list[tuple[EMMap, Sample]] = []
    places: list[Place] = []
    alone: list[float] = []
    starts: list[Point] = []

    def recording(em, sample, start, *, run, **options):
        # indexed once: a pass sums the same
        em = EMMap(spec, CellIndex(spec, counts.rows), counts.weights, em.prior)

        def kept(number, compute):
            places.append(run(number, compute))
            return places[-1]

        starts.append(start)
        held.append((em, sample))
        place = Place(start, doubt=NEVER_BELIEVED)
        for _ in range(max(SHOWN)):
            place = place.after(em, sample, em(place.point), 0.0)
            alone.append(float(place.known[1].objective))
        return climb_stream(em, sample, start, run=kept, **options)

    streaming.climb_stream = recording
    px.fit(spec, Held(counts), prior=None, random_state=0)
    given = starts[0]
    moments = given[1:2].mixture(spec)[0] if len(given) > 1 else None
    return places, alone, moments, held[0]


def online(counts: Counts, start: px.BayesNetMixture) -> Iterator[px.BayesNetMixture]:
    """Stepwise EM, from a start, and where it stands after every pass."""
    spec = start.spec
    generator = torch.Generator().manual_seed(0)
    em = EMMap(spec, CellIndex(spec, counts.rows[:0]), counts.weights[:0], NONE(spec))
    point, total, step = Point.of(batch_of(start)), None, 0
    patterns = torch.repeat_interleave(counts.weights.long())
    while True:
        order = patterns[torch.randperm(len(patterns), generator=generator)]
        for rows in order.split(ONLINE_STEP):
            ones = torch.ones(len(rows), dtype=torch.float64)
            index = CellIndex(spec, counts.rows[rows])
            found = expected_counts(point.weights, point.table, index, ones / len(rows))
            share = (step + 1.0) ** -0.6
            step += 1
            total = found if total is None else mixed(total, found, share)
            cells = total.cells
            weights = total.sources / total.sources.sum()
            point = Point(weights, em._normalised(cells, em.row_sums(cells)))
        yield point.mixture(spec)[0]


def NONE(spec: px.MixtureSpec) -> PseudoCounts:  # noqa: N802
    return PseudoCounts.of(spec, None)


def mixed(old: ExpectedCounts, new: ExpectedCounts, share: float) -> ExpectedCounts:
    values = zip(vars(old).values(), vars(new).values(), strict=True)
    return ExpectedCounts(*((1 - share) * a + share * b for a, b in values))


def one(name: str, truth: px.BayesNetMixture, n_rows: int) -> dict[str, object]:
    counts = counted(truth, n_rows)
    value = lambda mixture: evaluate(counts, mixture).log_likelihood  # noqa: E731
    places, alone, moments, (em, sample) = streamed(counts, truth.spec)
    best = [p.known[1].objective.item() if p.known else float("-inf") for p in places]
    climbed = [
        climb_stream(em, sample, place, left=0.01).log_likelihood
        for place in (
            Point.of(batch_of(sample.inside(truth))),
            places[-1].point,
        )
    ]
    top = max(*climbed, *best, *alone)
    line: dict[str, object] = {
        "table": name,
        "rows": n_rows,
        "patterns": counts.n_patterns,
        "parameters": truth.spec.n_parameters,
        "truth": round(top - value(truth), 1),
        "moments": "" if moments is None else round(top - value(moments), 2),
    }
    for number in SHOWN:
        line[f"pass {number}"] = round(top - best[min(number, len(best)) - 1], 2)
    for number in SHOWN:
        line[f"SQUAREM {number}"] = round(top - alone[number - 1], 2)
    line |= {"ended after": len(best), "ended at": round(top - best[-1], 3)}
    if name.endswith((" 0", " 1")):
        few = px.fit(truth.spec, thinned(counts, SUBSAMPLE, 2), prior=None, random_state=0)
        first = inside_by_rows(few.mixture, few.row_masses, 1.0)
        line["EM on 50,000"] = round(top - value(first), 2)
        walk = online(counts, first if moments is None else moments)
        for number in range(1, max(ONLINE_PASSES) + 1):
            there = next(walk)
            if number in ONLINE_PASSES:
                line[f"online {number}"] = round(top - value(there), 2)
    return line


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    n_rows = int(float(sys.argv[1]))
    lines = []
    for name, truth in tables():
        lines.append(one(name, truth, n_rows))
        print(lines[-1], flush=True)
        with Path(__file__).with_suffix(".csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, lines[0])
            writer.writeheader()
            writer.writerows(lines)
