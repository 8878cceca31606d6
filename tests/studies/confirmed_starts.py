"""Does EM from moments that determine the mixture end below the best of sixty random starts?

python tests/studies/confirmed_starts.py -t 10 adds tables to confirmed_starts.csv beside it, one
line each, and prints by cell: on how many tables moments determined the mixture, on how many of
these random starts disagreed (ended more than half a nat apart), the share of starts that reached
the best, and on how many tables EM from moments ended half a nat below it. Cells with sources
close together, and with many of them, are there because random starts disagree in them; views that
say nothing are there because moments must not be believed in them.
"""

from __future__ import annotations

import argparse
import csv
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from network_cases import bundled, random_network, rows_of

import pyromix as px
from pyromix.estimate.em import climb, random_starts
from pyromix.estimate.starts import batch_of
from pyromix.identify.start import start_for_em
from pyromix.model.mixture import BayesNetMixture

RESULTS = Path(__file__).with_name("confirmed_starts.csv")

N_STARTS = 60

WORSE = 0.5
"""Nats over all rows below the best end that count as another, worse one."""

CELLS = (
    *((g, k, None, 10_000) for g in ("sachs", "child", "insurance") for k in (2, 3, 5)),
    *((f"random {n}", k, None, 10_000) for n in (15, 30) for k in (3, 5, 8)),
    *((f"random {n}", k, 0.08, 10_000) for n in (15, 30) for k in (3, 5)),
    *(("nine items", k, s, 5_000) for k in (3, 4) for s in (0.15, 0.3)),
    *(("five", 2, s, n) for s in (0.6, 0.3) for n in (500, 2_000)),
    *(("five silent", 2, 0.0, n) for n in (500, 2_000)),
)
"""Graph, k, how far every two sources are apart in a state of each CPT row, rows."""

FIELDS = (
    *("graph", "k", "apart", "n_rows", "seed", "status", "separation", "standard_error"),
    *("behind", "reached", "below", "moved"),
)


def truth_of(graph: str, k: int, apart: float | None, seed: int) -> BayesNetMixture:
    """What a table is drawn from."""
    kind, _, n = graph.partition(" ")
    if kind == "random":
        spec = random_network(int(n), k, seed)
    elif kind in ("nine", "five"):
        names = [f"V{v}" for v in range(9 if kind == "nine" else 5)]
        edges = {} if kind == "nine" else {"V4": ["V3"]}
        spec = px.MixtureSpec.from_parents(dict.fromkeys(names, (0, 1)), edges, k)
    else:
        spec = bundled(graph, k)
    truth = px.random_mixture(spec, seed, separation=apart)
    if n == "silent":
        cpts = [t if v >= 3 else t[:1].expand_as(t).clone() for v, t in enumerate(truth.cpts)]
        truth = BayesNetMixture(spec, truth.weights, tuple(cpts))
    return truth


def one(graph: str, k: int, apart: float | None, n_rows: int, seed: int) -> dict[str, object]:
    """Moments, EM from there, and sixty random starts, on one table."""
    truth = truth_of(graph, k, apart, seed)
    counts = rows_of(truth, n_rows, seed)
    start = start_for_em(counts, truth.spec, seed)
    line: dict[str, object] = {"graph": graph, "k": k, "apart": apart or 0, "n_rows": n_rows}
    line |= {"seed": seed, "status": start.stage.status.name}
    if start.mixture is None or not start.stage.ok:
        return line
    run = start.stage.runs[0]
    from_moments = climb(counts, batch_of(start.mixture))
    starts = random_starts(truth.spec, N_STARTS, seed, counts=counts)
    ends = climb(counts, starts, leave_behind=True).start_log_likelihoods
    best = max(float(ends.max()), from_moments.log_likelihood)
    return line | {
        "separation": round(run.separation, 2),
        "standard_error": round(run.standard_error, 4),
        "behind": round(best - from_moments.log_likelihood, 4),
        "reached": round(float((ends > best - WORSE).double().mean()), 3),
        "below": round(best - float(ends.median()), 2),
        "moved": round(from_moments.log_likelihood - start.stage.log_likelihood, 2),
    }


def read() -> list[dict[str, str]]:
    """All lines so far."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def key(line: dict[str, str]) -> tuple[str, int, float, int, int]:
    """Which table a line is of."""
    return (
        line["graph"],
        int(line["k"]),
        float(line["apart"]),
        int(line["n_rows"]),
        int(line["seed"]),
    )


def run(tables: int, first: int) -> None:
    """Do what is not yet done, table after table of every cell."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done = {key(line) for line in read()}
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not file.tell():
            writer.writeheader()
        for seed in range(first, first + tables):
            for graph, k, apart, n_rows in CELLS:
                if (graph, k, float(apart or 0), n_rows, seed) not in done:
                    writer.writerow(one(graph, k, apart, n_rows, seed))
                    file.flush()


def table() -> Iterator[str]:
    """Lines of Markdown."""
    yield (
        "| graph | k | apart | N | tables | determined | starts disagree | reached the best "
        "| moments behind |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    lines = read()
    for cell in sorted({key(line)[:4] for line in lines}):
        mine = [line for line in lines if key(line)[:4] == cell]
        ok = [line for line in mine if line["status"] == "OK"]
        reached = [float(line["reached"]) for line in ok]
        behind = sum(float(line["behind"]) > WORSE for line in ok)
        shown = f"{np.mean(reached):.2f}" if ok else ""
        apart = f"{cell[2]:g}" if cell[2] else ("0" if "silent" in cell[0] else "as drawn")
        yield (
            f"| {cell[0]} | {cell[1]} | {apart} | {cell[3]:,} | {len(mine)} | {len(ok)} | "
            f"{sum(r < 1 for r in reached)} | {shown} | {behind} |"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-t", "--tables", type=int, default=0)
    parser.add_argument("--first", type=int, default=700)
    given = parser.parse_args()
    if given.tables:
        run(given.tables, given.first)
    print("\n".join(table()))
