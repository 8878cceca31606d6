"""Every exception and warning of the library, under one root.

A message has three parts: what was expected, what was found (with names and numbers), what to try.
Witnesses that a program may want (names, sizes, gaps) are attributes of the exception.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from types import CodeType, FrameType
from typing import Any

LONGEST_MESSAGE = 1800
"""Characters of a message: what it repeats of a file or a table may be of any length."""


class PyromixError(Exception):
    """Root of every exception that pyromix raises on purpose.

    It keeps its witnesses when it is pickled, as it is on its way out of a worker process.
    """

    def __str__(self) -> str:
        """The message, without its middle where it repeats much of a file or a table."""
        return _cut(super().__str__())

    def __reduce__(self) -> tuple[Callable[..., PyromixError], tuple[Any, ...]]:
        """Rebuild from text and attributes: ``__init__`` may ask for witnesses by keyword."""
        return _rebuilt, (type(self), self.args, dict(self.__dict__))


class SpecError(PyromixError, ValueError):
    """The graph, a state list, a cardinality or a probability table is not usable."""


class DataError(PyromixError, ValueError):
    """A table of data does not fit the model: column, value, weight or size."""


class NoModelError(DataError, AttributeError):
    """A table is asked for a graph, and knows variables and states only.

    An AttributeError too, so that ``hasattr`` says it has none.
    """


class StateNameError(DataError):
    """A file format cannot hold the name of a state or of a variable."""


class PositivityError(DataError):
    """The question conditions on something of probability zero, or on rows no data reached."""


class FileError(PyromixError, OSError):
    """A path is missing, unreadable, or not in the format it claims."""


class QueryError(PyromixError, ValueError):
    """A query names something unknown, or asks for a contradiction."""


class StatesOnlyError(QueryError, AttributeError):
    """A verb, property or option of fits of states is asked of a fit with numbers.

    An AttributeError too, so that ``hasattr`` says it has none.
    """


class DependentSourceError(QueryError):
    """A question takes the source for a root, and is put to a fit whose source has covariates.

    Attributes:
        covariates: names of what the source depends on.
    """

    def __init__(self, message: str, *, covariates: tuple[str, ...]) -> None:
        super().__init__(message)
        self.covariates = covariates


class PlanError(PyromixError):
    """No plan recovers the mixture of this graph and this number of sources from moments.

    Attributes:
        uncovered: names of the variables whose tables stay unknown.
    """

    def __init__(self, message: str, *, uncovered: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.uncovered = uncovered


class IdentificationError(PyromixError):
    """The moments do not determine the mixture."""


class RankError(IdentificationError):
    """The k-th singular value of a moment matrix lies under the noise floor.

    Attributes:
        singular_values: of the matrix, descending.
        floor: what the k-th had to exceed.
    """

    def __init__(
        self, message: str, *, singular_values: tuple[float, ...] = (), floor: float = 0.0
    ) -> None:
        super().__init__(message)
        self.singular_values = singular_values
        self.floor = floor


class SeparationError(IdentificationError):
    """Sources cannot be told apart: eigenvalues are equal, complex, or outside their range."""


class NotCertifiedError(PyromixError):
    """The certainty of an answer falls short of what the caller required.

    Attributes:
        required: the level asked for.
        found: the level the certificate admits.
    """

    def __init__(self, message: str, *, required: str, found: str) -> None:
        super().__init__(message)
        self.required = required
        self.found = found


class ContractionSizeError(PyromixError, MemoryError):
    """An exact sum would need an intermediate table beyond the memory bound.

    Attributes:
        clique: names of the variables that the largest intermediate table ranges over.
        n_bytes: size of that table.
        limit: the bound, in bytes.
    """

    def __init__(self, message: str, *, clique: tuple[str, ...], n_bytes: int, limit: int) -> None:
        super().__init__(message)
        self.clique = clique
        self.n_bytes = n_bytes
        self.limit = limit


class DimensionLimitError(PyromixError):
    """A Pyro program would need more enumerated sites than tensors have dimensions.

    Attributes:
        n_sites: number of relevant sites.
        limit: how many fit.
    """

    def __init__(self, message: str, *, n_sites: int, limit: int) -> None:
        super().__init__(message)
        self.n_sites = n_sites
        self.limit = limit


class RefinementError(PyromixError):
    """EM (or a later refinement) diverged or left the simplex."""


def _rebuilt(
    kind: type[PyromixError], args: tuple[Any, ...], attributes: Mapping[str, Any]
) -> PyromixError:
    """The error that was pickled, without asking its ``__init__``."""
    base: type = kind
    while base.__module__ != "builtins":
        base = base.__base__ or object  # Python lets no other base make the object
    error = base.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class PyromixWarning(UserWarning):
    """Root of every warning that pyromix gives."""

    def __str__(self) -> str:
        """The message, without its middle where it repeats much of a file or a table."""
        return _cut(super().__str__())


class LostFitWarning(PyromixWarning):
    """Tables of a fit were taken without what the fit knows: certainty, intervals, its table."""


class NumericalWarning(PyromixWarning):
    """A probability table was renormalised or projected by more than rounding explains."""


class DataRepairWarning(PyromixWarning):
    """Rows were dropped or values read differently from how they were given."""


class WeakIdentificationWarning(PyromixWarning):
    """Sources are duplicates of each other, empty, or hardly visible in the data."""


class StartsDisagreeWarning(PyromixWarning):
    """Few starts reached the best likelihood, or the best start was a saddle."""


class ConvergenceWarning(PyromixWarning):
    """The iteration limit was reached before the tolerance."""


class SamplingWarning(PyromixWarning):
    """Draws of a posterior are not yet to be relied on: chains disagree, diverge, or are few."""


class UnmatchedSitesWarning(PyromixWarning):
    """Sites of a Pyro program got no starting value from a fit."""


class UnsupportedRowsWarning(PyromixWarning):
    """An answer uses rows of probability tables that no data reached."""


class AddedSourceWarning(PyromixWarning):
    """The graph named no latent vertex; one that points at every vertex was added."""


WITHIN = ("pyromix", "beartype", "jaxtyping", "functools")
"""Modules, with all below them, whose lines a user did not write; three wrap functions of ours."""


def _cut(text: str) -> str:
    """A text, its middle left out where it is long."""
    if len(text) <= LONGEST_MESSAGE:
        return text
    half = LONGEST_MESSAGE // 2
    return f"{text[:half]} [...] {text[-half:]}"


def warn(message: str, category: type[PyromixWarning]) -> None:
    """Warn at the line that called into the library, however deep the reason was found."""
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and _within(frame.f_globals.get("__name__", ""), frame.f_code):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _within(module: str, code: CodeType) -> bool:
    return module.partition(".")[0] in WITHIN or code.co_filename.startswith("<@beartype")
