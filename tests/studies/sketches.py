"""Verdicts by sketch against the dense Jacobian, on random graphs.

python tests/studies/sketches.py 400. Of graphs of three to nine vertices, k from two to five, some
vertices uninfluenced, all of P(U, V) and one question each. Prints a line for each disagreement,
then how many were asked, said by the Jacobian to be identified, and by the sketch. Of 400 graphs
one sketch of the whole did not settle (the Jacobian has full rank), all others said the same.
"""

from __future__ import annotations

import random
import sys
from collections import Counter

import pyromix as px
from pyromix.identify.certificate import RESIDUAL_TOLERANCE
from pyromix.identify.certify import certify
from pyromix.identify.sketch import sketch
from pyromix.model.query import settings

LARGEST = 700
"""Parameters of a graph, so that the dense certificate is quick."""


def random_structure(rng: random.Random) -> px.MixtureSpec:
    """Three to nine vertices, two or three states, up to three parents, a few uninfluenced."""
    while True:
        n, k = rng.randint(3, 9), rng.randint(2, 5)
        names = [f"V{i}" for i in range(n)]
        states = {name: tuple(range(rng.choice((2, 2, 3)))) for name in names}
        most = rng.randint(0, 3)
        parents = {
            name: rng.sample(names[:i], min(i, rng.randint(0, most)))
            for i, name in enumerate(names)
        }
        spared = [name for name in names if rng.random() < rng.choice((0.0, 0.3))][: n - 1]
        spec = px.MixtureSpec.from_parents(states, parents, k, uninfluenced=spared)
        if spec.n_parameters <= LARGEST:
            return spec


def main(n_graphs: int) -> None:
    """Compare."""
    rng, found = random.Random(0), Counter()
    for number in range(n_graphs):
        spec = random_structure(rng)
        dense, fast = certify(spec), sketch(spec)
        whole = fast.whole
        found["whole", dense.locally_identified, whole.settled and whole.seen] += 1
        if not whole.settled or whole.seen != dense.locally_identified:
            print(number, "whole", dense.rank, dense.n_parameters, whole, spec)
        x, y = rng.sample(spec.variables, 2)
        asked = settings(spec, y, x)
        expected = max(map(dense.residual, asked)) <= RESIDUAL_TOLERANCE
        sight = fast.of(asked)
        found["question", expected, sight.settled and sight.seen] += 1
        if not sight.settled or sight.seen != expected:
            print(number, x, y, max(map(dense.residual, asked)), sight, spec)
    for key, n in sorted(found.items(), key=str):
        print(*key, n)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
