# %% [markdown]
# # Half a graph, or none
#
# You have a table, the fear of an unmeasured U, and at best half a graph. This tutorial shows
# what a graph that was learnt *without* U does to an effect, how to ask a table about a graph you
# drew, and what a search gives you when you drew none: a set, and a plain word on how settled it
# is.
#
# Cells are marked `# %%`; run them one by one in an editor, or all with
# `python tutorials/08_half_a_graph.py`.

# %%
import os
import warnings

import pyromix as px

SMOKE = bool(os.environ.get("SMOKE"))  # fewer starts when the tests run this file

# %% [markdown]
# ## A planted table
#
# Seven binary variables and two hidden groups. C depends on A and B, D on C; E, F and G show the
# groups. The effect of C on D is what we want.

# %%
names = ["A", "B", "C", "D", "E", "F", "G"]
spec = px.MixtureSpec.from_parents(
    dict.fromkeys(names, ("no", "yes")), {"C": ["A", "B"], "D": ["C"]}, n_sources=2
)
truth = px.random_mixture(spec, 3, separation=0.5)
table = px.simulate(truth, 3000 if SMOKE else 10_000, random_state=0)
effect = px.effect(truth, "C", "D").do.values[1]
print(f"true effect of C on D: {effect:+.3f}")

# %% [markdown]
# ## A graph learnt as if nothing were hidden
#
# With one source the same search is an ordinary score-based one. It explains by edges what the
# groups do.

# %%
starts = 1 if SMOKE else 3
without = px.discover(table, 1, n_starts=starts)
print(f"{len(without.edges)} edges, where the truth has {sum(map(len, spec.parents))}")
print(without.effect("C", "D"))
assert len(without.edges) > sum(map(len, spec.parents))

# %% [markdown]
# ## Half a graph, tested
#
# Say you drew A -> C and forgot the rest. What comes first is the cheapest thing to know: tiers.

# %%
tiers = [["A", "B", "E", "F", "G"], ["C"], ["D"]]
drawn = px.MixtureSpec.from_parents(dict.fromkeys(names, ("no", "yes")), {"C": ["A"]}, n_sources=2)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a wrong graph has much to say while it is fitted
    first = px.graph_check(
        drawn, table, treatment="C", outcome="D", tiers=tiers, n_simulated=19 if SMOKE else 199
    )
print(first)
assert first.demanded

# %% [markdown]
# The strongest is added, and the table asked again, until it asks for nothing.

# %%
parents = {"C": ["A", "B"], "D": ["C"]}
better = px.MixtureSpec.from_parents(dict.fromkeys(names, ("no", "yes")), parents, n_sources=2)
fit = px.fit(better, table, n_init=2)
second = fit.graph_check(treatment="C", outcome="D", tiers=tiers)
print(second)
assert not [one for one in second.demanded if one.kind == "add"]
assert abs(second.effect - effect) < 0.1

# %% [markdown]
# ## No graph: a search
#
# `px.discover` returns a class of graphs with the same laws. Where an edge has no direction the
# effect is a set, one value for each set of parents that C may have.

# %%
found = px.discover(table, 2, n_starts=starts)
print(found)
print(found.effect("C", "D"))

# %% [markdown]
# With tiers the same search leaves less open.

# %%
known = px.discover(table, 2, tiers=tiers, n_starts=starts)
answer = known.effect("C", "D")
print(answer)
assert answer.certainty in (px.Certainty.DISCOVERED, px.Certainty.WEAK)
print(f"settled: {known.settled}; truth {effect:+.3f} in [{answer.low:+.3f}, {answer.high:+.3f}]")

# %% [markdown]
# ## When to stop
#
# A search that is not settled has told you that the graph is open. Bring knowledge (tiers first),
# then variables that the groups move, then rows. Whatever it finds, nothing found by a search is
# certified above "discovered": the fit refuses to answer as if somebody had drawn its graph.

# %%
try:
    known.fit.query("D", do={"C": "yes"})
except px.NotCertifiedError as refusal:
    print(refusal)
print(known.fit.query("D", do={"C": "yes"}, require="discovered"))
