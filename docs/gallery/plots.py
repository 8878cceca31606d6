# %% [markdown]
# # A gallery of plots
#
# The kinds of `fit.plot`, on the bundled table of 5,000 patients. On the command line each of them
# is `pyromix plot fit.pyromix KIND -o figure.svg`. What comes back are matplotlib axes: titles and
# sizes are yours to change. Nothing is told by colour alone.

# %%
import pyromix as px

model, patients, _ = px.datasets.load("hidden-group")
fit = px.fit(model, patients, n_sources=2, random_state=0)

# %% [markdown]
# ## The graph
#
# Treatment and outcome are marked, and so are the views: the variables that tell about U
# independently of each other, given U.

# %%
fit.plot("network").figure.savefig("network.svg")

# %% [markdown]
# ## The effect
#
# Naive, under the intervention, and within each source, with 95% intervals. If the naive interval
# and the one below it lie apart, the confounding matters.

# %%
fit.plot("effect", treatment="X", outcome="Y").figure.savefig("effect.svg")

# %% [markdown]
# ## The sources
#
# What each source looks like: P(state) of every variable within it.

# %%
fit.plot("sources").figure.savefig("sources.svg")

# %% [markdown]
# ## How certain the rows are
#
# The largest P(U | row), over all rows: near 1 the row's source is known, near 1/k nothing is.

# %%
fit.plot("responsibilities").figure.savefig("responsibilities.svg")

# %% [markdown]
# ## What shows the sources
#
# Singular values of the tables of pairs of views beside their noise: as many as there are sources
# must stand out of it.

# %%
fit.plot("spectrum").figure.savefig("spectrum.svg")

# %% [markdown]
# ## What the model does not reproduce
#
# Pairs of variables whose joint distribution in the table differs from the fitted one, in standard
# errors.

# %%
fit.plot("residuals").figure.savefig("residuals.svg")

# %% [markdown]
# ## Draws
#
# After a bootstrap, Gibbs or NUTS: the draws of each chain.

# %%
drawn = fit.refine(method="gibbs", num_samples=200, random_state=0, show_progress=False)
drawn.plot("trace").figure.savefig("trace.svg")
