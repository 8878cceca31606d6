"""Plots of a fit, one file per kind; ``draw.DRAWERS`` lists them."""
