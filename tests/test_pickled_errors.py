"""Errors come back from a worker process with all they know."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest

from pyromix import errors

WITNESSES = {
    "PlanError": {"uncovered": ("X", "Y")},
    "RankError": {"singular_values": (1.0, 1e-17), "floor": 1e-12},
    "NotCertifiedError": {"required": "local", "found": "weak"},
    "ContractionSizeError": {"clique": ("X", "Y"), "n_bytes": 2**40, "limit": 2**30},
    "DependentSourceError": {"covariates": ("age",)},
    "DimensionLimitError": {"n_sites": 31, "limit": 25},
}
"""What the errors that carry data are given by keyword."""

KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind)
    and issubclass(kind, errors.PyromixError | errors.PyromixWarning)
    and kind.__module__ == errors.__name__
}


class LocalError(errors.NotCertifiedError):
    """What a user may derive: an ``__init__`` of its own and an attribute set later."""

    def __init__(self, required):
        super().__init__("a sentence", required=required, found="none")
        self.later = [1, 2]


def example(name):
    return KINDS[name](f"the sentence of {name}", **WITNESSES.get(name, {}))


def raise_it(name):
    error = example(name)
    error.add_note("raised in a worker")
    raise error


def assert_same(found, name):
    meant = example(name)
    assert type(found) is type(meant)
    assert (str(found), found.args) == (str(meant), meant.args)
    assert {key: getattr(found, key) for key in WITNESSES.get(name, {})} == WITNESSES.get(name, {})


@pytest.fixture(scope="module")
def worker():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("name", KINDS)
def test_an_error_raised_in_a_worker_comes_back_with_its_data(worker, name):
    error = worker.submit(raise_it, name).exception(timeout=120)
    assert_same(error, name)
    assert error.__notes__ == ["raised in a worker"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", KINDS)
def test_an_error_survives_every_protocol(name, protocol):
    assert_same(pickle.loads(pickle.dumps(example(name), protocol)), name)


@pytest.mark.parametrize("name", KINDS)
def test_an_error_can_be_copied(name):
    assert_same(copy.deepcopy(example(name)), name)


def test_every_error_with_keywords_of_its_own_is_among_the_examples():
    own = {name for name, kind in KINDS.items() if "__init__" in vars(kind)}
    assert own == WITNESSES.keys()


def test_a_derived_error_keeps_its_attributes_too():
    back = pickle.loads(pickle.dumps(LocalError("local")))
    assert (type(back), str(back)) == (LocalError, "a sentence")
    assert (back.required, back.found, back.later) == ("local", "none", [1, 2])
