"""WHAT a mixture of Bayesian networks is: structure, tables, exact sums."""
