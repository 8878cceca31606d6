"""Draws around an estimate: bootstrap, Gibbs, NUTS, SVI."""
