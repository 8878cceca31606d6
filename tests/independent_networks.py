"""Networks drawn at random, written by pyromix, pgmpy and pyAgrum, and read by all three."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

from independent import (
    Plain,
    assert_alike,
    of_mixture,
    read_by_agrum,
    read_by_pgmpy,
    written_by_agrum,
)

import pyromix as px

FORMATS = (".bif", ".xmlbif", ".xdsl", ".net", ".uai")

NOT_READ = {("pgmpy", ".uai")}
"""pgmpy's UAI has the variable of a table first and slowest, which the format does not."""

TOLERANCE = 1e-5
"""Of probabilities: NET of pgmpy and the text of pyAgrum have six digits."""


def drawn(seed: int) -> px.BayesNetMixture:
    """A network of 2 to 6 variables of 2 to 4 states, and a source of 1 to 3."""
    rng = random.Random(seed)
    names = [f"V{i}" for i in range(rng.randint(2, 6))]
    states = {name: [f"s{i}" for i in range(rng.randint(2, 4))] for name in names}
    parents = {
        name: rng.sample(names[:i], min(i, rng.randint(0, 3))) for i, name in enumerate(names)
    }
    spec = px.MixtureSpec.from_parents(states, parents, rng.randint(1, 3))
    return px.random_mixture(spec, seed)


def write_by_us(mixture: px.BayesNetMixture, path: Path) -> None:
    px.write(mixture, path)


def write_by_pgmpy(mixture: px.BayesNetMixture, path: Path) -> None:
    px.to_pgmpy(mixture).save(str(path))


def read_by_us(path: Path) -> Plain:
    return of_mixture(px.read(path))


WRITERS = {"pyromix": write_by_us, "pgmpy": write_by_pgmpy, "pyAgrum": written_by_agrum}
READERS = {"pyromix": read_by_us, "pgmpy": read_by_pgmpy, "pyAgrum": read_by_agrum}


def disagreements(mixture: px.BayesNetMixture, folder: Path) -> list[str]:
    """What a reader makes of a file that another wrote, where it is something else."""
    found, truth = [], of_mixture(mixture)
    for (writer, write), (reader, read), ending in product(
        WRITERS.items(), READERS.items(), FORMATS
    ):
        if (
            "pyromix" not in (writer, reader)
            or writer == reader
            or {(writer, ending), (reader, ending)} & NOT_READ
        ):
            continue
        path = folder / f"net{ending}"
        if ending == ".uai":
            if writer != "pyromix":
                continue  # without names there is nothing to compare by
            path = folder / "ours.uai"
        write(mixture, path)
        try:
            assert_alike(truth, read(path), TOLERANCE)
        except AssertionError as difference:
            found.append(f"{writer} -> {reader}{ending}: {' '.join(str(difference).split())[:200]}")
    return found
