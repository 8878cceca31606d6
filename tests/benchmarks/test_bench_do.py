"""Do-queries: elimination, the Pyro engine, and pgmpy on the mutilated network, in one run.

Networks as shipped, with their planted source; five random queries each (one outcome, one do, two
pieces of evidence). pgmpy's VariableElimination is built before its clock starts.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyromix.answers.do import query
from pyromix.bridges.pgmpy import to_pgmpy
from pyromix.errors import DimensionLimitError
from pyromix.formats.files import read

MODELS = Path(__file__).parents[2] / "models"


def best_of(n: int, run: Callable[[], Any]) -> float:
    """Seconds of the fastest of n runs."""
    seconds = []
    for _ in range(n):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def questions(spec: Any, n: int, seed: int) -> list[dict[str, Any]]:
    """Random queries by names: an outcome, a do, two pieces of evidence."""
    rng = np.random.default_rng(seed)
    asked = []
    for _ in range(n):
        outcome, done, *seen = rng.permutation(spec.n_variables)[:4].tolist()
        state = {v: spec.states[v][rng.integers(spec.cards[v])] for v in (done, *seen)}
        asked.append(
            {
                "variables": spec.name(outcome),
                "do": {spec.name(done): state[done]},
                "evidence": {spec.name(v): state[v] for v in seen},
            }
        )
    return asked


def pgmpy_answers(mixture: Any, asked: list[dict[str, Any]]) -> list[Callable[[], Any]]:
    """P(outcome | x, evidence) in the network whose edges into X are cut."""
    from pgmpy.inference import VariableElimination

    network = to_pgmpy(mixture)
    runs = []
    for question in asked:
        mutilated = VariableElimination(network.do(list(question["do"])))
        given = {**question["do"], **question["evidence"]}

        def run(mutilated: Any = mutilated, given: Any = given, q: Any = question) -> Any:
            return mutilated.query([q["variables"]], evidence=given, show_progress=False)

        runs.append(run)
    return runs


@pytest.mark.parametrize("name", ["asia", "sachs", "child", "insurance", "alarm", "hepar2"])
def test_do_query(benchmark, name):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    mixture = read(MODELS / name / "network.bif")
    asked = questions(mixture.spec, 5, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pgmpy_answers(mixture, asked)
        for question, run in zip(asked, theirs, strict=True):
            found = query(mixture, **question)
            factor = run()
            states = factor.state_names[question["variables"]]
            expected = dict(zip(states, factor.values, strict=True))
            for state, p in zip(*found.state_names.values(), found.values, strict=True):
                assert p == pytest.approx(expected[state], abs=1e-8)
        pgmpy = best_of(3, lambda: [run() for run in theirs])

    def all_queries(engine: str) -> None:
        for question in asked:
            query(mixture, **question, engine=engine)

    benchmark(all_queries, "elimination")
    elimination = best_of(5, lambda: all_queries("elimination"))
    try:
        pyro = f"{best_of(3, lambda: all_queries('pyro')) / elimination:.1f}"
    except DimensionLimitError:
        pyro = "too large"
    print(  # noqa: T201 - what a benchmark is for
        f"\n{name}: {mixture.spec.n_variables} vertices, elimination "
        f"{1e3 * elimination / len(asked):.2f} ms per query; pyro engine / elimination {pyro}; "
        f"pgmpy VariableElimination / elimination {pgmpy / elimination:.1f}"
    )
    torch.set_num_threads(threads)
