"""Certificates by sketch against the dense Jacobian, and the verdict of what nobody checked."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
import torch
from helpers import random_spec

import pyromix as px
from pyromix.cli import main
from pyromix.exact.information import scores
from pyromix.exact.least_squares import remainder
from pyromix.exact.rows import CellIndex
from pyromix.exact.score_map import ScoreMap
from pyromix.identify import sketch as sketches
from pyromix.identify import verdict
from pyromix.identify.certificate import RESIDUAL_TOLERANCE
from pyromix.identify.certify import certify
from pyromix.identify.graphical import graph_facts
from pyromix.identify.sketch import ancestral_part, sketch
from pyromix.identify.verdict import Ground, judge
from pyromix.model.query import Certainty, settings

sys.path.insert(0, str(Path(__file__).parent / "studies"))


def dense_graph(n, *, states=3, uninfluenced=()):
    """Three parents each, at random among the vertices before; a fixed one for each n."""
    rng = random.Random(0)
    names = [f"V{i:03d}" for i in range(n)]
    parents = {v: sorted(rng.sample(names[:i], min(3, i))) for i, v in enumerate(names)}
    states_of = {v: tuple(range(states)) for v in names}
    return px.MixtureSpec.from_parents(states_of, parents, 3, uninfluenced=uninfluenced)


@pytest.mark.parametrize("uninfluenced", [False, True])
def test_the_map_of_scores_is_their_matrix(uninfluenced):
    spec = random_spec(4, 4, 3, uninfluenced=uninfluenced)
    mixture = px.random_mixture(spec, 1)
    rows = torch.stack(torch.unravel_index(torch.arange(spec.n_cells), spec.cards), -1)
    matrix, mapped = scores(mixture, rows), ScoreMap(mixture, CellIndex(spec, rows))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(spec.n_parameters, generator=generator, dtype=torch.float64)
    y = torch.randn(len(rows), generator=generator, dtype=torch.float64)
    torch.testing.assert_close(mapped.times(x), matrix @ x)
    torch.testing.assert_close(mapped.back(y), matrix.T @ y)
    if not uninfluenced:
        torch.testing.assert_close(mapped.squares(), matrix.square().sum(0))


def test_a_remainder_is_what_least_squares_leave():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(12, 30, generator=generator, dtype=torch.float64)
    matrix[:, 20:] = 0
    matrix[7] = matrix[2] - matrix[3]
    b = torch.randn(12, generator=generator, dtype=torch.float64)
    options = {"close": 1e-10, "level": 1e-10, "max_steps": 100}
    found = remainder(lambda y: matrix @ y, lambda x: matrix.T @ x, b, **options)
    expected = b - matrix @ torch.linalg.lstsq(matrix, b, driver="gelsd").solution
    torch.testing.assert_close(found.vector, expected, rtol=0, atol=1e-8)
    assert found.slope < 1e-9
    reached = remainder(lambda y: matrix @ y, lambda x: matrix.T @ x, b - expected, **options)
    assert reached.share < 1e-9
    stopped = remainder(
        lambda y: matrix @ y, lambda x: matrix.T @ x, b, close=0.0, level=0.0, max_steps=3
    )
    assert stopped.slope > 1e-6


def test_sketches_say_what_the_dense_jacobian_says():
    """A sample of ``studies/sketches.py``, as many identified as not."""
    from sketches import random_structure

    rng, seen = random.Random(100), []
    for _ in range(10):
        spec = random_structure(rng)
        dense, fast = certify(spec), sketch(spec)
        assert fast.whole.settled
        assert fast.whole.seen == dense.locally_identified
        asked = settings(spec, *rng.sample(spec.variables, 2))
        expected = max(map(dense.residual, asked)) <= RESIDUAL_TOLERANCE
        assert fast.of(asked).settled
        assert fast.of(asked).seen == expected
        seen += [dense.locally_identified, expected]
    assert 3 < sum(seen) < 17


def test_forty_vertices_of_three_parents_are_certified():
    """6,074 parameters; it said NOT IDENTIFIED of what nobody had checked."""
    report = px.check(dense_graph(40), outcome="V039", treatment="V020")
    assert report.verdict == "locally identified"
    assert report.found.certificate is None
    assert "a random direction of all 6,074 parameters" in str(report)


def test_a_direction_that_moves_the_answer_is_named(monkeypatch):
    """A chain of three: the last edge moves with what nobody sees."""
    monkeypatch.setattr(verdict, "MAX_FACTORISED_PARAMETERS", 1)
    spec = px.MixtureSpec.from_parents(dict.fromkeys("ABC", (0, 1)), {"B": ["A"], "C": ["B"]}, 2)
    report = px.check(spec, outcome="C", treatment="B")
    assert report.verdict == "not identified"
    assert report.found.ground is Ground.MOVED
    assert "moves the answer" in str(report)


def test_too_few_steps_settle_nothing(monkeypatch):
    monkeypatch.setattr(sketches, "MAX_STEPS", 3)
    monkeypatch.setattr(verdict, "MAX_FACTORISED_PARAMETERS", 10)
    spec = random_spec(4, 4, 3)
    found = sketches.Sketch(sketch(spec).point, 0)
    assert not found.whole.settled
    assert not found.whole.seen
    monkeypatch.setattr(verdict, "sketch", lambda _: found)
    judged = judge(spec)
    assert (judged.level, judged.ground) == (Certainty.UNCHECKED, Ground.UNSETTLED)
    assert "not settled" in str(px.check(spec))


def test_an_ancestral_part_keeps_what_is_asked_and_what_fits():
    spec = dense_graph(12)
    asked = settings(spec, "V007", "V005")
    part, there = ancestral_part(spec, asked, 10**6)
    assert part.variables == spec.variables
    part, there = ancestral_part(spec, asked, 1200)
    assert part.n_parameters <= 1200 < spec.n_parameters
    assert {"V007", "V005"} <= set(part.variables)
    for v, name in enumerate(part.variables):
        mine = [part.name(p) for p in part.parents[v]]
        assert mine == [spec.name(p) for p in spec.parents[spec.vertex(name)]]
    assert [part.name(q.outcomes[0]) for q in there] == ["V007"] * 3
    assert ancestral_part(spec, asked, 50) is None


def test_a_large_network_is_certified_by_a_part_of_it(monkeypatch):
    """Two proxies determine T -> Y (THEORY section 7), whatever else depends on them."""
    spec = px.MixtureSpec.from_parents(
        dict.fromkeys("ZXTYW", (0, 1)),
        {"T": ["Z"], "Y": ["X", "T"], "W": ["Z", "X", "T", "Y"]},
        2,
    )
    asked = settings(spec, "Y", "T")
    assert not graph_facts(spec).plans
    monkeypatch.setattr(verdict, "MAX_SKETCHED_PARAMETERS", 20)
    judged = judge(spec, asked)
    assert (judged.level, judged.ground) == (Certainty.LOCAL, Ground.UNMOVED)
    assert judge(spec).ground is Ground.TOO_LARGE
    assert max(map(certify(spec).residual, asked)) <= RESIDUAL_TOLERANCE


@pytest.fixture
def unchecked(monkeypatch):
    """A graph without a plan, of which nobody can look at any part."""
    monkeypatch.setattr(verdict, "MAX_SKETCHED_PARAMETERS", 10)
    spec = px.MixtureSpec.from_parents(
        dict.fromkeys("ABCD", (0, 1)), {"B": ["A"], "C": ["B"], "D": ["C"]}, 2
    )
    assert not graph_facts(spec).plans
    return spec


def test_not_checked_is_not_not_identified(unchecked):
    report = px.check(unchecked, outcome="D", treatment="C")
    assert report.verdict == report.summary()["verdict"] == "not checked"
    assert not report
    assert "NOT CHECKED" in str(report)
    assert "nothing is known" in str(report)
    assert "NOT IDENTIFIED" not in str(report)
    assert judge(unchecked).level is Certainty.UNCHECKED


@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_every_door_says_so(unchecked, tmp_path, capsys):
    truth = px.random_mixture(unchecked, 1, separation=0.5)
    frame = px.simulate(truth, 500, random_state=0)
    fit = px.fit(unchecked, frame, n_init=1, prior=0.5)
    for require in ("local", "weak"):
        with pytest.raises(px.NotCertifiedError, match="nobody knows") as refused:
            fit.effect("C", "D", require=require)
        assert refused.value.found == "unchecked"
    answer = fit.query("D", {"C": 1}, require="unchecked")
    assert answer.certainty is Certainty.UNCHECKED
    assert "certainty: unchecked (nobody knows" in str(answer)
    assert fit.effect("C", "D", require="none").certainty is Certainty.UNCHECKED
    report = fit.report(treatment="C", outcome="D", show=False, sensitivity=False)
    facts = dict(report.section("verdict").facts)
    assert facts["Identifiability"].badge == "NOT CHECKED"
    assert facts["Effect C -> D"].startswith("refused: nobody knows")
    fit.save(tmp_path / "fit.pyromix")
    with pytest.raises(SystemExit) as left:
        main(["do", str(tmp_path / "fit.pyromix"), "--query", "D", "--do", "C=1"])
    assert left.value.code == 2
    assert "--require unchecked" in capsys.readouterr().err
    edges = [
        f
        for edge in ("A->B", "B->C", "C->D", *(f"U->{v}" for v in "ABCD"))
        for f in ("--edge", edge)
    ]
    with pytest.raises(SystemExit) as left:
        main(["check", *edges, "--n-sources", "2"])
    assert left.value.code == 2
    assert "not checked" in capsys.readouterr().out
