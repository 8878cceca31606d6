# %% [markdown]
# # From a collapsed mixture to a posterior, for a Pyro user
#
# You have written a mixture in Pyro with an enumerated site. Some seeds give a good fit; in others
# two sources end up as one, and nothing says so. Here the same inference runs from a random start
# and from the one that pyromix identifies. Then the posterior answers a do-query, with an interval.
#
# Cells are marked `# %%`; run them one by one in an editor, or all with
# `python tutorials/04_bayesian_refinement.py`.

# %%
import os
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure
from pyro import poutine
from pyro.infer import MCMC, NUTS, SVI, TraceEnum_ELBO
from pyro.infer.autoguide import AutoDelta, init_to_sample, init_to_value
from pyro.ops.indexing import Vindex
from pyro.ops.stats import split_gelman_rubin
from pyro.optim import Adam

import pyromix as px

SMOKE = bool(os.environ.get("SMOKE"))  # fewer seeds and draws when the tests run this file
torch.set_num_threads(1)  # small tensors: one thread is the fastest

# %% [markdown]
# ## A table whose truth is known
#
# Four sites U, unrecorded. They differ in who is treated (X), in how patients fare (Y), and in six
# other variables. X acts on Y.

# %%
K = 4
names = ["X", "Y", *(f"Z{i}" for i in range(6))]
spec = px.MixtureSpec.from_parents(dict.fromkeys(names, (0, 1, 2)), {"Y": ["X"]}, K)
truth = px.random_mixture(spec, random_state=20, separation=0.3)
cpts = dict(zip(spec.variables, truth.cpts, strict=True))
cpts["X"] = 2 / 3 * cpts["X"] + 1 / 9  # every treatment occurs at every site
truth = replace(truth, cpts=tuple(cpts[name] for name in spec.variables))
table = px.simulate(truth, 2000, random_state=1)
print(table.head(3))
asked = {"contrast": (0, 2), "outcome_state": 2}
true_effect = px.effect(truth, "X", "Y", **asked)
print(true_effect)

# %% [markdown]
# ## The model as one writes it in Pyro
#
# Dirichlet rows, a plate, an enumerated U. Nothing of pyromix in it.

# %%
rows = torch.tensor(table[names].astype(int).to_numpy())
NORMAL = torch.ones(3, dtype=torch.float64)


def model(rows):
    weights = pyro.sample("weights", dist.Dirichlet(torch.ones(K, dtype=torch.float64)))
    single = [v for v in names if v != "Y"]
    shape = (K, len(single), 3)
    items = pyro.sample("items", dist.Dirichlet(NORMAL.expand(shape)).to_event(2))
    outcome = pyro.sample("outcome", dist.Dirichlet(NORMAL.expand(K, 3, 3)).to_event(2))
    with pyro.plate("rows", len(rows), dim=-1):
        u = pyro.sample("U", dist.Categorical(weights), infer={"enumerate": "parallel"})
        for place, name in enumerate(single):
            law = dist.Categorical(Vindex(items)[u, place])
            pyro.sample(name, law, obs=rows[:, names.index(name)])
        pyro.sample("Y", dist.Categorical(Vindex(outcome)[u, rows[:, 0]]), obs=rows[:, 1])


def ascend(init_loc_fn, seed, steps):
    """Loss of every step of SVI with a point guide, and where it ended."""
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    guide = AutoDelta(poutine.block(model, hide=["U"]), init_loc_fn=init_loc_fn)
    svi = SVI(model, guide, Adam({"lr": 0.05}), TraceEnum_ELBO(max_plate_nesting=1))
    return [svi.step(rows) for _ in range(steps)], guide.median()


# %% [markdown]
# ## From random starts

# %%
STEPS = 40 if SMOKE else 250
random_runs = [ascend(init_to_sample, seed, STEPS) for seed in range(2 if SMOKE else 8)]
for losses, _ in random_runs:
    print(f"loss {losses[0]:9.1f} -> {losses[-1]:9.1f}")

# %% [markdown]
# ## From the identified start
#
# `px.fit` recovers the mixture from moments and polishes it. Its tables are the start, under the
# names that the model above uses.

# %%
fit = px.fit(spec, table, prior=None, random_state=0)
print(fit)
print(fit.diagnostics.moments[0])
cpts = dict(zip(spec.variables, fit.mixture.cpts, strict=True))
start = {
    "weights": fit.mixture.weights,
    "items": torch.stack([cpts[name] for name in names if name != "Y"], 1),
    "outcome": cpts["Y"],
}
floor = {
    name: (value + 1e-6) / (value + 1e-6).sum(-1, keepdim=True) for name, value in start.items()
}
identified, _ = ascend(init_to_value(values=floor), 0, STEPS)
print(f"loss {identified[0]:9.1f} -> {identified[-1]:9.1f}")

best = min(identified)
ends = np.array([losses[-1] for losses, _ in random_runs])
print(f"random runs more than 5 nats worse: {(ends > best + 5).sum()} of {len(ends)}")
print(f"the first loss from the identified start is {identified[0] - best:.1f} nats from the best")
assert identified[0] < best + 5
assert (ends > best - 5).all()

# %%
figure = Figure(figsize=(7, 3.5), layout="constrained")
axes = figure.subplots()
for number, (losses, _) in enumerate(random_runs):
    label = "random starts" if not number else None
    axes.plot(np.array(losses) - best + 1, color="0.6", linewidth=1, label=label)
axes.plot(np.array(identified) - best + 1, color="black", linewidth=2, label="identified start")
axes.set_yscale("log")
axes.set_xlabel("step of SVI")
axes.set_ylabel("loss above the best, plus one (nats)")
axes.legend()
with tempfile.TemporaryDirectory() as folder:
    figure.savefig(Path(folder) / "svi.svg")

# %% [markdown]
# ## The same for NUTS
#
# `fit.to_pyro(prior=1.0)` is the same model with one site per vertex; `program(counts=...)` sums U
# out over distinct rows in one factor, which NUTS needs. Two chains from random starts carry two
# sets of labels, or two optima, and R-hat says so:

# %%
program = fit.to_pyro(prior=1.0)
draws = {"num_samples": 20 if SMOKE else 100, "warmup_steps": 15 if SMOKE else 100}
pyro.set_rng_seed(0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    chains = []
    for seed in range(2):
        pyro.set_rng_seed(seed)
        kernel = NUTS(lambda: program(counts=fit.counts), init_strategy=init_to_sample)
        length = {"num_samples": 8, "warmup_steps": 4} if SMOKE else draws
        mcmc = MCMC(kernel, **length, disable_progbar=True)
        mcmc.run()
        chains.append(mcmc.get_samples()["theta[U]"])
raw = split_gelman_rubin(torch.stack(chains))
print("R-hat of P(U), random starts:", raw.numpy().round(2))

# %% [markdown]
# `refine` starts every chain near the identified estimate and brings every draw to its labels
# before anything is averaged. The conjugate Gibbs sampler draws from the same posterior; on
# distinct rows it is the faster of the two.

# %%
with warnings.catch_warnings():
    if SMOKE:  # so few draws that R-hat warns, rightly
        warnings.simplefilter("ignore", px.SamplingWarning)
    nuts = fit.refine(method="nuts", num_chains=2, random_state=0, **draws)
gibbs = fit.refine(method="gibbs", num_samples=200 if SMOKE else 1000, random_state=0)
for name, refined in (("nuts", nuts), ("gibbs", gibbs)):
    print(name, refined.diagnostics.sampling[0])

# %% [markdown]
# ## Answers with intervals
#
# Draws are a mixture with a batch axis, so every answer has an interval with no further code. A
# point estimate has one too, by the delta method, and `bootstrap` makes draws of another kind.

# %%
found = {
    "delta method": fit,
    "bootstrap": fit.bootstrap(n=50 if SMOKE else 200),
    "nuts": nuts,
    "gibbs": gibbs,
}
print(f"truth {float(true_effect.do):+.3f}, naive {float(true_effect.naive):+.3f}")
for name, refined in found.items():
    effect = refined.effect("X", "Y", **asked).do
    low, high = (end[2] for end in effect.interval(0.9))
    print(f"{name:13} {float(effect):+.3f}  [{low:+.3f}, {high:+.3f}]")
    assert low - 0.05 < float(true_effect.do) < high + 0.05
    assert low > float(true_effect.naive)  # the naive answer is out

# %% [markdown]
# The estimate is the same in all of them: draws give the interval, the fit stays the point. Within
# a source, too:

# %%
print(gibbs.effect("X", "Y", per_source=True, **asked))

# %% [markdown]
# ## Which source is a row from, and how sure are we of that?

# %%
print(gibbs.predict_proba(table.head(3), level=0.9).round(3).T)

# %% [markdown]
# ## When draws are not to be trusted
#
# Ask for as many sources of few rows and five variables. Identification warns; draws exchange
# labels, and that is counted and said, not averaged over.

# %%
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always", px.PyromixWarning)
    few = table[names[:5]].head(150)
    doubtful = px.fit_product(few, 4, n_init=5, random_state=0).refine(
        method="gibbs", num_samples=200, warmup_steps=100, random_state=0
    )
for warning in said:
    print("*", str(warning.message)[:160])
assert any(issubclass(w.category, px.PyromixWarning) for w in said)

# %% [markdown]
# ## Doubts that no posterior removes
#
# An interval is about rows. Whether k and the graph are right is another question:

# %%
print(fit.predictive_check())
if not SMOKE:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        print(fit.sensitivity("Y", do={"X": [0, 2]}, n_starts=5))
