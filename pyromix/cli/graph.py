"""The command that asks a table for the edges of a graph."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Annotated

import typer

import pyromix as px
from pyromix.cli.columns import Bins, Discretize, Kinds, States, as_told, numbers_told
from pyromix.cli.common import (
    NOT_CONVERGED,
    Data,
    Decimal,
    Edge,
    Encoding,
    Json,
    Latent,
    Missing,
    Model,
    Na,
    Quiet,
    Seed,
    Sep,
    Stopped,
    Weight,
    WeightsAre,
    model_of,
    table_of,
)
from pyromix.cli.flags import in_flags
from pyromix.cli.progress import working
from pyromix.cli.questions import Outcome, Treatment
from pyromix.formats.toml import pairs_of

Tiers = Annotated[
    list[str] | None,
    typer.Option("--tiers", metavar="A,B", help="Names of a tier; repeat, the earliest first."),
]
Forbidden = Annotated[
    list[str] | None, typer.Option(metavar="A->B", help="No such edge; repeatable.")
]
Required = Annotated[
    list[str] | None, typer.Option(metavar="A->B", help="An edge that stays; repeatable.")
]


def graph(
    data: Data,
    model: Model = None,
    edge: Edge = None,
    latent: Latent = "U",
    n_sources: Annotated[
        int | None, typer.Option("--n-sources", "-k", help="Number of sources k.")
    ] = None,
    treatment: Treatment = None,
    outcome: Outcome = None,
    tiers: Tiers = None,
    forbidden: Forbidden = None,
    required: Required = None,
    level: Annotated[float, typer.Option(help="Of the tests, family-wise.")] = 0.05,
    n_simulated: Annotated[
        int, typer.Option(help="Simulated tables, where chi-square is not to be trusted.")
    ] = 199,
    bins: Bins = None,
    states: States = None,
    kind: Kinds = None,
    discretize: Discretize = None,
    sample_weight: Weight = None,
    weights_are: WeightsAre = "counts",
    missing: Missing = "mar",
    na: Na = None,
    sep: Sep = "",
    encoding: Encoding = "",
    decimal: Decimal = "",
    random_state: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask a table which edges a graph lacks, has in vain, or may be turned.

    Example: pyromix graph data.csv --model net.bif -k 2
    """
    given = model_of(model, edge, latent)
    table, told = as_told(table_of(data, na, sep, encoding, decimal), bins, states)
    as_numbers = numbers_told(table, kind, discretize)
    with working("testing edges", quiet=quiet):
        found = px.graph_check(
            given,
            table,
            n_sources,
            treatment=treatment,
            outcome=outcome,
            tiers=[_names(text) for text in tiers] if tiers else None,
            forbidden=_edges(forbidden),
            required=_edges(required),
            level=level,
            n_simulated=n_simulated,
            sample_weight=sample_weight,
            weights_are=weights_are,
            missing=missing,
            state_names=told or None,
            **as_numbers,
            random_state=random_state,
            show_progress=False,
        )
    if as_json:
        content = {
            "n_sources": found.spec.n_sources,
            "asked": found.asked,
            "effect": None if math.isnan(found.effect) else found.effect,
            "sentences": list(found.sentences),
            "changes": [
                {
                    name: None if isinstance(value, float) and math.isnan(value) else value
                    for name, value in record.items()
                }
                for record in found.to_records()
            ],
        }
        typer.echo(json.dumps(content, indent=1))
    else:
        typer.echo(in_flags(str(found), found.spec.variables))
    if not found.converged:
        raise Stopped(NOT_CONVERGED)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _edges(texts: Sequence[str] | None) -> list[tuple[str, str]]:
    """Edges as they are written, chains among them."""
    return [pair for text in texts or () for pair in pairs_of(text)]
