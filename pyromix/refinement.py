"""From a fit to a better one on the same or another table."""

from __future__ import annotations

from typing import Any

from pyromix.assembly import diagnosed, from_em
from pyromix.errors import QueryError
from pyromix.model.prior import PseudoCounts, prior_words
from pyromix.query.predict import counted
from pyromix.refine.em import fit_em
from pyromix.refine.starts import batch_of
from pyromix.result import MixtureFit


def refine(fit: MixtureFit, data: Any = None, method: str = "em", **options: Any) -> MixtureFit:
    """Continue from an estimate on a table; arguments and errors of ``MixtureFit.refine``."""
    if method != "em":
        raise QueryError(f'unknown method {method!r} of refine; expected "em"')
    counts = fit.counts if data is None else counted(data, fit.spec)
    counts = counts.to(fit.mixture.device)
    said = options.pop("prior", fit.prior)
    prior = said if isinstance(said, PseudoCounts) else PseudoCounts.of(fit.spec, said)
    prior = prior.to(fit.mixture.device)
    result = fit_em(counts, batch_of(fit.mixture), prior=prior, **options)
    words = fit.diagnostics.prior if said is fit.prior else prior_words(said)
    stages = fit.diagnostics.moments
    return from_em(result, counts, diagnosed("refine: em", result, words, (), stages), prior)
