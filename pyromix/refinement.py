"""From a fit to a better one on the same or another table."""

from __future__ import annotations

import warnings
from typing import Any

from pyromix.assembly import diagnosed, from_em, with_draws
from pyromix.errors import QueryError, WeakIdentificationWarning
from pyromix.model.prior import PseudoCounts, prior_words
from pyromix.model.randomness import RandomState
from pyromix.query.predict import counted
from pyromix.refine.bootstrap import replicate
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


def bootstrap(
    fit: MixtureFit,
    data: Any = None,
    n: int = 200,
    *,
    kind: str = "multinomial",
    random_state: RandomState = 0,
    max_iter: int = 2000,
) -> MixtureFit:
    """Attach bootstrap replicates; arguments and errors of ``MixtureFit.bootstrap``."""
    counts = (fit.counts if data is None else counted(data, fit.spec)).to(fit.mixture.device)
    found = replicate(
        counts,
        fit.mixture,
        n,
        kind=kind,
        prior=fit.prior,
        random_state=random_state,
        max_iter=max_iter,
    )
    notes = []
    if lost := int((~found.converged).sum()):
        notes.append(f"{lost} of {n} replicates stopped at max_iter={max_iter}")
    if doubtful := int(found.ambiguous.sum()):
        notes.append(
            f"the sources of {doubtful} of {n} replicates could nearly as well be matched "
            "otherwise: sources hardly differ, or one replicate ended elsewhere"
        )
    for note in notes:
        warnings.warn(note, WeakIdentificationWarning, stacklevel=3)
    return with_draws(fit, found.mixtures, f"bootstrap ({kind}, {n})", notes)
