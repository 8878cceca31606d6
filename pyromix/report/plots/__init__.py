"""Plots of a fit, one file per kind; ``draw.plot`` is the door."""
