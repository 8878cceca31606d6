"""Many graphs ask one table; every door takes whatever answers moments or hands out rows."""

from __future__ import annotations

import itertools
import math
import warnings

import pytest
import torch
from laws.sources import AnsweringShards, CellDatabase, DenseTable, Shards
from network_cases import rows_of

import pyromix as px
from pyromix.data import counts as counts_module
from pyromix.data.asking import asked, gathered
from pyromix.identify.network.ranks import network_rank
from pyromix.identify.network.solver import identify_network
from pyromix.identify.product.solver import identify_product
from pyromix.identify.start import start_from_moments

N = 7
NAMES = [f"V{v}" for v in range(N)]


def chain(names, k=2):
    """A path through the names in this order."""
    parents = {b: [a] for a, b in itertools.pairwise(names)}
    return px.MixtureSpec.from_parents(dict.fromkeys(names, (0, 1, 2)), parents, k)


@pytest.fixture(scope="module")
def truth():
    return px.random_mixture(chain(NAMES), 3, separation=0.5)


@pytest.fixture(scope="module")
def table(truth):
    """Counts that know variables and states only, in an order that no graph here has."""
    counts = rows_of(truth, 20_000)
    schema = counts.schema.ordered([NAMES[i] for i in (4, 0, 6, 2, 5, 1, 3)])
    return counts.with_spec(schema)


GRAPHS = {
    "path": chain(NAMES),
    "reversed": chain(NAMES[::-1]),
    "no edges": px.MixtureSpec.from_parents(dict.fromkeys(NAMES, (0, 1, 2)), {}, 2),
    "more sources": chain(NAMES, 3),
}


def same(left, right, tolerance=1e-12):
    torch.testing.assert_close(left.weights, right.weights, rtol=0, atol=tolerance)
    for one, other in zip(left.cpts, right.cpts, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


# -- a table knows a schema --------------------------------------------------------------------


def test_a_table_knows_variables_and_states_only(table, truth):
    assert type(table.schema) is px.Schema
    assert table.schema == truth.spec.schema.ordered(table.schema.variables)
    assert not hasattr(table, "spec")
    with pytest.raises(px.NoModelError, match="pass a MixtureSpec"):
        _ = table.spec


def test_a_table_counted_for_a_model_remembers_it(truth):
    counts = rows_of(truth, 100)
    assert counts.spec is truth.spec
    assert type(counts.schema) is px.Schema
    again = px.Counts(counts.spec, counts.rows, counts.weights, counts.report)
    assert again.spec is truth.spec
    assert counts.merge(counts).spec is truth.spec
    assert counts.with_spec(truth.spec.schema).counted_for is None


def test_a_spec_is_a_schema_and_has_one(truth):
    spec = truth.spec
    assert isinstance(spec, px.Schema)
    assert spec.schema == px.Schema(spec.variables, spec.states) == spec.schema.schema
    assert hash(spec.schema) == hash(px.Schema(spec.variables, spec.states))
    assert spec.schema == px.Schema.from_states(dict(zip(spec.variables, spec.states, strict=True)))
    assert spec != spec.schema
    with pytest.raises(px.QueryError, match="found -1"):
        spec.schema.name(-1)


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_graphs_of_any_order_share_the_storage_of_one_table(table, graph):
    view = asked(table, graph)
    assert view.data is table
    assert view.data.rows.data_ptr() == table.rows.data_ptr()
    (block, weights), *_ = asked(table, table.schema).blocks(range(N))
    assert block.data_ptr() == table.rows.data_ptr()
    assert weights.data_ptr() == table.weights.data_ptr()


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_graphs_of_any_order_get_the_answers_of_a_table_in_theirs(table, graph):
    own = table.with_spec(graph)
    same(start(table, graph), start(own, graph))
    one = network_rank(asked(table, graph), random_state=0)
    other = network_rank(own, random_state=0)
    assert [r.p_values for r in one] == [r.p_values for r in other]


def start(data, spec):
    found = start_from_moments(data, 0, spec=spec)
    return found.mixture


@pytest.mark.parametrize("method", ["auto", "moments", "em"])
def test_a_fit_to_a_table_of_another_order_is_the_same(table, truth, method):
    spec = truth.spec
    fits = [
        px.fit(spec, data, method=method, n_init=2, prior=1.0)
        for data in (table, table.with_spec(spec))
    ]
    same(fits[0].mixture, fits[1].mixture)
    assert fits[0].log_likelihood == pytest.approx(fits[1].log_likelihood, rel=1e-12)
    assert fits[0].counts.spec == spec


def test_identifiers_take_the_graph_they_are_given(table, truth):
    with pytest.raises(px.NoModelError, match="pass the MixtureSpec"):
        identify_network(table)
    found = identify_network(table, truth.spec)
    assert found.mixture.spec is truth.spec
    assert identify_product(table, 2).weights.shape == (2,)


# -- rows in many blocks -----------------------------------------------------------------------


def test_a_table_in_many_blocks_gives_the_same_answers(table, truth, monkeypatch):
    whole = [start(table, graph) for graph in GRAPHS.values()]
    monkeypatch.setattr(counts_module, "BLOCK", 500)
    assert len(list(table.blocks([0]))) > 2
    for graph, expected in zip(GRAPHS.values(), whole, strict=True):
        same(start(table, graph), expected, 1e-9)


def shards_of(counts, kind=Shards):
    every = counts.expand().long()
    return kind(counts.schema, lambda: iter(every.split(3000)))


@pytest.mark.parametrize("kind", [Shards, AnsweringShards])
@pytest.mark.parametrize("method", ["moments", "auto"])
def test_a_fit_to_shards_is_the_fit_to_their_table(truth, kind, method):
    counts = rows_of(truth, 20_000)
    fits = [
        px.fit(truth.spec, data, method=method, n_init=2, prior=1.0)
        for data in (shards_of(counts, kind), counts)
    ]
    same(fits[0].mixture, fits[1].mixture, 1e-7)
    assert fits[0].counts.same_rows(counts)
    assert fits[0].bic == pytest.approx(fits[1].bic, rel=1e-9)


def test_shards_are_scored_and_checked_like_their_table(truth):
    counts = rows_of(truth, 3000)
    fit = px.fit(truth.spec, counts, n_init=1, prior=1.0)
    assert fit.score(shards_of(counts)) == pytest.approx(fit.score(counts), rel=1e-12)
    assert str(px.check(truth.spec, data=shards_of(counts))) == str(
        px.check(truth.spec, data=counts)
    )


def test_no_rows_in_any_shard_are_said(truth):
    with pytest.raises(px.DataError, match="none in any block of a Shards"):
        gathered(Shards(truth.spec.schema, lambda: iter(())))


# -- moments without rows ----------------------------------------------------------------------


class Bare:
    """Exactly what px.MomentSource lists, and the model."""

    def __init__(self, moments, spec):
        self.spec, self.n_rows = spec, moments.n_rows
        self.table, self.mass = moments.table, moments.mass


def exact_moments(truth):
    return {
        "dense": DenseTable(truth.spec, truth.joint_table().numpy()),
        "bare": Bare(px.population(truth), truth.spec),
    }


@pytest.mark.parametrize("name", ["dense", "bare"])
@pytest.mark.parametrize("method", ["auto", "moments"])
def test_exact_moments_of_ones_own_are_fitted_as_a_population(truth, name, method):
    moments = exact_moments(truth)[name]
    assert isinstance(moments, px.MomentSource)
    fit = px.fit(truth.spec, moments, method=method)
    same(fit.mixture, px.fit(truth.spec, px.population(truth), method=method).mixture, 1e-9)
    same(fit.mixture.relabel(px.match_sources(truth, fit.mixture)), truth, 1e-6)
    assert fit.exact
    assert fit.diagnostics.method.endswith("moments")


@pytest.mark.parametrize("graph", ["path", "no edges"])
def test_moments_of_a_sample_are_fitted_as_its_table(truth, graph):
    counts, spec = rows_of(truth, 20_000), GRAPHS[graph]
    if graph == "no edges":
        counts = rows_of(px.random_mixture(spec, 1, separation=0.5), 20_000)
    base = CellDatabase(counts.schema, counts.rows, counts.weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = px.fit(spec, base)
    assert fit.diagnostics.method == "auto: moments"
    assert any("moments only" in note for note in fit.diagnostics.notes)
    solved = identify_network(base, spec) if graph == "path" else identify_product(base, 2)
    weights = (solved.mixture if graph == "path" else solved).weights.sort(descending=True).values
    torch.testing.assert_close(fit.mixture.weights, weights, rtol=0, atol=1e-3)
    assert fit.n_rows == counts.n_rows


def test_what_needs_rows_is_left_out_and_said(truth, tmp_path):
    counts = rows_of(truth, 20_000)
    fit = px.fit(truth.spec, CellDatabase(counts.schema, counts.rows, counts.weights))
    for figure in (fit.log_likelihood, fit.aic, fit.bic, fit.icl, fit.entropy):
        assert math.isnan(figure)
    for verb in (fit.bootstrap, fit.predictive_check, lambda: fit.refine(method="em")):
        with pytest.raises(px.DataError, match="no table"):
            verb()
    assert str(fit)
    assert fit.summary()
    assert fit.report()
    fit.save(tmp_path / "fit.pyromix")
    same(px.load(tmp_path / "fit.pyromix").mixture, fit.mixture)
    assert fit.predict_proba(px.simulate(truth, 10)).shape[0] == 10
    assert fit.query("V1", do={"V0": 1}).values.sum() == pytest.approx(1)
    with pytest.raises(px.DataError, match="answers moments only"):
        fit.score(px.population(truth))


def test_em_on_moments_is_refused_by_name(truth):
    counts = rows_of(truth, 2000)
    base = CellDatabase(counts.schema, counts.rows, counts.weights)
    with pytest.raises(px.DataError, match=r"CellDatabase that answers moments only.*moments"):
        px.fit(truth.spec, base, method="em")


def test_moments_that_determine_nothing_say_what_is_missing():
    truth = px.random_mixture(chain(["A", "B", "C"]), 0)
    counts = rows_of(truth, 500)
    base = CellDatabase(counts.schema, counts.rows, counts.weights)
    with pytest.raises(px.DataError, match="rows for EM; found that moments alone do not"):
        px.fit(truth.spec, base)
    with pytest.raises(px.PlanError):
        px.fit(truth.spec, base, method="moments")


def test_one_source_is_the_ordinary_network_of_the_moments(truth):
    counts, spec = rows_of(truth, 2000), GRAPHS["path"].with_n_sources(1)
    base = CellDatabase(counts.schema, counts.rows, counts.weights)
    same(px.fit(spec, base).mixture, px.fit(spec, counts, method="moments").mixture)


def test_check_looks_at_moments_of_ones_own(truth):
    counts = rows_of(truth, 20_000)
    base = CellDatabase(counts.schema, counts.rows, counts.weights)
    report = px.check(truth.spec, data=base)
    assert report.found.stage.status == px.check(truth.spec, data=counts).found.stage.status
    assert px.check(truth.spec, data=exact_moments(truth)["bare"])


@pytest.mark.parametrize("model", ["graph", None])
def test_selection_on_moments_is_by_ranks_alone_and_says_so(truth, model):
    spec = truth.spec if model else GRAPHS["no edges"]
    counts = rows_of(px.random_mixture(spec, 2, separation=0.5), 20_000)
    base = CellDatabase(counts.schema, counts.rows, counts.weights)
    found = px.select_n_sources(spec if model else None, base, [1, 2, 3])
    assert found.choices.keys() == {"rank"}
    assert found.best == 2
    assert "rank tests alone" in str(found)
    assert "edge may be missing" not in str(found)
    assert math.isnan(found.candidates[0].bic)
    assert len(found.to_frame()) == 3


def test_a_source_that_names_no_variables_is_told_what_it_lacks(truth):
    moments = Bare(px.population(truth), truth.spec)
    del moments.spec
    with pytest.raises(px.DataError, match="attribute schema"):
        px.fit(truth.spec, moments)


def test_a_device_that_a_source_cannot_go_to_is_said(truth):
    with pytest.raises(px.DataError, match="without a method to"):
        px.fit(truth.spec, Bare(px.population(truth), truth.spec), device="cpu")


def test_weights_beside_moments_are_refused(truth):
    with pytest.raises(px.DataError, match="carry their own"):
        px.fit(truth.spec, Bare(px.population(truth), truth.spec), sample_weight="w")
