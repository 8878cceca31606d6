"""What Student's t by default is worth: the effect of X on Y with normal noise, and as fitted.

python tests/studies/tails.py 90. Adds to tails.csv beside it, one line per table of a random mixed
graph that views certify; without a number it prints the table that docs/limits.md shows.
"""

from __future__ import annotations

import csv
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from mixed_effects import _graph, _states, level_of
from mixed_truths import NOISE, random_mixed, random_mixed_spec, slope, table_of

from pyromix.estimate.mixed.starts import from_shares
from pyromix.fitting.mixed.engine import fit_mixed
from pyromix.fitting.mixed.intake import with_numbers
from pyromix.model.note import NoteKind
from pyromix.model.query import Certainty

OUT = Path(__file__).with_suffix(".csv")
FIELDS = ("seed", "n", "k", "rows", "noise", "named", "numbers", "known", "real", "followed")


def one(seed: int) -> dict[str, object] | None:
    """Errors in standard deviations of Y; None for a graph that views do not certify."""
    g = np.random.default_rng((1923, seed))
    n, k, noise = int(g.integers(6, 11)), int(g.integers(2, 4)), list(NOISE)[seed % len(NOISE)]
    rows = int(10 ** g.uniform(3, 4))
    spec = random_mixed_spec(900_000 + seed, n, k)
    if not level_of(spec).at_least(Certainty.LOCAL):
        return None
    truth = random_mixed(spec, seed)
    frame, sources = table_of(truth, rows, seed, noise)
    graph, states = _graph(spec), _states(spec)

    def fitted(kinds: dict[str, str] | None):
        table = with_numbers(graph, frame, k, kinds, states, None)
        return fit_mixed(table, k, state_names=states, random_state=seed)

    real = fitted({spec.name(v): "real" for v in spec.numeric})
    named = [name for note in real.notes if note.kind is NoteKind.SHAPE for name in note.data]
    followed = fitted(None) if named else real
    hot = torch.nn.functional.one_hot(torch.from_numpy(sources), k).double()
    known = from_shares(real.spec, real.records, hot, real.prior)
    errors = {
        name: abs(slope(mixture) - slope(truth)) / float(frame["Y"].std())
        for name, mixture in (
            ("known", known), ("real", real.mixture), ("followed", followed.mixture),
        )
    }  # fmt: skip
    head = {"seed": seed, "n": n, "k": k, "rows": rows, "noise": noise}
    return head | {"named": len(named), "numbers": len(spec.numeric)} | errors


def printed() -> str:
    """By noise: tables in which a column is named, and errors over those with U known."""
    with OUT.open(newline="") as file:
        lines = list(csv.DictReader(file))
    found = [
        "| noise | tables | a column named | as real / U known | by default / U known |",
        "|---|---|---|---|---|",
    ]
    for noise in NOISE:
        mine = [line for line in lines if line["noise"] == noise]
        known, real, followed = (
            np.mean([float(line[name]) for line in mine]) for name in ("known", "real", "followed")
        )
        named = sum(line["named"] != "0" for line in mine)
        found.append(
            f"| {noise} | {len(mine)} | {named} | {real / known:.2f} | {followed / known:.2f} |"
        )
    return "\n".join(found)


def main(most: int) -> None:
    """Go on to so many tables."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    done = []
    if OUT.exists():
        with OUT.open(newline="") as file:
            done = [int(line["seed"]) for line in csv.DictReader(file)]
    seed, n_done = max(done, default=-1) + 1, len(done)
    while n_done < most:
        line, seed = one(seed), seed + 1
        if line is None:
            continue
        n_done += 1
        fresh = not OUT.exists()
        with OUT.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if fresh:
                writer.writeheader()
            writer.writerow(line)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(int(sys.argv[1]))
    print(printed())
