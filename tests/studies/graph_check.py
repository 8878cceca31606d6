"""Size and power of the graph check on fresh graphs (issue: the user's graph, tested).

    python tests/studies/graph_check.py true 200      # false additions on true graphs
    python tests/studies/graph_check.py wrong 100     # one edge removed, a false one added
    python tests/studies/graph_check.py               # what docs/discovery.md shows

Writes a line per table to graph_check.csv beside this file, and goes on where it stopped.
"""

from __future__ import annotations

import csv
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

import pyromix as px
from pyromix.data.counts import Counts
from pyromix.exact.sampling import sample
from pyromix.model.spec import MixtureSpec

OUT = Path(__file__).with_suffix(".csv")
FIELDS = ["kind", "seed", "n", "k", "N", "strength", "prior", "n_added", "least_p", "false_adds",
          "n_edges", "needless", "missing_rank", "missing_demanded", "false_p", "false_bic",
          "false_flagged", "doubts", "seconds"]  # fmt: skip


def random_spec(n: int, k: int, rng: np.random.Generator) -> MixtureSpec:
    """A random DAG with up to three parents a vertex, 1.2 on average."""
    names = [f"V{v:02}" for v in range(n)]
    parents = {}
    for v in range(n):
        m = min(v, 3, int(rng.poisson(1.2)))
        parents[names[v]] = [names[p] for p in sorted(rng.choice(v, m, replace=False))] if m else []
    return MixtureSpec.from_parents(dict.fromkeys(names, (0, 1)), parents, k)


def random_tables(
    spec: MixtureSpec, strength: tuple[float, float], rng: np.random.Generator
) -> px.BayesNetMixture:
    """Logits: an intercept per source, and per parent an effect of the given size, sign at random,
    that differs between sources by a third of itself."""
    k, cpts = spec.n_sources, []
    for parents in spec.parents:
        shape = (k, *(2,) * len(parents))
        logit = np.zeros(shape) + rng.normal(0, 1.0, k).reshape(k, *(1,) * len(parents))
        for axis in range(1, len(shape)):
            size = rng.uniform(*strength) * rng.choice([-1, 1]) * rng.uniform(2 / 3, 4 / 3, k)
            own = np.stack([-size / 2, size / 2], -1)
            logit = logit + own.reshape([k, *(2 if i == axis else 1 for i in range(1, len(shape)))])
        p = 1 / (1 + np.exp(-logit))
        cpts.append(torch.from_numpy(np.stack([1 - p, p], -1)))
    weights = torch.from_numpy(rng.dirichlet(np.full(k, 10.0)))
    return px.BayesNetMixture(spec, weights, tuple(cpts))


def wrong_graph(
    spec: MixtureSpec, rng: np.random.Generator
) -> tuple[MixtureSpec, tuple[str, str], tuple[str, str]]:
    """One edge less, another one more."""
    name = spec.name
    edges = [(p, v) for v, found in enumerate(spec.parents) for p in found]
    apart = [(p, v) for v in range(spec.n_variables) for p in range(v) if (p, v) not in edges]
    gone, false = (choices[int(rng.integers(len(choices)))] for choices in (edges, apart))
    parents = {
        name(v): [name(p) for p in found if (p, v) != gone]
        + ([name(false[0])] if v == false[1] else [])
        for v, found in enumerate(spec.parents)
    }
    wrong = MixtureSpec.from_parents(
        dict(zip(spec.variables, spec.states, strict=True)), parents, spec.n_sources
    )
    return wrong, (name(gone[0]), name(gone[1])), (name(false[0]), name(false[1]))


def one(kind: str, seed: int) -> dict[str, object]:
    """One table."""
    rng = np.random.default_rng((19, kind == "wrong", seed))
    n, k = int(rng.choice([6, 8, 10])), int(rng.choice([1, 2, 2, 3]))
    n_rows = int(rng.choice([3000, 10000]))
    weak = bool(rng.random() < 0.5)
    strength = (0.3, 0.8) if weak else (1.0, 2.0)
    spec = random_spec(n, k, rng)
    while not any(spec.parents):
        spec = random_spec(n, k, rng)
    counts = Counts.from_codes(spec, sample(random_tables(spec, strength, rng), n_rows, seed)[0])
    line: dict[str, object] = {"kind": kind, "seed": seed, "n": n, "k": k, "N": n_rows}
    line |= {"strength": "weak" if weak else "strong", "prior": "pooled"}
    asked, gone, false = spec, ("", ""), ("", "")
    if kind == "wrong":
        asked, gone, false = wrong_graph(spec, rng)
    start = time.perf_counter()
    found = px.graph_check(asked, counts, k, n_simulated=39, random_state=seed)
    line["seconds"] = round(time.perf_counter() - start, 2)
    line["doubts"] = int(bool(found.doubts))
    added = [s for s in found if s.action == "add"]
    line["n_added"] = len(added)
    line["least_p"] = min((s.p for s in added), default=1.0)
    dropped = [s for s in found if s.kind == "drop"]
    line["n_edges"] = len(dropped)
    if kind == "true":
        line["false_adds"] = sum(s.demanded for s in added)
        line["needless"] = sum(s.demanded for s in dropped)
        return line
    ranked = [frozenset((s.tail, s.head)) for s in found if s.action == "add"]
    line["missing_rank"] = ranked.index(frozenset(gone)) if frozenset(gone) in ranked else -1
    line["missing_demanded"] = any(
        s.demanded and frozenset((s.tail, s.head)) == frozenset(gone) for s in added
    )
    flagged = next((s for s in dropped if (s.tail, s.head) == false), None)
    if flagged is not None:
        line |= {"false_p": flagged.p, "false_bic": flagged.bic_gain,
                 "false_flagged": flagged.demanded}  # fmt: skip
    return line


def printed() -> str:
    """By what the check says of U and by strength: false additions, and what was planted."""
    with OUT.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [
        "| U, edges | true graphs | with a false addition | edges called needless | wrong graphs | "
        "missing edge first | false edge flagged |",
        "|---|---|---|---|---|---|---|",
    ]
    for doubts, strength in (("0", "strong"), ("0", "weak"), ("1", None), (None, None)):
        mine = [
            r for r in rows if doubts in (r["doubts"], None) and strength in (r["strength"], None)
        ]
        true, wrong = ([r for r in mine if r["kind"] == kind] for kind in ("true", "wrong"))
        shows = {"0": "U shows", "1": "U hardly shows", None: "all"}[doubts]
        lines.append(
            f"| {shows}{f', {strength} edges' if strength else ''} | {len(true)} | "
            f"{sum(int(r['false_adds']) > 0 for r in true)} | "
            f"{sum(int(r['needless']) for r in true)} of {sum(int(r['n_edges']) for r in true)} | "
            f"{len(wrong)} | {sum(r['missing_rank'] == '0' for r in wrong)} | "
            f"{sum(r['false_flagged'] == 'True' for r in wrong)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Go on to as many tables as asked for."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    kind, most = sys.argv[1], int(sys.argv[2])
    done: set[tuple[str, str]] = set()
    if OUT.exists():
        with OUT.open() as file:
            done = {(row["kind"], row["seed"]) for row in csv.DictReader(file)}
    for seed in range(most):
        if (kind, str(seed)) in done:
            continue
        line = one(kind, seed)
        fresh = not OUT.exists()
        with OUT.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if fresh:
                writer.writeheader()
            writer.writerow(line)
        print(line, flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main()
    print(printed())
