# %% [markdown]
# # The first ten minutes, for a pgmpy user
#
# You have a DAG, a data frame, and the fear that something nobody measured acts on everything:
# a hidden group, a site, a subtype. This tutorial goes from the network and the frame to
# P(Y | do(X)), and back into pgmpy.
#
# Cells are marked `# %%`; run them one by one in an editor, or all with
# `python tutorials/01_first_ten_minutes.py`.

# %%
import tempfile
import warnings
from pathlib import Path

from pgmpy.inference import CausalInference, VariableElimination
from pgmpy.models import DiscreteBayesianNetwork

import pyromix as px

# %% [markdown]
# ## A table
#
# 5,000 patients. X is a treatment, Y how they are afterwards, Z1 and Z2 are two lab values that
# the treatment does not touch. The set is bundled, and it is planted: we know the truth, so we
# can check.

# %%
_, df, card = px.datasets.load("hidden-group")
print(df.head())

# %% [markdown]
# Treated patients are better off by almost fifty points. Should everybody be treated?

# %%
better = (df["Y"] == "better").groupby(df["X"], observed=True).mean()
print(better)
print("naive difference", round(better["treated"] - better["control"], 3))

# %% [markdown]
# ## A network
#
# The same model that you would write for pgmpy. U is the fear: a latent vertex that points at
# everything. We do not know its CPD, and no column of the frame shows it.

# %%
model = DiscreteBayesianNetwork(
    [("U", "X"), ("U", "Y"), ("U", "Z1"), ("U", "Z2"), ("X", "Y")],
    latents={"U"},
)

# %% [markdown]
# pgmpy stops here. There is no adjustment set: Z1 and Z2 are symptoms of U, not U itself.

# %%
try:
    CausalInference(model).query(["Y"], do={"X": "treated"}, show_progress=False)
except ValueError as error:
    print(type(error).__name__, error)

# %% [markdown]
# ## A fit
#
# One more assumption opens the door: U has few states, here two. Then Z1, Z2 and (X, Y) are three
# views of U, independent of each other within each group, and three views are enough to tell the
# groups apart and to learn P(U) and every CPD, U included.

# %%
fit = px.fit(model, df, n_sources=2, random_state=0)
print(fit)

# %% [markdown]
# How many starts reached the best likelihood stands in the second line: if it were one of twenty,
# you would not trust it.
#
# ## A do-answer

# %%
answer = fit.query(["Y"], do={"X": "treated"})
print(answer)

# %%
effect = fit.effect("X", "Y", contrast=("control", "treated"), per_source=True)
print(effect)

# %% [markdown]
# Half of the naive difference was the group. The card of the set knows the truth:

# %%
print("naive", round(card.truth["naive"], 3), "  do", round(card.truth["do"], 3))
assert abs(float(effect.do) - card.truth["do"]) < 0.05
assert abs(float(effect.naive) - card.truth["naive"]) < 0.05

# %% [markdown]
# Evidence goes beside the do, at any place in the graph. Among patients with a high Z1 the
# group is mostly the second one, and the answer changes.

# %%
print(fit.query(["Y"], do={"X": "treated"}, evidence={"Z1": "high"}))

# %% [markdown]
# And each patient has a probability of belonging to either group.

# %%
print(fit.predict_proba(df.head()))

# %% [markdown]
# ## Back into pgmpy
#
# An ordinary network: U is a latent vertex with a CPD like any other, your state names and their
# order are kept. With U's CPD known, pgmpy can adjust for U itself, and agrees.

# %%
bn = fit.to_pgmpy()
assert bn.check_model()
print(bn.latents, bn.get_cpds("U"))

adjusted = CausalInference(bn).query(
    ["Y"], do={"X": "treated"}, adjustment_set={"U"}, show_progress=False
)
print(adjusted)
assert abs(adjusted.values - answer.to_factor().values).max() < 1e-8

# %%
posterior = VariableElimination(bn).query(
    ["U"], evidence={"Z1": "high", "Z2": "low"}, show_progress=False
)
print(posterior)

# %% [markdown]
# If you would rather stay in pgmpy altogether, use the estimator in `model.fit`: it fills the
# CPDs of the very same model.

# %%
estimator = px.MixtureEstimator(latent_card={"U": 2}, random_state=0)
model.fit(df, estimator=estimator)
print(model.get_cpds("Y"))
assert abs(model.get_cpds("U").values - bn.get_cpds("U").values).max() < 1e-8

# %% [markdown]
# ## A network with a name
#
# The chest clinic of Lauritzen and Spiegelhalter, with a planted source. In this table smokers and
# others have lung cancer equally often, and no observed vertex opens a back door between the two.
# The treatment and the outcome are roles of the model, so they need not be repeated.

# %%
asia, patients, card = px.datasets.load("asia")
clinic = px.fit(asia, patients, n_sources=2, random_state=0)
smoking = clinic.effect(contrast=card.contrast, outcome_state=card.outcome_state)
print(smoking)
print("truth: naive", round(card.truth["naive"], 3), "  do", round(card.truth["do"], 3))
assert abs(float(smoking.do) - card.truth["do"]) < 0.05

# %% [markdown]
# ## When it cannot work
#
# Kidney stones: surgeons chose the open operation (A) for large stones, so its crude success is
# lower although it is better for small stones and for large ones. With the stone observed
# nothing is hidden: one source.

# %%
surgery, operations, card = px.datasets.load("kidney-stones")
seen = px.fit(surgery, operations, n_sources=1, n_init=1)
print(seen.effect(contrast=card.contrast, outcome_state=card.outcome_state))

# %% [markdown]
# Now hide the stone and let U stand for it. Two binary variables remain, three free
# probabilities, seven parameters. Countless mixtures fit equally well, and the question is refused.

# %%
hidden = DiscreteBayesianNetwork(
    [("U", "treatment"), ("U", "success"), ("treatment", "success")], latents={"U"}
)
print(px.check(hidden, 2, operations[["treatment", "success"]], outcome="success",
               treatment="treatment"))  # fmt: skip

# %% [markdown]
# `px.check` says so before anything is fitted, and what would help. A fit can still be had, from
# random starts, but it refuses the question as well.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", px.PyromixWarning)  # it says that moments determine nothing
    unseen = px.fit(hidden, operations[["treatment", "success"]], n_sources=2, n_init=3)
try:
    unseen.effect("treatment", "success", contrast=("B", "A"))
except px.NotCertifiedError as error:
    print(type(error).__name__, error)
else:
    raise AssertionError("an effect that is not identified was answered")

# %% [markdown]
# ## Keeping it
#
# The bundle `.pyromix` keeps everything, exactly. BIF and its relatives are for other tools.

# %%
with tempfile.TemporaryDirectory() as folder:
    fit.save(Path(folder) / "patients.pyromix")
    again = px.load(Path(folder) / "patients.pyromix")
    assert (again.query(["Y"], do={"X": "treated"}).values == answer.values).all()
    px.write(fit.mixture, Path(folder) / "patients.bif")
    print((Path(folder) / "patients.bif").read_text()[:300])
