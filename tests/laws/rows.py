"""Laws of everything that hands out rows in blocks.

A new kind inherits them all by saying how one is made::

    class TestMyRows(RowsLaws):
        def make(self, spec, seed):
            return MyRows(spec, ...)
"""

from __future__ import annotations

import torch
from helpers import random_spec

from pyromix.data.asking import AskedRows, asked, gathered
from pyromix.data.counts import Counts
from pyromix.data.moments import MomentSource, Rows
from pyromix.identify.views.patterns import all_assignments, patterns_of


def as_dictionary(rows, weights):
    found: dict[tuple[int, ...], float] = {}
    for row, weight in zip(rows.tolist(), weights.tolist(), strict=True):
        found[tuple(row)] = found.get(tuple(row), 0.0) + weight
    return found


def everything(rows: Rows, variables=None):
    """All blocks as one."""
    columns = range(rows.schema.n_variables) if variables is None else variables
    blocks = [(block.long(), weights) for block, weights in rows.blocks(columns)]
    return torch.cat([b for b, _ in blocks]), torch.cat([w for _, w in blocks])


class RowsLaws:
    """What every kind of rows satisfies; ``make`` says how one over a spec is made."""

    def make(self, spec, seed):
        raise NotImplementedError

    def test_it_satisfies_the_protocol(self):
        spec = random_spec(0, 4, 2)
        rows = self.make(spec, 1)
        assert isinstance(rows, Rows)
        assert rows.schema.schema == spec.schema
        assert rows.empty_weight >= 0

    def test_blocks_are_twice_the_same(self):
        rows = self.make(random_spec(0, 4, 2), 1)
        once, again = list(rows.blocks(range(4))), list(rows.blocks(range(4)))
        assert len(once) == len(again) > 0
        for (block, weights), (other, its) in zip(once, again, strict=True):
            assert torch.equal(block, other)
            assert torch.equal(weights, its)

    def test_blocks_hold_states_and_positive_weights(self):
        spec = random_spec(0, 4, 2)
        rows = self.make(spec, 1)
        found, weights = everything(rows)
        assert found.shape == (rows.n_patterns, 4)
        assert weights.shape == (rows.n_patterns,)
        assert weights.dtype == torch.float64
        assert bool((weights > 0).all())
        assert bool(((found >= -1) & (found < torch.tensor(spec.cards))).all())
        assert bool((found >= 0).any(1).all())

    def test_variables_asked_for_are_columns_of_all(self):
        rows = self.make(random_spec(0, 4, 2), 1)
        found, weights = everything(rows)
        for chosen in ([2], [3, 0], [1, 3, 0, 2], []):
            some, its = everything(rows, chosen)
            assert torch.equal(some, found[:, chosen])
            assert torch.equal(its, weights)

    def test_gathering_counts_every_row_once(self):
        rows = self.make(random_spec(0, 4, 2), 1)
        counts = gathered(rows)
        assert as_dictionary(counts.rows, counts.weights) == as_dictionary(*everything(rows))
        assert counts.report.empty_weight == rows.empty_weight
        assert len(counts.rows.unique(dim=0)) == counts.n_patterns

    def test_patterns_are_those_of_the_gathered_table(self):
        spec = random_spec(3, 4, 2)
        rows = self.make(spec, 1)
        if not isinstance(rows, MomentSource):
            return
        counts = gathered(rows)
        for variables, given in (((0, 1), (2,)), ((3, 2, 0), ()), ((1, 0, 3), (2,))):
            every = all_assignments(spec.joint_shape(given))
            one, other = (patterns_of(s, variables, given, every) for s in (rows, counts))
            assert one.cards == other.cards
            torch.testing.assert_close(one.n_rows, other.n_rows, rtol=1e-12, atol=0)
            left, right = (
                as_dictionary(
                    torch.cat([p.strata[:, None, None].expand(*p.blocks.shape, 1),
                               p.rows[p.blocks].long()], -1).flatten(0, 1),
                    p.weights.flatten(),
                )
                for p in (one, other)
            )  # fmt: skip
            left, right = ({k: v for k, v in d.items() if v} for d in (left, right))
            assert left.keys() == right.keys()
            assert all(abs(left[k] - right[k]) < 1e-12 for k in left)

    def test_a_schema_may_ask_for_the_patterns_in_memory(self):
        rows = self.make(random_spec(0, 4, 2), 1)
        if not isinstance(rows, MomentSource):
            return
        turned = rows.schema.schema.ordered(rows.schema.variables[::-1])
        counts = asked(rows, turned).as_counts()
        assert counts.schema == turned
        assert as_dictionary(counts.rows.flip(1), counts.weights) == as_dictionary(
            *everything(gathered(rows))
        )

    def test_another_numbering_permutes_columns_block_by_block(self):
        spec = random_spec(0, 4, 2)
        rows = self.make(spec, 1)
        moments = rows if isinstance(rows, MomentSource) else gathered(rows)
        turned = spec.schema.ordered(reversed(spec.variables))
        view = asked(moments, turned)
        assert isinstance(view, AskedRows)
        found, weights = everything(view)
        mine, its = everything(moments)
        assert torch.equal(found, mine.flip(1))
        assert torch.equal(weights, its)
        assert isinstance(gathered(view), Counts)
