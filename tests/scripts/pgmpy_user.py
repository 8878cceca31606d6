"""A pgmpy user: a network, a frame, a do-answer, and back into pgmpy."""

from pgmpy.inference import VariableElimination

import pyromix as px

model, frame, card = px.datasets.load("hidden-group")
model.fit(frame, estimator=(estimator := px.MixtureEstimator(latent_card={"U": 2}, n_init=5)))
assert model.check_model()
fit = estimator.fit_
print(fit.effect("X", "Y"))
answer = fit.query(["Y"], do={"X": "treated"})
assert abs(float(fit.effect("X", "Y").do) - card.truth["do"]) < 0.05
weights = VariableElimination(model).query(["U"]).values
assert abs(weights - fit.mixture.weights.numpy()).max() < 1e-9
print(answer.to_factor())
