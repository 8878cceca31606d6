"""Draws of the posterior of mixtures in which some vertices are numbers."""
