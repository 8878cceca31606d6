"""Questions by names: what they become in numbers, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pyromix.errors import QueryError
from pyromix.model.query import Certainty, DoQuery
from pyromix.model.spec import SOURCE, MixtureSpec

SPEC = MixtureSpec.from_parents(
    {
        "dose": ("none", "low", "high"),
        "outcome": ("well", "ill"),
        "flag": (True, False),
        "arm": (("A", 1), ("A", 2)),
        "grade": (1, 2, 3),
    },
    {"outcome": ["dose", "flag"]},
    2,
    source="group",
    source_states=("young", "old"),
)
DOSE, OUTCOME, FLAG, ARM, GRADE = map(SPEC.vertex, ("dose", "outcome", "flag", "arm", "grade"))


def setting(do: dict[str, Any], vertex: int) -> Any:
    value = DoQuery.from_names(SPEC, "outcome", do).do[vertex]
    return value.tolist() if isinstance(value, Tensor) else value


# -- names to numbers ------------------------------------------------------------------------------


def test_one_name_is_one_outcome():
    query = DoQuery.from_names(SPEC, "outcome")
    assert query.outcomes == (OUTCOME,)
    assert not query.do
    assert not query.evidence
    assert query.n_scenarios is None


def test_outcomes_keep_the_order_in_which_they_are_asked():
    query = DoQuery.from_names(SPEC, ["grade", "group", "dose"])
    assert query.outcomes == (GRADE, SOURCE, DOSE)
    assert DoQuery.from_names(SPEC, ("dose", "grade")).outcomes == (DOSE, GRADE)


def test_states_become_their_positions():
    query = DoQuery.from_names(SPEC, "outcome", {"dose": "high"}, {"flag": False, "grade": 1})
    assert query.do == {DOSE: 2}
    assert query.evidence == {FLAG: 1, GRADE: 0}


def test_the_source_may_stand_anywhere():
    assert DoQuery.from_names(SPEC, "group").outcomes == (SOURCE,)
    assert DoQuery.from_names(SPEC, "dose", {"group": "old"}).do == {SOURCE: 1}
    assert DoQuery.from_names(SPEC, "dose", None, {"group": "old"}).evidence == {SOURCE: 1}


def test_a_mapping_is_a_distribution_over_all_states():
    assert setting({"dose": {"high": 0.25, "none": 0.75}}, DOSE) == [0.75, 0.0, 0.25]
    assert setting({"group": {"old": 1.0}}, SOURCE) == [0.0, 1.0]


def test_a_distribution_is_float64_and_a_tensor_of_its_own():
    query = DoQuery.from_names(SPEC, "outcome", {"dose": {"low": 1}})
    value = query.do[DOSE]
    assert isinstance(value, Tensor)
    assert value.dtype == torch.float64
    assert value.shape == (3,)


def test_a_list_is_one_row_per_scenario():
    do = {"dose": ["high", {"none": 0.5, "low": 0.5}, "none"]}
    assert setting(do, DOSE) == [[0, 0, 1], [0.5, 0.5, 0], [1, 0, 0]]
    query = DoQuery.from_names(SPEC, "outcome", do)
    assert query.n_scenarios == 3


def test_scenarios_of_several_variables_are_walked_through_together():
    do = {"dose": ["high", "low"], "flag": [True, False], "grade": 3}
    query = DoQuery.from_names(SPEC, "outcome", do)
    assert query.n_scenarios == 2
    assert query.do[GRADE] == 2
    assert setting(do, FLAG) == [[1, 0], [0, 1]]


def test_a_tuple_that_is_a_state_is_that_state():
    assert setting({"arm": ("A", 2)}, ARM) == 1
    assert setting({"arm": [("A", 2), ("A", 1)]}, ARM) == [[0, 1], [1, 0]]


def test_one_scenario_is_not_the_same_as_none():
    assert setting({"dose": "low"}, DOSE) == 1
    assert DoQuery.from_names(SPEC, "outcome", {"dose": ["low"]}).n_scenarios == 1
    assert DoQuery.from_names(SPEC, "outcome", {"dose": {"low": 1.0}}).n_scenarios is None


def test_the_arguments_are_left_as_they_were():
    variables, do, evidence = ["outcome"], {"dose": ["low", "high"]}, {"flag": True}
    DoQuery.from_names(SPEC, variables, do, evidence)
    assert (variables, do, evidence) == (["outcome"], {"dose": ["low", "high"]}, {"flag": True})


def test_the_default_device_is_not_asked():
    with torch.device("meta"):
        query = DoQuery.from_names(SPEC, "outcome", {"dose": ["low", {"high": 1.0}]})
    value = query.do[DOSE]
    assert isinstance(value, Tensor)
    assert value.device.type == "cpu"


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"variables": []}, "at least one outcome"),
        ({"variables": "Outcome"}, r"'Outcome' \(did you mean 'outcome'\?\)"),
        ({"variables": ["outcome", "outcome"]}, r"\['outcome'\] are given more than once"),
        ({"do": {"doze": "low"}}, r"'doze' \(did you mean 'dose'\?\)"),
        ({"do": {"dose": "lo"}}, r"'lo' of 'dose' \(did you mean 'low'\?\)"),
        ({"do": {"dose": 1}}, r"unknown state 1 of 'dose'; .*\['none', 'low', 'high'\]"),
        ({"do": {"dose": None}}, "unknown state None of 'dose'"),
        ({"do": {"dose": []}}, r"unknown state \[\] of 'dose'"),
        ({"do": {"dose": [["low"], ["high"]]}}, "'dose' must not be nested"),
        ({"do": {"dose": ["low", "lo"]}}, "'lo' of 'dose'"),
        ({"do": {"dose": {"lo": 1.0}}}, "'lo' of 'dose'"),
        ({"do": {"dose": {"low": 0.5, "high": 0.6}}}, "sum to one.* 1.1"),
        ({"do": {"dose": {"low": 1.5, "high": -0.5}}}, "non-negative"),
        ({"do": {"dose": {"low": float("nan"), "high": 0.5}}}, "sum to one.*nan"),
        ({"do": {"dose": {"low": float("inf")}}}, "sum to one.*inf"),
        ({"do": {"dose": {}}}, "sum to one, found .* with sum 0"),
        ({"do": {"dose": ["low", "high"], "grade": [1]}}, "{'dose': 2, 'grade': 1}"),
        ({"evidence": {"gruop": "old"}}, r"'gruop' \(did you mean 'group'\?\)"),
        ({"evidence": {"flag": "yes"}}, r"unknown state 'yes' of 'flag'; .*\[True, False\]"),
        ({"do": {"outcome": "well"}}, r"\['outcome'\] stand in both `variables` and `do`"),
        ({"evidence": {"outcome": "ill"}}, "both `variables` and `evidence`"),
        ({"do": {"dose": "low"}, "evidence": {"dose": "low"}}, "both `do` and `evidence`"),
        ({"variables": ["group"], "do": {"group": "old"}}, "both `variables` and `do`"),
        ({"do": {"dose": {"low": "a"}}}, "probabilities of 'dose' must be numbers, found 'a'"),
        ({"do": {"dose": {"low": None}}}, "must be numbers, found None"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_by_name(arguments, match):
    with pytest.raises(QueryError, match=match):
        DoQuery.from_names(SPEC, **{"variables": "outcome", **arguments})


NO_MAPPINGS = ["X1", ["X1"], [("dose", "low")], 5, 0, "", [], (), {"dose"}, True]


@pytest.mark.parametrize("what", ["do", "evidence"])
@pytest.mark.parametrize("pairs", NO_MAPPINGS, ids=repr)
def test_whatever_is_no_mapping_is_refused_with_an_example(what, pairs):
    with pytest.raises(QueryError, match=rf"{what} must map variables .*e\.g\. {what}=\{{'"):
        DoQuery.from_names(SPEC, "outcome", **{what: pairs})


@pytest.mark.parametrize("variables", [None, 5, True, b"outcome", {"outcome": 1}, [["outcome"]]])
def test_whatever_is_no_name_is_refused_with_an_example(variables):
    with pytest.raises(QueryError, match=r"variables must be a name or a list of names, found"):
        DoQuery.from_names(SPEC, variables)


@pytest.mark.parametrize(
    "arguments",
    [
        {"outcomes": ()},
        {"outcomes": (1, 1)},
        {"outcomes": (1,), "do": {1: 0}},
        {"outcomes": (1,), "evidence": {1: 0}},
        {"outcomes": (1,), "do": {2: 0}, "evidence": {2: 1}},
    ],
)
def test_a_vertex_has_one_place_in_a_question(arguments):
    with pytest.raises(QueryError, match="one place only"):
        DoQuery(**arguments)


# -- certainty -------------------------------------------------------------------------------------


def test_certainty_is_ordered_from_none_to_graphical():
    ascending = [Certainty.NONE, Certainty.LOCAL, Certainty.GRAPHICAL]
    for i, one in enumerate(ascending):
        for j, other in enumerate(ascending):
            assert one.at_least(other) is (i >= j)


def test_certainty_is_named_as_in_the_argument_require():
    levels = ("none", "unchecked", "weak", "shape", "discovered", "local", "graphical")
    assert [Certainty(name) for name in levels] == list(Certainty)


@pytest.mark.parametrize("soft", [{"none": 0.5, "high": 0.5}, [0.5, 0.0, 0.5], {"none", "low"},
                                  torch.tensor([0.5, 0.0, 0.5])], ids=type)  # fmt: skip
def test_soft_evidence_is_refused_with_what_to_write(soft):
    with pytest.raises(QueryError, match=r"ask with evidence=\{'dose': 'none'\} and so for"):
        DoQuery.from_names(SPEC, "outcome", None, {"dose": soft})
