"""Searching for graphs: scores and trees against loops, one search against the planted graph."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from network_cases import numbered

import pyromix as px
from pyromix.data.counts import Counts
from pyromix.discovery.classes import GraphClass
from pyromix.discovery.moves import Room, State
from pyromix.discovery.result import SearchRecord
from pyromix.discovery.search import _whole
from pyromix.discovery.starts import (
    KINDS,
    _chow_liu,
    _mixture_of_trees,
    _one_hot,
    _strongest,
    start_of,
)
from pyromix.estimate.families import Families
from pyromix.exact.sampling import sample
from pyromix.model.edges import parents_of
from pyromix.model.knowledge import Knowledge

EDGES = [(0, 2), (1, 2), (3, 4)]


def planted(n_rows=3000):
    """V0 -> V2 <- V1, V3 -> V4, and V5 and V6 that the source alone moves; all strong."""
    spec = numbered(7, EDGES)
    rng = np.random.default_rng(1)
    cpts = []
    for parents in spec.parents:
        shape = (2, *(2,) * len(parents))
        logit = rng.uniform(-0.2, 0.2, shape)
        for axis in range(len(shape)):
            sign = np.array([-1.0, 1.0]).reshape(
                [-1 if i == axis else 1 for i in range(len(shape))]
            )
            logit = logit + sign * (1.0 if axis else 1.4)
        p = 1 / (1 + np.exp(-logit))
        cpts.append(torch.from_numpy(np.stack([1 - p, p], -1)))
    weights = torch.tensor([0.4, 0.6], dtype=torch.float64)
    mixture = px.BayesNetMixture(spec, weights, tuple(cpts))
    codes, sources = sample(mixture, n_rows, 0)
    return mixture, Counts.from_codes(spec, codes), (codes, sources)


@pytest.fixture(scope="module")
def truth():
    return planted()


@pytest.fixture(scope="module")
def found(truth) -> px.Discovery:
    return px.discover(truth[1], 2, n_starts=1)


def room_of(spec, n_rows, **options):
    return Room(
        spec, options.pop("knowledge", Knowledge.of(spec)), 3, math.log(n_rows) / 2, **options
    )


# -- scores and walks --------------------------------------------------------------------------


def test_the_score_of_a_graph_is_bic_by_plain_loops():
    spec = numbered(3, [(0, 2), (1, 2)])
    rng = np.random.default_rng(0)
    rows, shares = rng.integers(0, 2, (40, 3)), rng.dirichlet([1, 1], 40)
    families = Families.of(spec, torch.from_numpy(rows), torch.from_numpy(shares))
    room = room_of(spec, 40)
    state = State((frozenset(), frozenset({0}), frozenset({0, 1})), frozenset({1}))
    total = 0.0
    for v, parents in enumerate(state.parents):
        table: dict = {}
        for row, share in zip(rows, shares, strict=True):
            for u in range(2):
                key = (0 if v == 1 else u, tuple(row[p] for p in sorted(parents)))
                table.setdefault(key, [0.0, 0.0])[row[v]] += share[u]
        total += sum(n * math.log(n / sum(cells)) for cells in table.values() for n in cells if n)
    n_free = 2 * 1 + 1 * 2 + 2 * 4
    assert room.score(families, state) == pytest.approx(total - math.log(40) / 2 * n_free)
    assert room.n_parameters(state) == n_free + 1


def test_a_walk_with_the_source_seen_finds_the_planted_class(truth):
    mixture, _, (codes, sources) = truth
    shares = torch.nn.functional.one_hot(sources.long(), 2).double()
    families = Families.of(mixture.spec, codes, shares)
    room = room_of(mixture.spec, len(codes))
    end = room.climbed(families, room.least)
    assert GraphClass.of(end.parents, end.free) == GraphClass.of(parents_of(mixture.spec))
    assert max(gain for gain, _ in room.gains(families, end)) <= 1e-6


def seen_source(seed, n=10, n_rows=6000):
    """A random DAG with strong edges, a table of it, and expected counts with the source seen."""
    rng = np.random.default_rng(seed)
    edges = [(int(p), v) for v in range(n) for p in rng.choice(v, min(v, 2), replace=False)]
    spec = numbered(n, edges)
    cpts = []
    for parents in spec.parents:
        logit = rng.normal(0, 1, (2, *(1,) * len(parents))) + np.zeros((2, *(2,) * len(parents)))
        for axis in range(1, logit.ndim):
            size = rng.choice([-2.0, 2.0]) * np.array([-0.5, 0.5])
            logit = logit + size.reshape([2 if i == axis else 1 for i in range(logit.ndim)])
        p = 1 / (1 + np.exp(-logit))
        cpts.append(torch.from_numpy(np.stack([1 - p, p], -1)))
    half = torch.full((2,), 0.5, dtype=torch.float64)
    codes, sources = sample(px.BayesNetMixture(spec, half, tuple(cpts)), n_rows, seed)
    shares = torch.nn.functional.one_hot(sources.long(), 2).double()
    return spec, Families.of(spec, codes, shares), room_of(spec, n_rows)


def test_shaken_graphs_climb_to_the_true_class_where_single_steps_stop_short():
    short = 0
    for seed in range(4):
        spec, families, room = seen_source(seed)
        true = room.score(families, State(parents_of(spec)))
        once = room.climbed(families, room.least)
        again = room.iterated(families, once, np.random.default_rng(seed), 50)
        short += room.score(families, once) < true - 1
        assert room.score(families, again) >= true - 1e-6
    assert short > 0


def test_shaking_takes_edges_away_or_turns_them_as_knowledge_allows():
    spec = numbered(6, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5)])
    known = Knowledge.of(spec, None, [("V0", "V1")], [("V2", "V1")])
    room = room_of(spec, 100, knowledge=known)
    state, found = State(parents_of(spec)), set()
    for seed in range(20):
        other = room.shaken(state, np.random.default_rng(seed))
        assert other.n_edges <= state.n_edges
        assert 0 in other.parents[1]
        assert 2 not in other.parents[1]
        found.add(other)
    assert len(found) > 10


def test_the_strongest_edges_are_those_of_a_dear_price(truth):
    """With a probability that costs a hundred times as much, weak dependences are no edges."""
    mixture, counts, _ = truth
    room = room_of(mixture.spec, counts.n_rows)
    whole = _whole(room, counts)
    sizes = [_strongest(room, whole, np.random.default_rng(s)).n_edges for s in range(12)]
    plain = replace(room, spec=mixture.spec.with_n_sources(1))
    rows = Families(plain.spec, whole.columns, whole.shares)
    all_edges = plain.climbed(rows, plain.least).n_edges
    assert max(sizes) < all_edges
    assert len(set(sizes)) > 2


def test_neighbours_are_dags_one_edge_apart_and_gains_are_differences_of_scores(truth):
    spec = numbered(4, [(0, 1), (1, 2)])
    codes = truth[2][0][:, :4]
    families = Families.of(spec, codes, torch.full((len(codes), 2), 0.5, dtype=torch.float64))
    known = Knowledge.of(spec, None, [("V0", "V1")], [("V3", "V0")])
    room = room_of(spec, len(codes), knowledge=known, source_moves=True)
    state = State(parents_of(spec), frozenset({3}))
    own = room.score(families, state)
    gains = room.gains(families, state)
    for gain, other in gains:
        assert gain == pytest.approx(room.score(families, other) - own)
        assert 0 in other.parents[1]
        assert 3 not in other.parents[0]
    edges = {(other.parents, other.free) for _, other in gains}
    # V0-V2, V0-V3 one way, V1-V3 and V2-V3 both ways; V1-V2 dropped, turned; four moves of U.
    assert len(gains) == 1 + 1 + 2 + 2 + 2 + 4
    assert len(edges) == len(gains)


def test_a_random_graph_obeys_what_is_known():
    spec = numbered(6, [])
    known = Knowledge.of(spec, [["V0", "V1"], ["V2", "V3", "V4", "V5"]], [("V1", "V2")])
    room = room_of(spec, 100, knowledge=known)
    for seed in range(5):
        state = room.random(np.random.default_rng(seed))
        assert 1 in state.parents[2]
        assert all(known.allows(p, v) for v, ps in enumerate(state.parents) for p in ps)
        px.MixtureSpec.from_parents(
            dict.fromkeys("abcdef", (0, 1)),
            {"abcdef"[v]: ["abcdef"[p] for p in ps] for v, ps in enumerate(state.parents)},
            1,
        )


# -- starts ------------------------------------------------------------------------------------


def test_the_tree_is_the_one_of_the_largest_informations_and_its_law_sums_to_one(truth):
    counts = truth[1]
    spec = numbered(4, [])
    rows = truth[2][0][:400, [0, 2, 3, 4]]
    room = room_of(spec, 400)
    whole = Families.of(spec, rows, torch.ones(400, 1, dtype=torch.float64))
    marks = _one_hot(room, whole)
    parent, _ = _chow_liu(room, marks, whole.shares[:, 0], np.random.default_rng(0))

    def information(a, b):
        table = np.full((2, 2), 0.125)
        np.add.at(table, (rows[:, a].numpy(), rows[:, b].numpy()), 1)
        table /= table.sum()
        return float((table * np.log(table / table.sum(1, keepdims=True) / table.sum(0))).sum())

    worth = {e: information(*e) for e in itertools.combinations(range(4), 2)}
    trees = [t for t in itertools.combinations(worth, 3) if spanning(t)]
    best = max(trees, key=lambda t: sum(worth[e] for e in t))
    assert {frozenset((p, v)) for v, p in enumerate(parent) if p >= 0} == set(map(frozenset, best))
    cells = torch.tensor(list(itertools.product((0, 1), repeat=4)))
    every = Families.of(spec, cells, torch.ones(16, 1, dtype=torch.float64))
    both = torch.cat([marks, _one_hot(room, every)])
    weights = torch.cat([torch.ones(400), torch.zeros(16)]).double()
    _, logs = _chow_liu(room, both, weights, np.random.default_rng(0))
    assert float(logs[400:].exp().sum()) == pytest.approx(1, abs=1e-3)
    assert counts.complete


def spanning(edges):
    reached = {0}
    for _ in edges:
        for a, b in edges:
            if reached & {a, b}:
                reached |= {a, b}
    return len(reached) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_shares_every_row_among_the_sources(truth, kind):
    _, counts, _ = truth
    room = room_of(counts.spec, counts.n_rows)
    whole = Families.of(counts.spec, counts.rows, counts.weights[:, None])
    one, same, other = (start_of(kind, room, whole, counts, seed).shares for seed in (0, 0, 1))
    torch.testing.assert_close(one.sum(1), counts.weights)
    assert torch.equal(one, same)
    assert not torch.allclose(one, other) or kind == "tree"


def test_a_mixture_of_trees_finds_sources_that_differ_in_their_dependence():
    """U turns the sign of one dependence: no margin shows it."""
    spec = numbered(4, [])
    rng = np.random.default_rng(0)
    sources = rng.integers(0, 2, 2000)
    a, c = rng.integers(0, 2, (2, 2000))
    flips = rng.random((2, 2000)) < 0.05
    rows = np.stack([a, a ^ sources ^ flips[0], c, c ^ sources ^ flips[1]], 1)
    room = room_of(spec, 2000)
    whole = Families.of(spec, torch.from_numpy(rows), torch.ones(2000, 1, dtype=torch.float64))
    right = []
    for seed in range(5):
        shares = _mixture_of_trees(room, whole, np.random.default_rng(seed)).shares
        share = float((shares.argmax(1).numpy() == sources).mean())
        right.append(max(share, 1 - share))
    assert max(right) > 0.85


# -- a whole search ----------------------------------------------------------------------------


def pair(found):
    return next(str(e) for e in found.edges if not e.directed)


def test_the_planted_graph_is_found(found, truth):
    planted_class = GraphClass.of(parents_of(truth[0].spec))
    assert found.graph.skeleton == planted_class.skeleton
    assert {str(e) for e in found.edges} == {"V0 -> V2", "V1 -> V2", pair(found)}
    assert all(e.worth > 50 for e in found.edges)
    assert (found.n_sources, found.spec.uninfluenced) == (2, frozenset())
    assert isinstance(found.fit, px.MixtureFit)
    graph = found.to_pgmpy()
    assert set(graph.directed_edges) >= {("V0", "V2"), ("U", "V0")}
    assert set(graph.latents) == {"U"}
    assert "experimental" in found.report()
    assert list(found.to_frame().columns) == ["from", "to", "directed", "worth"]


def test_an_effect_is_the_set_over_sets_of_parents(found):
    """By the formula on the joint table: sum over u, pa of P(u, pa) P(y | x, u, pa)."""
    effects = found.effect("V3", "V4")
    assert set(effects.parents) == {(), ("V4",)}
    assert effects.certainty is px.Certainty.DISCOVERED
    law = px.query(found.fit.mixture, ["U", "V3", "V4"]).values
    given = law[:, :, 1] / law.sum(2)
    straight = float((law.sum((1, 2)) * (given[:, 1] - given[:, 0])).sum())
    by_parents = dict(zip(effects.parents, effects.values, strict=True))
    assert by_parents[()] == pytest.approx(straight, abs=1e-5)
    assert by_parents["V4",] == pytest.approx(0, abs=1e-12)
    assert (effects.low, effects.high) == pytest.approx((0, straight), abs=1e-5)
    low, high = effects.interval()
    assert low <= 0 < straight < high
    assert "over 2 sets of parents" in str(effects)


def test_a_repeated_search_counts_how_often_edges_come_back(found):
    again = found.bootstrap(2)
    assert again.n == 2
    assert {pair for pair, times in again.edges.items() if times == 2} >= found.graph.skeleton
    assert {(0, 2), (1, 2)} <= set(again.directed)
    frame = again.to_frame()
    assert list(frame.columns) == ["a", "b", "edge", "a_to_b", "b_to_a"]
    assert ((frame["a_to_b"] + frame["b_to_a"]) <= frame["edge"]).all()
    with pytest.raises(px.QueryError, match="n must be"):
        found.bootstrap(0)


def test_a_fit_of_a_found_graph_says_so(found, tmp_path):
    with pytest.raises(px.NotCertifiedError, match="a search"):
        found.fit.query("V4", do={"V3": 1})
    answer = found.fit.query("V4", do={"V3": 1}, require="discovered")
    assert answer.certainty is px.Certainty.DISCOVERED
    assert "found the graph" in str(answer)
    found.fit.save(tmp_path / "fit.pyromix")
    again = px.load(tmp_path / "fit.pyromix")
    assert again.graph_was_found
    assert px.Certainty.LOCAL.at_least(px.Certainty.DISCOVERED)
    assert not px.Certainty.WEAK.at_least(px.Certainty.DISCOVERED)


def test_one_source_is_a_candidate_and_chosen_where_nothing_is_hidden():
    spec = numbered(4, [(0, 1), (1, 2), (1, 3)], n_sources=1)
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 1500)
    flip = rng.random((3, 1500)) < 0.2
    second = first ^ flip[0]
    codes = np.stack([first, second, second ^ flip[1], second ^ flip[2]], 1)
    found = px.discover(Counts.from_codes(spec, torch.from_numpy(codes)), [1, 2], n_starts=1)
    assert found.n_sources == 1
    assert found.graph.skeleton == {(0, 1), (1, 2), (1, 3)}
    assert len(found.search.bic) == 2
    assert not set(found.to_pgmpy().latents)


def test_missing_cells_are_summed_out_in_a_search():
    spec = numbered(3, [], n_sources=1)
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 600)
    codes = np.stack([first, first ^ (rng.random(600) < 0.1), rng.integers(0, 2, 600)], 1)
    codes[rng.random((600, 3)) < 0.1] = -1
    codes = codes[(codes >= 0).any(1)]
    found = px.discover(Counts.from_codes(spec, torch.from_numpy(codes)), 1, n_starts=1)
    assert found.graph.skeleton == {(0, 1)}


def test_knowledge_of_pgmpy_is_taken(truth):
    from pgmpy.causal_discovery import ExpertKnowledge

    from pyromix.discovery.asking import _known

    spec = numbered(3, [])
    expert = ExpertKnowledge(
        required_edges=[("V0", "V1")], forbidden_edges=[("V1", "V2")],
        temporal_order=[["V0"], ["V1", "V2"]],
    )  # fmt: skip
    assert _known(spec, None, (), (), expert) == Knowledge.of(
        spec, [["V0"], ["V1", "V2"]], [("V0", "V1")], [("V1", "V2")]
    )
    space = ExpertKnowledge(search_space=[("V0", "V1")])
    assert _known(spec, None, (), (), space).forbidden == {(0, 2), (1, 0), (1, 2), (2, 0), (2, 1)}
    with pytest.raises(px.QueryError, match="give it or these"):
        px.discover(truth[1], 2, tiers=[["V0"]], expert_knowledge=expert)
    with pytest.raises(px.QueryError, match="must be pgmpy's"):
        px.discover(truth[1], 2, expert_knowledge="expert")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"n_sources": 0}, "n_sources"),
        ({"n_sources": "two"}, "n_sources"),
        ({"max_parents": -1}, "max_parents"),
        ({"n_starts": 0}, "n_starts"),
        ({"tiers": [["V0"], ["V0", "V1"]]}, "tier 1 and in tier 2"),
        ({"required": [("V0", "V9")]}, "unknown variable 'V9'"),
        ({"required": [("V0", "V1"), ("V1", "V0")]}, "required"),
        ({"required": [("V0", "V2"), ("V1", "V2")], "max_parents": 1}, "'V2' has 2 parents"),
        ({"required": [("V4", "V0")], "tiers": [["V0"], ["V4"]]}, "against the tiers"),
    ],
)
def test_bad_input_is_named(truth, asked, words):
    with pytest.raises(px.PyromixError, match=words):
        px.discover(truth[1], **{"n_sources": 2, **asked})


def test_equal_columns_and_too_many_parents_for_the_rows_are_named(truth):
    codes = truth[2][0]
    spec = numbered(4, [])
    same = torch.stack([codes[:, 0], 1 - codes[:, 0], codes[:, 1], codes[:, 2]], 1)
    with pytest.raises(px.DataError, match="'V0' and 'V1' say the same"):
        px.discover(Counts.from_codes(spec, same), 2)
    few = Counts.from_codes(
        numbered(4, []), torch.randint(2, (6, 4), generator=torch.Generator().manual_seed(0))
    )
    with pytest.raises(px.SpecError, match="ask for at most 2"):
        px.discover(few, 2, max_parents=3)
    with pytest.raises(px.DataError, match="has no rows"):
        px.discover(px.population(truth[0]), 2)


def test_a_search_is_settled_where_two_kinds_agree_and_nothing_is_near():
    settled = SearchRecord(15, ("tree", "random graph"), 4, 30.0, ((2, 1.0),), False)
    assert settled.settled
    assert settled.reasons == ()
    alone = SearchRecord(15, ("tree",), 4, 30.0, ((2, 1.0),), False)
    near = SearchRecord(15, ("tree", "random graph"), 4, 2.0, ((2, 1.0),), False)
    assert not alone.settled
    assert not near.settled
    assert len(alone.reasons) == len(near.reasons) == 1


def test_tensors_carry_their_own_device():
    rng = np.random.default_rng(0)
    codes = torch.from_numpy(rng.integers(0, 2, (60, 3)))
    counts = Counts.from_codes(numbered(3, []), codes)
    with torch.device("meta"):
        found = px.discover(counts, [1, 2], n_starts=1, max_parents=1)
        checked = found.fit.graph_check(n_simulated=1)
        found.bootstrap(1)
    assert found.fit.mixture.device.type == "cpu"
    assert len(checked)
