"""Every room once, small, while each call is checked against the shapes that it declares.

Cardinalities are all different, so that no axis can stand for another.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch

import pyromix as px
from pyromix.answers import profile, pulls, same_law
from pyromix.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")

CARDS = {"A": 2, "B": 3, "C": 4, "X": 2, "Y": 3}
STATES = {name: tuple(range(card)) for name, card in CARDS.items()}


@pytest.fixture(scope="module", autouse=True)
def _few_steps():
    """The hundredth step of a search has the shapes of the second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(same_law, "STEPS", 8)
        patch.setattr(pulls, "ROUNDS", 2)
        patch.setattr(profile, "TOLERANCE", 0.5)
        yield


@pytest.fixture(scope="module")
def spec():
    return px.MixtureSpec.from_parents(STATES, {"Y": ["X"]}, 2)


@pytest.fixture(scope="module")
def truth(spec):
    return px.random_mixture(spec, 3, separation=0.3)


@pytest.fixture(scope="module")
def frame(truth):
    return px.simulate(truth, 800, random_state=0)


@pytest.fixture(scope="module")
def fit(spec, frame):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        return px.fit(spec, frame, n_init=2, random_state=0)


@pytest.fixture(scope="module")
def short(spec, frame):
    """Fitted by likelihood alone: nothing is chosen, so that it takes no time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        return px.fit(spec, frame, method="em", prior=0.5, n_init=2, random_state=0)


# -- that the option does what it is for ---------------------------------------------------------


def test_a_wrong_shape_is_caught_where_it_is_handed_over(truth):
    from pyromix.identify.product.hadamard import multilinear_extension

    with pytest.raises(Exception, match="Type-check error"):
        multilinear_extension(torch.rand(4, dtype=torch.float64))


def test_axes_of_one_name_must_agree_between_arguments():
    from pyromix.data.folds import compared

    scores = torch.rand(2, 5, dtype=torch.float64)
    with pytest.raises(Exception, match="Type-check error"):
        compared(scores, torch.ones(4, dtype=torch.float64))


def test_a_wrong_field_of_a_record_is_caught(spec, truth):
    from pyromix.identify.product.tables import ProductMixture

    with pytest.raises(Exception, match="Type-check error"):
        ProductMixture(torch.tensor(0.5, dtype=torch.float64), truth.cpts)


# -- model, exact --------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_mixtures_with_any_batch_axes_are_asked(spec, batch):
    mixture = px.random_mixture(spec, 0, batch_shape=batch)
    for do in ({}, {"X": 1}, {"X": [0, 1]}):
        px.query(mixture, "Y", do)
        px.query(mixture, ["A", "Y"], do, {"B": 2})
    px.effect(mixture, "X", "Y", per_source=not batch)
    if not batch:
        px.bounds(mixture, "Y", {"X": [0, 1]}, n_starts=1)
    one = px.random_mixture(spec, 1)
    order = px.match_sources(one, mixture)
    assert order.shape == (*batch, 2)
    mixture.relabel(order)


def test_missing_cells_are_summed_out(spec, truth, frame):
    gaps = frame.astype(object).mask(np.random.default_rng(0).random(frame.shape) < 0.2)
    px.fit(spec, gaps, method="em", prior=None, n_init=2, max_iter=20)


# -- data, formats, bridges ----------------------------------------------------------------------


def test_tables_of_every_kind_are_counted(spec, truth, frame):
    codes = torch.tensor(frame[list(spec.variables)].astype(int).to_numpy())
    for counts in (
        px.Counts.from_codes(spec, codes),
        px.Counts.from_frame(frame.assign(w=2.5), spec, sample_weight="w"),
        px.population(truth),
    ):
        none = torch.zeros(1, 0, dtype=torch.int64)
        assert counts.table((0, 1), (), none).shape == (1, 2, 3)
        arms = torch.tensor([[0], [1]])
        assert counts.table((4,), (3,), arms).shape == (2, 3)
        counts.mass((3,), arms)
    px.population(truth).as_counts()


@pytest.mark.parametrize("suffix", [".bif", ".net", ".uai", ".xdsl", ".xmlbif", ".pyromix"])
def test_a_mixture_is_written_and_read(truth, tmp_path, suffix):
    named = {name: [f"s{i}" for i in range(card)] for name, card in CARDS.items()}
    spec = px.MixtureSpec.from_parents(named, {"Y": ["X"]}, 2)
    mixture = px.BayesNetMixture(spec, truth.weights, truth.cpts)
    path = tmp_path / f"net{suffix}"
    px.write(mixture, path)
    px.read(path)


def test_mixtures_cross_the_bridges(truth, spec, short):
    import pyro

    assert px.mixture_from_pgmpy(px.to_pgmpy(truth)).n_sources == 2
    px.from_pgmpy(px.to_pgmpy(truth))
    program = px.to_pyro(truth, prior=1.0)
    with pyro.poutine.block():
        program(size=3)
        program(counts=short.counts)
    px.from_pyro(px.to_pyro(truth), size=2)
    px.query(truth, "Y", {"X": 1}, engine="pyro")


# -- identify, coins -----------------------------------------------------------------------------


def test_moments_alone_give_the_mixture_back():
    states = {f"V{i}": tuple(range(card)) for i, card in enumerate((2, 3, 2, 3, 2, 2))}
    graph = px.MixtureSpec.from_parents(states, {"V1": ["V0"], "V4": ["V3"]}, 2)
    law = px.population(px.random_mixture(graph, 0, separation=0.3))
    px.fit(graph, law, method="moments")


def test_boundaries_give_the_mixture_back_or_say_why_not():
    states = {f"V{i}": (0, 1) for i in range(6)}
    chain = px.MixtureSpec.from_parents(states, {f"V{i + 1}": [f"V{i}"] for i in range(5)}, 2)
    law = px.population(px.random_mixture(chain, 0, separation=0.3))
    with contextlib.suppress(px.PlanError, px.IdentificationError):
        px.fit(chain, law, method="markov-boundary")


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_joint_tables_of_products_are_solved(batch):
    from pyromix.identify.product.hadamard import multilinear_extension, multilinear_moments
    from pyromix.identify.product.rank import product_rank
    from pyromix.identify.product.tables import identify_tables

    bits = px.MixtureSpec.from_parents({f"V{i}": (0, 1) for i in range(5)}, {}, 2)
    mixture = px.random_mixture(bits, 0, batch_shape=batch, separation=0.3)
    joint = mixture.joint_table().flatten(len(batch))
    assert multilinear_moments(joint).shape == joint.shape
    multilinear_extension(torch.stack([c[..., 1] for c in mixture.cpts], -1))
    identify_tables(joint.unflatten(-1, (4, 2, 4)), 2)
    product_rank(px.population(px.random_mixture(bits, 1)), n_pairs=2)


def test_products_and_graphs_are_checked(spec, frame):
    px.fit_product(frame, 2, n_init=2, prior=None)
    px.check(spec)
    px.check(nx.DiGraph([("X", "Y")]), 2)
    px.measure_next(nx.DiGraph([("X", "Y")]), 2, outcome="Y", treatment="X").to_frame()


def test_graphs_are_put_to_a_table_and_searched_for(spec, frame):
    px.graph_check(spec, frame, n_simulated=3).to_frame()
    px.discover(frame, 1, n_starts=1)
    draw = np.random.default_rng(0)
    table = pd.DataFrame({n: draw.integers(0, 2, 150) for n in "ABC"} | {"Y": draw.random(150)})
    graph = nx.DiGraph([("A", "Y")])
    graph.add_nodes_from("BC")
    px.graph_check(graph, table, 2, treatment="A", outcome="Y").to_frame()


def test_coins_are_found(capsys):
    px.identify_iid([1, 0.5, 0.34, 0.26], 2)
    found = px.fit_iid([0, 1, 5, 6, 9, 8] * 20, 9, 2)
    found.predict_proba([3, 4], 9)


# -- estimate, fitting, posterior ----------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {"method": "gibbs", "num_samples": 6, "warmup_steps": 2, "num_chains": 2},
        {"method": "nuts", "num_samples": 8, "warmup_steps": 20, "num_chains": 2},
        {"method": "svi", "num_steps": 3, "num_samples": 4},
    ],
)
def test_a_fit_is_refined(short, how):
    drawn = short.refine(**how, random_state=0, show_progress=False)
    drawn.query("Y", {"X": 1})


@pytest.mark.parametrize("kind", ["multinomial", "dirichlet"])
def test_a_fit_is_resampled_and_asked(fit, frame, kind):
    drawn = fit.bootstrap(n=4, kind=kind)
    drawn.effect("X", "Y", per_source=True)
    drawn.predict_proba(frame.head(3), level=0.9)
    drawn.simulate(5, evidence={"A": 1}, posterior=True)


def test_a_fit_is_asked_itself(fit, frame, tmp_path):
    fit.query(["A", "Y"], {"X": [0, 1]})
    fit.effect("X", "Y")
    fit.predict_proba(frame.head(3))
    fit.score(frame)
    fit.summary()
    fit.save(tmp_path / "fit.pyromix")
    px.load(tmp_path / "fit.pyromix")
    estimator = px.MixtureEstimator(2, method="em", prior=None, n_init=1)
    estimator.fit(px.to_pgmpy(fit), frame)


# -- criticism, report, cli ----------------------------------------------------------------------


def test_a_fit_is_criticised(short, frame):
    short.predictive_check()
    short.sensitivity("Y", {"X": [0, 1]}, n_starts=2)
    px.select_n_sources(short.spec, frame, [1, 2], n_folds=2, n_init=1)
    short.classification()
    short.membership(frame.head(3))
    px.bootstrap_lrt(frame[["A", "B", "C"]], 2, n=2, n_init=2)


@pytest.mark.parametrize("method", ["bch", "ml", "modal", "proportional"])
def test_an_outcome_outside_the_model_is_described(short, frame, method):
    rows = frame.assign(score=np.arange(len(frame)) % 7, group=np.where(frame["A"] == 0, "a", "b"))
    for outcome in ("score", "group"):
        short.distal(rows, outcome, method=method, n_bootstrap=2).contrasts()


def test_sources_depend_on_covariates(frame):
    items = frame[["A", "B", "C"]].assign(age=np.arange(len(frame)) % 11, sex=frame["Y"])
    fit = px.fit_product(
        items, 2, covariates=["age", "sex"], state_names={"sex": [0, 1, 2]}, n_init=2
    )
    fit.to_frame(reference=1)
    fit.profiles()
    fit.predict_proba(items.head(3))
    fit.classification()


def test_a_report_and_its_plots_are_drawn(short, tmp_path):
    short.report(tmp_path / "a.html", show=False, sensitivity=False, treatment="X", outcome="Y")


def test_commands_read_and_answer(short, frame, tmp_path, capsys):
    short.save(tmp_path / "fit.pyromix")
    path = str(tmp_path / "fit.pyromix")
    for line in (
        ["do", path, "--query", "Y", "--do", "X=1", "--require", "none"],
        ["simulate", path, "-n", "5"],
        ["effect", path, "--treatment", "X", "--outcome", "Y", "--require", "none", "-q"],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(line)
        assert not stopped.value.code
    assert "probability" in capsys.readouterr().out


def test_every_public_function_is_called_here():
    text = Path(__file__).read_text(encoding="utf-8")
    functions = [name for name in px.__all__ if inspect.isfunction(getattr(px, name))]
    assert [name for name in functions if f"px.{name}" not in text] == []
