"""200 random networks, and all models, written and read by pyromix, pgmpy and pyAgrum.

python tests/studies/independent_readers.py [n_networks]
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from independent import assert_alike, of_mixture, read_by_pgmpy
from independent_networks import disagreements, drawn

import pyromix as px


def main(n_networks: int) -> int:
    """Count what disagrees, and say it."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    found = []
    for seed in range(n_networks):
        with tempfile.TemporaryDirectory() as folder:
            found += [f"{seed}: {said}" for said in disagreements(drawn(seed), Path(folder))]
    print(f"{n_networks} random networks: {len(found)} disagreements")
    for model in sorted((Path(__file__).parents[2] / "models").glob("*/*.bif")):
        for ending in (".bif", ".net"):
            mixture = px.read(model)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"net{ending}"
                px.write(mixture, path)
                try:
                    assert_alike(of_mixture(mixture), read_by_pgmpy(path), 1e-12)
                except AssertionError as difference:
                    found.append(f"{model.parent.name}{ending}: {difference}")
    print("\n".join([*found, f"{len(found)} disagreements in all"]))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
