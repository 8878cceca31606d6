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

Each recipe names a treatment and an outcome for which three numbers differ: the naive difference,
the effect in the same graph when U is ignored (every CPT pooled over U), and the true effect.
Treatment, outcome and seed were chosen so that they do; nothing was fitted.

Truths are exact sums over the planted network; the data are one seeded sample of it without U.
"""

from __future__ import annotations

import csv
import gzip
import importlib.resources
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pyromix.bridges.files import read, write
from pyromix.model.elimination import marginal
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
        network: file name of the published network in pgmpy, without the ending.
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


RECIPES: Mapping[str, Recipe] = {
    "asia": Recipe(
        network="asia",
        title="Chest clinic (asia) with a planted source",
        reference="Lauritzen & Spiegelhalter (1988) J. R. Statist. Soc. B 50:157-224",
        seed=8,
        weights=(0.6, 0.4),
        treatment="smoke",
        contrast=("no", "yes"),
        outcome="lung",
        outcome_state="yes",
        n_rows=10_000,
        counted=True,
        story=(
            "Smokers and non-smokers of this table have lung cancer equally often. Within each "
            "source, smoking raises it: the source with more smokers has less cancer. Nothing "
            "observed opens a back door between `smoke` and `lung`, so no adjustment helps."
        ),
    ),
    "cancer": Recipe(
        network="cancer",
        title="Lung cancer, five vertices (cancer), with a planted source",
        reference="Korb & Nicholson (2010) Bayesian Artificial Intelligence, Sec. 2.2.2",
        seed=3,
        weights=(0.6, 0.4),
        treatment="Pollution",
        contrast=("low", "high"),
        outcome="Cancer",
        outcome_state="True",
        n_rows=10_000,
        counted=True,
        story=(
            "High pollution goes with cancer in the table; almost all of it is the source, which "
            "has both more pollution and more cancer."
        ),
    ),
    "survey": Recipe(
        network="survey",
        title="Transport survey (survey) with a planted source",
        reference="Scutari & Denis (2021) Bayesian Networks: with Examples in R, Ch. 1",
        seed=4,
        weights=(0.6, 0.4),
        treatment="R",
        contrast=("small", "big"),
        outcome="T",
        outcome_state="train",
        n_rows=10_000,
        counted=True,
        story=(
            "R is the size of the town a person lives in, T the means of travel. Both kinds of "
            "town seem to take the train equally often; moving a person to a big one would lower "
            "the train's share, in either source."
        ),
    ),
    "sachs": Recipe(
        network="sachs",
        title="Protein signalling in T cells (sachs) with a planted source",
        reference="Sachs et al. (2005) Science 308:523-529",
        seed=4,
        weights=(0.6, 0.4),
        treatment="PKA",
        contrast=("LOW", "HIGH"),
        outcome="Erk",
        outcome_state="HIGH",
        n_rows=10_000,
        counted=True,
        story=(
            "The sign turns: cells with high PKA show high Erk less often, with and without "
            "adjustment for what was measured, yet raising PKA raises Erk."
        ),
    ),
    "sachs-k3": Recipe(
        network="sachs",
        title="Protein signalling in T cells (sachs) with three planted sources",
        reference="Sachs et al. (2005) Science 308:523-529",
        seed=4,
        weights=(0.45, 0.33, 0.22),
        treatment="PKA",
        contrast=("LOW", "HIGH"),
        outcome="Erk",
        outcome_state="HIGH",
        n_rows=10_000,
        counted=True,
        story="As `sachs`, with three sources: here single random starts of EM fail more often.",
    ),
    "child": Recipe(
        network="child",
        title="Congenital heart disease of the newborn (child) with a planted source",
        reference="Spiegelhalter & Cowell (1992) Bayesian Statistics 4:447-466",
        seed=4,
        weights=(0.6, 0.4),
        treatment="Sick",
        contrast=("no", "yes"),
        outcome="Grunting",
        outcome_state="yes",
        n_rows=5_000,
        counted=False,
        story=(
            "The naive difference is nearly three times the effect. Adjusting for the disease, "
            "the observed common cause, takes away a part of it; the source is the rest."
        ),
    ),
    "insurance": Recipe(
        network="insurance",
        title="Car insurance (insurance) with a planted source behind the drivers",
        reference="Binder, Koller, Russell & Kanazawa (1997) Machine Learning 29:213-244",
        seed=2,
        weights=(0.6, 0.4),
        treatment="AntiTheft",
        contrast=("False", "True"),
        outcome="Theft",
        outcome_state="True",
        n_rows=2_000,
        counted=False,
        story=(
            "Cars with an anti-theft device are stolen more often; fitting one lowers the risk. "
            "The source acts on people and events only: what follows from the make of the car "
            "has no edge from U."
        ),
        uninfluenced=(
            "MakeModel",
            "VehicleYear",
            "Airbag",
            "Antilock",
            "RuggedAuto",
            "Cushioning",
            "CarValue",
        ),
    ),
    "alarm": Recipe(
        network="alarm",
        title="Patient monitoring (alarm) with a planted source",
        reference="Beinlich et al. (1989) Proc. 2nd Eur. Conf. AI in Medicine, 247-256",
        seed=7,
        weights=(0.6, 0.4),
        treatment="PULMEMBOLUS",
        contrast=("FALSE", "TRUE"),
        outcome="SHUNT",
        outcome_state="HIGH",
        n_rows=5_000,
        counted=False,
        story=(
            "An embolus does raise the shunt, but the table exaggerates by more than half: the "
            "source with more emboli has more high shunts anyway. With 37 vertices the source of "
            "most rows can be told almost surely."
        ),
    ),
    "hepar2": Recipe(
        network="hepar2",
        title="Liver disorders (hepar2) with a planted source",
        reference="Onisko (2003) PhD thesis, Polish Academy of Sciences, Warsaw",
        seed=10,
        weights=(0.6, 0.4),
        treatment="alcoholism",
        contrast=("absent", "present"),
        outcome="Steatosis",
        outcome_state="present",
        n_rows=1_000,
        counted=False,
        story=(
            "Alcoholism looks harmless to the liver in this table, before and after adjustment; "
            "it is not."
        ),
    ),
}

TOY_STORY = (
    "X is a treatment, Y the state of the patient afterwards, Z1 and Z2 two lab values that the "
    "treatment does not touch. A hidden group drives all four: its members are treated more often "
    "and do better anyway. Half of the crude difference is the group."
)


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
        source_states=("group0", "group1"),
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
    folder = importlib.resources.files("pgmpy") / "utils" / "example_models"
    text = gzip.decompress((folder / f"{network}.bif.gz").read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{network}.bif"
        path.write_bytes(text)
        return read(path)


def plant(network: BayesNetMixture, recipe: Recipe) -> BayesNetMixture:
    """Give a network without sources the sources of a recipe, by the rule above."""
    k = len(recipe.weights)
    old = network.spec
    spec = replace(
        old,
        n_sources=k,
        source_states=tuple(f"u{u}" for u in range(k)),
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


def planted_table(
    name: str, table: np.ndarray, k: int, seed: int, influenced: bool
) -> np.ndarray:
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
    """A value of the card's header; floats keep every digit, differences lose rounding noise."""
    if isinstance(value, bool) or value is None:
        raise TypeError(f"the header holds text, numbers, lists and tables, found {value!r}")
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"not a finite number: {value}")
        return repr(round(value, 15))
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
        "weight": "count" if recipe.counted else "",
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
        recipe.story,
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
        f"**What is in the files.** `network.bif` is the whole truth, U included: "
        f"{spec.n_variables} observed vertices, {sum(map(len, spec.parents))} edges among them, "
        f"k = {spec.n_sources} sources, {spec.n_parameters} free parameters. `data.csv` is one "
        f"sample of {recipe.n_rows} rows without U"
        f"{', as distinct rows with a count' if recipe.counted else ''} "
        f"(seed {recipe.seed + 1000}).",
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
**How U was planted.** By hand: P(U = group1) = .4; P(treated | U) = .2, .75; P(Z1 = high | U) = .1,
.8; P(Z2 = high | U) = .15, .7; P(better | U, X) = .1, .3 for group0 and .5, .8 for group1 (control,
treated). `models/make.py` writes these files anew, byte for byte."""

TOY = Recipe(
    network="",
    title="A hidden group: four observed variables, one effect",
    reference="",
    seed=0,
    weights=(0.6, 0.4),
    treatment="X",
    contrast=("control", "treated"),
    outcome="Y",
    outcome_state="better",
    n_rows=5_000,
    counted=True,
    story=TOY_STORY,
)


def mixture_of(name: str) -> BayesNetMixture:
    """The planted network of a set, made afresh."""
    if name == "hidden-group":
        return hidden_group()
    return plant(published(RECIPES[name].network), RECIPES[name])


def make(name: str, folder: Path) -> None:
    """Write network.bif, data.csv and card.md of one set into a folder."""
    recipe = TOY if name == "hidden-group" else RECIPES[name]
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
    for name in names or ("hidden-group", *RECIPES):
        sys.stderr.write(f"{name}\n")
        make(name, MODELS / name)


if __name__ == "__main__":
    main(sys.argv[1:])
