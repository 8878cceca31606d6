"""A latent class user: how many classes, what they are like, who belongs where, what beside."""

import pyromix as px

_, frame, card = px.datasets.load("lsat7")
found = px.select_n_sources(frame, [1, 2], n_init=3)
fit = px.fit_product(frame, found.best)
assert abs(fit.log_likelihood - card.truth["log_likelihood"]["k2"]) < 1e-3
print(found, fit.profiles(), fit.classification(), sep="\n")
print(px.bootstrap_lrt(frame, 2, n=9, n_init=2))
beside = px.fit_product(frame, 2, covariates="Q5", n_init=1)
without = px.fit_product(frame.drop(columns="Q5"), 2, n_init=1)
print(beside, without.distal(frame, "Q5", n_bootstrap=20), sep="\n")
assert set(fit.membership(frame)["assigned"]) == {0, 1}
