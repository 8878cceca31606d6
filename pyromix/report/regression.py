"""The report on a latent class regression: groups, what belonging to them depends on, how sure."""

from __future__ import annotations

import math
import sys
from os import PathLike
from typing import TYPE_CHECKING, Any

from pyromix.answers import regression as regressed
from pyromix.fitting.regression import Regression
from pyromix.model.arguments import flag, path_of
from pyromix.report.document import Report, check_ending
from pyromix.report.letter.groups import SIZES
from pyromix.report.numbers import between, count, p_value, share, small
from pyromix.report.parts import Headline, Letter, Section, Table

if TYPE_CHECKING:
    import pandas as pd

SHARP = 0.5
"""Entropy R2 below which it is doubted that rows can be told apart."""


def make_report(
    fit: Regression, path: str | PathLike[str] | None = None, *, show: bool | None = None
) -> Report:
    """Report on this fit: its groups as a letter, then coefficients, profiles and memberships.

    Args:
        fit: who is reported on.
        path: a file ending in ``.html``, one page that needs nothing else, in ``.md`` or ``.txt``.
        show: whether the text is printed; by default where no path is given.

    Returns:
        The report: ``str(report)``, ``.to_html()``, ``.to_markdown()``, ``.save(path)``,
        ``.summary()``.

    Raises:
        FileError: another ending, or the path cannot be written to.
    """
    if path is not None:
        check_ending(path_of(path))  # before the work
    if show is not None:
        flag("show", show)
    names = _listed(fit)
    sections = (_coefficients(fit), _profiles(fit), _memberships(fit), _fitting(fit))
    report = Report(
        f"{fit.spec.n_sources} hidden groups that depend on {names}",
        f"pyromix report: {fit.spec.n_variables} items, {len(fit.depends_on)} covariates, "
        f"{count(fit.n_rows)} rows",
        _letter(fit),
        sections,
        fit,
        None,
        None,
        None,
    )
    if path is not None:
        report.save(path)
    if path is None if show is None else show:
        sys.stdout.write(f"{report}\n")
    return report


def _listed(fit: Regression) -> str:
    *first, last = map(str, fit.depends_on)
    return f"{', '.join(first)} and {last}" if first else last


def _letter(fit: Regression) -> Letter:
    spec, sizes = fit.spec, fit.mixture.weights.tolist()
    sentence = (
        f"The {count(fit.n_rows)} rows are described as {spec.n_sources} hidden groups; which of "
        f"them a row belongs to depends on {_listed(fit)}, and its items on the group alone."
    )
    shown = "pass" if fit.information.determined else "weak"
    told = tuple(
        Headline(f"{spec.source} = {u}", f"{w:.0%}", "of the rows, on average", shown)
        for u, w in list(zip(spec.source_states, sizes, strict=True))[:SIZES]
    )
    leaning = (
        ("Groups", f"there are {spec.n_sources} of them"),
        ("Items", "within a group no item says anything about another, or about a covariate"),
        ("Covariates", "the log-odds of the groups are linear in their numbers"),
        ("No effects", "nothing here says what changing a covariate would do"),
    )
    return Letter(sentence, told, leaning, tuple(_doubts(fit)), "", None, {"sentence": sentence})


def _doubts(fit: Regression) -> list[str]:
    said, n = [], len(fit.start_log_likelihoods)
    if not fit.converged:
        said.append(f"EM stopped after {fit.n_iter} steps, before its tolerance")
    if not fit.information.determined:
        said.append("the rows do not determine all coefficients and probabilities")
    if n > 1 and fit.n_best < 2:
        said.append(f"the best log-likelihood was reached by 1 of {n} starts")
    if fit.entropy_r2 < SHARP:
        said.append(
            f"rows are hardly told apart (entropy R2 {fit.entropy_r2:.2f}): of single rows little "
            "can be said"
        )
    return said


def _coefficients(fit: Regression) -> Section:
    table = regressed.coefficients(fit)
    by = "percentiles of draws" if fit.draws is not None else "Wald's"
    rows = tuple(
        (
            f"{r.source} against {r.reference}",
            str(r.covariate),
            small(float(r.estimate)),
            small(float(r.standard_error)),
            between(float(r.low), float(r.high), "+z.3f"),
            p_value(float(r.p_value)) if math.isfinite(float(r.p_value)) else "-",
            small(math.exp(float(r.estimate))),
        )
        for r in _rows(table)
    )
    header = ("groups", "covariate", "log-odds", "s.e.", "95% interval", "p", "odds ratio")
    said = (
        "Log-odds of the first group against the second, per unit of the covariate (of a named "
        f"state, against the reference); intervals are {by}:"
    )
    return Section(
        "coefficients",
        "What the groups depend on",
        f"{_listed(fit)}, by a multinomial logit.",
        tables=(Table(said, header, rows, n_left=2),) if rows else (),
        numbers={"coefficients": _records(table)},
    )


def _profiles(fit: Regression) -> Section:
    table = regressed.profiles(fit)
    rows = tuple(
        (
            str(r.source),
            str(r.variable),
            str(r.state),
            share(float(r.probability)),
            between(float(r.low), float(r.high), ".3f") if math.isfinite(float(r.low)) else "-",
        )
        for r in _rows(table)
    )
    header = ("group", "item", "state", "probability", "95% interval")
    said = "Average sizes, and how likely each state of each item is within each group:"
    return Section(
        "profiles",
        "What the groups are like",
        "Sizes of the groups, and every item within each.",
        tables=(Table(said, header, rows, n_left=3),),
        numbers={"profiles": _records(table)},
    )


def _memberships(fit: Regression) -> Section:
    found = regressed.classification(fit)
    names = [str(u) for u in fit.spec.source_states]
    sizes = found.assigned_rows.tolist()
    rows = tuple(
        (name, count(round(size, 1)), *(share(p) if p == p else "-" for p in own))
        for name, size, own in zip(names, sizes, found.average_posterior.tolist(), strict=True)
    )
    said = "Rows by their likeliest group, and how probable each group is for them on average:"
    header = ("assigned to", "rows", *(f"P({name})" for name in names))
    return Section(
        "memberships",
        "Who belongs where",
        f"{found.error:.1%} of the rows are expected in another group than their likeliest.",
        facts=(("Entropy R2", f"{fit.entropy_r2:.3f} (1: every row's group is certain)"),),
        tables=(Table(said, header, rows),),
        numbers={"error": found.error, "entropy_r2": fit.entropy_r2},
    )


def _fitting(fit: Regression) -> Section:
    n = len(fit.start_log_likelihoods)
    facts = (
        ("Log-likelihood", f"{fit.log_likelihood:.3f} nats, of the items given the covariates"),
        ("Parameters", f"{fit.n_parameters}"),
        ("AIC, BIC", f"{fit.aic:.2f}, {fit.bic:.2f}"),
        ("Starts", f"{n}, the best optimum reached by {fit.n_best}"),
        ("Iterations", f"{fit.n_iter}{'' if fit.converged else ', stopped before the tolerance'}"),
    )
    return Section(
        "fitting",
        "How it was fitted",
        "Items and coefficients together, by EM, maximum likelihood.",
        facts=facts,
        numbers={n: v for n, v in regressed.in_numbers(fit).items() if n != "coefficients"},
    )


def _rows(table: pd.DataFrame) -> list[Any]:
    return list(table.itertuples(index=False))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): regressed.finite_or_none(value) for name, value in row.items()}
        for row in table.to_dict(orient="records")
    ]
