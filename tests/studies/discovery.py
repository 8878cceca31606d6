"""px.discover on fresh graphs, beside the same search without a hidden source and pgmpy's searches.

    python tests/studies/discovery.py        # every table of TABLES, once
    python tests/studies/discovery.py 0 2    # every second one, for two processes
    python tests/studies/discovery.py table  # what docs/discovery.md shows

Writes a line per table to discovery.csv beside this file, and goes on where it stopped. Errors are
of P(last state of y | do(x = last)) - P(.. | do(x = first)), over pairs of which half have x among
the ancestors of y, where views certify the effect in the true graph.
"""

from __future__ import annotations

import csv
import itertools
import math
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from graph_check import random_spec, random_tables

sys.path.insert(0, str(Path(__file__).parents[1]))
from network_cases import bundled

import pyromix as px
from pyromix.data.counts import Counts
from pyromix.discovery.classes import GraphClass
from pyromix.discovery.moves import Room, State
from pyromix.discovery.starts import climbed
from pyromix.estimate.starts import batch_of
from pyromix.exact.sampling import sample
from pyromix.model.edges import parents_of
from pyromix.model.knowledge import Knowledge
from pyromix.model.spec import MixtureSpec

OUT = Path(__file__).with_suffix(".csv")
FIELDS = [
    "graph", "n", "k", "N", "edges", "moves", "seed", "score_gap", "skeleton", "directions",
    "settled", "k_found", "seconds", "pairs", "error_association", "error_without_u", "error_best",
    "error_average", "error_true_graph", "covered", "set_size", "hc", "ges", "pc",
]  # fmt: skip
PAIRS = 8


@dataclass(frozen=True)
class Table:
    """What is drawn.

    Attributes:
        graph: ``"random"``, or one of pgmpy's.
        n: variables, of a random graph.
        k: sources.
        n_rows: of the table.
        edges: ``"strong"``, 1 to 2 logits, or ``"weak"``, .3 to .8.
        moves: share of the variables whose laws differ between sources.
        seed: of all of it.
    """

    graph: str
    n: int
    k: int
    n_rows: int
    edges: str
    moves: float
    seed: int


TABLES = [
    Table("random", n, k, 50_000 if (i + j) % 2 else 10_000, edges, (1.0, 0.5)[(i // 2 + j) % 2], i)
    for j in range(2)
    for i, (n, k, edges) in enumerate(
        itertools.product((8, 12, 15, 20), (1, 2, 3), ("strong", "weak"))
    )
] + [
    Table(graph, 0, 2, n_rows, "strong", 1.0, 100 + i)
    for i, (n_rows, graph) in enumerate(
        itertools.product((10_000, 50_000), ("asia", "sachs", "child", "alarm"))
    )
]


def laws(
    spec: MixtureSpec, strength: tuple[float, float], moves: float, rng: np.random.Generator
) -> px.BayesNetMixture:
    """Tables whose sources differ at some variables only; of any number of states."""
    binary = set(spec.cards) == {2}
    drawn = random_tables(spec, strength, rng) if binary else random_logits(spec, strength, rng)
    still = rng.permutation(spec.n_variables)[: round((1 - moves) * spec.n_variables)]
    cpts = [
        cpt[:1].expand_as(cpt).clone() if v in still else cpt for v, cpt in enumerate(drawn.cpts)
    ]
    return px.BayesNetMixture(spec, drawn.weights, tuple(cpts))


def random_logits(
    spec: MixtureSpec, strength: tuple[float, float], rng: np.random.Generator
) -> px.BayesNetMixture:
    """Softmax of an intercept per source and, per parent, an effect for each pair of states."""
    k, cpts = spec.n_sources, []
    for v, parents in enumerate(spec.parents):
        card = spec.cards[v]
        cards = [spec.cards[p] for p in parents]
        logit = rng.normal(0, 1.0, (k, *[1] * len(cards), card)) + np.zeros((k, *cards, card))
        for axis, m in enumerate(cards):
            effect = rng.normal(0, rng.uniform(*strength), (m, card))
            shape = [1] * (axis + 1) + [m] + [1] * (len(cards) - axis - 1) + [card]
            logit = logit + effect.reshape(shape) * rng.uniform(2 / 3, 4 / 3, (k, *shape[1:-1], 1))
        odds = np.exp(logit)
        cpts.append(torch.from_numpy(odds / odds.sum(-1, keepdims=True)))
    weights = torch.from_numpy(rng.dirichlet(np.full(k, 10.0)))
    return px.BayesNetMixture(spec, weights, tuple(cpts))


def effect(mixture: px.BayesNetMixture, x: str, y: str) -> float:
    """Difference under the do."""
    states = mixture.spec.states_of(mixture.spec.vertex(x))
    low, high = (px.query(mixture, y, {x: s}).values[-1] for s in (states[0], states[-1]))
    return float(high - low)


def association(mixture: px.BayesNetMixture, x: str, y: str) -> float:
    """Difference as seen."""
    states = mixture.spec.states_of(mixture.spec.vertex(x))
    low, high = (px.query(mixture, y, evidence={x: s}).values[-1] for s in (states[0], states[-1]))
    return float(high - low)


def asked(spec: MixtureSpec, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Pairs certified by views: of those drawn, half have x among the ancestors of y."""
    n = spec.n_variables
    above: list[set[int]] = []
    for parents in spec.parents:
        above.append(set(parents).union(*(above[p] for p in parents)))
    down = [(x, y) for y in range(n) for x in sorted(above[y])]
    rng.shuffle(down)
    some = [tuple(rng.choice(n, 2, replace=False)) for _ in range(PAIRS // 2)]
    names = [(spec.name(int(x)), spec.name(int(y))) for x, y in [*down[: PAIRS // 2], *some]]
    if spec.n_sources == 1:
        return names
    return [
        (x, y) for x, y in names if px.check(spec, outcome=y, treatment=x).verdict == "identified"
    ]


def other_skeletons(frame: pd.DataFrame) -> dict[str, set[frozenset[str]]]:
    """What pgmpy's searches find, who know of nothing hidden."""
    from pgmpy.causal_discovery import GES, PC, HillClimbSearch

    found = {}
    for name, estimator in (
        ("hc", HillClimbSearch(scoring_method="bic-d", max_indegree=3, show_progress=False)),
        ("ges", GES(scoring_method="bic-d")),
        ("pc", PC(ci_test="chi_square", significance_level=0.01, show_progress=False)),
    ):
        try:
            graph = estimator.fit(frame).causal_graph_
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            print(name, type(error).__name__, error, flush=True)
            continue
        found[name] = {frozenset(e) for e in graph.to_undirected().edges}
    return found


def drawn(table: Table) -> tuple[px.BayesNetMixture, Counts, torch.Tensor, np.random.Generator]:
    """The truth and the rows."""
    rng = np.random.default_rng((1922, table.seed, table.n_rows, int(10 * table.moves)))
    if table.graph == "random":
        spec = random_spec(table.n, table.k, rng)
    else:
        spec = bundled(table.graph, table.k)
    strength = (0.3, 0.8) if table.edges == "weak" else (1.0, 2.0)
    truth = laws(spec, strength, table.moves, rng)
    codes, _ = sample(truth, table.n_rows, table.seed)
    return truth, Counts.from_codes(spec, codes), codes, rng


def one(table: Table) -> dict[str, object]:
    """One table, searched."""
    truth, counts, codes, rng = drawn(table)
    spec, k = truth.spec, table.k
    line: dict[str, object] = {
        "graph": table.graph, "n": spec.n_variables, "k": k, "N": table.n_rows,
        "edges": table.edges, "moves": table.moves, "seed": table.seed,
    }  # fmt: skip
    price = math.log(table.n_rows) / 2
    room = Room(spec, Knowledge.of(spec), 3, price)
    _, likelihood = climbed(counts, batch_of(truth), 300, 1e-4)
    true_score = likelihood - price * room.n_parameters(State(parents_of(spec)))
    start = time.process_time()
    found = px.discover(counts, k, random_state=table.seed)
    line["seconds"] = round(time.process_time() - start, 1)
    line["score_gap"] = round(-found.search.bic[0][1] / 2 - true_score, 2)
    right = GraphClass.of(parents_of(spec))
    line["skeleton"] = len(found.graph.skeleton ^ right.skeleton)
    line["directions"] = len(found.graph.directed ^ right.directed)
    line["settled"] = int(found.settled)
    if spec.n_variables <= 12:
        line["k_found"] = px.discover(counts, random_state=table.seed).n_sources
    line |= effects(truth, counts, found, asked(spec, rng))
    frame = pd.DataFrame(codes.numpy(), columns=list(spec.variables))
    planted = {
        frozenset((spec.name(p), spec.name(v))) for v, ps in enumerate(spec.parents) for p in ps
    }
    for name, skeleton in other_skeletons(frame).items() if spec.n_variables <= 20 else ():
        line[name] = len(skeleton ^ planted)
    return line


def effects(
    truth: px.BayesNetMixture, counts: Counts, found: px.Discovery, pairs: list[tuple[str, str]]
) -> dict[str, object]:
    """Errors of the set, of the true graph's fit, of a search without U, and of what is seen."""
    if not pairs:
        return {"pairs": 0}
    without = px.discover(counts, 1, n_starts=1)
    own = px.fit(truth.spec, counts, random_state=0, show_progress=False)
    errors: dict[str, list[float]] = {f: [] for f in FIELDS if f.startswith("error")}
    covered, sizes = [], []
    for x, y in pairs:
        true = effect(truth, x, y)
        states = truth.spec.states_of(truth.spec.vertex(x))
        answer = own.effect(x, y, contrast=(states[0], states[-1]), require="weak").do
        error = np.nan_to_num(np.asarray(answer.standard_error)[-1])
        values = np.array(found.effect(x, y, interval=False).values)
        blind = np.array(without.effect(x, y, interval=False).values)
        errors["error_association"].append(abs(association(truth, x, y) - true))
        errors["error_without_u"].append(abs(blind - true).mean())
        errors["error_best"].append(abs(values - true).min())
        errors["error_average"].append(abs(values - true).mean())
        errors["error_true_graph"].append(abs(float(answer.values[-1]) - true))
        around = max(0.02, 2 * float(error))
        covered.append(values.min() - around <= true <= values.max() + around)
        sizes.append(len(values))
    line: dict[str, object] = {name: round(float(np.mean(e)), 5) for name, e in errors.items()}
    return line | {
        "pairs": len(pairs),
        "covered": round(float(np.mean(covered)), 3),
        "set_size": float(np.mean(sizes)),
    }


def read() -> list[dict[str, str]]:
    """All lines so far."""
    if not OUT.exists():
        return []
    with OUT.open(newline="") as file:
        return list(csv.DictReader(file))


def printed() -> str:
    """By strength of edges and k: scores, distances, errors of effects, what others find."""
    lines = [
        "| tables | | score reached | skeleton | arrows | k right | error: seen | without U | "
        "set, mean | set, best | true graph | in the set | HC, GES, PC |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows = read()
    groups = [
        (f"{edges} edges, k = {k}", [r for r in rows if (r["edges"], r["k"]) == (edges, str(k))])
        for edges in ("strong", "weak")
        for k in (1, 2, 3)
    ]
    groups = [(name, [r for r in mine if r["graph"] == "random"]) for name, mine in groups]
    groups += [("planted networks, k = 2", [r for r in rows if r["graph"] != "random"])]
    for name, mine in [*groups, ("all", rows)]:
        if not mine:
            continue
        reached = sum(float(r["score_gap"]) >= -1 for r in mine)
        asked = [r for r in mine if r["k_found"]]
        pairs = np.array([float(r["pairs"]) for r in mine])
        known = [r for r in mine if r["covered"]]
        errors = [
            f"{np.mean([float(r[f'error_{which}']) for r in known]):.4f}"
            for which in ("association", "without_u", "average", "best", "true_graph")
        ]
        inside = sum(float(r["pairs"]) * float(r["covered"]) for r in known) / max(pairs.sum(), 1)
        others = "/".join(_middle([r[which] for r in mine]) for which in ("hc", "ges", "pc"))
        lines.append(
            f"| {name} | {len(mine)} | {reached} | {_middle([r['skeleton'] for r in mine])} | "
            f"{_middle([r['directions'] for r in mine])} | "
            f"{sum(r['k_found'] == r['k'] for r in asked)} of {len(asked)} | "
            f"{' | '.join(errors)} | {inside:.3f} | {others} |"
        )
    wrong = [r for r in rows if float(r["score_gap"]) < -1]
    lines.append(f"wrong ends: {len(wrong)}, settled {sum(int(r['settled']) for r in wrong)}")
    return "\n".join(lines)


def _middle(found: list[str]) -> str:
    numbers = [float(one) for one in found if one]
    return f"{np.median(numbers):g}" if numbers else "-"


def main(part: int, parts: int) -> None:
    """Search what is not yet searched."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    done = {(r["graph"], r["seed"], r["N"], r["moves"]) for r in read()}
    for table in TABLES[part::parts]:
        if (table.graph, str(table.seed), str(table.n_rows), str(table.moves)) in done:
            continue
        line = one(table)
        fresh = not OUT.exists()
        with OUT.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if fresh:
                writer.writeheader()
            writer.writerow(line)
        print(line, flush=True)


if __name__ == "__main__":
    if sys.argv[1:] != ["table"]:
        main(*(int(a) for a in sys.argv[1:])) if sys.argv[1:] else main(0, 1)
    print(printed())
