"""Numbers in bins: they may stand in a view, never in what is conditioned on (THEORY 18.5)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from exhaustive_plans import Graph, best, drawn_dag, spec_of
from helpers import random_spec
from scipy.stats import norm

import pyromix as px
from pyromix.answers.gate import admit
from pyromix.data.population import population
from pyromix.errors import NotCertifiedError, PlanError, SpecError
from pyromix.formats.bundle import read_bundle, write_bundle
from pyromix.formats.structure import Structure
from pyromix.identify.advice import NewVariable, changed_graph
from pyromix.identify.boundary.search import plan_boundaries
from pyromix.identify.certificate import without_group
from pyromix.identify.graphical import graph_facts
from pyromix.identify.network.ranks import separated_blocks
from pyromix.identify.network.search import find_plans
from pyromix.identify.proximal import find_proxies
from pyromix.identify.signal import signal_of
from pyromix.identify.sketch import ancestral_part
from pyromix.identify.verdict import Ground, judge
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import Certainty, DoQuery, settings
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec

ROOT = Path(__file__).parent.parent


def graph(edges, numbers="", names="ABCXYZ", k=2, states=2, **more):
    """U into all; ``"XY AB"`` are edges, numbers have k + 1 bins."""
    parents = {}
    for a, b in edges.split():
        parents.setdefault(b, []).append(a)
    cards = {name: range(k + 1 if name in numbers else states) for name in names}
    return MixtureSpec.from_parents(cards, parents, k, coarse=numbers, **more)


def level(spec, outcome="Y", treatment="X"):
    return judge(spec, settings(spec, outcome, treatment)).level


# -- the field -----------------------------------------------------------------------------------


def names_of(spec):
    return {spec.name(v) for v in spec.coarse}


def test_nothing_is_coarse_unless_told_and_order_and_repetition_do_not_matter():
    spec = random_spec(0, 5, 2)
    assert spec.coarse == ()
    assert replace(spec, coarse=[3, 1, 3]).coarse == (1, 3)
    assert replace(spec, coarse=()) == spec
    assert replace(spec, coarse=(1,)) != spec


@pytest.mark.parametrize("wrong", [[5], [-1], ["V1"], [1.5], 3])
def test_coarse_vertices_are_numbers_of_vertices(wrong):
    with pytest.raises(SpecError, match="coarse"):
        replace(random_spec(0, 5, 2), coarse=wrong)


def test_an_unknown_name_is_refused():
    with pytest.raises(SpecError, match="coarse: \\['Q'\\]"):
        MixtureSpec.from_parents({"A": (0, 1)}, {}, 2, coarse=["Q"])


def test_whatever_makes_a_spec_of_another_keeps_the_names(tmp_path):
    spec = graph("ZA ZB XY AX", numbers="YBZ")
    kept = names_of(spec)
    assert kept == {"Y", "B", "Z"}
    query = settings(spec, "A", "Z")
    part, _ = ancestral_part(spec, query, 12)
    assert names_of(part) < kept
    assert names_of(part) == kept & set(part.variables)
    mixture = random_mixture(spec, 0)
    write_bundle(tmp_path / "m.pyromix", mixture)
    for other in (
        spec.with_n_sources(3),
        Structure.of_spec(spec).to_spec(),
        read_bundle(tmp_path / "m.pyromix").mixture.spec,
        changed_graph(spec, [NewVariable(2)], [("Z", "A")]),
        random_mixture(spec, 0).relabel([1, 0]).spec,
    ):
        assert names_of(other) == kept & set(other.variables), other
    assert names_of(spec.without([spec.vertex("B")])) == kept - {"B"}


def test_a_fit_of_bins_knows_that_they_are(tmp_path):
    spec = graph("XY", numbers="XY", names="ABCXY")
    frame = px.simulate(random_mixture(spec, 0), 300, random_state=0)
    fit = px.fit(spec, frame, method="em", n_init=1, prior=1.0)
    assert names_of(fit.spec) == {"X", "Y"}
    fit.save(tmp_path / "f.pyromix")
    assert px.load(tmp_path / "f.pyromix").spec == fit.spec


FOREIGN = {"formats/network.py", "formats/toml.py", "bridges/pyro_sites.py"}
"""What reads formats that know no bins."""


def test_no_file_builds_a_spec_without_a_word_on_bins():
    """Whoever says whom U leaves alone says what is in bins, too, unless the rest is copied."""
    found = set()
    for path in (ROOT / "pyromix").rglob("*.py"):
        text = path.read_text()
        if "uninfluenced=" in text.replace("(spec, uninfluenced=", "") and "coarse=" not in text:
            found.add(path.relative_to(ROOT / "pyromix").as_posix())
    assert found == FOREIGN


# -- plans ---------------------------------------------------------------------------------------


def test_searches_find_what_an_enumeration_without_bins_in_any_condition_finds():
    rng = np.random.default_rng(0)
    sizes = [4] * 10 + [5] * 20 + [6] * 3
    with_plan = without = lost = 0
    for n, share in zip(sizes, rng.uniform(0.1, 0.5, len(sizes)), strict=True):
        edges = drawn_dag(n, rng, share)
        shared = Graph(spec_of(edges, (2,) * n, 2))
        for k in (2, 3):
            coarse = [v for v in range(n) if rng.random() < 0.4]
            cards = tuple(k + 1 if v in coarse else 2 for v in range(n))
            spec = spec_of(edges, cards, k, coarse)
            some, size, most = best(spec, shared)
            facts = graph_facts(spec)
            assert bool(facts.plans) == some, (edges, k, coarse)
            whole = [len(p.runs[0].conditioning) for p in facts.plans if p.complete]
            assert (min(whole) if whole else None) == size, (edges, k, coarse)
            if size is None:
                assert len(facts.vertices - {-1}) == most, (edges, k, coarse)
            for plan in facts.plans:
                held = {v for run in plan.runs for v in run.conditioning}
                held |= {p for layer in plan.layers for v in layer for p in spec.parents[v]}
                assert not held & set(coarse)
            categorical = graph_facts(replace(spec, coarse=()))
            assert facts.vertices <= categorical.vertices or not categorical.everything
            assert not facts.everything or categorical.everything
            with_plan += facts.everything
            without += not facts.everything
            lost += categorical.everything and not facts.everything
    assert min(with_plan, without) > 15
    assert lost > 0  # the rule bites


def test_a_number_in_a_view_costs_nothing():
    spec = graph("XY", numbers="ABCXY", names="ABCXY")
    assert level(spec) is Certainty.GRAPHICAL
    assert judge(spec).level is Certainty.GRAPHICAL


def test_a_number_that_alone_separates_makes_no_plan():
    """A and B are independent given U and Z; C carries labels over Z."""
    table = graph("ZA ZB", names="ABCZ")
    assert judge(table).ground is Ground.GRAPH
    assert level(table, "A", "Z") is Certainty.GRAPHICAL
    number = graph("ZA ZB", names="ABCZ", numbers="Z")
    with pytest.raises(PlanError, match="found 2"):
        find_plans(number)
    assert level(number, "A", "Z") in (Certainty.LOCAL, Certainty.BY_SHAPE)


def test_known_ancestors_show_no_child_of_a_number():
    """W follows from its known parents in a layer only where these are no bins."""
    for numbers, followed in (("", True), ("DW", True), ("A", False)):
        spec = graph("DA AW BW CW", names="DABCW", numbers=numbers)
        w = spec.vertex("W")
        plans = find_plans(spec)
        assert any(w in layer for plan in plans for layer in plan.layers) == followed
        assert (w in graph_facts(spec).vertices) == followed


def test_bins_of_what_separates_separate_nothing():
    """A -> X -> B: given bins of X the table of A and B has a rank above one source."""
    points = np.linspace(-8, 8, 4001)
    bins = np.digitize(points, [-0.43, 0.43])
    given_b = 1 / (1 + np.exp(-3 * points))
    mass = np.zeros((3, 2, 2))
    for a, mean in enumerate((-1.0, 1.0)):
        density = 0.5 * norm.pdf(points, mean) * (points[1] - points[0])
        for b, prob in enumerate((1 - given_b, given_b)):
            np.add.at(mass[:, a, b], bins, density * prob)
    assert mass.sum() == pytest.approx(1, abs=1e-9)
    within = mass / mass.sum((1, 2), keepdims=True)
    assert (abs(np.linalg.det(within)) > 0.01).any()
    for numbers, offered in (("", True), ("X", False)):
        spec = graph("AX XB", names="AXB", numbers=numbers)
        x = spec.vertex("X")
        assert any(x in pair.given for pair in separated_blocks(spec, 1, 8)) == offered


def test_proxies_do_not_condition_on_bins_of_the_treatment():
    """L4: Z -> T, W -> Y, T -> Y."""
    names, edges = "ZTWY", "ZT WY TY"
    for numbers, found in (("", True), ("ZWY", True), ("T", False)):
        spec = graph(edges, names=names, numbers=numbers)
        assert (find_proxies(spec, spec.vertex("T"), spec.vertex("Y")) is not None) == found


def test_runs_on_markov_boundaries_hold_no_bins():
    rng = np.random.default_rng(1)
    found = refused = 0
    for _ in range(80):
        n = int(rng.integers(5, 9))
        coarse = [v for v in range(n) if rng.random() < 0.3]
        cards = tuple(3 if v in coarse else 2 for v in range(n))
        free = frozenset(v for v in range(n) if rng.random() < 0.25)
        spec = replace(spec_of(drawn_dag(n, rng, 0.25), cards, 2, coarse), uninfluenced=free)
        try:
            plan = plan_boundaries(spec)
        except PlanError:
            refused += 1
            continue
        found += bool(coarse)
        for family in plan.families:
            run = family.independent
            assert not set(run.conditioning) & set(coarse)
            assert set(run.members) & set(coarse) <= run.clean
    assert min(found, refused) > 5


def test_a_number_whose_children_are_conditioned_on_is_no_member():
    """X -> C -> M: a run given C would have to divide the law of X given C by that of C given X."""
    for numbers, member in (("", True), ("X", False)):
        spec = graph("XC CM", names="ABDXCM", numbers=numbers, uninfluenced=["C"])
        x, c = spec.vertex("X"), spec.vertex("C")
        runs = [family.independent for family in plan_boundaries(spec).families]
        assert any(c in run.conditioning for run in runs)
        assert any(x in run.members and c in run.conditioning for run in runs) == member
        assert any(x in run.members for run in runs)


def test_a_refusal_of_boundaries_names_the_number():
    spec = graph("XA XB XC XY XZ", numbers="X")
    with pytest.raises(PlanError, match="bins of a number, of \\{X\\}"):
        plan_boundaries(spec)


def test_a_group_told_by_a_number_is_no_question_about_everybody():
    """P(Y_x | X = x) is P(Y | X = x) of one number, not of two in one bin."""
    for numbers, other in (("", True), ("X", False)):
        spec = graph("XY", names="XY", numbers=numbers)
        x, y = spec.vertex("X"), spec.vertex("Y")
        same = DoQuery((y,), {x: 1}, {}, {x: 1})
        assert (without_group(spec, same) != same) == other


def test_questions_that_no_view_answers_are_answered_at_raw_values():
    """A numeric back door, with U into the outcome alone."""
    spec = graph("ZX ZY XY", names="XYZ", numbers="XYZ", uninfluenced=["X", "Z"])
    found = judge(spec, settings(spec, "Y", "X"))
    assert (found.level, found.ground) == (Certainty.GRAPHICAL, Ground.OBSERVED)


# -- levels --------------------------------------------------------------------------------------


def test_treatment_and_outcome_alone_are_identified_by_shape_at_most():
    spec = graph("XY", names="XY", numbers="XY")
    verdict = judge(spec, settings(spec, "Y", "X"))
    assert verdict.level is Certainty.BY_SHAPE
    with pytest.raises(NotCertifiedError, match="only the shapes assumed of X, Y") as refused:
        admit(verdict, "local")
    assert refused.value.found == "shape"
    assert 'require="shape"' in str(refused.value)
    assert admit(verdict, "shape") is Certainty.BY_SHAPE
    report = px.check(spec, outcome="Y", treatment="X")
    assert report.verdict == "by shape"
    assert not report
    assert any("stand-in" in reason for reason in report.reasons)
    assert any("what would help: 2 more variables" in reason for reason in report.reasons)


def test_levels_are_ordered():
    order = [Certainty.NONE, Certainty.WEAK, Certainty.BY_SHAPE, Certainty.LOCAL]
    order.append(Certainty.GRAPHICAL)
    for one, other in itertools.pairwise(order):
        assert other.at_least(one)
        assert not one.at_least(other)


def test_shape_tells_where_it_comes_near_the_source_only():
    alone = graph("XY", names="XY")
    assert level(alone) is Certainty.NONE
    far = graph("XY", names="XYZ", numbers="Z", uninfluenced=["Z"])
    assert level(far) is Certainty.NONE
    below = graph("XY YZ", names="XYZ", numbers="Z", uninfluenced=["Z"])
    assert level(below) is Certainty.NONE
    above = graph("XY ZY", names="XYZ", numbers="Z", uninfluenced=["Z"])
    assert level(above) is Certainty.BY_SHAPE


def test_a_rank_of_bins_is_local_at_most():
    """The stand-in of L4 sees the effect, though nothing may be conditioned on T's bins."""
    spec = graph("ZT WY TY", names="ZTWY", numbers="ZTWY")
    report = px.check(spec, outcome="Y", treatment="T")
    assert report.verdict == "locally identified"
    assert any("stand-in" in reason for reason in report.reasons)


def two_views(rng):
    """Two blocks without an edge between them, each complete: numbers and tables, U into all."""
    sizes = rng.integers(1, 4, 2)
    names = [f"V{i}" for i in rng.permutation(int(sizes.sum()))]
    blocks = [names[: sizes[0]], names[sizes[0] :]]
    parents = {v: list(block[:i]) for block in blocks for i, v in enumerate(block)}
    numbers = [v for v in names if rng.random() < 0.7] or names[:1]
    k = int(rng.integers(2, 4))
    cards = {v: range(k + 1 if v in numbers else 2) for v in names}
    return MixtureSpec.from_parents(cards, parents, k, coarse=numbers), max(blocks, key=len)


def test_where_there_are_two_views_only_no_answer_is_certified():
    rng = np.random.default_rng(0)
    looked = 0
    while looked < 100:
        spec, block = two_views(rng)
        if len(block) < 2 or spec.n_parameters > 100:
            continue
        looked += 1
        joined = nx.moral_graph(spec.graph())
        assert nx.number_connected_components(joined) == 2
        verdict = judge(spec, settings(spec, block[1], block[0]))
        assert verdict.level is Certainty.BY_SHAPE


# -- how many bins (E26) -------------------------------------------------------------------------


def three_views(cuts):
    """A fair U, three views N(0, 1) or N(0, 9), cut."""
    edges = [-np.inf, *cuts, np.inf]
    laws = np.stack([np.diff(norm.cdf(edges, scale=scale)) for scale in (1, 3)])
    cpt = torch.from_numpy(laws)
    spec = MixtureSpec.from_parents(
        dict.fromkeys("ABC", range(len(edges) - 1)), {}, 2, coarse="ABC"
    )
    half = torch.full((2,), 0.5, dtype=torch.float64)
    return laws, BayesNetMixture(spec, half, (cpt,) * 3)


def test_a_cut_at_the_common_median_shows_nothing_of_two_widths():
    laws, mixture = three_views([0.0])
    assert np.linalg.svd(laws)[1][1] < 1e-12
    assert not signal_of(population(mixture)).shown


def test_three_bins_show_two_widths():
    laws, mixture = three_views([-1.0, 1.0])
    assert np.linalg.svd(laws)[1][1] == pytest.approx(0.347, abs=5e-4)
    assert signal_of(population(mixture)).shown
