"""From a fit to a table with numbers to the same one with draws of its posterior."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any, TypeVar

from pyromix.errors import QueryError, StatesOnlyError
from pyromix.fitting.mixed.record import MixedDraws, MixedRecord
from pyromix.fitting.refine import REFINE_METHODS
from pyromix.model.arguments import shown
from pyromix.model.note import Note, NoteKind, distinct, warn_of
from pyromix.model.only_states import without
from pyromix.model.spec import near_matches
from pyromix.posterior.draws import remarks
from pyromix.posterior.mixed.gibbs import gibbs_mixed

R = TypeVar("R", bound=MixedRecord)

OTHERS = {
    "em": "px.fit goes on until the likelihood rises no more",
    "nuts": 'method="gibbs" draws from the same posterior',
    "svi": 'method="gibbs" draws from the posterior itself',
}
"""Methods of fits of states, and what to do instead."""

PRIOR = (
    "gibbs: the prior is what every source is taken to have seen before: Dirichlet on tables, "
    "normal-inverse-gamma on lines and variances, normal on log-odds and log-rates"
)


@without(
    prior="draws are under the prior of the fit",
    sample_weight="draws are of the table that the fit holds",
    weights_are="draws are of the table that the fit holds",
    missing_values="draws are of the table that the fit holds",
    checkpoint="ask for fewer draws",
)
def refine(fit: R, data: Any = None, method: str = "gibbs", **options: Any) -> R:
    """Return the fit with draws of its posterior, from which all intervals then come.

    The estimate stays the point of every answer; draws carry its labels. They are of the posterior
    under the laws that the fit assumes, so intervals lean on the shape of the noise, unlike those
    by standard errors and ``fit.bootstrap()``; in return they do not ask for a likelihood near a
    parabola, which few rows have not. The prior is that of the fit; see ``posterior.mixed.laws``.

    Args:
        fit: with its table.
        data: left out: draws are of the table that the fit holds.
        method: ``"gibbs"``: sources of the rows given laws, laws given sources; logits and rates
            by Metropolis steps around their optimum.
        **options: ``num_samples`` of each chain (250), ``warmup_steps`` before the first of them
            (250), ``num_chains`` (4), ``thinning``, sweeps from one draw to the next (2),
            ``random_state``, ``show_progress``.

    Returns:
        The fit with draws; ``sampled.sampling`` has the worst R-hat, the smallest effective number
        of draws and exchanged labels. What is doubtful is warned of (SamplingWarning,
        WeakIdentificationWarning) and kept as a note.

    Raises:
        StatesOnlyError: a method or option of fits of states.
        QueryError: an unknown method or option, a number out of range, or logits or rates have no
            prior.
        DataError: the fit holds no table, or weights are no whole numbers.
        RefinementError: a draw is not finite.
    """
    if data is not None:
        raise StatesOnlyError(
            "data= is for fits of states, and this one has numbers; draws are of the table that "
            "the fit holds"
        )
    if isinstance(method, str) and method in OTHERS:
        raise StatesOnlyError(
            f"method={method!r} is for fits of states, and this one has numbers; {OTHERS[method]}"
        )
    if not isinstance(method, str) or method not in REFINE_METHODS:
        raise QueryError(
            f"unknown method {shown(method)} of refine{near_matches(method, ['gibbs'])}; expected "
            "'gibbs'"
        )
    parameters = inspect.signature(gibbs_mixed).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise QueryError(
                f"unknown option {name!r} of method {method!r}{near_matches(name, known)}; its "
                f"options are {sorted(known)}"
            )
    found = gibbs_mixed(fit.mixture, fit.records, fit.prior, **options)
    report = found.assessed(method)
    notes = [
        Note(NoteKind.PRIOR, PRIOR),
        Note(NoteKind.SAMPLING, str(report)),
        *warn_of(remarks(report)),
    ]
    size = f"{report.n_chains} x {report.n_draws}"
    drawn = MixedDraws(found.flat, method, size, report)
    return replace(fit, sampled=drawn, notes=distinct((*fit.notes, *notes)))
