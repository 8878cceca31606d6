"""A start to a maximum of the likelihood: EM, its starts, the choice of a prior."""
