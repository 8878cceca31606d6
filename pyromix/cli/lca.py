"""The command for latent classes: a table of items, no graph."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import pyromix as px
from pyromix.api import MixtureFit
from pyromix.api_regression import RegressionFit
from pyromix.cli.advice import in_flags
from pyromix.cli.beside import (
    COVARIATES,
    CovariateColumns,
    DistalColumns,
    DistalMethod,
    check_apart,
    named_columns,
    without,
)
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
from pyromix.cli.going_on import CheckpointFile, kept_at, part_of
from pyromix.cli.progress import working
from pyromix.criticism.discrepancy import PairCheck
from pyromix.criticism.likelihood_ratio import LikelihoodRatioTest
from pyromix.errors import QueryError
from pyromix.fitting import engine
from pyromix.fitting.regression import regress
from pyromix.model.printed import columns_of_text
from pyromix.model.ties import first_smallest

if TYPE_CHECKING:
    import pandas as pd

LRT_STARTS = 10
"""Random starts of a likelihood-ratio test, unless told."""


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
    covariates: CovariateColumns = None,
    distal: DistalColumns = None,
    distal_method: DistalMethod = "bch",
    lrt: Annotated[
        int,
        typer.Option(
            min=0, help="Also test each k against k - 1, by so many simulated tables (99, say)."
        ),
    ] = 0,
    residuals: Annotated[
        bool, typer.Option("--residuals", help="Also the bivariate residuals of every pair.")
    ] = False,
    checkpoint: CheckpointFile = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="FILE.pyromix, for the k that BIC chooses."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find latent classes: every column is an item, and depends on the class alone.

    Of several numbers of classes that with the least BIC is shown. Columns of --covariates and
    --distal are no items. The checkpoint of k classes is PATH.k, that of their test PATH.k.lrt.

    Example: pyromix lca data.csv -k 1..3
    """
    writable(output, (".pyromix",))
    candidates = numbers(n_sources)
    table, told = as_told(table_of(data, na, sep, encoding, decimal), bins, states)
    on, outcomes = named_columns(table, covariates), named_columns(table, distal)
    check_apart(on, outcomes)
    _check_flags(on, lrt=lrt, residuals=residuals, checkpoint=checkpoint)
    items = without(table, outcomes)
    reading: dict[str, Any] = {
        "state_names": {name: own for name, own in told.items() if name not in outcomes} or None,
        "sample_weight": sample_weight,
        "weights_are": weights_are,
        "missing": missing,
        "random_state": random_state,
        "show_progress": False if quiet else None,
    }
    fits: list[MixtureFit | RegressionFit] = []
    tests: dict[int, LikelihoodRatioTest] = {}
    files = {part: part_of(checkpoint, part) for k in candidates for part in (f"{k}", f"{k}.lrt")}
    with kept_at(*files.values(), quiet=quiet):
        for k in candidates:
            with working(f"fitting {k} classes", quiet=quiet):
                more = {"n_init": n_init, **reading}
                # Items have states: columns of numbers are left out, and that is said.
                if on:
                    fits.append(RegressionFit.of(regress(items, k, on, **more)))
                else:
                    kept = {"checkpoint": files[f"{k}"]}
                    fits.append(MixtureFit.of(engine.fit_product(items, k, **more, **kept)))
            if lrt and k > 1 and isinstance(fits[-1], MixtureFit):
                with working(f"testing {k} classes against {k - 1}", quiet=quiet):
                    tests[k] = px.bootstrap_lrt(
                        fits[-1].counts,
                        k,
                        n=lrt,
                        n_init=n_init or LRT_STARTS,
                        random_state=random_state,
                        checkpoint=files[f"{k}.lrt"],
                    )
    best = fits[first_smallest(fit.bic for fit in fits)]
    if output is not None:
        best.save(output)
    sorted_, pairs, described = best.classification(), (), []
    if isinstance(best, MixtureFit):
        pairs = best.predictive_check(random_state=random_state).pairs if residuals else ()
        with working("describing outcomes", quiet=quiet):
            described = [
                best.distal(
                    table,
                    name,
                    method=distal_method,
                    states=told.get(name),
                    sample_weight=sample_weight,
                    random_state=random_state,
                )
                for name in outcomes
            ]
    if as_json:
        content = {"classes": [fit.summary() for fit in fits], "best": best.spec.n_sources}
        if tests:
            content["tests"] = [
                {**asdict(test), "p_value": test.p_value} for test in tests.values()
            ]
        content["profiles"] = _in_numbers(best.profiles())
        content["classification"] = _in_numbers(sorted_.to_frame())
        if residuals:
            content["residuals"] = [_finite(asdict(pair)) for pair in pairs]
        if described:
            content["distal"] = [
                {
                    "outcome": one.outcome,
                    "method": one.method,
                    "estimates": _in_numbers(one.to_frame()),
                    "contrasts": _in_numbers(one.contrasts()),
                }
                for one in described
            ]
        typer.echo(json.dumps(content, indent=1))
    else:
        lines = _compared(fits) if len(fits) > 1 else []
        lines += [f"{best}"] if len(fits) == 1 or on else []
        lines += [in_flags(str(test)) for test in tests.values()]
        lines += ["", *_profiles(best), "", str(sorted_)]
        for one in described:
            lines += ["", str(one)]
        typer.echo("\n".join([*lines, *(["", *_residuals(pairs)] if residuals else [])]))
    if not best.converged:
        raise Stopped(NOT_CONVERGED)


def _check_flags(
    covariates: Sequence[str], *, lrt: int, residuals: bool, checkpoint: Path | None
) -> None:
    """Refuse what a fit with covariates has not.

    Raises:
        QueryError: names the flag.
    """
    asked = {"--lrt": lrt, "--residuals": residuals, "--checkpoint": checkpoint}
    if covariates and (found := [flag for flag, value in asked.items() if value]):
        raise QueryError(
            f"{found[0]} is of classes without covariates: leave it out, or {COVARIATES}"
        )


def _compared(fits: Sequence[MixtureFit | RegressionFit]) -> list[str]:
    """One line per number of classes."""
    header = ["classes", "logL", "params", "AIC", "BIC", "CAIC", "SABIC", "ICL", "R2", "starts"]
    rows = [
        [
            str(fit.spec.n_sources),
            f"{fit.log_likelihood:.3f}",
            str(fit.n_parameters),
            f"{fit.aic:.2f}",
            f"{fit.bic:.2f}",
            f"{fit.caic:.2f}",
            f"{fit.sabic:.2f}",
            f"{fit.icl:.2f}",
            f"{fit.entropy_r2:.2f}",
            _starts(fit),
        ]
        for fit in fits
    ]
    chosen = fits[first_smallest(fit.bic for fit in fits)].spec.n_sources
    said = f"the least BIC is that of {chosen} class{'es' * (chosen != 1)}"
    return [*columns_of_text(header, rows, n_left=0), said]


def _starts(fit: MixtureFit | RegressionFit) -> str:
    """How many reached the best optimum, of how many."""
    if isinstance(fit, RegressionFit):
        return f"{fit.n_best}/{len(fit.start_log_likelihoods)}"
    return f"{fit.climb.n_best}/{len(fit.climb.log_likelihoods)}"


def _profiles(fit: MixtureFit | RegressionFit) -> list[str]:
    """Class sizes, and the probability of every state within each class."""
    spec = fit.spec
    header = ["class", *(str(u) for u in spec.source_states)]
    rows = [["size", *(f"{w:.3f}" for w in fit.mixture.weights.tolist())]]
    for v, table in enumerate(fit.mixture.cpts):
        name, states = spec.name(v), spec.states_of(v)
        for s in [1] if len(states) == 2 else range(len(states)):
            rows.append([f"P({name}={states[s]})", *(f"{p:.3f}" for p in table[:, s].tolist())])
    return columns_of_text(header, rows, n_left=1)


def _residuals(pairs: Sequence[PairCheck]) -> list[str]:
    """Pairs of items, those that contradict the classes most first."""
    header = ["items", "bivariate residual", "p (all pairs)"]
    rows = [[", ".join(c.names), f"{c.bvr:.3f}", f"{c.adjusted:.2g}"] for c in pairs]
    return columns_of_text(header, rows, n_left=1)


def _in_numbers(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table."""
    return [_finite(row) for row in frame.to_dict(orient="records")]


def _finite(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The same without nan and infinity, which JSON has not."""
    return {
        str(name): None if isinstance(v, float) and not math.isfinite(v) else v
        for name, v in row.items()
    }
