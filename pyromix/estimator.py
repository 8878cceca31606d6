"""A pgmpy estimator: ``model.fit(frame, estimator=px.MixtureEstimator(n_sources=2))``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pyromix.api import fit
from pyromix.bridges.pgmpy import parameter_estimator_base
from pyromix.data.weights import COUNTS
from pyromix.errors import SpecError
from pyromix.model.arguments import mapping
from pyromix.model.randomness import RandomState
from pyromix.model.spec import sources_of

DiscreteParameterEstimator = parameter_estimator_base()


def _unlabelled(weights: Any) -> Any:
    """Weights without labels of rows: pgmpy's go by position."""
    return weights if weights is None or isinstance(weights, Tensor) else np.asarray(weights)


class MixtureEstimator(DiscreteParameterEstimator):
    """Fit a network with one latent source and hand its CPDs back to pgmpy.

    Arguments keep pgmpy's and sklearn's names and meaning; ``clone`` and ``get_params`` work.

    Args:
        n_sources: k; or leave it to ``latent_card``.
        latent_card: ``{"U": k}``, as in pgmpy's ``DiscreteEM``.
        state_names: states of variables, the source included, in the order wanted.
        method: as in ``px.fit``.
        n_init: number of random starts, as in ``px.fit``.
        prior: as in ``px.fit``.
        weights_are: ``"counts"`` or ``"sampling"``, as in ``px.fit``.
        missing: ``"mar"``, ``"drop"`` or ``"error"``.
        missing_values: values that stand for a missing cell, as in ``px.fit``.
        max_iter: iteration limit of EM.
        random_state: an integer or a Generator.
        seed: pgmpy's name for ``random_state``; it wins when given.
        device: where to compute.
        show_progress: None shows a bar on a terminal only.

    Attributes:
        parameters_: one TabularCPD per vertex, the source included, in the model's node order.
        state_names_: states of every vertex.
        fit_: the ``MixtureFit``, for queries, effects and scores.
        log_likelihood_: sum over rows, in nats.
        n_iter_: iterations of the best start.
        converged_: whether the tolerance ended them.
    """

    _tags = {  # noqa: RUF012 - skbase reads this name
        "supports_latent_variables": True,
        "supports_weighted_data": True,
    }

    def __init__(
        self,
        n_sources: int | None = None,
        *,
        latent_card: Mapping[str, int] | None = None,
        state_names: Mapping[str, Sequence[Any]] | None = None,
        method: str = "auto",
        n_init: int | None = None,
        prior: str | float | None = "pooled",
        weights_are: str = COUNTS,
        missing: str = "mar",
        missing_values: Any = None,
        max_iter: int = 2000,
        random_state: RandomState = 0,
        seed: int | None = None,
        device: str | None = None,
        show_progress: bool | None = None,
    ) -> None:
        self.n_sources = n_sources
        self.latent_card = latent_card
        self.method = method
        self.n_init = n_init
        self.prior = prior
        self.weights_are = weights_are
        self.missing = missing
        self.missing_values = missing_values
        self.max_iter = max_iter
        self.random_state = random_state
        self.seed = seed
        self.device = device
        self.show_progress = show_progress
        super().__init__(state_names=state_names)

    def fit(self, model: Any, data: Any, sample_weight: Any = None) -> MixtureEstimator:
        """Fit; the latent of the model must be declared, for its CPD has to go somewhere.

        Args:
            model: pgmpy DiscreteBayesianNetwork or DAG with one latent vertex.
            data: a table whose columns are the observed vertices.
            sample_weight: one weight per row.

        Raises:
            SpecError: no latent or several, or k is given twice or not at all.
            DataError: the table does not fit the model.
        """
        latents = sorted(getattr(model, "latents", ()))
        if len(latents) != 1:
            raise SpecError(
                f"MixtureEstimator expects a model with one latent vertex, found {latents}; "
                'declare it: DiscreteBayesianNetwork([("U", "X"), ...], latents={"U"})'
            )
        self.fit_ = fit(
            model,
            data,
            self._number_of_sources(latents[0]),
            method=self.method,
            n_init=self.n_init,
            prior=self.prior,
            sample_weight=_unlabelled(sample_weight),
            weights_are=self.weights_are,
            missing=self.missing,
            missing_values=self.missing_values,
            state_names=self.state_names,
            device=self.device,
            random_state=self.random_state if self.seed is None else self.seed,
            show_progress=self.show_progress,
            max_iter=self.max_iter,
        )
        network = self.fit_.to_pgmpy()
        self.parameters_ = [network.get_cpds(vertex) for vertex in model.nodes()]
        self.state_names_ = network.states
        self.log_likelihood_ = self.fit_.log_likelihood
        self.n_iter_ = self.fit_.n_iter
        self.converged_ = self.fit_.converged
        return self

    def _number_of_sources(self, latent: str) -> int | None:
        card = mapping("latent_card", self.latent_card, "the latent vertex to its states")
        card = {name: sources_of(k) for name, k in card.items()}
        given = None if self.n_sources is None else sources_of(self.n_sources)
        if unknown := [name for name in card if name != latent]:
            raise SpecError(f"latent_card names {unknown}; the latent of the model is {latent!r}")
        if latent in card and given not in (None, card[latent]):
            raise SpecError(f"n_sources={given} and latent_card={card} disagree; give one")
        k = card.get(latent, given)
        if k == 1:
            raise SpecError(
                f"one source leaves nothing latent, but the model keeps {latent!r}; drop that "
                "vertex and use pgmpy's DiscreteMLE, or px.fit(model, data, 1)"
            )
        return k
