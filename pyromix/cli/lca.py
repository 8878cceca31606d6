"""The command for latent classes: a table of items, no graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import pyromix as px
from pyromix.api import MixtureFit
from pyromix.cli.columns import Bins, States, as_told
from pyromix.cli.common import (
    NOT_CONVERGED,
    Data,
    Decimal,
    Encoding,
    Json,
    Missing,
    Na,
    Quiet,
    Seed,
    Sep,
    Stopped,
    Weight,
    WeightsAre,
    numbers,
    table_of,
    writable,
)
from pyromix.cli.progress import working
from pyromix.model.printed import columns_of_text
from pyromix.model.ties import first_smallest
from pyromix.report.facts.profile import Margin, margins


def lca(
    data: Data,
    n_sources: Annotated[
        str, typer.Option("--n-sources", "-k", help="Number of classes: 3, 2..5 or 2,4.")
    ] = "1..5",
    n_init: Annotated[int | None, typer.Option(help="Number of random starts.")] = None,
    bins: Bins = None,
    states: States = None,
    sample_weight: Weight = None,
    weights_are: WeightsAre = "counts",
    missing: Missing = "mar",
    na: Na = None,
    sep: Sep = "",
    encoding: Encoding = "",
    decimal: Decimal = "",
    random_state: Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="FILE.pyromix, for the k that BIC chooses."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find latent classes: every column is an item, and depends on the class alone.

    Of several numbers of classes that with the least BIC is shown.

    Example: pyromix lca data.csv -k 1..3
    """
    writable(output, (".pyromix",))
    candidates = numbers(n_sources)
    table, told = as_told(table_of(data, na, sep, encoding, decimal), bins, states)
    fits = []
    for k in candidates:
        with working(f"fitting {k} classes", quiet=quiet):
            found = px.fit_product(
                table,
                k,
                n_init=n_init,
                state_names=told or None,
                sample_weight=sample_weight,
                weights_are=weights_are,
                missing=missing,
                random_state=random_state,
                show_progress=False if quiet else None,
            )
        fits.append(found)
    best = fits[first_smallest(fit.bic for fit in fits)]
    if output is not None:
        best.save(output)
    if as_json:
        content = {"classes": [fit.summary() for fit in fits], "best": best.spec.n_sources}
        typer.echo(json.dumps(content | {"profiles": _in_numbers(best)}, indent=1))
    else:
        lines = _compared(fits) if len(fits) > 1 else [f"{best}"]
        typer.echo("\n".join([*lines, "", *_profiles(best)]))
    if not best.converged:
        raise Stopped(NOT_CONVERGED)


def _compared(fits: list[MixtureFit]) -> list[str]:
    """One line per number of classes."""
    header = ["classes", "logL", "params", "AIC", "BIC", "entropy R2", "best of starts"]
    rows = [
        [
            str(fit.spec.n_sources),
            f"{fit.log_likelihood:.3f}",
            str(fit.n_parameters),
            f"{fit.aic:.2f}",
            f"{fit.bic:.2f}",
            f"{fit.entropy_r2:.2f}",
            f"{fit.climb.n_best}/{len(fit.climb.log_likelihoods)}",
        ]
        for fit in fits
    ]
    chosen = fits[first_smallest(fit.bic for fit in fits)].spec.n_sources
    said = f"the least BIC is that of {chosen} class{'es' * (chosen != 1)}"
    return [*columns_of_text(header, rows, n_left=0), said]


def _profiles(fit: MixtureFit) -> list[str]:
    """Class sizes, and the probability of every state within each class."""
    spec = fit.spec
    header = ["class", *(str(u) for u in spec.source_states)]
    rows = [["size", *(f"{w:.3f}" for w in fit.mixture.weights.tolist())]]
    for margin in _items(fit):
        name, states = spec.name(margin.vertex), spec.states_of(margin.vertex)
        for s in [1] if len(states) == 2 else range(len(states)):
            rows.append([f"P({name}={states[s]})", *(f"{p:.3f}" for p in margin.values[:, s])])
    return columns_of_text(header, rows, n_left=1)


def _items(fit: MixtureFit) -> list[Margin]:
    """Margins in the order of the columns."""
    return sorted(margins(fit, fit.spec.n_variables), key=lambda margin: margin.vertex)


def _in_numbers(fit: MixtureFit) -> list[dict[str, Any]]:
    """Sizes and probabilities with their intervals; JSON has no nan."""
    rows = fit.profiles().to_dict(orient="records")
    return [{str(k): v if v == v else None for k, v in row.items()} for row in rows]
