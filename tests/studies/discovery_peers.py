"""causal-learn's PC, FCI and GES on the tables of discovery.py with up to 12 variables.

    python tests/studies/discovery_peers.py

Needs causal-learn beside the project. Adds a line per table to discovery_peers.csv: edges that are
not of the true skeleton, or lack; and how many edges FCI gives a direction without a circle.
"""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import discovery
import numpy as np

OUT = Path(__file__).with_suffix(".csv")
FIELDS = ("graph", "n", "k", "N", "edges", "moves", "seed", "pc", "ges", "fci", "fci_directed")
MOST = 12


def one(table: discovery.Table) -> dict[str, object]:
    """Distances of skeletons from the planted one."""
    from causallearn.search.ConstraintBased.FCI import fci
    from causallearn.search.ConstraintBased.PC import pc
    from causallearn.search.ScoreBased.GES import ges

    truth, _, codes, _ = discovery.drawn(table)
    data, spec = codes.numpy(), truth.spec
    planted = {frozenset((p, v)) for v, ps in enumerate(spec.parents) for p in ps}
    graphs = {
        "pc": pc(data, 0.01, "chisq", show_progress=False).G,
        "ges": ges(data, "local_score_BDeu", maxP=3)["G"],
        "fci": fci(data, "chisq", 0.01, show_progress=False)[0],
    }
    line: dict[str, object] = {
        "graph": table.graph, "n": spec.n_variables, "k": table.k, "N": table.n_rows,
        "edges": table.edges, "moves": table.moves, "seed": table.seed,
    }  # fmt: skip
    for name, found in graphs.items():
        marks = np.asarray(found.graph)
        pairs = {frozenset(map(int, pair)) for pair in np.argwhere(marks)}
        line[name] = len(pairs ^ planted)
    marks = np.asarray(graphs["fci"].graph)
    # marks[a, b] is the mark at a: -1 a tail, 1 an arrowhead, 2 a circle.
    line["fci_directed"] = sum(
        {marks[a, b], marks[b, a]} == {-1, 1}
        for a, b in zip(*np.triu_indices_from(marks), strict=True)
    )
    return line


def main() -> None:
    """Every table that discovery.csv has, once."""
    warnings.simplefilter("ignore")
    done = set()
    if OUT.exists():
        with OUT.open(newline="") as file:
            done = {(r["graph"], r["seed"], r["N"]) for r in csv.DictReader(file)}
    for row in discovery.read():
        key = (row["graph"], row["seed"], row["N"])
        if int(row["n"]) > MOST or key in done:
            continue
        table = next(t for t in discovery.TABLES if (t.graph, str(t.seed), str(t.n_rows)) == key)
        line = one(table)
        fresh = not OUT.exists()
        with OUT.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if fresh:
                writer.writeheader()
            writer.writerow(line)
        print(line, flush=True)


if __name__ == "__main__":
    main()
