"""Error of the effect of one number on another, in random mixed graphs certified by views.

python tests/studies/mixed_effects.py -n 200. Adds to mixed_effects.csv beside it, one line per
table, and goes on where it stopped; without -n it prints the table that docs/limits.md shows.
Two processes share the work with --part 0/2 and --part 1/2.

The effect is the change of the mean of Y for one unit of X under do(X), in standard deviations of
Y. Ours is px.fit as a user calls it, no kind declared. Beside it, lines by least squares with U
known and without U (`known`, `no_u`), and the same under the kinds that ours took (`known_same`,
`no_u_same`). Starts: ours, ten random and ten k-means ones (k-means++ on standardised columns),
raced alike, all under the kinds and the prior that ours ended with.
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
from sklearn.cluster import KMeans

sys.path.insert(0, str(Path(__file__).parents[1]))
from mixed_truths import NOISE, random_mixed, random_mixed_spec, slope, table_of

import pyromix as px
from pyromix.data.records import Records
from pyromix.estimate.mixed.climb import MixedEnd
from pyromix.estimate.mixed.prior import prior_of
from pyromix.estimate.mixed.starts import Draw, _points, from_shares, raced, random_shares
from pyromix.estimate.mixed.step import em_step
from pyromix.fitting.mixed.intake import take_in_mixed, with_numbers
from pyromix.identify.verdict import judge
from pyromix.model.mixed import MixedSpec
from pyromix.model.query import Certainty, DoQuery

RESULTS = Path(__file__).with_name("mixed_effects.csv")

FIELDS = (
    "seed", "n", "k", "rows", "noise", "level", "truth", "sd_y", "kinds", "ours", "known",
    "known_same", "no_u", "no_u_same", "short_ours", "short_bins", "short_random", "short_kmeans",
    "seconds", "seconds_random", "seconds_kmeans",
)  # fmt: skip

SEED = 930_000
"""Nothing was tuned on what these draw."""


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
    rows, noise = int(10 ** g.uniform(3, 5)), str(g.choice(list(NOISE)))
    spec = random_mixed_spec(seed, n, k)
    level = level_of(spec)
    found: dict[str, object] = {
        "seed": seed, "n": n, "k": k, "rows": rows, "noise": noise, "level": level.value,
    }  # fmt: skip
    if not level.at_least(Certainty.LOCAL):
        return found
    truth = random_mixed(spec, seed)
    frame, sources = table_of(truth, rows, seed, noise)
    states = _states(spec)
    start = time.process_time()
    fit = px.fit(_graph(spec), frame, k, state_names=states, random_state=seed, show_progress=False)
    seconds = time.process_time() - start
    drawn, seconds_random = _alone(fit, random_shares, seed)
    nearest, seconds_kmeans = _alone(fit, kmeans_shares, seed)
    ends = {
        # Valued here, so that objectives are of one law whatever the fit has tried before.
        "ours": em_step(fit.mixture, list(fit.records.parts()), fit.prior).objective,
        "bins": next((s.objective for s in fit.starts if s.name == "bins"), np.nan),
        "random": max(end.objective for end in drawn),
        "kmeans": max(end.objective for end in nearest),
    }
    best = max(ends["ours"], ends["random"], ends["kmeans"])
    hot = torch.nn.functional.one_hot(torch.from_numpy(sources), k).double()
    real = dict.fromkeys((spec.name(v) for v in spec.numeric), "real")
    table = with_numbers(_graph(spec), frame, k, real, states, None)
    taken = take_in_mixed(table, k, states)
    known = from_shares(taken.spec, taken.records, hot, prior_of(taken.spec, taken.records))
    kinds = {fit.spec.name(v): fit.spec.kind(v).value for v in fit.spec.numeric}
    known_same = from_shares(fit.spec, fit.records, hot, fit.prior)

    def without(kinds: dict[str, str]) -> float:
        own = px.fit(_graph(spec), frame, 1, kinds=kinds, state_names=states, show_progress=False)
        return slope(own.mixture)

    return found | {
        "truth": slope(truth),
        "sd_y": float(frame["Y"].std()),
        "kinds": " ".join(f"{name}:{kind}" for name, kind in kinds.items()),
        "ours": slope(fit.mixture),
        "known": slope(known),
        "known_same": slope(known_same),
        "no_u": without(real),
        "no_u_same": without(kinds),
        "seconds": seconds,
        "seconds_random": seconds_random,
        "seconds_kmeans": seconds_kmeans,
        **{f"short_{name}": (best - end) / rows for name, end in ends.items()},
    }


def _alone(fit: px.MixedFit, draw: Draw, seed: int) -> tuple[list[MixedEnd], float]:
    """Where ten starts of a kind lead on the table and with the law of a fit; seconds of CPU."""
    start = time.process_time()
    generator = torch.Generator().manual_seed(seed)
    ends = raced(
        fit.spec, fit.records, fit.prior, [], 10, generator, max_iter=2000, tol=1e-9, draw=draw
    )
    return ends, time.process_time() - start


def kmeans_shares(spec: MixedSpec, records: Records, generator: torch.Generator) -> torch.Tensor:
    """Every row wholly of the cluster that k-means puts it in."""
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
    means = KMeans(spec.n_sources, n_init=1, random_state=seed)
    clusters = torch.from_numpy(means.fit_predict(_points(spec, records).numpy())).long()
    return torch.nn.functional.one_hot(clusters, spec.n_sources).double()


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
    errors = ["known", "ours", "no_u", "known_same", "no_u_same"]
    for name in errors:
        done[name] = (done[name] - done["truth"]).abs() / done["sd_y"]
    done["tailed"] = done["kinds"].str.contains("student-t")
    starts = ("ours", "random", "kmeans")
    lines = [
        f"{len(results)} graphs, {len(done)} certified; rows {done['rows'].min()} to "
        f"{done['rows'].max()}; seconds {done['seconds'].sum():.0f}, random "
        f"{done['seconds_random'].sum():.0f}, k-means {done['seconds_kmeans'].sum():.0f}",
        "| | tables | a column Student's t | U known | ours | no U | ours / known | missed, ours "
        "| missed, ten random | missed, ten k-means | U known, same kinds | no U, same kinds |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups = [(f"{n} noise", d) for n, d in done.groupby("noise")]
    groups += [(f"k = {k}", d) for k, d in done.groupby("k")]
    sizes = pd.cut(done["rows"], [0, 3_000, 10_000, 30_000, 100_000])
    groups += [(f"rows {size}", d) for size, d in done.groupby(sizes, observed=True)]
    for name, part in [*groups, ("all", done)]:
        mean, middle = part[errors].mean(), part[errors].median()
        cells = [f"{mean[c]:.3f} ({middle[c]:.3f})" for c in errors]
        missed = [f"{(part[f'short_{c}'] > 1e-3).mean():.0%}" for c in starts]
        cells[3:3] = [f"{mean['ours'] / mean['known']:.2f}", *missed]
        head = f"| {name} | {len(part)} | {part['tailed'].sum()} | "
        lines.append(head + " | ".join(cells) + " |")
    for name in ("no_u", "no_u_same"):
        worse = done[done["ours"] - done[name] > 2 / done["rows"] ** 0.5]
        which = "; ".join(
            f"{one.noise} noise, k = {one.k}, {one.rows} rows: {one.ours:.3f} for "
            f"{getattr(one, name):.3f}"
            for one in worse.itertuples()
        )
        lines.append(
            f"\nlarger than {name}: {(done['ours'] > done[name]).sum()}; by more than "
            f"2 / sqrt(rows): {len(worse)} ({which})"
        )
    return "\n".join(lines)


def main() -> None:
    """Read arguments, go on, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=0, help="tables, all parts together")
    parser.add_argument("--part", default="0/1", help="which seeds are this process's: 0/2 or 1/2")
    asked = parser.parse_args()
    part, parts = map(int, asked.part.split("/"))
    done = pd.read_csv(RESULTS)["seed"].tolist() if RESULTS.exists() else []
    for seed in range(SEED + part, SEED + asked.n, parts):
        if seed not in done:
            add(one(seed))
    print(printed(pd.read_csv(RESULTS)))


def add(row: dict[str, object]) -> None:
    """Append one line in one write: processes share the file."""
    try:
        with RESULTS.open("x", newline="") as file:
            csv.writer(file).writerow(FIELDS)
    except FileExistsError:
        pass
    with RESULTS.open("a", newline="") as file:
        csv.DictWriter(file, FIELDS).writerow(row)


if __name__ == "__main__":
    main()
