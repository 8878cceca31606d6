"""What the table says of the edges of the graph."""

from __future__ import annotations

import math

from pyromix.criticism.graph.result import GraphCheck
from pyromix.report.numbers import count
from pyromix.report.parts import Section, Table
from pyromix.report.subject import Subject

SHOWN = 10
"""Changes in the table."""


def graph_section(subject: Subject) -> Section:
    """Edges that the table asks for, can do without, or cannot tell."""
    return tested_edges(subject.graph)


def tested_edges(found: GraphCheck | None) -> Section:
    """The same of any fit.

    Args:
        found: the check; None where none was handed in.
    """
    title = "The graph: edges that the table asks for"
    if found is None:
        return Section("graph", title, "Not tested.")
    n = len(found.demanded)
    lead = (
        f"The table asks for {count(n)} change{'s' * (n != 1)} of the graph."
        if n
        else "The table asks for no change of the graph."
    )
    rows = []
    for one in found.suggestions[:SHOWN]:
        changed = "-" if math.isnan(one.effect_change) else f"{one.effect_change:+.3f}"
        p = "-" if math.isnan(one.p) else f"{one.p:.2g}"
        gain = "-" if math.isnan(one.bic_gain) else f"{one.bic_gain:+.1f}"
        said = "yes" if one.demanded else "no"
        rows.append((one.action, one.edge, said, f"{one.df}", p, gain, changed))
    said = (
        "Changes by one edge, the strongest first: degrees of freedom, p after correction for all "
        "candidates, gain in BIC, and by how much the effect would change."
    )
    header = ("change", "edge", "asked for", "df", "p", "BIC gain", "effect change")
    return Section(
        "graph",
        title,
        lead,
        words=tuple(f"{sentence[0].upper()}{sentence[1:]}." for sentence in found.sentences),
        tables=(Table(said, header, tuple(rows), n_left=3),),
        numbers={
            "changes": [
                {k: None if v != v else v for k, v in record.items()}
                for record in found.to_records()
            ]
        },
    )
