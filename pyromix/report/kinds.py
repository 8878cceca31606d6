"""Kinds of plots by name; no drawing library is needed to know them."""

from __future__ import annotations

PLOT_KINDS = {
    "network": "the graph, with the views of the plan, treatment and outcome marked",
    "spectrum": "singular values of two views against the noise",
    "sources": "what the variables look like within each source",
    "profiles": "one line per source through the states of the variables, with intervals",
    "effect": "naive, under the do and per source, with intervals",
    "responsibilities": "how certain the source of each row is",
    "residuals": "misfit of every pair of variables",
    "trace": "where the starts ended, or the draws",
}
"""What ``fit.plot`` draws."""

MIXED_PLOT_KINDS = {
    "network": "the graph, with the views of the plan, treatment and outcome marked",
    "sources": "densities and shares of the variables within each source",
    "dose_response": "the outcome along settings of the treatment, set and seen",
}
"""What ``fit.plot`` draws of a fit with numbers."""
