# %% [markdown]
# # Coins and classes: what repeated looks at the same thing tell
#
# Before there is a graph there are two simpler problems, and the hard one is solved through them.
#
# * **Coins** (k-MixIID): every unit draws one of k coins and flips it several times.
# * **Classes** (k-MixProd): every unit belongs to one of k sources, and its answers to different
#   questions are independent once the source is known. This is latent class analysis.
#
# Both have a sharp edge between what can be known and what cannot. This tutorial walks along it.
#
# Cells are marked `# %%`; run them one by one in an editor, or all with
# `python tutorials/02_coins_and_classes.py`.

# %%
import os
import warnings

import torch

import pyromix as px

SMOKE = bool(os.environ.get("SMOKE"))  # fewer starts when the tests run this file

# %% [markdown]
# ## Coins: thumbtacks
#
# 320 series of nine flips of a tack, by different people on different surfaces. Is there one
# probability of landing point up, or are there several?

# %%
_, tacks, card = px.datasets.load("thumbtacks")
print(tacks.groupby("successes").size().to_dict())

for k in (1, 2, 3, 4):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)  # each prints its own status instead
        coins = px.fit_iid(tacks["successes"], tacks["trials"], k)
    print(coins, "\n")

# %% [markdown]
# One coin is out of the question (30 nats), two fit, three gain a fifth of a nat: the data do not
# ask for them. `no mixture exceeds` is a proof, not a guess: no mixture of any number of coins has
# a higher likelihood than that. Four coins are three, one of them counted twice, and the status
# says so.
#
# ## Why 2k - 1 flips
#
# A unit of n flips shows the first n moments of the law of its coin and nothing else. Here are two
# different pairs of coins with the same first two moments:

# %%
one = {0.0: 1 / 4, 2 / 3: 3 / 4}
other = {1 / 3: 3 / 4, 1.0: 1 / 4}
for n in (1, 2, 3):
    print(n, *(round(sum(w * p**n for p, w in coin.items()), 6) for coin in (one, other)))

# %% [markdown]
# With two flips per unit nobody can tell them apart, however many units there are. With three
# everybody can. So a fit of two coins to units of two flips is refused, and three flips suffice:

# %%
try:
    px.fit_iid([0, 1, 2, 1, 0, 2], 2, 2)
except px.IdentificationError as error:
    print(type(error).__name__, error)
else:
    raise AssertionError("two coins from two flips were accepted")

for coin in (one, other):
    moments = [sum(w * p**n for p, w in coin.items()) for n in range(4)]
    probs, weights = px.identify_iid(moments, 2)
    print([round(p, 9) for p in probs.tolist()], [round(w, 9) for w in weights.tolist()])
    assert max(abs(p - q) for p, q in zip(probs.tolist(), coin, strict=True)) < 1e-9

# %% [markdown]
# ## Classes: five questions of a law school test
#
# LSAT-7: a thousand people, five questions, right or wrong. If two kinds of people take the test,
# the answers of each kind are independent of each other, and all the dependence in the table comes
# from the mixture.

# %%
_, test, card = px.datasets.load("lsat7")
classes = px.fit_product(test, 2, random_state=0)
print(classes)
assert abs(classes.log_likelihood - card.truth["log_likelihood"]["k2"]) < 0.01

# %% [markdown]
# The start came from moments: the questions are split into three views, and the joint table of the
# three is taken apart into sources. What that stage saw is kept:

# %%
print(classes.diagnostics.moments[0])

# %% [markdown]
# *Signal* is the second canonical correlation of the first two views. One class alone would give a
# signal of about the size of the noise floor. *Separation* says how many standard errors the two
# classes are apart in the third view. Random starts ended where the moments led: the second line of
# the fit says so. Here are the classes, in words of the table, and the class of the first people:

# %%
for name, table in zip(classes.spec.variables, classes.mixture.cpts, strict=True):
    states = classes.spec.states_of(classes.spec.vertex(name))
    print(name, "P(right) =", [round(p, 3) for p in table[:, states.index("right")].tolist()])
print(classes.predict_proba(test.head()))

# %% [markdown]
# ## How many classes?
#
# Four answers to one question. A joint table of two groups of questions has rank at most k: a test
# of rank needs no fit at all. BIC and ICL charge for parameters; held-out likelihood asks fresh
# rows.

# %%
print(px.select_n_sources(None, test, range(1, 5), n_init=5 if SMOKE else None))

# %% [markdown]
# They do not agree here, and the printout does not pretend that they do: ability is a continuum,
# and two or three classes are two coarse pictures of it.
#
# ## What cannot be told: three classes from four questions
#
# Stouffer and Toby put four dilemmas to 216 people. Four yes-or-no questions have 15 free cells;
# three classes have 14 free probabilities. Fewer unknowns than equations, so all is well?

# %%
_, roles, card = px.datasets.load("stouffer-toby")
two = px.fit_product(roles, 2)
print(two, "\nrank", two.certificate.rank, "of", two.certificate.n_parameters, "\n")
assert two.certificate.locally_identified

with warnings.catch_warnings():
    warnings.simplefilter("ignore", px.PyromixWarning)  # what they say is shown below
    three = px.fit_product(roles, 3, method="em", random_state=0)
    nudged = px.fit_product(roles, 3, method="em", random_state=0, prior=0.001)
print(three, "\nrank", three.certificate.rank, "of", three.certificate.n_parameters)
assert not three.certificate.locally_identified

# %% [markdown]
# Goodman noticed in 1974 that it is not: the Jacobian has rank 13. There is a curve of answers with
# exactly the same fit. A thousandth of a row in every cell, next to nothing beside 216, chooses
# another point of it: as likely, and different people:

# %%
print("log-likelihoods", round(three.log_likelihood, 3), round(nudged.log_likelihood, 3))
order = px.match_sources(three.mixture, nudged.mixture)
gap = (three.mixture.weights - nudged.mixture.relabel(order).weights).abs().max()
print("largest difference of a class size", round(float(gap), 2))
assert abs(three.log_likelihood - nudged.log_likelihood) < 1e-3
assert gap > 0.01

# %% [markdown]
# So questions to that fit are refused, and moments say at once that no split into three views can
# show three classes:

# %%
try:
    three.query("U", evidence={"A": "universalistic"})
except px.NotCertifiedError as error:
    print(type(error).__name__, error, "\n")
else:
    raise AssertionError("an answer that is not identified was given")

try:
    px.fit_product(roles, 3, method="moments")
except px.IdentificationError as error:
    print(type(error).__name__, error)
else:
    raise AssertionError("three classes from four binary items were accepted")

# %% [markdown]
# ## Where moments pay: many classes
#
# With two classes any method works. With eight classes of people and a hundred questions a single
# random start of EM goes wrong about every other time; the start from moments does not.

# %%
spec = px.MixtureSpec.from_parents({f"Q{i:03}": (0, 1) for i in range(100)}, {}, 8)
truth = px.random_mixture(spec, 1)
answers = px.simulate(truth, 4000 if SMOKE else 10_000, random_state=1)
many = px.fit_product(answers, 8, n_init=20, random_state=0)
ends = torch.tensor(many.diagnostics.start_log_likelihoods) / many.n_rows
print("nats per row below the best, the start from moments first, then twenty random ones:")
print([round(float(ends.max() - end), 3) for end in ends])
assert ends[0] > ends.max() - 1e-5
assert (ends < ends.max() - 1e-3).sum() >= 4

matched = many.mixture.relabel(px.match_sources(truth, many.mixture))
worst = max(float((a - b).abs().max()) for a, b in zip(truth.cpts, matched.cpts, strict=True))
print("largest error of 800 probabilities", round(worst, 3))
assert worst < 0.15

# %% [markdown]
# Everything so far had variables that are independent within a source. The next tutorial puts a
# graph between them.
