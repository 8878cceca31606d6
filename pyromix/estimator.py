"""One estimator for two doors: pgmpy's ``model.fit(frame, estimator=...)``, and sklearn's tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
from sklearn.exceptions import NotFittedError
from torch import Tensor

from pyromix.api import MixtureFit
from pyromix.bridges.pgmpy import parameter_estimator_base
from pyromix.data.frames import to_pandas
from pyromix.data.weights import COUNTS
from pyromix.errors import DataError, QueryError, SpecError
from pyromix.fitting import engine
from pyromix.model.arguments import mapping
from pyromix.model.randomness import RandomState
from pyromix.model.spec import sources_of

if TYPE_CHECKING:
    from sklearn.utils import Tags

DiscreteParameterEstimator = parameter_estimator_base()


def _unlabelled(weights: Any) -> Any:
    """Weights without labels of rows: pgmpy's go by position."""
    return weights if weights is None or isinstance(weights, Tensor) else np.asarray(weights)


def _named(table: Any) -> Any:
    """A table whose columns have names: those of an array are x0, x1, ..., as sklearn has them.

    Raises:
        DataError: it is sparse.
    """
    if hasattr(table, "toarray"):
        raise DataError(
            f"expected a dense table, found a sparse {type(table).__name__}; pass X.toarray()"
        )
    if isinstance(table, np.ndarray) and table.ndim == 2:
        return to_pandas({f"x{i}": column for i, column in enumerate(table.T)})
    return table


class UnfittedError(QueryError, NotFittedError):
    """An estimator was asked before it was fitted; sklearn's name for it, too."""


class MixtureEstimator(DiscreteParameterEstimator):
    """Fit a network with one latent source, for pgmpy or for sklearn.

    For pgmpy, ``model.fit(frame, estimator=px.MixtureEstimator(n_sources=2))`` fills every CPD. For
    sklearn the graph is an argument, ``px.MixtureEstimator(2, model=graph).fit(frame)``, latent
    classes without one; ``score`` is the mean log-likelihood of held-out rows, so that
    ``GridSearchCV`` and ``cross_val_score`` choose k, graph or prior by it. Tables are frames of
    states; of a fold without a rare state, the states of a Categorical column are still known.
    Arguments keep pgmpy's and sklearn's names and meaning; ``clone`` and ``get_params`` work.

    Args:
        n_sources: k; or leave it to ``latent_card``.
        model: the graph where ``fit`` is given a table alone, as in ``px.fit``; None for variables
            without edges, as in ``px.fit_product``.
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
        feature_names_in_: the variables.
        n_features_in_: how many.
        classes_: states of the source.
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
        model: Any = None,
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
        self.model = model
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

    def fit(
        self, model: Any, data: Any = None, sample_weight: Any = None, y: Any = None
    ) -> MixtureEstimator:
        """Fit; ``fit(model, data)`` as pgmpy calls it, or ``fit(data)`` as sklearn does.

        As pgmpy calls it, the latent of the model must be declared, for its CPD has to go
        somewhere.

        Args:
            model: pgmpy DiscreteBayesianNetwork or DAG with one latent vertex; or the table.
            data: a table whose columns are the observed vertices; in sklearn's place for ``y``,
                which is ignored.
            sample_weight: one weight per row.
            y: ignored.

        Raises:
            SpecError: no latent or several, or k is given twice or not at all.
            DataError: the table does not fit the model.
        """
        if not isinstance(model, nx.DiGraph):
            return self._fitted(_named(model), self.model, self._given(), sample_weight)
        latents = sorted(getattr(model, "latents", ()))
        if len(latents) != 1:
            raise SpecError(
                f"MixtureEstimator expects a model with one latent vertex, found {latents}; "
                'declare it: DiscreteBayesianNetwork([("U", "X"), ...], latents={"U"})'
            )
        self._fitted(data, model, self._number_of_sources(latents[0]), sample_weight)
        network = self.fit_.to_pgmpy()
        self.parameters_ = [network.get_cpds(vertex) for vertex in model.nodes()]
        return self

    def _fitted(
        self, data: Any, model: Any, n_sources: int | None, sample_weight: Any
    ) -> MixtureEstimator:
        """Fit one table to one graph, and keep what it found."""
        options = {
            "method": self.method,
            "n_init": self.n_init,
            "prior": self.prior,
            "sample_weight": _unlabelled(sample_weight),
            "weights_are": self.weights_are,
            "missing": self.missing,
            "missing_values": self.missing_values,
            "state_names": self.state_names,
            "device": self.device,
            "random_state": self.random_state if self.seed is None else self.seed,
            "show_progress": self.show_progress,
            "max_iter": self.max_iter,
        }
        if model is None:
            self.fit_ = MixtureFit.of(engine.fit_product(data, sources_of(n_sources), **options))
        else:
            self.fit_ = MixtureFit.of(engine.fit(model, data, n_sources, **options))
        spec = self.fit_.spec
        self.state_names_ = {
            spec.name(v): list(spec.states_of(v)) for v in range(-1, spec.n_variables)
        }
        self.feature_names_in_ = np.asarray(spec.variables, dtype=object)
        self.n_features_in_ = spec.n_variables
        self.classes_ = np.asarray(spec.source_states)
        self.log_likelihood_ = self.fit_.log_likelihood
        self.n_iter_ = self.fit_.n_iter
        self.converged_ = self.fit_.converged
        return self

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:  # noqa: N803
        """Return the mean log-likelihood per row, in nats; more is better.

        Args:
            X: a table with the variables.
            y: ignored.
            sample_weight: one weight per row.

        Raises:
            QueryError: nothing was fitted.
            DataError: a column is missing, or a value is no state.
        """
        return self._found().score(_named(X), _unlabelled(sample_weight))

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return P(U | row), ``(rows, k)``, columns as in ``classes_``; as ``score``."""
        return self._found().predict_proba(_named(X)).to_numpy()

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the most probable source of every row, ``(rows,)``; as ``score``."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def _found(self) -> MixtureFit:
        if not hasattr(self, "fit_"):
            raise UnfittedError("this MixtureEstimator is not fitted yet; call fit first")
        return self.fit_

    def __sklearn_tags__(self) -> Tags:
        """What sklearn asks: a density of categorical columns, missing cells allowed."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type="density_estimator",
            target_tags=TargetTags(required=False),
            input_tags=InputTags(categorical=True, string=True, allow_nan=True),
            no_validation=True,
        )

    def __sklearn_is_fitted__(self) -> bool:
        """Whether ``fit`` has been called."""
        return hasattr(self, "fit_")

    def _given(self) -> int | None:
        """K as it was given, by either name, where the graph does not name the latent."""
        cards = mapping("latent_card", self.latent_card, "the latent vertex to its states")
        if len(cards) > 1 or (cards and self.n_sources not in (None, *cards.values())):
            raise SpecError(
                f"n_sources={self.n_sources} and latent_card={cards} disagree; give one"
            )
        return next(iter(cards.values()), self.n_sources)

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
