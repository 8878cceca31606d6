"""Causal effects despite an unobserved global confounder, between pgmpy and Pyro."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyromix import datasets
    from pyromix.answers.answer import Answer
    from pyromix.answers.ask import effect, query
    from pyromix.answers.bounding import bounds
    from pyromix.answers.bounds import Bounds
    from pyromix.answers.effect import Effect
    from pyromix.answers.simulate import simulate
    from pyromix.api import MixtureFit, fit, fit_product, load
    from pyromix.api_discovery import discover
    from pyromix.api_mixed import MixedFit
    from pyromix.api_regression import RegressionFit
    from pyromix.bridges.pgmpy import from_pgmpy, mixture_from_pgmpy, to_pgmpy
    from pyromix.bridges.pyro import to_pyro
    from pyromix.bridges.pyro_sites import from_pyro
    from pyromix.coins.door import fit_iid
    from pyromix.coins.moments import identify_iid
    from pyromix.coins.result import IIDFit
    from pyromix.criticism.advising import Additions, measure_next
    from pyromix.criticism.candidates import Selection
    from pyromix.criticism.checking import IdentifiabilityReport, check
    from pyromix.criticism.graph.asking import graph_check
    from pyromix.criticism.graph.result import GraphCheck
    from pyromix.criticism.likelihood_ratio import LikelihoodRatioTest, bootstrap_lrt
    from pyromix.criticism.selection import select_n_sources
    from pyromix.data.counts import Counts
    from pyromix.data.moments import MomentSource, Rows
    from pyromix.data.population import Population, population
    from pyromix.discovery.result import Discovery
    from pyromix.errors import (
        AddedSourceWarning,
        ContractionSizeError,
        ConvergenceWarning,
        DataError,
        DataRepairWarning,
        DependentSourceError,
        DimensionLimitError,
        FileError,
        IdentificationError,
        LostFitWarning,
        NoModelError,
        NotCertifiedError,
        NumericalWarning,
        PlanError,
        PositivityError,
        PyromixError,
        PyromixWarning,
        QueryError,
        RankError,
        RefinementError,
        SamplingWarning,
        SeparationError,
        SpecError,
        StartsDisagreeWarning,
        StateNameError,
        StatesOnlyError,
        UnmatchedSitesWarning,
        UnsupportedRowsWarning,
        WeakIdentificationWarning,
    )
    from pyromix.estimator import MixtureEstimator
    from pyromix.formats.files import read, write
    from pyromix.identify.certificate import Certificate
    from pyromix.model.match import match_sources
    from pyromix.model.mixture import BayesNetMixture, ProductMixture
    from pyromix.model.query import Certainty, DoQuery
    from pyromix.model.randomness import random_mixture
    from pyromix.model.schema import Schema
    from pyromix.model.spec import MixtureSpec
    from pyromix.model.status import Status

_NAMES = {
    "answers.answer": ("Answer",),
    "answers.ask": (
        "effect",
        "query",
    ),
    "answers.bounding": ("bounds",),
    "answers.bounds": ("Bounds",),
    "answers.effect": ("Effect",),
    "answers.simulate": ("simulate",),
    "api": (
        "MixtureFit",
        "fit",
        "fit_product",
        "load",
    ),
    "api_mixed": ("MixedFit",),
    "api_regression": ("RegressionFit",),
    "api_discovery": ("discover",),
    "bridges.pgmpy": (
        "from_pgmpy",
        "mixture_from_pgmpy",
        "to_pgmpy",
    ),
    "bridges.pyro": ("to_pyro",),
    "bridges.pyro_sites": ("from_pyro",),
    "coins.door": ("fit_iid",),
    "coins.moments": ("identify_iid",),
    "coins.result": ("IIDFit",),
    "criticism.advising": (
        "Additions",
        "measure_next",
    ),
    "criticism.candidates": ("Selection",),
    "criticism.checking": (
        "IdentifiabilityReport",
        "check",
    ),
    "criticism.graph.asking": ("graph_check",),
    "criticism.graph.result": ("GraphCheck",),
    "criticism.likelihood_ratio": (
        "LikelihoodRatioTest",
        "bootstrap_lrt",
    ),
    "criticism.selection": ("select_n_sources",),
    "data.counts": ("Counts",),
    "data.moments": (
        "MomentSource",
        "Rows",
    ),
    "data.population": (
        "Population",
        "population",
    ),
    "discovery.result": ("Discovery",),
    "errors": (
        "AddedSourceWarning",
        "ContractionSizeError",
        "ConvergenceWarning",
        "DataError",
        "DataRepairWarning",
        "DependentSourceError",
        "DimensionLimitError",
        "FileError",
        "IdentificationError",
        "LostFitWarning",
        "NoModelError",
        "NotCertifiedError",
        "NumericalWarning",
        "PlanError",
        "PositivityError",
        "PyromixError",
        "PyromixWarning",
        "QueryError",
        "RankError",
        "RefinementError",
        "SamplingWarning",
        "SeparationError",
        "SpecError",
        "StartsDisagreeWarning",
        "StateNameError",
        "StatesOnlyError",
        "UnmatchedSitesWarning",
        "UnsupportedRowsWarning",
        "WeakIdentificationWarning",
    ),
    "estimator": ("MixtureEstimator",),
    "formats.files": (
        "read",
        "write",
    ),
    "identify.certificate": ("Certificate",),
    "model.match": ("match_sources",),
    "model.mixture": (
        "BayesNetMixture",
        "ProductMixture",
    ),
    "model.query": (
        "Certainty",
        "DoQuery",
    ),
    "model.randomness": ("random_mixture",),
    "model.schema": ("Schema",),
    "model.spec": ("MixtureSpec",),
    "model.status": ("Status",),
}
"""By module; each is imported when one of its names is first asked for (PEP 562): importing pyromix
costs nothing, and names that need pgmpy or Pyro import them alone."""

_HOME = {name: f"pyromix.{module}" for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name, or the module of that name, when it is first asked for."""
    if name not in _HOME:
        if name.startswith("_") or find_spec(f"pyromix.{name}") is None:
            raise AttributeError(f"module 'pyromix' has no attribute {name!r}")
        return import_module(f"pyromix.{name}")
    found = getattr(import_module(_HOME[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "AddedSourceWarning",
    "Additions",
    "Answer",
    "BayesNetMixture",
    "Bounds",
    "Certainty",
    "Certificate",
    "ContractionSizeError",
    "ConvergenceWarning",
    "Counts",
    "DataError",
    "DataRepairWarning",
    "DependentSourceError",
    "DimensionLimitError",
    "Discovery",
    "DoQuery",
    "Effect",
    "FileError",
    "GraphCheck",
    "IIDFit",
    "IdentifiabilityReport",
    "IdentificationError",
    "LikelihoodRatioTest",
    "LostFitWarning",
    "MixedFit",
    "MixtureEstimator",
    "MixtureFit",
    "MixtureSpec",
    "MomentSource",
    "NoModelError",
    "NotCertifiedError",
    "NumericalWarning",
    "PlanError",
    "Population",
    "PositivityError",
    "ProductMixture",
    "PyromixError",
    "PyromixWarning",
    "QueryError",
    "RankError",
    "RefinementError",
    "RegressionFit",
    "Rows",
    "SamplingWarning",
    "Schema",
    "Selection",
    "SeparationError",
    "SpecError",
    "StartsDisagreeWarning",
    "StateNameError",
    "StatesOnlyError",
    "Status",
    "UnmatchedSitesWarning",
    "UnsupportedRowsWarning",
    "WeakIdentificationWarning",
    "bootstrap_lrt",
    "bounds",
    "check",
    "datasets",
    "discover",
    "effect",
    "fit",
    "fit_iid",
    "fit_product",
    "from_pgmpy",
    "from_pyro",
    "graph_check",
    "identify_iid",
    "load",
    "match_sources",
    "measure_next",
    "mixture_from_pgmpy",
    "population",
    "query",
    "random_mixture",
    "read",
    "select_n_sources",
    "simulate",
    "to_pgmpy",
    "to_pyro",
    "write",
]
