"""The observed information of large models: solved with, never formed.

Per row of a CPT complete rows have the information ``n (diag(p) - p p')``. In coordinates in which
that is one, the observed information has eigenvalues between 0 and 1: what is left of it with U and
missing cells unseen, one minus the rate of EM. Conjugate gradients (``solving``) take some tens of
steps there, each a product (``curvature``) at the price of a few E-steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyromix.errors import SpecError
from pyromix.exact import linalg
from pyromix.exact.curvature import Curvature
from pyromix.exact.information import HIDDEN, LOOSE, SEEN, of_probabilities
from pyromix.exact.labelled import law_of
from pyromix.exact.solving import solve
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.spec import SOURCE
from pyromix.model.status import refuse

FAINT = 1e-2
"""Expected rows behind a direction of a CPT row below which a cell is on its way to zero."""

NEGLIGIBLE = 1e-3
"""Share of a variance that directions on their way to zero may have and be taken as seen."""

MAX_QUADRATURE = 24
"""Solutions at most for the share of loose directions, where it might matter."""

SETTLED = 0.02
"""Width of the bounds on that share within which it is told."""

KEPT = 64
"""Solutions that are kept: an answer, its differences and its checks ask for the same ones."""


@dataclass(frozen=True, eq=False)
class ImplicitInformation:
    """Observed information at an estimate, with pseudo-counts, as ``Information`` but not formed.

    Attributes:
        curvature: its products with vectors.
        known: solutions and variances found so far, by gradient.
    """

    curvature: Curvature
    known: dict[bytes, tuple[Tensor, float]] = field(default_factory=dict)

    @property
    def mixture(self) -> BayesNetMixture:
        """The estimate."""
        return self.curvature.mixture

    def solve(self, gradients: Float[Tensor, "n p"]) -> Float[Tensor, "n p"]:
        """The inverse times gradients, as far as steps went where they did not converge."""
        return torch.stack([x for x, _ in self._solved(gradients)])

    def variances(self, gradients: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
        """Variance of functions by the delta method.

        Args:
            gradients: of each function in the log-odds.

        Returns:
            Infinite where a function moves in a direction that nothing is known of, and where the
            steps do not converge: it then moves in one that hardly anything is known of.
        """
        return gradients.new_tensor([variance for _, variance in self._solved(gradients)])

    def loose_shares(self, gradients: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
        """Share of each variance from directions that the rows hardly determine.

        Let nu be how the variance is distributed over the principal axes of the covariance of the
        free probabilities (``Information.loose_shares``), by the variance of each. Its mean is the
        squared length of the change of all probabilities along the answer's direction, one standard
        error long; by Markov's inequality the share beyond ``LOOSE`` is at most that over LOOSE^2.
        This bound is returned where it is below a half. Elsewhere Gauss' quadrature takes steps of
        Lanczos with the covariance, a solution each, until the inequalities of Chebyshev, Markov
        and Stieltjes leave a width of ``SETTLED``, or after ``MAX_QUADRATURE``; the upper bound is
        returned.

        Args:
            gradients: of each function in the log-odds.

        Returns:
            One where a variance is infinite.
        """
        shares = []
        for gradient, (x, variance) in zip(gradients, self._solved(gradients), strict=True):
            if not 0 < variance < math.inf:
                shares.append(1.0 if variance else 0.0)
                continue
            moved = of_probabilities(self.mixture, x[:, None])
            most = float(moved.square().sum()) / variance / LOOSE**2
            shares.append(most if most < 0.5 else self._by_quadrature(gradient, x, variance))
        return gradients.new_tensor(shares)

    def _by_quadrature(
        self, gradient: Float[Tensor, " p"], x: Float[Tensor, " p"], variance: float
    ) -> float:
        """Lanczos in the inner product of the information, which it sees through solutions.

        The covariance of the probabilities is P I^-1 P, symmetric P: I^-1 P^2 has its eigenvalues.
        """
        scale = variance**-0.5
        vectors, images = [x * scale], [gradient * scale]
        diagonal, beside, most = [], [], 1.0
        for _ in range(MAX_QUADRATURE):
            moved = of_probabilities(self.mixture, vectors[-1][:, None])
            diagonal.append(float(moved.square().sum()))
            least, most = _beyond(diagonal, beside, LOOSE**2)
            if most - least < SETTLED:
                break
            image = of_probabilities(self.mixture, moved)[:, 0]
            vector = self._solutions(image[None])[0][0]
            # Against all before, twice: rounding would bring them back.
            for _ in range(2):
                for old, its_image in zip(vectors, images, strict=True):
                    part = vector @ its_image
                    vector, image = vector - part * old, image - part * its_image
            length = float(vector @ image)
            if not length > 1e-12 * diagonal[0] ** 2:  # no more axes in sight: the nodes are exact
                return _share(diagonal, beside, LOOSE**2)
            beside.append(length**0.5)
            vectors.append(vector / beside[-1])
            images.append(image / beside[-1])
        return most

    # -- solutions -------------------------------------------------------------------------------

    @cached_property
    def _coordinates(self) -> RowCoordinates:
        return RowCoordinates.of(self.curvature, SEEN)

    @cached_property
    def _inner(self) -> RowCoordinates:
        """Without cells on their way to zero, where an unfinished climb may be bent upwards."""
        return RowCoordinates.of(self.curvature, FAINT)

    def _solved(self, gradients: Float[Tensor, "n p"]) -> list[tuple[Tensor, float]]:
        """Solutions and variances, each found once."""
        keys = [row.cpu().numpy().tobytes() for row in gradients]
        new = {key: i for i, key in enumerate(keys) if key not in self.known}
        if new:
            found = self._solutions(gradients[list(new.values())])
            spare = [key for key in self.known if key not in keys]
            for key in spare[: max(0, len(self.known) + len(new) - KEPT)]:
                del self.known[key]
            self.known.update(zip(new, found, strict=True))
        return [self.known[key] for key in keys]

    def _solutions(self, gradients: Float[Tensor, "n p"]) -> list[tuple[Tensor, float]]:
        """Solutions and variances; once more, without cells near zero, where A was flat."""
        found, flat = self._within(self._coordinates, gradients)
        if bool(flat.any()):
            again, _ = self._within(self._inner, gradients[flat])
            for i, one in zip(flat.nonzero().flatten().tolist(), again, strict=True):
                found[i] = one
        return found

    def _within(
        self, rows: RowCoordinates, gradients: Float[Tensor, "n p"]
    ) -> tuple[list[tuple[Tensor, float]], Tensor]:
        right = rows.back(gradients)
        solved = solve(lambda y: rows.back(self.curvature(rows.out(y))), right)
        variances = (right * solved.solutions).sum(-1)
        unseen, faint = rows.left_out(gradients)
        lost = (unseen > HIDDEN * gradients.square().sum(-1)) | (faint > NEGLIGIBLE * variances)
        known = solved.converged & ~lost
        variances = torch.where(known, variances + faint, torch.inf)
        pairs = zip(rows.out(solved.solutions), variances.tolist(), strict=True)
        return list(pairs), solved.flat


def _nodes(diagonal: list[float], beside: list[float]) -> tuple[Tensor, Tensor]:
    """Nodes, ascending, and weights of Gauss' quadrature, from Lanczos' tridiagonal matrix."""
    above = torch.tensor(beside[: len(diagonal) - 1], dtype=torch.float64)
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    found = linalg.eigh(matrix + torch.diag(above, 1) + torch.diag(above, -1))
    return found.values, found.vectors[0].square()


def _share(diagonal: list[float], beside: list[float], limit: float) -> float:
    """Weight of nodes beyond a limit."""
    nodes, weights = _nodes(diagonal, beside)
    return float(weights[nodes > limit].sum())


def _beyond(diagonal: list[float], beside: list[float], limit: float) -> tuple[float, float]:
    """Bounds on how much of a distribution lies beyond a limit: a node on either side is open."""
    nodes, weights = _nodes(diagonal, beside)
    first = int((nodes <= limit).sum())
    return float(weights[first + 1 :].sum()), float(weights[max(first - 1, 0) :].sum())


@dataclass(frozen=True, eq=False)
class _Rows:
    """All CPT rows with equally many states.

    Attributes:
        places: positions of their parameters.
        vectors: eigenvectors of the information of complete rows, as columns.
        values: its eigenvalues.
    """

    places: Int[Tensor, "rows free"]
    vectors: Float[Tensor, "rows free free"]
    values: Float[Tensor, "rows free"]


@dataclass(frozen=True, eq=False)
class RowCoordinates:
    """Per CPT row the eigenvectors of the information of complete rows, scaled to one.

    Attributes:
        groups: the rows.
        least: information, in rows, from which on a direction is one of the coordinates.
    """

    groups: tuple[_Rows, ...]
    least: float

    @staticmethod
    def of(curvature: Curvature, least: float) -> RowCoordinates:
        """Coordinates at an estimate.

        Raises:
            SpecError: a table or a weight is not finite.
        """
        mixture, axis = curvature.mixture, curvature.axis
        spec, cells = mixture.spec, curvature.index.axis
        sources, masses = curvature.masses
        found: dict[int, list[tuple[Tensor, Tensor]]] = {}
        behind = [sources.reshape(1, 1), *(m[..., 0] for m in cells.unstack(masses))]
        learned = (0.0, *curvature.learned)
        tables = (mixture.weights[None], *mixture.cpts)
        for v, (table, mass) in enumerate(zip(tables, behind, strict=True), SOURCE):
            if spec.card(v) == 1:  # nothing moves
                continue
            if v in spec.uninfluenced:
                table, mass = table[:1], mass.sum(0)
            law = law_of(table).flatten(0, 1) * (mass.flatten() + learned[v + 1])[:, None, None]
            part, free = axis.block(v), spec.card(v) - 1
            numbers = torch.arange(part.start, part.stop, device=law.device).view(-1, free)
            found.setdefault(free, []).append((numbers, law))
        groups = []
        for parts in found.values():
            places, laws = (torch.cat(column) for column in zip(*parts, strict=True))
            eigen = linalg.eigh(laws)
            refuse(
                eigen.status.max(),
                SpecError,
                "rows of tables whose information has eigenvalues, for standard errors",
                "look for nan in the tables of the estimate and in the weights of the rows",
            )
            groups.append(_Rows(places, eigen.vectors, eigen.values))
        return RowCoordinates(tuple(groups), least)

    @cached_property
    def _scaled(self) -> tuple[Float[Tensor, "rows free free"], ...]:
        return tuple(
            g.vectors * torch.where(g.values < self.least, torch.inf, g.values).rsqrt()[:, None]
            for g in self.groups
        )

    def out(self, points: Float[Tensor, "n p"]) -> Float[Tensor, "n p"]:
        """Log-odds of points in these coordinates."""
        return self._times(points, "rij,nrj->nri")

    def back(self, gradients: Float[Tensor, "n p"]) -> Float[Tensor, "n p"]:
        """Gradients in these coordinates; zero in those left out."""
        return self._times(gradients, "rij,nri->nrj")

    def left_out(self, gradients: Float[Tensor, "n p"]) -> tuple[Tensor, Tensor]:
        """Squared part of gradients along which nothing is known; variance of the rest left out.

        The variance is that with U seen, of directions with less information than ``least``.
        """
        unseen = torch.zeros_like(gradients[:, 0])
        faint = unseen.clone()
        for g in self.groups:
            parts = torch.einsum("rij,nri->nrj", g.vectors, gradients[:, g.places]).square()
            nothing = g.values < SEEN
            some = ~nothing & (g.values < self.least)
            unseen += parts[:, nothing].sum(-1)
            faint += (parts[:, some] / g.values[some]).sum(-1)
        return unseen, faint

    def _times(self, rows: Float[Tensor, "n p"], equation: str) -> Float[Tensor, "n p"]:
        found = torch.empty_like(rows)
        for group, block in zip(self.groups, self._scaled, strict=True):
            found[:, group.places] = torch.einsum(equation, block, rows[:, group.places])
        return found
