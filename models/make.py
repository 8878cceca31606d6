"""Plants a source U in published Bayesian networks and writes models/NAME for each of them.

    python models/make.py               # all
    python models/make.py asia sachs    # some

The rule. A published row p = P(v | parents), c states, becomes one row per source u,

    (1 - a - 0.04) p  +  a e(u)  +  0.04 / c,

where e(u) puts everything on one state, number (shift + u) mod c, and 0.04 / c keeps every
probability away from zero. The shift is drawn once per vertex, the strength a once per row,
uniform on [0.15, 0.45], both from a generator seeded by the recipe's seed and the vertex name, so
the draw depends neither on the order of the vertices nor on the machine. Sources then differ by a
in total variation in every row. A vertex without an edge from U keeps the first and the last term
(a = 0). Rows are rounded to four decimals by largest remainder, so they sum to one exactly and the
file can be read by people. The weights of the sources are part of the recipe.

Each recipe (recipes.toml) names a treatment and an outcome for which three numbers differ: the
naive difference, the effect in the same graph when U is ignored (every CPT pooled over U), and the
true effect. Treatment, outcome and seed were picked, from a dozen or more tried, so that they do
and so that a sample of this size can show it.

Truths are exact sums over the planted network; the data are one seeded sample of it without U.
"""

from __future__ import annotations

import csv
import importlib.util
import math
import sys
import textwrap
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyromix.exact.elimination import marginal
from pyromix.formats.files import read, write
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import DoQuery
from pyromix.model.spec import SOURCE, MixtureSpec

MODELS = Path(__file__).parent
FLOOR = 0.04
STRENGTHS = (0.15, 0.45)
UNIT = 10_000
JOINT_LIMIT = 2**20

REPOSITORY = "bnlearn Bayesian network repository, as bundled with pgmpy (MIT)"
LICENCE = "CC BY-SA 3.0 (bnlearn repository); this adaptation is under the same licence"


@dataclass(frozen=True)
class Recipe:
    """What is planted, and which question the card asks.

    Attributes:
        network: file name of the published network in pgmpy, without the ending; empty for the toy
            of the README, whose tables are written below.
        title: one line.
        reference: where the network was published.
        seed: of the planting; the sample uses ``seed + 1000``.
        weights: P(U).
        treatment: vertex.
        contrast: two states of the treatment, from and to.
        outcome: vertex.
        outcome_state: the state whose probability is compared.
        n_rows: size of the sample.
        counted: ship distinct rows with a column ``count`` instead of all rows.
        story: what the reader sees, in words.
        uninfluenced: vertices without an edge from U.
    """

    network: str
    title: str
    reference: str
    seed: int
    weights: tuple[float, ...]
    treatment: str
    contrast: tuple[str, str]
    outcome: str
    outcome_state: str
    n_rows: int
    counted: bool
    story: str
    uninfluenced: tuple[str, ...] = ()

    @staticmethod
    def from_fields(fields: Mapping[str, Any]) -> Recipe:
        """Read one table of recipes.toml; its lists become tuples, its story one line."""
        plain = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
        return Recipe(**{**plain, "story": " ".join(plain["story"].split())})


RECIPES: Mapping[str, Recipe] = {
    name: Recipe.from_fields(fields)
    for name, fields in tomllib.loads((MODELS / "recipes.toml").read_text("utf-8")).items()
}


def hidden_group() -> BayesNetMixture:
    """The toy of the README: U -> X, Y, Z1, Z2 and X -> Y."""
    spec = MixtureSpec.from_parents(
        {
            "X": ("control", "treated"),
            "Y": ("worse", "better"),
            "Z1": ("low", "high"),
            "Z2": ("low", "high"),
        },
        {"Y": ("X",)},
        2,
        roles={"exposures": ["X"], "outcomes": ["Y"]},
    )
    second = {
        "X": [0.2, 0.75],
        "Y": [[0.1, 0.3], [0.5, 0.8]],
        "Z1": [0.1, 0.8],
        "Z2": [0.15, 0.7],
    }
    tables = [torch.tensor(second[name], dtype=torch.float64) for name in spec.variables]
    return BayesNetMixture(
        spec,
        torch.tensor([0.6, 0.4], dtype=torch.float64),
        tuple(torch.stack([1 - table, table], -1) for table in tables),
    )


def published(network: str) -> BayesNetMixture:
    """Read a network that pgmpy bundles; k = 1."""
    package = importlib.util.find_spec("pgmpy")
    if package is None or package.origin is None:
        raise FileNotFoundError("the published networks come with pgmpy; install it")
    return read(Path(package.origin).parent / "utils" / "example_models" / f"{network}.bif.gz")


def plant(network: BayesNetMixture, recipe: Recipe) -> BayesNetMixture:
    """Give a network without sources the sources of a recipe, by the rule above."""
    k = len(recipe.weights)
    old = network.spec
    spec = replace(
        old,
        n_sources=k,
        source_states=(),
        uninfluenced=frozenset(old.vertex(name) for name in recipe.uninfluenced),
        roles=(
            ("exposures", (old.vertex(recipe.treatment),)),
            ("outcomes", (old.vertex(recipe.outcome),)),
        ),
    )
    cpts = tuple(
        planted_table(
            spec.name(v), network.cpts[v][0].numpy(), k, recipe.seed, v not in spec.uninfluenced
        )
        for v in range(spec.n_variables)
    )
    weights = torch.tensor(recipe.weights, dtype=torch.float64)
    return BayesNetMixture(spec, weights, tuple(torch.from_numpy(cpt) for cpt in cpts))


def planted_table(name: str, table: np.ndarray, k: int, seed: int, influenced: bool) -> np.ndarray:
    """Return the CPT ``(k, *parents, card)`` planted in a published one ``(*parents, card)``."""
    card = table.shape[-1]
    if influenced and k > card:
        raise ValueError(f"{name} has {card} states: the rule needs at least as many as sources")
    rng = np.random.default_rng([seed, *name.encode()])
    shift = rng.integers(card)
    strength = rng.uniform(*STRENGTHS, size=table.shape[:-1])[..., None] * influenced
    favoured = np.eye(card)[(shift + np.arange(k)) % card]
    favoured = favoured.reshape(k, *(1 for _ in table.shape[:-1]), card)
    return rounded((1 - strength - FLOOR) * table + FLOOR / card + strength * favoured)


def rounded(rows: np.ndarray) -> np.ndarray:
    """Round probability rows to four decimals; the largest remainders make up the sum."""
    units = rows * UNIT
    whole = np.floor(units)
    short = UNIT - whole.sum(-1, keepdims=True)
    rank = np.argsort(np.argsort(whole - units, axis=-1, kind="stable"), axis=-1)
    return (whole + (rank < short)) / UNIT


def draw(mixture: BayesNetMixture, n_rows: int, seed: int) -> np.ndarray:
    """Sample rows ``(n_rows, n_variables)`` of state numbers, without U."""
    rng = np.random.default_rng(seed)

    def choose(probabilities: np.ndarray) -> np.ndarray:
        bounds = probabilities.cumsum(-1)[..., :-1]
        return (rng.random(n_rows)[:, None] >= bounds).sum(-1)

    spec = mixture.spec
    sources = choose(np.broadcast_to(mixture.weights.numpy(), (n_rows, spec.n_sources)))
    rows = np.zeros((n_rows, spec.n_variables), dtype=np.int64)
    for v, cpt in enumerate(mixture.cpts):
        given = (sources, *(rows[:, p] for p in spec.parents[v]))
        rows[:, v] = choose(cpt.numpy()[given])
    return rows


def pooled(mixture: BayesNetMixture) -> BayesNetMixture:
    """The network (k = 1) that an endless table gives when U is ignored."""
    spec = mixture.spec
    tables = []
    for v in range(spec.n_variables):
        family = marginal(mixture, DoQuery(outcomes=(*spec.parents[v], v)))
        tables.append((family / family.sum(-1, keepdim=True)).unsqueeze(0))
    one = torch.ones(1, dtype=torch.float64)
    return BayesNetMixture(replace(spec.with_n_sources(1)), one, tuple(tables))


def truths(mixture: BayesNetMixture, recipe: Recipe) -> dict[str, object]:
    """Exact figures of the card: naive, with U ignored, do, and do within each source."""
    spec = mixture.spec
    x, y = spec.vertex(recipe.treatment), spec.vertex(recipe.outcome)
    arms = [spec.state(x, state) for state in recipe.contrast]
    good = spec.state(y, recipe.outcome_state)
    pair = marginal(mixture, DoQuery(outcomes=(x, y)))
    given = [float(pair[arm, good] / pair[arm].sum()) for arm in arms]
    alone = pooled(mixture)
    ignored = [float(marginal(alone, DoQuery(outcomes=(y,), do={x: arm}))[good]) for arm in arms]
    joint = [marginal(mixture, DoQuery(outcomes=(SOURCE, y), do={x: arm})) for arm in arms]
    done = [float(table[:, good].sum()) for table in joint]
    within = [(table[:, good] / table.sum(-1)).tolist() for table in joint]
    figures: dict[str, object] = {
        "naive": given[1] - given[0],
        "ignoring_source": ignored[1] - ignored[0],
        "do": done[1] - done[0],
        "do_per_source": [b - a for a, b in zip(*within, strict=True)],
        "p_given": dict(zip(recipe.contrast, given, strict=True)),
        "p_do": dict(zip(recipe.contrast, done, strict=True)),
        "weights": mixture.weights.tolist(),
    }
    if spec.n_cells <= JOINT_LIMIT:
        table = mixture.joint_table()
        figures["log_likelihood_per_row"] = float((table * table.log()).sum())
    return figures


def naive_in_sample(mixture: BayesNetMixture, rows: np.ndarray, recipe: Recipe) -> float:
    """The naive difference as counted in the sample."""
    spec = mixture.spec
    x, y = spec.vertex(recipe.treatment), spec.vertex(recipe.outcome)
    hit = rows[:, y] == spec.state(y, recipe.outcome_state)
    low, high = (hit[rows[:, x] == spec.state(x, state)].mean() for state in recipe.contrast)
    return float(high - low)


def write_rows(path: Path, spec: MixtureSpec, rows: np.ndarray, *, counted: bool) -> None:
    """Write a sample as csv: all rows in the order drawn, or distinct ones with a count."""
    patterns = [tuple(row) for row in rows.tolist()]
    lines: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
    if counted:
        lines = [(row, (n,)) for row, n in sorted(Counter(patterns).items())]
    else:
        lines = [(row, ()) for row in patterns]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*spec.variables, *(["count"] if counted else [])])
        for row, n in lines:
            writer.writerow([*(spec.states[v][s] for v, s in enumerate(row)), *n])


def toml_value(value: object) -> str:
    """A value of the card's header; floats keep twelve decimals, which hold on every machine."""
    if isinstance(value, bool) or value is None:
        raise TypeError(f"the header holds text, numbers, lists and tables, found {value!r}")
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"not a finite number: {value}")
        return repr(round(value, 12))
    if isinstance(value, Mapping):
        inside = ", ".join(f"{toml_value(str(k))} = {toml_value(v)}" for k, v in value.items())
        return f"{{ {inside} }}"
    if isinstance(value, Sequence):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    raise TypeError(f"the header holds text, numbers, lists and tables, found {value!r}")


def card(
    name: str, recipe: Recipe, mixture: BayesNetMixture, rows: np.ndarray, source: str, rule: str
) -> str:
    """The text of card.md."""
    spec = mixture.spec
    figures = truths(mixture, recipe)
    sample = {"n_rows": recipe.n_rows, "naive_in_sample": naive_in_sample(mixture, rows, recipe)}
    head = {
        "title": recipe.title,
        "kind": "planted",
        "problem": "network",
        "source": source,
        "licence": LICENCE if recipe.network else "Apache-2.0, as the rest of this repository",
        "n_sources": spec.n_sources,
        "count_column": "count" if recipe.counted else "",
        "treatment": recipe.treatment,
        "contrast": recipe.contrast,
        "outcome": recipe.outcome,
        "outcome_state": recipe.outcome_state,
    }
    truth = {"what": "exact sums over the planted network.bif", **sample, **figures}
    lines = [
        "+++",
        *(f"{key} = {toml_value(value)}" for key, value in head.items()),
        "",
        "[truth]",
        *(f"{key} = {toml_value(value)}" for key, value in truth.items()),
        "+++",
        "",
        textwrap.fill(recipe.story, 100),
        "",
        f"P({recipe.outcome} = {recipe.outcome_state}), {recipe.treatment} from "
        f"{recipe.contrast[0]} to {recipe.contrast[1]}:",
        "",
        "| | difference |",
        "|---|---|",
        f"| naive, by conditioning | {figures['naive']:+.3f} |",
        f"| the same graph, U ignored | {figures['ignoring_source']:+.3f} |",
        f"| do, the truth | {figures['do']:+.3f} |",
        "",
        textwrap.fill(
            f"**What is in the files.** `network.bif` is the whole truth, U included: "
            f"{spec.n_variables} observed vertices, {sum(map(len, spec.parents))} edges among "
            f"them, k = {spec.n_sources} sources, {spec.n_parameters} free parameters. `data.csv` "
            f"is one sample of {recipe.n_rows} rows without U"
            f"{', as distinct rows with a count' if recipe.counted else ''} "
            f"(seed {recipe.seed + 1000}).",
            100,
        ),
        "",
        rule,
        "",
    ]
    return "\n".join(lines)


PLANTED_RULE = """\
**How U was planted.** A published row p of c states became, in source u,
`(1 - a - 0.04) p + a e(u) + 0.04 / c`: e(u) is one favoured state, another in each source, and a
lies between 0.15 and 0.45, drawn per row with seed {seed}; four decimals are kept. So the numbers
are no longer those of the publication, and no probability is zero. `models/make.py` holds the rule
and writes these files anew, byte for byte."""

TOY_RULE = """\
**How U was planted.** By hand: P(U = 1) = .4; P(treated | U) = .2, .75; P(Z1 = high | U) = .1,
.8; P(Z2 = high | U) = .15, .7; P(better | U, X) = .1, .3 for U = 0 and .5, .8 for U = 1
(control, treated). `models/make.py` writes these files anew, byte for byte."""


def mixture_of(name: str) -> BayesNetMixture:
    """The planted network of a set, made afresh."""
    recipe = RECIPES[name]
    return plant(published(recipe.network), recipe) if recipe.network else hidden_group()


def make(name: str, folder: Path) -> None:
    """Write network.bif, data.csv and card.md of one set into a folder."""
    recipe = RECIPES[name]
    mixture = mixture_of(name)
    rows = draw(mixture, recipe.n_rows, recipe.seed + 1000)
    source = f"{recipe.reference}; {REPOSITORY}" if recipe.network else "made for this library"
    rule = PLANTED_RULE.format(seed=recipe.seed) if recipe.network else TOY_RULE
    folder.mkdir(exist_ok=True)
    write(mixture, folder / "network.bif")
    write_rows(folder / "data.csv", mixture.spec, rows, counted=recipe.counted)
    text = card(name, recipe, mixture, rows, source, rule)
    (folder / "card.md").write_text(text, encoding="utf-8")


def main(names: Sequence[str]) -> None:
    """Write the named sets, or all."""
    for name in names or RECIPES:
        sys.stderr.write(f"{name}\n")
        make(name, MODELS / name)


if __name__ == "__main__":
    main(sys.argv[1:])
