"""Views, boundaries, products, and one's own way: one protocol, one suite of laws."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import pyromix as px
from pyromix.errors import IdentificationError, PlanError
from pyromix.identify.identifiers import Boundaries, Products, Views, chosen_by_graph
from pyromix.identify.stage import MomentStage, MomentStart
from pyromix.model.note import Note, NoteKind
from pyromix.model.status import Status
from tests.laws.identifiers import IdentifierLaws

BINARY = (0, 1)


def spec_of(n: int, edges: list[tuple[int, int]], k: int = 2) -> px.MixtureSpec:
    names = [f"V{i}" for i in range(n)]
    parents: dict[str, list[str]] = {name: [] for name in names}
    for a, b in edges:
        parents[names[b]].append(names[a])
    return px.MixtureSpec.from_parents(dict.fromkeys(names, BINARY), parents, k)


def chain(n: int) -> px.MixtureSpec:
    return spec_of(n, [(i, i + 1) for i in range(n - 1)])


class TestViews(IdentifierLaws):
    refused = spec_of(3, [(0, 1), (1, 2)])

    def make(self):
        return Views()

    def truths(self):
        for seed in range(3):
            yield px.random_mixture(chain(6), seed, separation=0.5)


class TestProducts(IdentifierLaws):
    def make(self):
        return Products()

    def truths(self):
        for seed in range(3):
            yield px.random_mixture(spec_of(5, []), seed, separation=0.5)


class TestBoundaries(IdentifierLaws):
    refused = spec_of(3, [(0, 1), (1, 2)])

    def make(self):
        return Boundaries()

    def truths(self):
        yield px.random_mixture(chain(9), 1, separation=0.5)


@dataclass(frozen=True)
class ThreeBinaryItems:
    """Somebody's own way: the closed form of two sources and three binary items.

    With m_i = P(A_i = 1), covariances c_ij and the third central moment t, the two values of item
    i differ by d_i = sqrt(t^2 + 4 c_12 c_13 c_23) / c_jk, and P(U = 0) follows from t.
    """

    name: str = "three binary items"

    def plan(self, spec: px.MixtureSpec) -> tuple[int, int, int]:
        if any(spec.parents) or spec.cards != (2, 2, 2) or spec.n_sources != 2:
            raise PlanError("expected three binary items without edges and two sources")
        return 0, 1, 2

    def solve(self, moments, plan, random_state=0, *, strict=False):
        nothing = torch.zeros(1, 0, dtype=torch.int64)
        table = moments.table(plan, (), nothing)[0].numpy()
        x = np.array([[0, 1]] * 3)
        m = np.array([table.sum(tuple(j for j in range(3) if j != i))[1] for i in range(3)])

        def central(*which: int) -> float:
            total = 0.0
            for cell in np.ndindex(2, 2, 2):
                total += table[cell] * math.prod(x[i, cell[i]] - m[i] for i in which)
            return total

        c01, c02, c12, t = central(0, 1), central(0, 2), central(1, 2), central(0, 1, 2)
        square = t * t + 4 * c01 * c02 * c12
        if not square > 0:
            if strict:
                raise IdentificationError("the items show no second source")
            note = Note(NoteKind.UNSOLVED, "the items show no second source")
            return MomentStart(None, MomentStage(Status.RANK_TOO_SMALL, math.nan, (), (note,)))
        root = math.sqrt(square)
        d = np.array([root / c12, root / c02, root / c01])
        w = (1 - t / root) / 2  # of the source with the larger values
        values = np.stack([m - w * d, m + (1 - w) * d])
        weights = torch.tensor([1 - w, w])
        cpts = tuple(torch.tensor(np.stack([1 - values[:, i], values[:, i]], -1)) for i in range(3))
        mixture = px.BayesNetMixture(moments.spec, weights, cpts)
        return MomentStart(mixture, MomentStage(Status.OK, math.nan, ()))


class TestThreeBinaryItems(IdentifierLaws):
    refused = spec_of(4, [])

    def make(self):
        return ThreeBinaryItems()

    def truths(self):
        for seed in range(4):
            yield px.random_mixture(spec_of(3, []), seed, separation=0.3)


def test_ones_own_way_starts_em_on_a_table(tmp_path):
    truth = px.random_mixture(spec_of(3, []), 1, separation=0.6)
    frame = px.simulate(truth, 3_000, random_state=0)
    fit = px.fit(truth.spec, frame, method=ThreeBinaryItems(), prior=None)
    assert fit.course.asked == "three binary items"
    assert fit.course.ran == ("moments", "em")
    assert fit.log_likelihood >= fit.log_likelihood_moments - 1e-6
    fit.save(tmp_path / "own.pyromix")
    assert px.load(tmp_path / "own.pyromix").course == fit.course


def test_the_graph_chooses_products_or_views():
    assert isinstance(chosen_by_graph(spec_of(4, [])), Products)
    assert isinstance(chosen_by_graph(chain(5)), Views)
    assert isinstance(chosen_by_graph(chain(5).with_n_sources(1)), Products)


def test_a_method_that_is_neither_name_nor_identifier_is_refused():
    truth = px.random_mixture(spec_of(3, []), 0)
    with pytest.raises(px.QueryError, match="method must be one of"):
        px.fit(truth.spec, px.population(truth), method="veiws")
