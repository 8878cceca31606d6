"""Size and power of the graph check on tables with numbers, by the noise of the numbers.

python tests/studies/graph_check_numbers.py true 200     # false additions on true graphs
python tests/studies/graph_check_numbers.py wrong 100    # one edge removed, a false one added
python tests/studies/graph_check_numbers.py              # the table that docs/discovery.md shows

Writes a line per table to graph_check_numbers.csv beside this file, and goes on where it stopped.
"""

from __future__ import annotations

import csv
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from graph_check import wrong_graph
from mixed_effects import _graph as graph_of
from mixed_effects import _states as states_of
from mixed_truths import NOISE, random_mixed, random_mixed_spec, table_of

import pyromix as px
from pyromix.identify.verdict import judge
from pyromix.model.mixed import MixedSpec
from pyromix.model.query import Certainty

OUT = Path(__file__).with_suffix(".csv")
FIELDS = ["kind", "seed", "n", "k", "N", "noise", "n_added", "least_p", "false_adds", "n_edges",
          "needless", "missing_rank", "missing_demanded", "false_p", "false_bic", "false_flagged",
          "seconds"]  # fmt: skip


def one(kind: str, seed: int) -> dict[str, object] | None:
    """One table; None where the graph with so many sources is told apart by shape alone."""
    rng = np.random.default_rng((1921, kind == "wrong", seed))
    n, k, n_rows = int(rng.choice([6, 8, 10])), int(rng.choice([1, 2, 2, 3])), 3000
    noise = list(NOISE)[seed % len(NOISE)]
    spec = random_mixed_spec(10_000 * (1 + (kind == "wrong")) + seed, n, k)
    asked, gone, false = spec, ("", ""), ("", "")
    if kind == "wrong":
        graph, gone, false = wrong_graph(spec.binned, rng)
        kinds = {spec.name(v): spec.kind(v) for v in range(n)}
        asked = MixedSpec(graph, tuple(kinds[name] for name in graph.variables))
    if k > 1 and not all(
        judge(s.binned).structural.at_least(Certainty.LOCAL) for s in (spec, asked)
    ):
        return None
    frame, _ = table_of(random_mixed(spec, seed), n_rows, seed, noise)
    line: dict[str, object] = {"kind": kind, "seed": seed, "n": n, "k": k, "N": n_rows}
    start = time.process_time()
    found = px.graph_check(
        graph_of(asked), frame, k, state_names=states_of(asked), random_state=seed
    )
    line |= {"noise": noise, "seconds": round(time.process_time() - start, 2)}
    added = [s for s in found if s.action == "add"]
    dropped = [s for s in found if s.kind == "drop"]
    line |= {"n_added": len(added), "n_edges": len(dropped)}
    line["least_p"] = min((s.p for s in added), default=1.0)
    if kind == "true":
        line["false_adds"] = sum(s.demanded for s in added)
        line["needless"] = sum(s.demanded for s in dropped)
        return line
    by_p = sorted(added, key=lambda s: (s.p, -s.statistic))
    ranked = [frozenset((s.tail, s.head)) for s in by_p]
    line["missing_rank"] = ranked.index(frozenset(gone)) if frozenset(gone) in ranked else -1
    line["missing_demanded"] = int(
        any(s.demanded and frozenset((s.tail, s.head)) == frozenset(gone) for s in added)
    )
    flagged = next((s for s in dropped if (s.tail, s.head) == false), None)
    if flagged is not None:
        line |= {"false_p": flagged.p, "false_bic": flagged.bic_gain,
                 "false_flagged": int(flagged.demanded)}  # fmt: skip
    return line


def read() -> list[dict[str, str]]:
    """All lines so far."""
    if not OUT.exists():
        return []
    with OUT.open(newline="") as file:
        return list(csv.DictReader(file))


def printed() -> str:
    """By noise: tables with a false addition, true edges called needless; edges found and told."""
    lines = [
        "| noise | true graphs | a false addition | edges called needless | wrong graphs | "
        "missing edge first | demanded | false edge flagged |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = read()
    for noise in (*NOISE, None):
        mine = [r for r in rows if noise in (r["noise"], None)]
        true, wrong = ([r for r in mine if r["kind"] == kind] for kind in ("true", "wrong"))
        needless = sum(int(r["needless"]) for r in true)
        edges = sum(int(r["n_edges"]) for r in true)
        told = [r for r in wrong if r["false_flagged"]]
        lines.append(
            f"| {noise or 'all'} | {len(true)} | {sum(int(r['false_adds']) > 0 for r in true)} | "
            f"{needless} of {edges} | {len(wrong)} | "
            f"{sum(r['missing_rank'] == '0' for r in wrong)} | "
            f"{sum(int(r['missing_demanded']) for r in wrong)} | "
            f"{sum(int(r['false_flagged']) for r in told)} of {len(told)} |"
        )
    return "\n".join(lines)


def main(kind: str, most: int) -> None:
    """Go on until so many tables have been tested."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    done = [r for r in read() if r["kind"] == kind]
    seed, n_done = max((int(r["seed"]) for r in done), default=-1) + 1, len(done)
    while n_done < most:
        line = one(kind, seed)
        seed += 1
        if line is None:
            continue
        n_done += 1
        fresh = not OUT.exists()
        with OUT.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if fresh:
                writer.writeheader()
            writer.writerow(line)
        print(line, flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1], int(sys.argv[2]))
    print(printed())
