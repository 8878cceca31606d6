"""A Pyro user: the identified mixture as a program, under do, condition and enumeration."""

import pyro
import torch
from pyro.infer import Predictive, TraceEnum_ELBO

import pyromix as px

model, frame, card = px.datasets.load("hidden-group")
fit = px.fit(model, frame, n_sources=2, n_init=5)
program = fit.to_pyro()
treated = pyro.do(program, data={"X": torch.tensor(1)})
draws = Predictive(treated, num_samples=20_000, parallel=True)(1)
share = draws["Y"].double().mean()
assert abs(share - fit.query("Y", do={"X": "treated"}).values[1]) < 0.02
marginals = TraceEnum_ELBO(max_plate_nesting=1).compute_marginals(
    lambda: program(rows=fit.counts.rows.long()), lambda: None
)
print(marginals["U"].probs[:5])
