"""What users hold of a latent class regression: a fit with its verbs."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pyromix.answers import regression as regressed
from pyromix.fitting import regression_bundle, regression_draws
from pyromix.fitting.regression import Regression
from pyromix.model.printed import as_html, as_text
from pyromix.report import regression as regression_report


@dataclass(frozen=True, eq=False)
class RegressionFit(Regression):
    """A product mixture whose weights depend on covariates; do-queries are refused by name.

    Attributes:
        mixture: the sources, by decreasing average weight; ``weights`` are averages over the rows.
        covariates: how columns are read as numbers; ``depends_on`` has their names.
        coefficients: ``(k, p)``, the intercept first; zero for the first source.
        information: covariances of coefficients and of log-odds of the items.
        log_likelihood: of the items given the covariates, in nats.
        n_rows: rows it was fitted to, by weight.
        converged: whether EM ended by its tolerance.
        n_iter: EM steps.
        start_log_likelihoods: where every start ended; the fit without covariates leads.
        rows: distinct rows of items and covariates.
        draws: replicates around the estimate; None for a point estimate.
    """

    @staticmethod
    def of(record: Regression) -> RegressionFit:
        """Give a record its verbs; one that has them stays as it is."""
        if isinstance(record, RegressionFit):
            return record
        return RegressionFit(**{f.name: getattr(record, f.name) for f in fields(record)})

    to_frame = regressed.coefficients
    profiles = regressed.profiles
    predict_proba = regressed.predict_proba
    classification = regressed.classification
    query = regressed.refuse
    effect = regressed.refuse
    bounds = regressed.refuse
    simulate = regressed.refuse

    bootstrap = regression_draws.bootstrap
    report = regression_report.make_report
    save = regression_bundle.save
    summary = regressed.in_numbers

    _printed = regressed.printed
    __str__ = __repr__ = as_text
    _repr_html_ = as_html
