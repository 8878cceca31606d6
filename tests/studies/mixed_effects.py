"""Error of the effect of one number on another, in random mixed graphs certified by views.

python tests/studies/mixed_effects.py -n 200. Adds to mixed_effects.csv beside it, one line per
table, and goes on where it stopped; without -n it prints the table that docs/limits.md shows.

The effect is the change of the mean of Y for one unit of X under do(X), in standard deviations of
Y. Beside ours: with U known, without U, and by the best and the median of ten random starts alone.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from mixed_truths import NOISE, random_mixed, random_mixed_spec, slope, table_of

from pyromix.estimate.mixed.starts import from_shares, raced
from pyromix.fitting.mixed.engine import fit_mixed
from pyromix.fitting.mixed.intake import with_numbers
from pyromix.identify.verdict import judge
from pyromix.model.mixed import MixedSpec
from pyromix.model.query import Certainty, DoQuery

RESULTS = Path(__file__).with_name("mixed_effects.csv")

FIELDS = (
    "seed", "n", "k", "rows", "noise", "level", "truth", "ours", "known", "no_u", "bins_end",
    "short_bins", "short_random", "sd_y", "seconds", "seconds_random",
)  # fmt: skip

SEED = 700_000


def level_of(spec: MixedSpec) -> Certainty:
    """How certain graph and rank make the effect."""
    x, y = spec.vertex("X"), spec.vertex("Y")
    queries = [DoQuery(outcomes=(y,), do={x: s}) for s in range(spec.binned.card(x))]
    return judge(spec.binned, queries).structural


def one(seed: int) -> dict[str, object]:
    """Draw a graph, a mixture and a table; fit."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    g = np.random.default_rng(seed)
    n, k = int(g.integers(6, 16)), int(g.integers(2, 5))
    rows, noise = int(10 ** g.uniform(3, 4.3)), str(g.choice(list(NOISE)))
    spec = random_mixed_spec(seed, n, k)
    level = level_of(spec)
    found: dict[str, object] = {
        "seed": seed, "n": n, "k": k, "rows": rows, "noise": noise, "level": level.value,
    }  # fmt: skip
    if not level.at_least(Certainty.LOCAL):
        return found
    truth = random_mixed(spec, seed)
    frame, sources = table_of(truth, rows, seed, noise)
    start = time.process_time()
    table = with_numbers(spec.binned.schema and _graph(spec), frame, k, None, _states(spec), None)
    fit = fit_mixed(table, k, state_names=_states(spec), random_state=seed)
    seconds = time.process_time() - start
    records, own = fit.records, fit.spec
    start = time.process_time()
    generator = torch.Generator().manual_seed(seed)
    drawn = raced(own, records, fit.prior, [], 10, generator, max_iter=2000, tol=1e-9)
    seconds_random = time.process_time() - start
    best = max(fit.starts[0].objective, *(end.objective for end in drawn))
    bins = next(s for s in fit.starts if s.name == "bins")
    hot = torch.nn.functional.one_hot(torch.from_numpy(sources), k).double()
    known = from_shares(own, records, hot, fit.prior)
    alone = fit_mixed(
        with_numbers(_graph(spec), frame, 1, None, _states(spec), None),
        1,
        state_names=_states(spec),
    )
    return found | {
        "truth": slope(truth),
        "ours": slope(fit.mixture),
        "known": slope(known),
        "no_u": slope(alone.mixture),
        "bins_end": bins.objective,
        "short_bins": (best - fit.starts[0].objective) / rows,
        "short_random": (best - max(end.objective for end in drawn)) / rows,
        "sd_y": float(frame["Y"].std()),
        "seconds": seconds,
        "seconds_random": seconds_random,
    }


def _graph(spec: MixedSpec):
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(spec.variables)
    for v, parents in enumerate(spec.parents):
        graph.add_edges_from((spec.name(p), spec.name(v)) for p in parents)
    return graph


def _states(spec: MixedSpec):
    return {
        spec.name(v): list(spec.binned.states_of(v))
        for v in range(spec.n_variables)
        if not spec.kind(v).numeric
    }


def printed(results: pd.DataFrame) -> str:
    """Error in standard deviations of Y, by noise and by k."""
    done = results[results["truth"].notna()].copy()
    for name in ("ours", "known", "no_u"):
        done[name] = (done[name] - done["truth"]).abs() / done["sd_y"]
    lines = [
        f"{len(results)} graphs, {len(done)} certified",
        "| | tables | U known | ours | no U | ours / known | missed, ours | missed, ten random |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups = [("all", done), *((f"{n} noise", d) for n, d in done.groupby("noise"))]
    groups += [(f"k = {k}", d) for k, d in done.groupby("k")]
    for name, part in groups:
        mean, middle = (
            part[["known", "ours", "no_u"]].mean(),
            part[["known", "ours", "no_u"]].median(),
        )
        cells = [f"{mean[c]:.3f} ({middle[c]:.3f})" for c in ("known", "ours", "no_u")]
        missed = [f"{(part[c] > 1e-3).mean():.0%}" for c in ("short_bins", "short_random")]
        ratio = f"{mean['ours'] / mean['known']:.2f}"
        lines.append(
            f"| {name} | {len(part)} | {' | '.join(cells)} | {ratio} | {' | '.join(missed)} |"
        )
    worse = done[done["ours"] - done["no_u"] > 2 / done["rows"] ** 0.5]
    kinds = ", ".join(f"{one.noise} noise, k = {one.k}" for one in worse.itertuples())
    lines.append(
        f"\nlarger than without U: {(done['ours'] > done['no_u']).sum()}; by more than "
        f"2 / sqrt(rows): {len(worse)} ({kinds})"
    )
    return "\n".join(lines)


def main() -> None:
    """Read arguments, go on, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=0)
    wanted = parser.parse_args().n
    done = pd.read_csv(RESULTS)["seed"].tolist() if RESULTS.exists() else []
    for seed in range(SEED, SEED + wanted):
        if seed in done:
            continue
        row = one(seed)
        new = not RESULTS.exists()
        with RESULTS.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if new:
                writer.writeheader()
            writer.writerow(row)
    print(printed(pd.read_csv(RESULTS)))


if __name__ == "__main__":
    main()
