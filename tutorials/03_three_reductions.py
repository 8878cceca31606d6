# %% [markdown]
# # Three problems, each reduced to the one before
#
# How can a table show what nobody measured? The answer of Gordon, Mazaheri, Rabani and Schulman is
# a chain of three problems:
#
# 1. **k-MixIID**: one coin per source, flipped several times;
# 2. **k-MixProd**: several variables that are independent within each source;
# 3. **k-MixBND**: variables that follow one Bayesian network within each source.
#
# A network becomes products by conditioning. A product becomes coins by algebra. Coins are
# eigenvalues. This tutorial walks down the chain and up again on one example, at exact statistics,
# where every number must come out to rounding. Then it asks an effect that graph criteria call
# unidentifiable.
#
# Cells are marked `# %%`; run them one by one in an editor, or all with
# `python tutorials/03_three_reductions.py`.

# %%
import itertools
import math
import tempfile
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # in a notebook leave this line out

import matplotlib.pyplot as plt
import networkx as nx
import pandas as pd
import torch
from pgmpy.base import DAG
from pgmpy.identification import Adjustment, Frontdoor

import pyromix as px
from pyromix.identify.product.solver import identify_product

# %% [markdown]
# ## The picture

# %%
STEPS = [
    ("k-MixBND", "a network within each source", "condition on a separator"),
    ("k-MixProd", "independent within each source", "power moments of one variable"),
    ("k-MixIID", "one coin, flipped again and again", "eigenvalues of two Hankel matrices"),
]


def draw_reduction():
    """The three problems, what takes each to the next, and the way back."""
    figure, axes = plt.subplots(figsize=(8, 4.5))
    axes.axis("off")
    for i, (name, what, how) in enumerate(STEPS):
        y = 2 - i
        box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": "black"}
        axes.text(0, y, f"{name}\n{what}", ha="center", va="center", bbox=box)
        if i < 2:
            arrow = {"arrowstyle": "->", "color": "black"}
            axes.annotate("", (-0.25, y - 0.72), (-0.25, y - 0.28), arrowprops=arrow)
            axes.annotate("", (0.25, y - 0.28), (0.25, y - 0.72), arrowprops=arrow)
        place = (-0.4, "right") if i < 2 else (0, "center")
        axes.text(place[0], y - 0.5, how, ha=place[1], va="center", fontsize=9, style="italic")
    back = ["align labels, sum over the separator", "one linear solve per variable"]
    for i, text in enumerate(back):
        axes.text(0.4, 1.5 - i, text, ha="left", va="center", fontsize=9, style="italic")
    axes.set(xlim=(-1.6, 1.6), ylim=(-0.8, 2.5), title="Three problems, each reduced to the next")
    return figure


with tempfile.TemporaryDirectory() as folder:
    draw_reduction().savefig(Path(folder) / "reduction.svg")
    print((Path(folder) / "reduction.svg").stat().st_size > 0)

# %% [markdown]
# ## The example
#
# Five yes-or-no variables in a chain, V0 -> V1 -> V2 -> V3 -> V4, and two kinds of people U that
# behave differently at every step. Nobody records U.

# %%
names = [f"V{i}" for i in range(5)]
spec = px.MixtureSpec.from_parents(
    dict.fromkeys(names, (0, 1)), {names[i]: [names[i - 1]] for i in range(1, 5)}, 2
)


def bit(*ones):
    """P(0), P(1) of each entry, float64."""
    one = torch.tensor(ones, dtype=torch.float64)
    return torch.stack([1 - one, one], -1)


odd = torch.stack([bit(0.6, 0.8), bit(0.2, 0.4)])  # P(V_i | u, parent = 0, 1) for odd i
even = torch.stack([bit(0.15, 0.35), bit(0.65, 0.85)])  # for even i
truth = px.BayesNetMixture(
    spec, torch.tensor([0.4, 0.6], dtype=torch.float64), (bit(0.25, 0.75), odd, even, odd, even)
)
population = px.population(truth)  # asked where data would be: its answers are exact

# %% [markdown]
# ## Problem 1: coins are eigenvalues
#
# Three flips of V0's coin would show three moments of it, and two Hankel matrices of moments hold
# the two coins: `H1 = A diag(x) A'`, `H0 = A A'` in coordinates where A is the coins' own.

# %%
pi, coins = truth.weights, truth.cpts[0][:, 1]
moments = [float((pi * coins**n).sum()) for n in range(4)]
h0 = torch.tensor([[moments[i + j] for j in range(2)] for i in range(2)], dtype=torch.float64)
h1 = torch.tensor([[moments[i + j + 1] for j in range(2)] for i in range(2)], dtype=torch.float64)
print("eigenvalues  ", torch.linalg.eigvals(torch.linalg.solve(h0, h1)).real.sort().values.tolist())
probs, weights = px.identify_iid(moments, 2)
print("identify_iid ", probs.tolist(), weights.tolist())
assert torch.allclose(probs, torch.tensor([0.25, 0.75], dtype=torch.float64), atol=1e-12)

# %% [markdown]
# But V0 is recorded once per person. Where should the second and third flip come from?
#
# ## Problem 2: other variables stand in for further flips
#
# Let X, A and B be independent within each source. Moments of subsets of A by subsets of B form a
# matrix C, and with X added a matrix C1. Both are sums over sources of the same outer products,
# with P(X = 1 | u) as an extra factor in C1. So `(C1 C^-1)^n C` has that factor n times: its first
# entry is the n-th moment of X's coin. Other variables have become flips.
#
# Given V1 and V3, the variables V0, V2 and V4 are independent within each source. Take the people
# with V1 = 0 and V3 = 0:

# %%
given, cell = (1, 3), torch.tensor([[0, 0]])
joint = population.table((0, 2, 4), given, cell)[0]  # P(V0, V2, V4 | V1 = 0, V3 = 0)


def moment(*present):
    """P(all of these are 1 | V1 = 0, V3 = 0); 0, 1, 2 number V0, V2, V4."""
    return float(joint[tuple(1 if i in present else slice(None) for i in range(3))].sum())


x, a, b = 0, 1, 2
c = torch.tensor([[moment(*s, *t) for t in ((), (b,))] for s in ((), (a,))], dtype=torch.float64)
c1 = torch.tensor(
    [[moment(x, *s, *t) for t in ((), (b,))] for s in ((), (a,))], dtype=torch.float64
)
step = c1 @ torch.linalg.inv(c)
powers = [float((torch.linalg.matrix_power(step, n) @ c)[0, 0]) for n in range(4)]
print("power moments of V0's coin among these people", [round(m, 6) for m in powers])
probs, weights = px.identify_iid(powers, 2)
print(
    "coins",
    [round(p, 9) for p in probs.tolist()],
    "weights",
    [round(w, 6) for w in weights.tolist()],
)

# %% [markdown]
# The weights are P(U) among people with V1 = 0 and V3 = 0. From the coins, every other variable
# follows by a linear solve. That is how the proof goes; for data pyromix takes the same matrices
# apart by their singular vectors, all variables at once, which loses far less to noise:

# %%
solution = identify_product(population, 2, variables=(0, 2, 4), given=given)
print("assignments of (V1, V3):", list(itertools.product((0, 1), (0, 1))))
print("P(U | V1, V3), labels of each row its own:\n", solution.weights)
assert solution.ok
assert torch.allclose(solution.tables[0][0, :, 1].sort().values, probs, atol=1e-9)

# %% [markdown]
# ## Problem 3: a network, one assignment at a time
#
# The plan of pyromix for this graph says just what happened: three views given a separator, and who
# carries the labels from one assignment to the next.

# %%
report = px.check(spec, 2)
print(report)
assert report

# %% [markdown]
# V4 does not care about V1 once V3 is fixed, so P(V4 | u) is the same for both values of V1, and
# tells which label is which. V0 does the same for V3. With labels aligned, summing over the
# assignments gives P(U, V), and every CPT. At exact statistics nothing is lost:

# %%
fit = px.fit(spec, population, method="moments")
matched = fit.mixture.relabel(px.match_sources(truth, fit.mixture))
errors = [(one - other).abs().max() for one, other in zip(truth.cpts, matched.cpts, strict=True)]
print("largest error of any probability", float(max(errors)))
assert max(errors) < 1e-10

# %% [markdown]
# The method of the paper goes through Markov boundaries: an independent set is conditioned on
# everything around it, and what its children say is divided out again afterwards ("unzipping"). It
# needs more vertices: a path of six, where five do for views.

# %%
try:
    px.fit(spec, population, method="markov-boundary")
except px.PlanError as error:
    print(type(error).__name__, str(error)[:150], "...")

six = px.MixtureSpec.from_parents(
    {f"V{i}": (0, 1) for i in range(6)}, {f"V{i}": [f"V{i - 1}"] for i in range(1, 6)}, 2
)
longer = px.BayesNetMixture(six, truth.weights, (*truth.cpts, odd))
paper = px.fit(six, px.population(longer), method="markov-boundary")
matched = paper.mixture.relabel(px.match_sources(longer, paper.mixture))
errors = [(one - other).abs().max() for one, other in zip(longer.cpts, matched.cpts, strict=True)]
print("largest error of any probability", float(max(errors)))
assert max(errors) < 1e-9

# %% [markdown]
# ## The effect nobody can identify
#
# Does V3 act on V4? Among all people, those with V3 = 1 have V4 = 1 only a little more often:

# %%
table = px.simulate(truth, 100_000, random_state=0)
naive = table.groupby("V3", observed=True)["V4"].apply(lambda v: (v.astype(int) == 1).mean())
print("naive difference", round(float(naive[1] - naive[0]), 3))

# %% [markdown]
# Graph criteria cannot help. U points at V3 and at V4, so no set of recorded variables closes the
# back door, and nothing stands between V3 and V4 for a front door:

# %%
graph = DAG(
    [*itertools.pairwise(names), *(("U", name) for name in names)],
    latents={"U"},
    roles={"exposures": "V3", "outcomes": "V4"},
)
for criterion in (Adjustment(), Frontdoor()):
    _, found = criterion.identify(graph)
    print(f"{type(criterion).__name__:10}", found)
    assert not found

# %% [markdown]
# The complete ID algorithm fails too. In its terms U ties all recorded variables into a single
# c-component, with V3 and without it: that is the hedge at which it stops (its line 5).

# %%
for removed in ((), ("V3",)):
    tied = nx.Graph()
    tied.add_nodes_from(name for name in names if name not in removed)
    tied.add_edges_from(itertools.combinations(tied.nodes, 2))  # every pair shares U
    print("c-components without", removed or "anything:", nx.number_connected_components(tied))

# %% [markdown]
# All of them are right: without an assumption on U the effect *is* not identifiable. With the
# assumption that U has two states it is, and here it comes out of 100,000 rows. The truth is .200.

# %%
estimate = px.fit(spec, table, random_state=0)
print(estimate.diagnostics.moments[0], "\n")
effect = estimate.effect("V3", "V4", contrast=(0, 1), outcome_state=1)
print(effect)
assert math.isclose(float(effect.do), 0.2, abs_tol=0.03)
assert effect.certainty is px.Certainty.GRAPHICAL
summary = pd.DataFrame(
    {"difference": [float(effect.naive), float(effect.do), 0.2]}, index=["naive", "do", "truth"]
)
print(summary.round(3))
