"""Facts that hold exactly: what the cards of models/ say, recomputed by other means.

Planted networks: sums in plain loops where the joint is small, an einsum over the relevant
ancestors everywhere. Real tables: plain counting, with everything that matters observed.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from helpers import Oracle

import pyromix as px
from pyromix import datasets
from pyromix.bridges.pgmpy import structure_of
from pyromix.exact.elimination import marginal, unsupported_mass
from pyromix.formats.files import read
from pyromix.model.mixture import BayesNetMixture
from pyromix.model.query import DoQuery
from pyromix.model.spec import MixtureSpec

DATA = Path(__file__).parent / "data"
PLANTED = [n for n in datasets.names() if datasets.read_card(n).kind == "planted"]
LOOPS = ("asia", "cancer", "hidden-group", "survey")
EVERYTHING_SEEN = ("berkeley", "kidney-stones", "titanic", "whickham")
EXACT = 1e-9


@cache
def truth_network(name: str) -> BayesNetMixture:
    return read(datasets.read_card(name).folder / "network.bif")


def question(card: datasets.Card, spec: MixtureSpec) -> tuple[int, int, list[int], int]:
    """Treatment, outcome, the two arms and the outcome's state, as numbers."""
    x, y = spec.vertex(card.treatment), spec.vertex(card.outcome)
    arms = [spec.state(x, state) for state in card.contrast]
    return x, y, arms, spec.state(y, card.outcome_state)


def truncated_factorisation(
    mixture: BayesNetMixture, outcomes: Sequence[int], do: Mapping[int, int] | None = None
) -> np.ndarray:
    """P(outcomes | do) by one numpy einsum over the relevant ancestors, U first (vertex -1)."""
    spec, do = mixture.spec, do or {}
    graph = nx.DiGraph()
    graph.add_nodes_from(range(spec.n_variables))
    graph.add_edges_from((p, v) for v, ps in enumerate(spec.parents) if v not in do for p in ps)
    relevant = set().union(*({v, *nx.ancestors(graph, v)} for v in outcomes if v >= 0))
    axis = {v: i for i, v in enumerate([-1, *sorted(relevant)])}
    operands: list[Any] = [mixture.weights.numpy(), [0]]
    for v in sorted(relevant):
        if v in do:
            operands += [np.eye(spec.cards[v])[do[v]], [axis[v]]]
        else:
            family = [-1, *spec.parents[v], v]
            operands += [mixture.cpts[v].numpy(), [axis[w] for w in family]]
    result: np.ndarray = np.einsum(*operands, [axis[v] for v in outcomes], optimize="greedy")
    return result


# -- planted networks --------------------------------------------------------------------------


def test_the_toy_of_the_readme_has_the_quoted_population_values() -> None:
    """Naive difference .488, do difference .240, log-likelihood per row -2.32, entropy R2 .68."""
    card = datasets.read_card("hidden-group")
    assert round(card.truth["naive"], 3) == 0.488
    assert math.isclose(card.truth["do"], 0.24, abs_tol=1e-15)
    assert round(card.truth["log_likelihood_per_row"], 2) == -2.32
    joint = truth_network("hidden-group").joint_table(with_source=True)
    posterior = joint / joint.sum(0)
    assert round(1 + float((joint * posterior.log()).sum()) / math.log(2), 2) == 0.68
    views = {"Z1": 2, "Z2": 3}
    order = truth_network("hidden-group").spec.variables
    table = joint.sum(0).permute([order.index(name) for name in ("X", "Y", "Z1", "Z2")])
    pairs = [table.sum((0, 1))]
    pairs += [table.sum(5 - axis).reshape(4, 2) for axis in views.values()]
    weakest = min(float(torch.linalg.svdvals(pair)[1]) for pair in pairs)
    assert round(weakest, 3) == 0.135


def test_the_toy_has_the_tables_of_its_definition() -> None:
    mixture = truth_network("hidden-group")
    second = {
        "X": [0.2, 0.75],
        "Y": [[0.1, 0.3], [0.5, 0.8]],
        "Z1": [0.1, 0.8],
        "Z2": [0.15, 0.7],
    }
    assert mixture.weights.tolist() == [0.6, 0.4]
    for name, table in second.items():
        found = mixture.cpts[mixture.spec.vertex(name)][..., 1]
        assert torch.equal(found, torch.tensor(table, dtype=torch.float64))


@pytest.mark.parametrize("name", LOOPS)
def test_card_figures_equal_sums_in_plain_loops(name: str) -> None:
    card = datasets.read_card(name)
    oracle = Oracle(truth_network(name))
    x, y, arms, good = question(card, truth_network(name).spec)
    given = [oracle.query([y], evidence={x: arm})[good,] for arm in arms]
    done = [oracle.query([y], do={x: arm})[good,] for arm in arms]
    assert math.isclose(card.truth["naive"], given[1] - given[0], abs_tol=2e-12)
    assert math.isclose(card.truth["do"], done[1] - done[0], abs_tol=2e-12)
    assert np.allclose([card.truth["p_given"][s] for s in card.contrast], given, atol=2e-12)
    assert np.allclose([card.truth["p_do"][s] for s in card.contrast], done, atol=2e-12)


@pytest.mark.parametrize("name", PLANTED)
def test_card_figures_equal_an_einsum_over_the_relevant_ancestors(name: str) -> None:
    card, mixture = datasets.read_card(name), truth_network(name)
    x, y, arms, good = question(card, mixture.spec)
    pair = truncated_factorisation(mixture, [x, y])
    given = [pair[arm, good] / pair[arm].sum() for arm in arms]
    done = [truncated_factorisation(mixture, [-1, y], {x: arm}) for arm in arms]
    assert math.isclose(card.truth["naive"], given[1] - given[0], abs_tol=2e-12)
    assert math.isclose(card.truth["do"], (done[1] - done[0])[:, good].sum(), abs_tol=2e-12)
    within = [table[:, good] / table.sum(-1) for table in done]
    assert np.allclose(card.truth["do_per_source"], within[1] - within[0], atol=2e-12)


@pytest.mark.parametrize("name", PLANTED)
def test_card_figures_equal_the_package(name: str) -> None:
    card, mixture = datasets.read_card(name), truth_network(name)
    x, y, arms, good = question(card, mixture.spec)
    done = [marginal(mixture, DoQuery(outcomes=(y,), do={x: arm}))[good] for arm in arms]
    given = [marginal(mixture, DoQuery(outcomes=(y,), evidence={x: arm}))[good] for arm in arms]
    assert math.isclose(card.truth["do"], float(done[1] - done[0]), abs_tol=2e-12)
    assert math.isclose(card.truth["naive"], float(given[1] - given[0]), abs_tol=2e-12)


@pytest.mark.parametrize("name", PLANTED)
def test_confounding_by_the_source_is_visible(name: str) -> None:
    """The naive difference and the one that ignores U both miss the effect by 0.05 or more."""
    truth = datasets.read_card(name).truth
    assert abs(truth["naive"] - truth["do"]) >= 0.05
    assert abs(truth["ignoring_source"] - truth["do"]) >= 0.05


@pytest.mark.parametrize("name", [*LOOPS, "sachs"])
def test_ignoring_the_source_is_the_same_graph_on_the_pooled_population(name: str) -> None:
    """Each CPT from the joint table without U, then surgery."""
    card, mixture = datasets.read_card(name), truth_network(name)
    spec, joint = mixture.spec, mixture.joint_table()
    cpts = []
    for v in range(spec.n_variables):
        family = [*spec.parents[v], v]
        rest = [w for w in range(spec.n_variables) if w not in family]
        table = joint.sum(rest) if rest else joint
        kept = sorted(family)
        table = table.permute([kept.index(w) for w in family])
        cpts.append((table / table.sum(-1, keepdim=True)).unsqueeze(0))
    alone = BayesNetMixture(
        replace(spec.with_n_sources(1), uninfluenced=frozenset()),
        torch.ones(1, dtype=torch.float64),
        tuple(cpts),
    )
    x, y, arms, good = question(card, spec)
    low, high = (truncated_factorisation(alone, [y], {x: arm})[good] for arm in arms)
    assert math.isclose(card.truth["ignoring_source"], high - low, abs_tol=2e-12)


@pytest.mark.parametrize("name", PLANTED)
def test_the_sample_shows_the_naive_difference(name: str) -> None:
    """Counted, it is the card's sample figure, and within four standard errors of the truth."""
    _, frame, card = datasets.load(name)
    hit = (frame[card.outcome] == card.outcome_state).to_numpy()
    shares, variance = [], 0.0
    for state in card.contrast:
        arm = hit[(frame[card.treatment] == state).to_numpy()]
        shares.append(arm.mean())
        variance += card.truth["p_given"][state] * (1 - card.truth["p_given"][state]) / len(arm)
    assert math.isclose(card.truth["naive_in_sample"], shares[1] - shares[0], abs_tol=2e-12)
    assert abs(card.truth["naive_in_sample"] - card.truth["naive"]) < 4 * math.sqrt(variance)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
@pytest.mark.parametrize("name", PLANTED)
def test_a_fit_of_the_sample_removes_most_of_the_confounding(name: str) -> None:
    """From the shipped table alone: less than a third of naive - do is left.

    With EM started at the truth the worst set, hepar2 with 1000 rows, keeps a fifth.
    """
    model, frame, card = datasets.load(name)
    fit = px.fit(model, frame, n_init=5, random_state=0, show_progress=False)
    found = px.effect(
        fit.mixture,
        card.treatment,
        card.outcome,
        contrast=card.contrast,
        outcome_state=card.outcome_state,
    )
    left = abs(float(found.do) - card.truth["do"])
    assert left < abs(card.truth["naive"] - card.truth["do"]) / 3


# -- real tables, everything observed ----------------------------------------------------------


def counted_network(
    name: str, without: Sequence[str] = ()
) -> tuple[BayesNetMixture, tuple[torch.Tensor, ...]]:
    """The maximum-likelihood network (k = 1) by counting, and which rows any data reached."""
    model, frame, _ = datasets.load(name)
    model.remove_nodes_from(without)
    spec = structure_of(model, 1).to_spec(1)
    counts = np.zeros(spec.cards)
    codes = tuple(frame[column].cat.codes.to_numpy() for column in spec.variables)
    np.add.at(counts, codes, 1)
    cpts, reached = [], []
    for v in range(spec.n_variables):
        family = [*spec.parents[v], v]
        table = counts.sum(tuple(w for w in range(spec.n_variables) if w not in family))
        table = table.transpose([sorted(family).index(w) for w in family])
        total = table.sum(-1, keepdims=True)
        rows = np.where(total > 0, table / np.maximum(total, 1), 1 / table.shape[-1])
        cpts.append(torch.from_numpy(rows).unsqueeze(0))
        reached.append(torch.tensor(total[..., 0] > 0).unsqueeze(0))
    one = torch.ones(1, dtype=torch.float64)
    return BayesNetMixture(spec, one, tuple(cpts)), tuple(reached)


def arms_of(card: datasets.Card, mixture: BayesNetMixture, **query: Any) -> dict[str, float]:
    """P(outcome_state | do) of the two arms, further do values by name."""
    spec = mixture.spec
    good = spec.state(spec.vertex(card.outcome), card.outcome_state)
    return {
        state: float(
            marginal(
                mixture,
                DoQuery.from_names(spec, card.outcome, do={card.treatment: state, **query}),
            )[good]
        )
        for state in card.contrast
    }


@pytest.mark.parametrize("name", EVERYTHING_SEEN)
def test_do_with_everything_observed_is_the_published_adjustment(name: str) -> None:
    card = datasets.read_card(name)
    mixture, _ = counted_network(name)
    found = arms_of(card, mixture)
    assert found == pytest.approx(dict(card.truth["p_do"]), abs=EXACT)
    assert card.truth["do"] == pytest.approx(
        found[card.contrast[1]] - found[card.contrast[0]], abs=EXACT
    )


@pytest.mark.parametrize("name", [*EVERYTHING_SEEN, "thornton-hiv"])
def test_conditioning_gives_the_crude_rates(name: str) -> None:
    _, frame, card = datasets.load(name)
    for state, rate in card.truth["p_given"].items():
        arm = frame[frame[card.treatment] == state]
        assert (arm[card.outcome] == card.outcome_state).mean() == pytest.approx(rate, abs=EXACT)
    crude = [card.truth["p_given"][state] for state in card.contrast]
    assert card.truth["naive"] == pytest.approx(crude[1] - crude[0], abs=EXACT)


def test_the_direct_effect_at_berkeley_is_a_do_on_gender_and_department() -> None:
    """Averaged over P(dept), a soft intervention; the total effect stays the crude difference."""
    card = datasets.read_card("berkeley")
    mixture, _ = counted_network("berkeley")
    spec = mixture.spec
    dept = marginal(mixture, DoQuery(outcomes=(spec.vertex("dept"),)))
    shares = dict(zip(spec.states_of(spec.vertex("dept")), dept.tolist(), strict=True))
    found = arms_of(card, mixture, dept=shares)
    assert found == pytest.approx(dict(card.truth["p_do_at_fixed_dept"]), abs=EXACT)
    assert card.truth["direct"] == pytest.approx(found["Male"] - found["Female"], abs=EXACT)
    assert card.truth["do"] == card.truth["naive"]


def test_the_titanic_standardised_over_class_alone_is_the_second_figure() -> None:
    """Both sets block the back door; they differ since age and sex depend within a class."""
    truth = datasets.read_card("titanic").truth
    found = arms_of(datasets.read_card("titanic"), counted_network("titanic", without=["age"])[0])
    assert found == pytest.approx(dict(truth["p_do_over_class"]), abs=EXACT)
    assert truth["do_over_class"] == pytest.approx(found["Female"] - found["Male"], abs=EXACT)


@pytest.mark.parametrize("name", ["kidney-stones", "whickham"])
def test_the_textbook_reversals_reverse(name: str) -> None:
    truth = datasets.read_card(name).truth
    assert truth["naive"] * truth["do"] < 0


def test_no_child_of_the_crew_weighs_in_the_titanic() -> None:
    mixture, reached = counted_network("titanic")
    spec = mixture.spec
    query = DoQuery.from_names(spec, "survived", do={"sex": "Female"})
    assert not bool(reached[spec.vertex("survived")].all())
    assert float(unsupported_mass(mixture, query, reached)) == 0


def test_the_lottery_of_thornton_survives_standardisation() -> None:
    """Standardised over distance, age and result: within two standard errors of the arms."""
    card = datasets.read_card("thornton-hiv")
    mixture, _ = counted_network("thornton-hiv")
    found = arms_of(card, mixture)
    for state, size in {"no": 623, "yes": 2211}.items():
        rate = card.truth["p_do"][state]
        assert abs(found[state] - rate) < 2 * math.sqrt(rate * (1 - rate) / size)


def test_the_programme_of_nsw_has_the_published_effects() -> None:
    _, frame, card = datasets.load("nsw-psid")
    treated = frame["treat"] == "yes"
    programme = frame["sample"] == "NSW"
    works = frame["employed78"] == "yes"
    truth = card.truth

    def difference(values: Any, control: Any) -> float:
        return float(values[treated].mean() - values[control].mean())

    assert (treated & ~programme).sum() == 0
    assert difference(works, programme & ~treated) == pytest.approx(truth["do"], abs=EXACT)
    assert difference(works, ~programme) == pytest.approx(truth["naive"], abs=EXACT)
    dollars = frame["re78"]
    assert difference(dollars, programme & ~treated) == pytest.approx(truth["do_dollars"], abs=1e-4)
    assert difference(dollars, ~programme) == pytest.approx(truth["naive_dollars"], abs=1e-4)
    p, n = [truth["p_do"][s] for s in ("yes", "no")], (185, 260)
    error = math.sqrt(sum(q * (1 - q) / (m - 1) for q, m in zip(p, n, strict=True)))
    assert error == pytest.approx(truth["do_standard_error"], abs=EXACT)


@pytest.mark.parametrize(
    ("controls", "within", "persons"), [(True, 0.112, (415, 112)), (False, 0.259, (185, 47))]
)
@pytest.mark.filterwarnings("ignore::pyromix.errors.PyromixWarning")
def test_the_card_of_nsw_reports_what_a_fit_finds(
    controls: bool, within: float, persons: tuple[int, int]
) -> None:
    """The smaller source is the programme; how well it serves hangs on the programme's controls."""
    model, frame, card = datasets.load("nsw-psid")
    programme = frame["sample"] == "NSW"
    if not controls:
        kept = ~(programme & (frame["treat"] == "no"))
        frame, programme = frame[kept], programme[kept]
    fit = px.fit(model, frame, n_sources=2, n_init=10, prior=None, random_state=0)
    effect = px.effect(fit.mixture, "treat", "employed78", contrast=("no", "yes"), per_source=True)
    smaller = fit.predict_proba(frame)["1"].to_numpy() > 0.5
    assert (int(smaller[programme].sum()), int(smaller[~programme].sum())) == persons
    found = float(effect.per_source[1])
    assert found == pytest.approx(within, abs=5e-4)
    near = abs(found - card.truth["do"]) < 2 * card.truth["do_standard_error"]
    assert near is controls


# -- real tables without a graph: the published optimum has the published likelihood -------------


@pytest.mark.parametrize(
    ("name", "figure"), [("lsat7", "p_right"), ("stouffer-toby", "p_universalistic")]
)
def test_published_classes_have_the_published_likelihood(name: str, figure: str) -> None:
    model, frame, card = datasets.load(name)
    spec = structure_of(model, 2).to_spec(2)
    weights = torch.tensor(card.truth["weights"], dtype=torch.float64)
    second = torch.tensor(card.truth[figure], dtype=torch.float64)
    joint = torch.ones(2, *spec.cards, dtype=torch.float64) * (weights / weights.sum()).reshape(
        2, *(1 for _ in spec.cards)
    )
    for v in range(spec.n_variables):
        table = torch.stack([1 - second[:, v], second[:, v]], -1)
        joint = joint * table.reshape(2, *(2 if w == v else 1 for w in range(spec.n_variables)))
    codes = tuple(torch.tensor(frame[c].cat.codes.to_numpy(dtype=np.int64)) for c in spec.variables)
    found = float(joint.sum(0)[codes].log().sum())
    assert found == pytest.approx(card.truth["log_likelihood"]["k2"], abs=1e-5)


@pytest.mark.parametrize("name", ["thumbtacks", "mice-litters", "rats-litters"])
@pytest.mark.parametrize("k", ["k2", "k3"])
def test_published_binomial_mixtures_have_the_published_likelihood(name: str, k: str) -> None:
    from scipy.stats import binom

    _, frame, card = datasets.load(name)
    if k not in card.truth:
        pytest.skip("the third source is a duplicate")
    probs, weights = np.array(card.truth[k]["probs"]), np.array(card.truth[k]["weights"])
    s, t = frame["successes"].to_numpy()[:, None], frame["trials"].to_numpy()[:, None]
    rows = (binom.pmf(s, t, probs) * weights).sum(-1)
    found = float(np.log(rows).sum())
    assert found == pytest.approx(card.truth["log_likelihood"][k], abs=1e-5)
    assert list(probs) == sorted(probs)


# -- against the cards of the collection ---------------------------------------------------------


@pytest.mark.parametrize("name", EVERYTHING_SEEN)
def test_counted_networks_answer_the_collection_s_own_truths(name: str) -> None:
    path = DATA / "collection" / "mixbnd" / f"{name.replace('-', '_')}.json"
    theirs = json.loads(path.read_text())["truth"]
    card = datasets.read_card(name)
    # For the Titanic the collection's figures are those of adjusting for the class alone.
    mixture, _ = counted_network(name, without=("age",) if name == "titanic" else ())
    found = arms_of(card, mixture)
    # At Berkeley the collection's `do` is the direct effect, its `conditional` the total one.
    wanted = theirs["conditional"] if name == "berkeley" else theirs["do"]
    assert found == pytest.approx(wanted, abs=EXACT)
    assert dict(card.truth["p_given"]) == pytest.approx(theirs["conditional"], abs=1e-12)
