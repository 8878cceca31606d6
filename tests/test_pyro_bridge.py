"""Mixtures as Pyro programs: three modes, Pyro's handlers, and programs read as specs."""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from helpers import BATCH_SHAPES, Oracle, random_spec, structures
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine
from pyro.infer import (
    MCMC,
    NUTS,
    SVI,
    Predictive,
    Trace_ELBO,
    TraceEnum_ELBO,
    infer_discrete,
)
from pyro.infer.autoguide import AutoDelta
from pyro.infer.mcmc.util import initialize_model
from torch import Tensor

import pyromix as px
from pyromix.bridges.pyro import PyroProgram, to_pyro
from pyromix.data.counts import Counts
from pyromix.data.intake_report import DataReport
from pyromix.errors import DataError, QueryError, SpecError
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec

PARALLEL = {"enumerate": "parallel"}


@pytest.fixture(autouse=True)
def pyro_state_is_left_as_found() -> Iterator[None]:
    """Every test of this file: nothing of ours stays in Pyro's global state."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    validation, dtype = pyro.settings.get("validate_distributions_pyro"), torch.get_default_dtype()
    yield
    assert pyro.settings.get("validate_distributions_pyro") == validation
    assert torch.get_default_dtype() is dtype
    assert not pyro.poutine.runtime._PYRO_STACK


def no_guide(*_: Any, **__: Any) -> None:
    """A guide for programs whose latent sites are all enumerated."""


def elements(mixture: BayesNetMixture) -> Iterator[tuple[tuple[int, ...], BayesNetMixture]]:
    """Every batch element with its index."""
    for index in itertools.product(*map(range, mixture.batch_shape)):
        cpts = tuple(c[index] for c in mixture.cpts)
        yield index, BayesNetMixture(mixture.spec, mixture.weights[index], cpts)


def random_rows(spec: MixtureSpec, seed: int, n: int, *, missing: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(0, c, (n,), generator=generator) for c in spec.cards]
    rows = torch.stack(columns, 1)
    gaps = torch.rand(rows.shape, generator=generator) < missing
    return rows.masked_fill(gaps, -1)


def weighted(spec: MixtureSpec, rows: Tensor, weights: Tensor) -> Counts:
    """Counts of these patterns in this order."""
    report = DataReport(n_rows=len(rows), n_variables=spec.n_variables, n_patterns=len(rows))
    return Counts(spec, rows, weights.double(), report)


# -- generating ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_program_generates_one_site_per_vertex_and_one_for_the_source(batch_shape):
    mixture = random_mixture(random_spec(1, 4, 3), 0, batch_shape=batch_shape)
    trace = poutine.trace(to_pyro(mixture)).get_trace(size=5)
    sites = [n for n, s in trace.nodes.items() if s["type"] == "sample" and "plate" not in str(n)]
    plates = {"rows", *(f"batch_{i}" for i in range(len(batch_shape)))}
    assert set(sites) - plates == {"U", *mixture.spec.variables}
    for name in ("U", *mixture.spec.variables):
        value = trace.nodes[name]["value"]
        assert value.dtype == torch.long
        assert value.shape == (*batch_shape, 5)
        assert trace.nodes[name]["fn"].logits.dtype == torch.float64


def test_generated_rows_follow_the_joint_table():
    mixture = random_mixture(random_spec(1, 3, 2), 0)
    n, spec = 40_000, mixture.spec
    values = to_pyro(mixture)(size=n)
    joint = mixture.joint_table(with_source=True)
    cells = torch.stack([values[name] for name in ("U", *spec.variables)], 1)
    seen = torch.zeros_like(joint)
    seen.index_put_(tuple(cells.T), torch.ones(n, dtype=torch.float64), accumulate=True)
    chi2 = float(((seen - n * joint) ** 2 / (n * joint)).sum())
    # Five standard deviations above the mean of a chi-square variable: false alarm below 1e-4.
    freedom = joint.numel() - 1
    assert chi2 < freedom + 5 * math.sqrt(2 * freedom)


@settings(max_examples=30, deadline=None)
@given(structures(3, 5), st.integers(0, 2**31))
def test_log_density_of_a_trace_is_the_probability_of_its_world(structure, seed):
    mixture = random_mixture(random_spec(**structure), seed)
    spec = mixture.spec
    trace = poutine.trace(to_pyro(mixture)).get_trace(size=1)
    u = int(trace.nodes["U"]["value"])
    x = [int(trace.nodes[name]["value"]) for name in spec.variables]
    expected = math.log(Oracle(mixture).prob(u, x))
    assert float(trace.log_prob_sum()) == pytest.approx(expected, abs=1e-10)


def test_probability_zero_stays_zero():
    spec = MixtureSpec.from_parents({"X": "ab"}, {}, 1)
    one = torch.ones(1, dtype=torch.float64)
    mixture = BayesNetMixture(spec, one, (torch.tensor([[1.0, 0.0]], dtype=torch.float64),))
    program = pyro.condition(to_pyro(mixture), data={"X": torch.tensor([1])})
    assert float(poutine.trace(program).get_trace().log_prob_sum()) == -math.inf


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_predictive_draws_rows(batch_shape, parallel):
    mixture = random_mixture(random_spec(2, 4, 2), 0, batch_shape=batch_shape)
    draws = Predictive(to_pyro(mixture), num_samples=7, parallel=parallel)(size=3)
    assert {"U", *mixture.spec.variables} <= set(draws)
    for name in mixture.spec.variables:
        assert draws[name].shape == (7, *batch_shape, 3)


@pytest.mark.parametrize("parallel", [False, True])
def test_predictive_under_do_draws_from_the_truncated_factorisation(parallel):
    spec = MixtureSpec.from_parents({"X": "ab", "Y": "ab"}, {"Y": ["X"]}, 2)
    mixture = random_mixture(spec, 3)
    program = pyro.do(to_pyro(mixture), data={"X": torch.tensor(1)})
    n = 40_000 if parallel else 400
    draws = Predictive(program, num_samples=n, parallel=parallel)(size=1)
    expected = Oracle(mixture).query([1], do={0: 1})[(1,)]
    share = float(draws["Y"].double().mean())
    assert share == pytest.approx(expected, abs=5 * math.sqrt(0.25 / n))


def test_do_takes_a_float_as_pyro_users_write_it():
    mixture = random_mixture(MixtureSpec.from_parents({"X": "ab", "Y": "ab"}, {"Y": ["X"]}, 2), 3)
    values = pyro.do(to_pyro(mixture), data={"X": torch.tensor(1.0)})(size=4)
    assert values["Y"].shape == (4,)


def test_a_variable_with_the_name_of_a_plate_is_refused():
    spec = MixtureSpec.from_parents({"rows": "ab", "data": "ab"}, {}, 2)
    with pytest.raises(SpecError, match=r"\['rows'\]; rename"):
        to_pyro(random_mixture(spec, 0))
    named = MixtureSpec.from_parents({"batch_0": "ab", "data": "ab"}, {}, 2)
    assert to_pyro(random_mixture(named, 0))(size=2)["data"].shape == (2,)
    with pytest.raises(SpecError, match="batch_0"):
        to_pyro(random_mixture(named, 0, batch_shape=(2,)))


# -- observing rows ------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_marginals_of_the_source_are_the_responsibilities(batch_shape, missing):
    mixture = random_mixture(random_spec(4, 4, 3), 1, batch_shape=batch_shape)
    rows = random_rows(mixture.spec, 5, 12, missing=missing)
    elbo = TraceEnum_ELBO(max_plate_nesting=1 + len(batch_shape))
    shares = elbo.compute_marginals(to_pyro(mixture), no_guide, rows=rows)["U"].probs
    shares = shares.reshape(*batch_shape, 12, 3)
    for index, element in elements(mixture):
        oracle = Oracle(element)
        for i, row in enumerate(rows.tolist()):
            expected = torch.tensor(oracle.responsibilities(row), dtype=torch.float64)
            torch.testing.assert_close(shares[(*index, i)], expected, rtol=0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(structures(3, 5), st.integers(0, 2**31), st.sampled_from([0.0, 0.3, 0.8]))
def test_loss_of_rows_is_minus_their_log_likelihood(structure, seed, missing):
    mixture = random_mixture(random_spec(**structure), seed)
    rows = random_rows(mixture.spec, seed, 6, missing=missing)
    loss = TraceEnum_ELBO(max_plate_nesting=1).loss(to_pyro(mixture), no_guide, rows=rows)
    expected = sum(Oracle(mixture).log_prob(row) for row in rows.tolist())
    assert -float(loss) == pytest.approx(expected, abs=1e-10)


def test_marginals_of_a_missing_cell_are_its_posterior_and_of_a_seen_one_itself():
    mixture = random_mixture(random_spec(6, 4, 2, edge_probability=0.8), 2)
    spec, rows = mixture.spec, random_rows(mixture.spec, 0, 5)
    rows[::2, 1] = -1
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    name = spec.variables[1]
    shares = elbo.compute_marginals(to_pyro(mixture), no_guide, rows=rows)[name].probs
    for i, row in enumerate(rows.tolist()):
        seen = {v: s for v, s in enumerate(row) if s >= 0 and v != 1}
        expected = Oracle(mixture).table([1], evidence=seen)
        if row[1] >= 0:
            expected = torch.eye(spec.cards[1], dtype=torch.float64)[row[1]]
        torch.testing.assert_close(shares[i], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_infer_discrete_draws_sources_by_their_responsibilities(batch_shape):
    mixture = random_mixture(random_spec(4, 4, 2), 1, batch_shape=batch_shape)
    row = random_rows(mixture.spec, 5, 1)
    program = infer_discrete(to_pyro(mixture), first_available_dim=-2 - len(batch_shape))
    n = 4_000
    sources = program(rows=row.expand(n, -1))["U"]
    sources = sources.reshape(*batch_shape, n)  # Pyro drops axes of length one that are no plate
    for index, element in elements(mixture):
        expected = Oracle(element).responsibilities(row[0].tolist())[1]
        assert float(sources[index].double().mean()) == pytest.approx(expected, abs=0.04)


def test_infer_discrete_fills_missing_cells_and_keeps_seen_ones():
    mixture = random_mixture(random_spec(4, 4, 2), 1)
    rows = random_rows(mixture.spec, 5, 50, missing=0.4)
    values = infer_discrete(to_pyro(mixture), first_available_dim=-2)(rows=rows)
    filled = torch.stack([values[name].expand(50) for name in mixture.spec.variables], 1)
    assert torch.equal(filled[rows >= 0], rows[rows >= 0])
    assert bool((filled >= 0).all())


def test_a_plain_trace_of_rows_imputes_and_weighs_by_the_seen_cells():
    mixture = random_mixture(MixtureSpec.from_parents({"X": "ab", "Y": "abc"}, {"Y": ["X"]}, 1), 0)
    rows = torch.tensor([[1, -1], [0, 2]])
    trace = poutine.trace(to_pyro(mixture)).get_trace(rows=rows)
    assert int(trace.nodes["Y"]["value"][1]) == 2
    factors = [s["fn"] for n, s in trace.nodes.items() if str(n).startswith("observed")]
    weight = trace.nodes["X"]["fn"].log_prob(rows[:, 0]).sum() + sum(
        f.log_factor.sum() for f in factors
    )
    oracle = Oracle(mixture)
    expected = oracle.log_prob([1, -1]) + oracle.log_prob([0, 2])
    assert float(weight) == pytest.approx(expected, abs=1e-12)


def test_conditioning_the_generating_program_is_observing_rows():
    mixture = random_mixture(random_spec(4, 4, 3), 1)
    rows = random_rows(mixture.spec, 5, 8)
    data = dict(zip(mixture.spec.variables, rows.T, strict=True))
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    conditioned = elbo.loss(pyro.condition(to_pyro(mixture), data=data), no_guide, size=8)
    assert conditioned == pytest.approx(elbo.loss(to_pyro(mixture), no_guide, rows=rows), abs=1e-12)


def test_rows_that_do_not_fit_are_refused_with_the_name():
    program = to_pyro(random_mixture(random_spec(4, 4, 2), 1))
    rows = random_rows(program.mixture.spec, 0, 3)
    with pytest.raises(DataError, match=r"\(m, 4\)"):
        program(rows=rows[:, :3])
    with pytest.raises(DataError, match="float"):
        program(rows=rows.double())
    with pytest.raises(DataError, match="at least one row"):
        program(rows=rows[:0])
    with pytest.raises(DataError, match="at least one row"):
        program(size=0)
    rows[1, 2] = 9
    with pytest.raises(DataError, match=program.mixture.spec.variables[2]):
        program(rows=rows)
    rows[1, 2] = -2
    with pytest.raises(DataError, match="-2"):
        program(rows=rows)


# -- scoring counts ------------------------------------------------------------------------------


def potentials(model: Any, points: list[dict[str, Tensor]], **data: Any) -> list[float]:
    """What NUTS evaluates: -log p(tables, data) in its own coordinates, U summed out."""
    _, potential, transforms, _ = initialize_model(model, (), data, max_plate_nesting=1)
    return [
        float(potential({name: transforms[name](value) for name, value in point.items()}))
        for point in points
    ]


def drawn_tables(program: PyroProgram, n: int) -> list[dict[str, Tensor]]:
    traces = [poutine.trace(program).get_trace() for _ in range(n)]
    return [
        {name: s["value"] for name, s in trace.nodes.items() if name.startswith("theta[")}
        for trace in traces
    ]


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_potential_of_weighted_patterns_is_that_of_the_expanded_rows(missing):
    spec = random_spec(8, 4, 2, uninfluenced=True)
    program = to_pyro(random_mixture(spec, 0), prior=1.5)
    patterns = random_rows(spec, 3, 10, missing=missing).unique(dim=0)
    weights = torch.arange(len(patterns)) % 4 + 1
    rows = patterns.repeat_interleave(weights, 0)
    points = drawn_tables(program, 3)
    by_counts = potentials(program, points, counts=weighted(spec, patterns, weights))
    assert by_counts == pytest.approx(potentials(program, points, rows=rows), abs=1e-8)


def test_scaling_an_enumerated_site_gives_another_posterior_and_counts_do_not():
    """The wrong answer upstream (pyro issue 1897), beside the mode that avoids it."""
    spec = MixtureSpec.from_parents({"X": "ab", "Y": "ab", "Z": "ab"}, {}, 2)
    program = to_pyro(random_mixture(spec, 0), prior=1.0)
    patterns = random_rows(spec, 3, 16).unique(dim=0)
    weights = torch.arange(len(patterns)) + 1

    def scaled() -> None:
        tables = {n: program._table(v) for v, n in ((-1, "U"), *enumerate(spec.variables))}
        with pyro.plate("rows", len(patterns)), poutine.scale(scale=weights.double()):
            u = pyro.sample("U", dist.Categorical(tables["U"]), infer=PARALLEL)
            for v, name in enumerate(spec.variables):
                pyro.sample(name, dist.Categorical(tables[name][u]), obs=patterns[:, v])

    points = drawn_tables(program, 3)
    right = potentials(program, points, rows=patterns.repeat_interleave(weights, 0))
    ours = potentials(program, points, counts=weighted(spec, patterns, weights))
    gaps = [a - b for a, b in zip(potentials(scaled, points), right, strict=True)]
    assert ours == pytest.approx(right, abs=1e-8)
    assert max(gaps) - min(gaps) > 1  # not even a constant shift


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_counts_score_every_batch_element(batch_shape):
    mixture = random_mixture(random_spec(8, 4, 3), 0, batch_shape=batch_shape)
    patterns = random_rows(mixture.spec, 3, 10, missing=0.2)
    weights = torch.arange(10) % 4 + 1
    trace = poutine.trace(to_pyro(mixture)).get_trace(
        counts=weighted(mixture.spec, patterns, weights)
    )
    score = trace.nodes["data"]["fn"].log_factor
    assert [n for n in trace.nodes if n in mixture.spec.variables] == []
    for index, element in elements(mixture):
        oracle = Oracle(element)
        expected = sum(
            w * oracle.log_prob(row)
            for w, row in zip(weights.tolist(), patterns.tolist(), strict=True)
        )
        assert float(score.reshape(batch_shape)[index]) == pytest.approx(expected, abs=1e-9)


def test_an_impossible_pattern_scores_minus_infinity():
    spec = MixtureSpec.from_parents({"X": "ab"}, {}, 1)
    one = torch.ones(1, dtype=torch.float64)
    mixture = BayesNetMixture(spec, one, (torch.tensor([[1.0, 0.0]], dtype=torch.float64),))
    counts = weighted(spec, torch.tensor([[0], [1]]), torch.tensor([3.0, 1.0]))
    trace = poutine.trace(to_pyro(mixture)).get_trace(counts=counts)
    assert float(trace.log_prob_sum()) == -math.inf


def test_a_program_can_be_sent_to_another_process_after_scoring():
    """As MCMC with several chains does."""
    spec = random_spec(8, 4, 2, uninfluenced=True)
    program = to_pyro(random_mixture(spec, 0), prior={"U": 1.0})
    counts = weighted(spec, random_rows(spec, 3, 10, missing=0.2), torch.ones(10))
    point = {"theta[U]": torch.tensor([0.3, 0.7], dtype=torch.float64)}

    def score(program: PyroProgram, counts: Counts) -> float:
        trace = poutine.trace(pyro.condition(program, data=point)).get_trace(counts=counts)
        return float(trace.log_prob_sum())

    here = score(program, counts)
    there, sent = pickle.loads(pickle.dumps((program, counts)))
    assert score(there, sent) == here


def test_counts_of_other_variables_are_refused():
    counts = weighted(random_spec(9, 3, 2), torch.zeros(1, 3, dtype=torch.long), torch.ones(1))
    with pytest.raises(DataError, match="with_spec"):
        to_pyro(random_mixture(random_spec(8, 3, 2), 0))(counts=counts)


HIDDEN_GROUP = px.datasets.read_card("hidden-group").folder / "network.bif"


@pytest.mark.parametrize("wrap", [lambda f: f.to_numpy(), lambda f: f.to_numpy().tolist(), str])
def test_what_is_no_table_is_refused(wrap):
    program = px.to_pyro(px.read(HIDDEN_GROUP))
    frame = px.simulate(program.mixture, 20)
    with pytest.raises(px.PyromixError, match=r"expected a (pandas|path)"):
        program(rows=wrap(frame))
    with pytest.raises(DataError, match=r"px.Counts.from_frame\(table, program.mixture.spec\)"):
        program(counts=wrap(frame))


def test_what_the_refusal_of_a_table_says_works():
    program = px.to_pyro(px.read(HIDDEN_GROUP))
    counts = px.Counts.from_frame(px.simulate(program.mixture, 20), program.mixture.spec)
    with pytest.raises(DataError, match=r"program\(counts=...\), or observe rows=counts.expand"):
        program(rows=counts)
    with pyro.poutine.trace():
        assert program(counts=counts) == {}
        assert len(program(rows=counts.expand())["U"]) == 20


@pytest.mark.parametrize("columns", [dict, lambda f: f.to_dict("list"), lambda f: f])
def test_rows_may_be_a_table_in_its_own_order_or_a_dict_of_its_columns(columns):
    mixture = px.read(HIDDEN_GROUP)
    frame = px.simulate(mixture, 20)
    seen = px.to_pyro(mixture)(rows=columns(frame.iloc[:, ::-1]))
    for name, states in zip(mixture.spec.variables, mixture.spec.states, strict=True):
        assert [states[i] for i in seen[name].tolist()] == list(frame[name])


def test_a_dict_of_tensors_holds_state_numbers_and_leaves_the_others_free():
    program = px.to_pyro(px.read(HIDDEN_GROUP))
    some = {"X": torch.tensor([1, 0, 1]), "Y": torch.tensor([1, -1, 0])}
    trace = pyro.poutine.trace(program).get_trace(rows=some)
    assert torch.equal(trace.nodes["X"]["value"], some["X"])
    assert trace.nodes["X"]["is_observed"]
    assert not trace.nodes["Z1"]["is_observed"]
    assert trace.nodes["Y"]["value"][[0, 2]].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "with rows"),
        ({"U": torch.tensor([0])}, "none for 'U'"),
        ({"X": torch.tensor([0, 1]), "Y": torch.tensor([0])}, "all of one length"),
        ({"X": torch.tensor([[0]])}, "all of one length"),
        ({"Q": torch.tensor([0])}, "unknown variable 'Q'"),
        ({"X": torch.tensor([2])}, "'X' has state numbers 0..1"),
        ({"X": ["treated", "control"], "Y": ["better"]}, "one length each"),
    ],
)
def test_columns_that_are_no_rows_are_refused(rows, message):
    with pytest.raises(px.PyromixError, match=message):
        px.to_pyro(px.read(HIDDEN_GROUP))(rows=rows)


def test_rows_and_counts_together_are_refused():
    program = to_pyro(random_mixture(random_spec(8, 3, 2), 0))
    rows = random_rows(program.mixture.spec, 0, 3)
    counts = weighted(program.mixture.spec, rows, torch.ones(3))
    with pytest.raises(DataError, match="either rows or counts"):
        program(rows=rows, counts=counts)


# -- priors --------------------------------------------------------------------------------------


def test_a_prior_adds_one_site_per_table_and_shares_that_of_an_uninfluenced_vertex():
    spec = MixtureSpec.from_parents(
        {"X": "ab", "Y": "abc"}, {"Y": ["X"]}, 4, uninfluenced=["Y"], source="G"
    )
    trace = poutine.trace(to_pyro(random_mixture(spec, 0), prior=2.0)).get_trace(size=3)
    shapes = {n: tuple(s["value"].shape) for n, s in trace.nodes.items() if "theta" in str(n)}
    assert shapes == {"theta[G]": (4,), "theta[X]": (4, 2), "theta[Y]": (2, 3)}
    assert trace.nodes["theta[Y]"]["value"].dtype == torch.float64


def test_a_mapping_of_priors_leaves_the_other_tables_constant():
    spec = MixtureSpec.from_parents({"X": "ab", "Y": "abc"}, {"Y": ["X"]}, 2)
    program = to_pyro(random_mixture(spec, 0), prior={"Y": torch.tensor([1.0, 2.0, 3.0])})
    trace = poutine.trace(program).get_trace(size=2)
    assert [n for n in trace.nodes if "theta" in n] == ["theta[Y]"]
    concentration = trace.nodes["theta[Y]"]["fn"].base_dist.concentration
    assert torch.equal(concentration[1, 0], torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    rows = random_rows(spec, 0, 4)
    counts = weighted(spec, rows, torch.ones(4))
    points = drawn_tables(program, 2)
    by_rows = potentials(program, points, rows=rows)
    assert potentials(program, points, counts=counts) == pytest.approx(by_rows, abs=1e-10)


@pytest.mark.parametrize(
    ("prior", "error", "match"),
    [
        (0.0, SpecError, "positive"),
        (math.nan, SpecError, "positive"),
        ({"Y": torch.ones(7)}, SpecError, r"\(2, 2, 3\).*\(7,\)"),
        ({"Yy": 1.0}, QueryError, "did you mean 'Y'"),
    ],
)
def test_unusable_priors_are_refused(prior, error, match):
    spec = MixtureSpec.from_parents({"X": "ab", "Y": "abc"}, {"Y": ["X"]}, 2)
    with pytest.raises(error, match=match):
        to_pyro(random_mixture(spec, 0), prior=prior)


def test_a_prior_for_a_batch_is_refused():
    mixture = random_mixture(random_spec(1, 3, 2), 0, batch_shape=(2,))
    with pytest.raises(SpecError, match=r"batch axes \(2,\)"):
        to_pyro(mixture, prior=1.0)


@pytest.mark.parametrize("axis", [False, True])
@pytest.mark.parametrize("parallel", [False, True])
def test_predictive_pairs_every_draw_of_the_tables_with_its_own_rows(parallel, axis):
    """As many rows as draws, so that mixing up the two axes would go unnoticed by shape."""
    spec = MixtureSpec.from_parents({"X": "ab", "Y": "ab"}, {"Y": ["X"]}, 2)
    program = to_pyro(random_mixture(spec, 0), prior=1.0)
    n = 60
    sure = torch.eye(2, dtype=torch.float64)[torch.arange(n) % 2]  # draw i: always state i % 2
    draws = {
        "theta[U]": torch.full((n, 2), 0.5, dtype=torch.float64),
        "theta[X]": sure[:, None].expand(n, 2, 2),
        "theta[Y]": sure[:, None, None].expand(n, 2, 2, 2),
    }
    if axis:  # as autoguides and Predictive itself return them
        draws = {name: value.unsqueeze(1) for name, value in draws.items()}
    values = Predictive(program, posterior_samples=draws, parallel=parallel)(size=n)
    for name in ("X", "Y"):
        assert torch.equal(values[name], (torch.arange(n) % 2)[:, None].expand(n, n))


def test_nuts_on_patterns_finds_the_posterior_of_one_source():
    """k = 1: the posterior is the Dirichlet distribution of prior plus counts, in closed form."""
    spec = MixtureSpec.from_parents({"X": "ab", "Y": "ab"}, {"Y": ["X"]}, 1)
    rows = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    counts = weighted(spec, rows, torch.tensor([8.0, 3.0, 2.0, 9.0]))
    program = to_pyro(random_mixture(spec, 0), prior={"X": 1.0, "Y": 1.0})
    kernel = NUTS(program, max_tree_depth=4)
    mcmc = MCMC(kernel, num_samples=120, warmup_steps=30, disable_progbar=True)
    mcmc.run(counts=counts)
    draws = mcmc.get_samples()
    assert draws["theta[X]"].dtype == torch.float64
    # Posterior deviations are 0.10 and 0.12; 120 draws have a mean within 0.011 of theirs.
    assert float(draws["theta[X]"][:, 0, 0].mean()) == pytest.approx(12 / 24, abs=0.05)
    assert float(draws["theta[Y]"][:, 0, 0, 0].mean()) == pytest.approx(9 / 13, abs=0.05)


def test_nuts_takes_rows_with_the_source_enumerated():
    spec = MixtureSpec.from_parents({"X": "ab", "Y": "ab", "Z": "ab"}, {}, 2)
    program = to_pyro(random_mixture(spec, 0), prior=2.0)
    kernel = NUTS(program, max_plate_nesting=1)
    mcmc = MCMC(kernel, num_samples=5, warmup_steps=5, disable_progbar=True)
    mcmc.run(rows=random_rows(spec, 1, 12))
    assert mcmc.get_samples()["theta[X]"].shape == (5, 2, 2)


def test_svi_to_the_mode_raises_the_posterior_density():
    spec = MixtureSpec.from_parents({"X": "ab", "Y": "ab", "Z": "ab"}, {}, 2)
    program = to_pyro(random_mixture(spec, 0), prior=2.0)
    rows = random_rows(spec, 1, 8).unique(dim=0)
    counts = weighted(spec, rows, torch.arange(len(rows)) + 1.0)
    svi = SVI(program, AutoDelta(program), pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    losses = [svi.step(counts=counts) for _ in range(40)]
    assert losses[-1] < losses[0] - 1


def test_running_programs_leaves_the_parameter_store_alone():
    program = to_pyro(random_mixture(random_spec(8, 3, 2), 0), prior=1.0)
    program(size=3)
    assert list(pyro.get_param_store().keys()) == []
