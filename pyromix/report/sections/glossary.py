"""Words of the report that a reader from another field may not know."""

from __future__ import annotations

from pyromix.report.parts import Section
from pyromix.report.subject import Subject

TERMS = (
    (
        "source",
        "a group that rows belong to and that nobody recorded; its number is the state of {source}",
    ),
    ("k", "how many sources there are; an assumption, not a finding"),
    (
        "naive",
        "the difference between those who were seen with one state of the treatment and those seen "
        "with the other, whatever made them differ",
    ),
    (
        "do",
        "the difference that setting the treatment for everybody would make: the causal effect",
    ),
    (
        "view",
        "a group of variables that tells of {source} and is independent of two other such groups "
        "once {source} (and what is conditioned on) is known; three of them reveal {source}",
    ),
    (
        "CPT",
        "conditional probability table: the probabilities of a variable's states for every "
        "combination of states of its parents in the graph",
    ),
    ("margin", "how often the states of one variable, or of a pair, occur in all"),
    (
        "certainty",
        "graphical: the graph guarantees the answer; local: no answer near it fits as well; weak: "
        "the graph would do, this table hardly shows {source}; none: not determined",
    ),
    (
        "95% interval",
        "made so that it holds the true value in 95 of 100 tables drawn alike, if graph and k are "
        "right",
    ),
    (
        "log-likelihood, nats",
        "how well the model fits the rows; a difference of 1 nat makes them 2.7 times as probable, "
        "of 3 nats 20 times",
    ),
    (
        "singular value",
        "how strongly two views go together, from 0 to 1; with k sources k of them rise above the "
        "noise",
    ),
    ("entropy R2", "1 where the source of every row is certain, 0 where none is"),
    (
        "AIC, BIC, ICL",
        "misfit plus a price for parameters, to compare numbers of sources: the least is best; ICL "
        "also asks that sources of rows be certain",
    ),
    (
        "total variation",
        "distance of two distributions, from 0 (the same) to 1 (no state in common)",
    ),
    (
        "adjusted p",
        "how often a misfit as large would occur by chance, corrected for the number of "
        "comparisons",
    ),
)
"""Terms and what they mean, as a colleague of another field would be told."""


def glossary_section(subject: Subject) -> Section:
    """The terms with what they mean."""
    source = subject.fit.spec.source
    return Section(
        "glossary",
        "Words",
        "What view, CPT, nats, certainty and other words of this report mean.",
        facts=tuple((term, f"{said.format(source=source)}.") for term, said in TERMS),
    )
