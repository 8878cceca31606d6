"""Rows as a stream: moments by SQL, passes of EM, intervals, checkpoints; held against memory."""

from __future__ import annotations

import warnings

import duckdb
import numpy as np
import pandas as pd
import pytest
import torch

import pyromix as px
from pyromix.data.relation.engines import DuckDBEngine
from pyromix.data.relation.patterns import foresee
from pyromix.data.relation.route import memory_of, read_relation
from pyromix.data.relation.rows import RelationRows
from pyromix.data.relation.table import RelationTable
from pyromix.data.thinning import thinned
from pyromix.errors import DataError, QueryError
from pyromix.estimate.ascent import Options, ascend
from pyromix.estimate.em import fit_em
from pyromix.estimate.sampled import Sample
from pyromix.estimate.starts import batch_of, inside, random_starts
from pyromix.estimate.step import EMMap, Point
from pyromix.estimate.streamed import Place, StreamedMap, climb_stream
from pyromix.exact.rows import CellIndex
from pyromix.model.match import match_sources
from pyromix.model.note import NoteKind
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import numpy_generator

N = 4000
PARENTS = {f"v{i + 1}": [f"v{i}"] for i in range(0, 5, 2)}
SPEC = px.MixtureSpec.from_parents({f"v{i}": (0, 1, 2)[: 2 + i % 2] for i in range(6)}, PARENTS, 2)
TRUTH = px.random_mixture(SPEC, 3, separation=0.3)


def frame_of(n: int, gaps: bool = False) -> pd.DataFrame:
    frame = px.simulate(TRUTH, n, random_state=1).astype(int)
    rng = np.random.default_rng(0)
    if gaps:
        frame = frame.astype("Int64").mask(rng.random(frame.shape) < 0.1)
        frame.loc[:3] = pd.NA
    return frame.assign(w=rng.integers(0, 3, n))


FRAME, GAPS = frame_of(N), frame_of(N, gaps=True)


def relation_of(frame: pd.DataFrame) -> duckdb.DuckDBPyRelation:
    connection = duckdb.connect()
    connection.sql("create table z as from frame")
    return connection.sql("from z")


def rows_of(frame: pd.DataFrame, **options) -> RelationRows:
    from pyromix.data.relation.door import relation_of as looked_at

    table = looked_at(relation_of(frame))
    assert isinstance(table, RelationTable)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, said = read_relation(table, SPEC, memory_limit=1000, **options)
    assert isinstance(found, RelationRows)
    assert "memory_limit" in said
    return found


def counts_of(frame: pd.DataFrame, **options) -> px.Counts:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return px.Counts.from_frame(frame, SPEC, **options).in_rows()


OPTIONS = [
    {},
    {"sample_weight": "w"},
    {"missing": "drop"},
    {"sample_weight": "w", "weights_are": "sampling"},
]


QUESTIONS = [((0, 3), (1,)), ((5,), ()), ((), (2, 4)), ((), ()), ((1, 2, 0), (5, 4))]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_moments_and_reports_by_sql_are_those_of_the_counts(options):
    rows, counts = rows_of(GAPS, **options), counts_of(GAPS, **options)
    assert rows.n_rows == pytest.approx(counts.n_rows, rel=1e-13)
    for name in ("n_rows", "n_dropped_rows", "n_zero_weight_rows", "repairs"):
        assert getattr(rows.report, name) == getattr(counts.report, name)
    for variables, given in (
        ((0, 3), (1,)),
        ((5,), ()),
        ((), (2, 4)),
        ((), ()),
        ((1, 2, 0), (5, 4)),
    ):
        shape = [SPEC.cards[v] for v in given]
        values = torch.cartesian_prod(*(torch.arange(c) for c in shape)) if shape else None
        asked = torch.zeros(1, 0).long() if values is None else values.reshape(-1, len(given))
        if variables:
            found, expected = (d.table(variables, given, asked) for d in (rows, counts))
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
        found, expected = (d.mass(given, asked) for d in (rows, counts))
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)


def test_a_margin_within_a_known_one_takes_no_query(monkeypatch):
    rows = rows_of(FRAME)
    rows.table((0, 1), (2,), torch.tensor([[0]]))
    monkeypatch.setattr(DuckDBEngine, "answer", lambda *_: pytest.fail("a query was made"))
    rows.table((1,), (0,), torch.tensor([[0]]))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_pass_sums_what_a_table_in_memory_sums(options, monkeypatch):
    monkeypatch.setattr("pyromix.data.relation.rows.BATCH", 2048)
    rows, counts = rows_of(GAPS, **options), counts_of(GAPS, **options)
    points = Point.of(random_starts(SPEC, 3, 0))
    none = PseudoCounts.of(SPEC, None)
    found = StreamedMap.of(SPEC, rows.batches, rows.n_rows, none).expected(points)
    expected = EMMap(SPEC, CellIndex(SPEC, counts.rows), counts.weights, none).expected(points)
    for name, value in vars(expected).items():
        torch.testing.assert_close(getattr(found, name), value, rtol=1e-11, atol=1e-9)


class InMemory(StreamedMap):
    """Passes over a table that is held: every other thing as of a stream."""

    @staticmethod
    def over(counts: px.Counts, prior: PseudoCounts) -> StreamedMap:
        blocks = lambda: counts.blocks(range(SPEC.n_variables))  # noqa: E731
        return StreamedMap.of(SPEC, blocks, counts.n_rows, prior)


def steps_to(em: EMMap, point: Point, goal: float) -> int:
    """Steps of plain EM until a point is as likely."""
    for number in range(1, 2000):
        step = em(point)
        if float(step.objective) >= goal:
            return number
        point = step.target
    return number


def test_a_climb_ends_within_a_nat_of_the_optimum_in_far_fewer_passes_than_em():
    counts, none = counts_of(GAPS), PseudoCounts.of(SPEC, None)
    em = InMemory.over(counts, none)
    places: list[Place] = []

    def run(number, compute):
        places.append(compute())
        assert len(places) == number
        return places[-1]

    plain = EMMap(SPEC, CellIndex(SPEC, counts.rows), counts.weights, none)
    sample = Sample.of(SPEC, thinned(counts, 400), none, counts.n_rows)
    shortfalls, passes, steps = [], 0, 0
    for seed in range(4):
        places.clear()
        start = Point.of(random_starts(SPEC, 1, seed))
        found = climb_stream(em, sample, start, run=run, most_passes=200)
        kept = [float(p.known[1].objective) for p in places if p.known is not None]
        assert kept == sorted(kept)
        assert found.log_likelihood == kept[-1]
        assert found.converged
        exact = ascend(plain, start, Options(20000, 1e-12, True, None))
        shortfalls.append(float(exact.step.objective[0]) - found.log_likelihood)
        passes, steps = passes + found.n_iter, steps + steps_to(plain, start, found.log_likelihood)
    assert max(shortfalls) < 2  # another basin, or a stop on the way, is further
    assert passes < 0.4 * steps


@pytest.fixture(scope="module")
def fits():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"n_init": 1, "prior": None}
        return [
            px.fit(SPEC, FRAME.drop(columns="w"), **options),
            px.fit(SPEC, relation_of(FRAME.drop(columns="w")), memory_limit="1KB", **options),
        ]


def test_a_fit_to_a_stream_is_that_to_the_table_intervals_too(fits):
    held, streamed = fits
    assert abs(streamed.log_likelihood - held.log_likelihood) < 0.5
    assert streamed.table is None
    assert str(streamed.course).endswith("sample, stream")
    assert [n for n in streamed.notes if n.kind == NoteKind.ROUTE]
    assert streamed.entropy == pytest.approx(held.entropy, rel=1e-2)
    assert streamed.bic == pytest.approx(held.bic, abs=1.0)
    torch.testing.assert_close(
        streamed.information.values, held.information.values, rtol=0.02, atol=0.5
    )
    ends = [fit.query(["v3"], do={"v2": 1}, require="none").interval() for fit in fits]
    np.testing.assert_allclose(*ends, rtol=0, atol=2e-3)


def test_a_fit_to_a_stream_is_saved_with_its_intervals(fits, tmp_path):
    streamed = fits[1]
    streamed.save(tmp_path / "fit.pyromix")
    again = px.load(tmp_path / "fit.pyromix")
    asked = {"variables": ["v3"], "do": {"v2": 1}, "require": "none"}
    ends = [fit.query(**asked).interval() for fit in (streamed, again)]
    # the basis lies otherwise in memory, which is the last bit of a product
    np.testing.assert_allclose(*ends, rtol=1e-12)
    with pytest.raises(DataError, match="a stream of rows; pass the data"):
        again.bootstrap(n=2)


def test_information_of_parts_of_a_table_adds_up(fits):
    from pyromix.exact.information import information_terms, observed_information

    held = fits[0]
    rows, weights = held.counts.rows, held.counts.weights
    parts = [information_terms(held.mixture, r, w) for r, w in zip(
        rows.split(100), weights.split(100), strict=True)]  # fmt: skip
    total = parts[0]
    for part in parts[1:]:
        total = total.plus(part)
    none = PseudoCounts.of(SPEC, None)
    expected = observed_information(held.mixture, rows, weights, none)
    found = total.information(held.mixture, none)
    torch.testing.assert_close(found.values, expected.values, rtol=1e-9, atol=1e-9)


def test_a_fit_that_a_lost_engine_stops_goes_on_to_the_same_digits(tmp_path, monkeypatch):
    frame = FRAME.drop(columns="w")
    options = {"n_init": 1, "prior": None, "memory_limit": 1000}
    passes: list[int] = []
    batches = DuckDBEngine.batches

    def failing(self, query, n_rows):
        passes.append(1)
        if len(passes) == 5:
            yield next(iter(batches(self, query, n_rows)))
            raise DataError("the engine is gone")
        yield from batches(self, query, n_rows)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # the sample is drawn by the engine: all rows, so that it is the same twice
        path = tmp_path / "fit.checkpoint"
        whole = px.fit(SPEC, relation_of(frame), **options)
        monkeypatch.setattr(DuckDBEngine, "batches", failing)
        with pytest.raises(DataError, match="the engine is gone"):
            px.fit(SPEC, relation_of(frame), checkpoint=path, **options)
        before = len(passes)
        monkeypatch.setattr(RelationRows, "sample", lambda *_: pytest.fail("another sample"))
        found = px.fit(SPEC, relation_of(frame), checkpoint=path, **options)
        assert found.log_likelihood == whole.log_likelihood
        assert torch.equal(found.mixture.weights, whole.mixture.weights)
        assert before == 5
        with pytest.raises(px.FileError, match="another table"):
            px.fit(SPEC, relation_of(frame[1:]), checkpoint=path, **options)


def test_a_table_that_changes_between_two_passes_is_refused():
    connection = duckdb.connect()
    connection.sql("create table z as from FRAME")
    from pyromix.data.relation.door import relation_of as looked_at

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows, _ = read_relation(looked_at(connection.sql("from z")), SPEC, memory_limit=1000)
    for _ in range(2):
        list(rows.batches())
    connection.sql("update z set v0 = 1 - v0 where rowid = 17")
    with pytest.raises(DataError, match="4000 rows where there were 4000, or other cells"):
        list(rows.batches())
    connection.sql("insert into z select * from z limit 1")
    with pytest.raises(DataError, match="found 4001 rows"):
        list(rows.batches())


# -- the route -----------------------------------------------------------------------------------


def test_the_number_of_patterns_is_foreseen_and_bounded():
    generator = torch.Generator().manual_seed(0)
    for power in (0.7, 1.0, 1.5):
        law = torch.arange(1, 200_001, dtype=torch.float64).pow(-power)
        rows = torch.multinomial(law, 400_000, replacement=True, generator=generator)
        true = len(rows.unique())
        found = foresee(rows[:20_000], 400_000)
        assert true <= found.bound
        assert true / 2 < found.expected < 2 * true
        assert foresee(rows, 400_000).expected == true
    once = foresee(torch.arange(1000), 10**6)
    assert once.expected == once.bound == 10**6


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(1e9, 10**9), (5, 5), ("4GB", 4 * 10**9), ("1.5 GiB", 3 * 2**29), ("20 kb", 20_000)],
)
def test_a_memory_limit_is_bytes_or_a_text(limit, expected):
    assert memory_of(limit) == expected


@pytest.mark.parametrize("limit", ["much", "", 0, -1, True, "4 PB", [4]])
def test_a_memory_limit_that_is_none_is_refused(limit):
    with pytest.raises(QueryError, match="memory_limit must be a number of bytes or a text"):
        px.fit(SPEC, FRAME, memory_limit=limit)


def test_few_patterns_are_counted_however_many_rows_there_are():
    table = duckdb.connect().sql(
        "select range % 2 v0, range % 3 v1, 0 v2, 0 v3, 0 v4, 0 v5 from range(50000)"
    )
    from pyromix.data.relation.door import relation_of as looked_at

    found, said = read_relation(looked_at(table), SPEC, memory_limit=10_000)
    assert isinstance(found, px.Counts)
    assert (found.n_patterns, found.n_rows, said) == (6, 50_000, "")


# -- the bootstrap -------------------------------------------------------------------------------


def test_replicates_of_a_stream_spread_as_those_of_the_table(fits):
    """Weights of other generators: spreads of 80 replicates each are told to an eighth."""
    held, streamed = fits
    data = relation_of(FRAME.drop(columns="w"))
    drawn = streamed.bootstrap(data, n=80, memory_limit=1000)
    assert "poisson, 80" in str(drawn.sampled)
    asked = {"variables": ["v3"], "do": {"v2": 1}, "require": "none"}
    ours = drawn.query(**asked)
    theirs = held.bootstrap(n=80, random_state=1).query(**asked)
    np.testing.assert_allclose(ours.standard_error, theirs.standard_error, rtol=0.4)
    np.testing.assert_allclose(ours.interval(), theirs.interval(), rtol=0, atol=0.02)


@pytest.mark.parametrize("kind", ["multinomial", "dirichlet"])
def test_a_replicate_is_the_estimate_of_the_rows_reweighted(fits, kind):
    """The generator of each replicate, run over the rows in their order by hand."""
    streamed = fits[1]
    data = relation_of(FRAME.drop(columns="w"))
    found = streamed.bootstrap(data, n=2, kind=kind, memory_limit=1000, random_state=4).draws
    seed = int(numpy_generator(4).integers(2**62))
    codes = torch.from_numpy(FRAME[list(SPEC.variables)].to_numpy())
    for number in range(2):
        rng = np.random.default_rng([seed, number])
        law = rng.poisson if kind == "multinomial" else rng.standard_gamma
        weights = torch.from_numpy(law(np.ones(N)).astype(float))
        seen = weights > 0
        alone = fit_em(
            px.Counts.from_codes(SPEC, codes[seen], weights[seen]),
            batch_of(inside(streamed.mixture)),
            tol=1e-8,
        ).mixture
        alone = alone.relabel(match_sources(streamed.mixture, alone))
        torch.testing.assert_close(found[number].weights, alone.weights, rtol=0, atol=3e-3)
        ours, theirs = (m.cpts[3] for m in (found[number], alone))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-3)


def test_a_bootstrap_of_a_stream_goes_on_to_the_same_digits(fits, tmp_path, monkeypatch):
    streamed, passes = fits[1], []
    batches = RelationRows.batches

    def failing(self, condition=""):
        passes.append(condition)
        yield from batches(self, condition)
        if len(passes) == 4:
            raise DataError("the engine is gone")

    options = {"n": 3, "memory_limit": 1000, "max_iter": 6}
    data = relation_of(FRAME.drop(columns="w"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = streamed.bootstrap(data, **options).draws
        monkeypatch.setattr(RelationRows, "batches", failing)
        path = tmp_path / "draws.checkpoint"
        with pytest.raises(DataError, match="the engine is gone"):
            streamed.bootstrap(data, checkpoint=path, **options)
        with pytest.raises(DataError, match="came in another order"):
            streamed.bootstrap(data.order("v0, v1, v2"), checkpoint=path, **options)
        found = streamed.bootstrap(data, checkpoint=path, **options).draws
    assert torch.equal(found.weights, whole.weights)
