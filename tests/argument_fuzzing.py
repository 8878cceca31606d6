"""Valid calls of every public name, and absurd values: what the fuzzer of arguments is made of."""

from __future__ import annotations

import contextlib
import datetime
import io
import itertools
import random
import re
import resource
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch

import pyromix as px

LONGEST = 5.0
"""Seconds of computing that no call may take."""

ROOM = 4 * 2**30
"""Bytes of addresses beside those of the process that all calls together may take."""

VALUES: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-1": lambda: -1,
    "0": lambda: 0,
    "7": lambda: 7,
    "1.5": lambda: 1.5,
    "2**64": lambda: 2**64,
    "10**9": lambda: 10**9,
    "-10**400": lambda: -(10**400),
    "1j": lambda: 1j,
    "Decimal": lambda: Decimal("0.5"),
    "text": lambda: "x",
    "empty text": lambda: "",
    "a name": lambda: "X",
    "text with NUL": lambda: "a\0b.csv",
    "half a surrogate": lambda: "\ud800.bif",
    "a path": lambda: "/no/such/place.csv",
    "bytes": lambda: b"x",
    "[]": lambda: [],
    "[None]": lambda: [None],
    "[[1]]": lambda: [[1]],
    "['X']": lambda: ["X"],
    "('no', 'no')": lambda: ("no", "no"),
    "{}": lambda: {},
    "{'X': None}": lambda: {"X": None},
    "{'X': ['no', 'yes']}": lambda: {"X": ["no", "yes"]},
    "{'X': 'yes'}": lambda: {"X": "yes"},
    "{None: 1}": lambda: {None: 1},
    "{'X': nan}": lambda: {"X": float("nan")},
    "{('a',): 1}": lambda: {("a",): [1]},
    "set": lambda: {"X"},
    "range": lambda: range(3),
    "generator": lambda: (i for i in (1, 2)),
    "object": object,
    "type": lambda: int,
    "function": lambda: lambda *_, **__: None,
    "slice": lambda: slice(None),
    "ellipsis": lambda: ...,
    "StringIO": lambda: io.StringIO("X,Y\nno,1\n"),
    "BytesIO": lambda: io.BytesIO(b"X,Y\nno,1\n"),
    "RandomState": lambda: np.random.RandomState(0),
    "Generator": lambda: np.random.default_rng(0),
    "numpy 2": lambda: np.int64(2),
    "numpy 0.5": lambda: np.float64(0.5),
    "numpy text": lambda: np.str_("X"),
    "numpy True": lambda: np.bool_(True),
    "numpy array": lambda: np.array([0.5, 0.5]),
    "numpy 0-d": lambda: np.array("X"),
    "numpy objects": lambda: np.array([None, "x"], dtype=object),
    "tensor 2": lambda: torch.tensor(2),
    "tensor": lambda: torch.tensor([0.5, 0.5]),
    "complex tensor": lambda: torch.tensor([1j, 1.0]),
    "meta tensor": lambda: torch.ones(3, device="meta"),
    "frame": lambda: pd.DataFrame({"X": ["no", "yes"], "Y": [1, None]}),
    "empty frame": pd.DataFrame,
    "series": lambda: pd.Series(["no", "yes"]),
    "NA": lambda: pd.NA,
    "date": lambda: datetime.date(2020, 1, 1),
    "mps": lambda: "mps",
    "cuda:99": lambda: "cuda:99",
    "meta": lambda: "meta",
    "device": lambda: torch.device("meta"),
    "a graph": lambda: nx.DiGraph([("X", 1)]),
    "a mixture": lambda: px.random_mixture(px.MixtureSpec.from_parents({"A": (0, 1)}, {}, 2)),
    "a spec": lambda: px.MixtureSpec.from_parents({"A": (0, 1)}, {}, 2),
}  # fmt: skip
"""What stands in place of an argument, made anew each time."""


LONG_WORK = {("fit.report", "sensitivity", value) for value in ("True", "numpy True")}
"""Valid calls that ask for minutes of work."""


@dataclass(frozen=True)
class Door:
    """A public name and a valid call of it.

    Attributes:
        name: as users write it.
        function: what is called.
        arguments: by keyword, all of them valid.
    """

    name: str
    function: Callable[..., object]
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Outcomes:
    """What became of the calls.

    Attributes:
        found: how often each name of an error, or ``done``.
        failures: what ended otherwise, or took too long.
        accepted: calls that went through.
        slowest: seconds, and the call.
    """

    found: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")


class TooLongError(BaseException):
    """The time of a call is over; no handler of the library may hold this up."""


def rows(n: int = 120) -> pd.DataFrame:
    """A table in which two sources show."""
    rng = np.random.default_rng(0)
    source = rng.random(n) < 0.5
    cells = {name: rng.random(n) < np.where(source, 0.15, 0.85) for name in "ABC"}
    cells["X"] = rng.random(n) < np.where(source, 0.3, 0.7)
    cells["Y"] = rng.random(n) < 0.2 + 0.3 * source + 0.3 * cells["X"]
    return pd.DataFrame({name: np.where(found, "yes", "no") for name, found in cells.items()})


SPEC = px.MixtureSpec.from_parents(
    dict.fromkeys("ABCXY", ("no", "yes")),
    {"Y": ["X"]},
    2,
    roles={"exposures": ["X"], "outcomes": ["Y"]},
)

EM = {"n_init": 2, "max_iter": 30, "prior": 1.0, "random_state": 0, "show_progress": False}


def program() -> None:
    """A program of Categorical sites."""
    source = pyro.sample("U", dist.Categorical(torch.ones(2)))
    pyro.sample("X", dist.Categorical(torch.ones(2, 3)[source]))


def doors(folder: Path, *, light: bool = False) -> list[Door]:
    """Every public name that can be called, with valid arguments.

    Args:
        folder: for files.
        light: without the methods of fits whose valid call takes long.
    """
    frame, spec = rows(), SPEC
    mixture = px.random_mixture(spec, 1)
    counts = px.Counts.from_frame(frame, spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        fit = px.fit(spec, frame, **EM)
        drawn = fit.bootstrap(n=4)
        answer = drawn.query("Y", {"X": "yes"}, require="none")
        effect = drawn.effect("X", "Y", require="none")
        coins = px.fit_iid([1, 2, 3, 0] * 5, 3, 1)
        network = px.to_pgmpy(mixture)
    px.write(mixture, folder / "net.bif")
    fit.save(folder / "fit.pyromix")
    slow = [] if light else _slow_doors(folder, frame, fit, drawn)
    made = px.to_pyro(mixture)
    tabled = {"sample_weight": None, "weights_are": "counts", "missing_values": None}
    read = {**tabled, "missing": "mar", "state_names": None}
    asked = {"variables": "Y", "do": {"X": "yes"}, "evidence": {"A": "no"}}
    how = {"engine": "auto", "require": "none", "interval": True, "level": 0.9}
    of_effect = {"treatment": "X", "outcome": "Y", "contrast": ("no", "yes")}
    sampled = {"num_samples": 4, "warmup_steps": 2, "random_state": 0, "show_progress": False}
    nothing = torch.empty(1, 0, dtype=torch.int64)
    vertices = {"variables": [0, 1], "given": [], "assignments": nothing}
    codes = counts.rows
    outside = frame.assign(score=range(len(frame)))
    return [
        *slow,
        Door("fit", px.fit, {"model": spec, "data": frame, "n_sources": 2, "method": "em",
                             "tol": 1e-6, "device": "cpu", **EM, **read}),
        Door("fit, moments", px.fit, {"model": spec, "data": frame, "n_sources": 2,
                                      "method": "auto", **EM}),
        Door("fit_product", px.fit_product, {"data": frame, "n_sources": 2, **EM, **read}),
        Door("fit_product with covariates", px.fit_product, {
            "data": frame, "n_sources": 2, "covariates": ["X"], "n_init": 1, "max_iter": 10,
            "tol": 1e-6, "random_state": 0, "show_progress": False, "prior": None, **read}),
        Door("bootstrap_lrt", px.bootstrap_lrt, {
            "data": frame, "n_sources": 2, "model": None, "n": 1, "n_init": 1, "device": "cpu",
            "random_state": 0, "show_progress": False, **read}),
        Door("fit.classification", fit.classification, {"data": frame, **tabled}),
        Door("fit.membership", fit.membership, {"data": frame, "missing_values": None}),
        Door("fit.distal", fit.distal, {
            "data": outside, "outcome": "score", "method": "bch", "states": None,
            "n_bootstrap": 1, "sample_weight": None, "missing_values": None, "random_state": 0}),
        Door("select_n_sources", px.select_n_sources, {
            "model": spec, "data": frame, "candidates": [1, 2], "n_folds": 2, "level": 0.05,
            "device": "cpu", "n_init": 1, "max_iter": 10, "prior": 1.0, "random_state": 0, **read}),
        Door("check", px.check, {"model": spec, "n_sources": 2, "data": None, "outcome": "Y",
                                 "treatment": "X", "evidence": {"A": "no"}, "random_state": 0,
                                 **read}),
        Door("measure_next", px.measure_next, {"model": spec, "n_sources": 2, "outcome": "Y",
                                               "treatment": "X", "evidence": {"A": "no"}}),
        Door("check with data", px.check, {"model": spec, "n_sources": 2, "data": frame,
                                           "outcome": "Y", "treatment": "X", "evidence": None,
                                           "random_state": 0, **read}),
        Door("graph_check", px.graph_check, {
            "model": spec, "data": frame, "n_sources": 1, "treatment": "X", "outcome": "Y",
            "tiers": None, "forbidden": [], "required": [], "level": 0.05, "n_simulated": 1,
            "random_state": 0, "show_progress": False, **read}),
        Door("discover", px.discover, {
            "data": frame, "n_sources": 1, "tiers": None, "forbidden": [], "required": [],
            "max_parents": 1, "n_starts": 1, "source_moves": False, "expert_knowledge": None,
            "random_state": 0, **read}),
        Door("query of a fit", px.query, {"mixture": fit, **asked, **how}),
        Door("query of a mixture", px.query, {"mixture": mixture, **asked, **how}),
        Door("query by Pyro", px.query, {"mixture": mixture, **asked, "engine": "pyro"}),
        Door("effect of a fit", px.effect, {"mixture": fit, **of_effect, "outcome_state": "yes",
                                            "evidence": None, "per_source": True,
                                            "among": {"X": "yes"}, **how}),
        Door("effect of a mixture", px.effect, {"mixture": mixture, **of_effect, "evidence": None,
                                                "among": None, "per_source": False,
                                                "level": 0.9}),
        Door("bounds", px.bounds, {"mixture": mixture, "outcome": "Y", "do": {"X": "yes"},
                                   "evidence": {"A": "no"}, "level": 0.9, "n_starts": 1,
                                   "random_state": 0}),
        Door("simulate", px.simulate, {"mixture": fit, "n_samples": 5, "do": {"X": "yes"},
                                       "evidence": {"A": "no"}, "include_latents": True,
                                       "random_state": 0, "posterior": False}),
        Door("simulate draws", drawn.simulate, {"n_samples": 5, "do": None, "evidence": None,
                                                "posterior": True, "random_state": 0}),
        Door("fit.predict_proba", drawn.predict_proba, {"data": frame, "level": 0.9,
                                                        "missing_values": None}),
        Door("fit.score", fit.score, {"data": frame, "sample_weight": None,
                                      "missing_values": None}),
        Door("fit.predictive_check", fit.predictive_check, {"data": frame, "level": 0.05,
                                                            "random_state": 0, **tabled}),
        Door("fit.refine em", fit.refine, {"data": frame, "method": "em", "max_iter": 10,
                                           "tol": 1e-6, "accelerate": True, "check_saddle": False,
                                           "progress": None, "prior": 1.0, **tabled}),
        Door("fit.refine gibbs", fit.refine, {"method": "gibbs", "num_chains": 2, "thinning": 1,
                                              **sampled}),
        Door("fit.bootstrap", fit.bootstrap, {"data": frame, "n": 3, "kind": "multinomial",
                                              "random_state": 0, "max_iter": 10, **tabled}),
        Door("fit.save", fit.save, {"path": folder / "s.pyromix", "include_data": True}),
        Door("fit.to_pyro", fit.to_pyro, {"prior": 1.0}),
        Door("load", px.load, {"path": folder / "fit.pyromix"}),
        Door("read", px.read, {"path": folder / "net.bif", "source": "U"}),
        Door("write", px.write, {"mixture": mixture, "path": folder / "w.bif",
                                 "rename_states": False}),
        Door("from_pgmpy", px.from_pgmpy, {"model": network, "n_sources": 2}),
        Door("mixture_from_pgmpy", px.mixture_from_pgmpy, {"bn": network, "source": "U"}),
        Door("to_pgmpy", px.to_pgmpy, {"mixture": mixture}),
        Door("to_pyro", px.to_pyro, {"mixture": mixture, "prior": {"X": 1.0}}),
        Door("from_pyro", px.from_pyro, {"model": program, "source": "U"}),
        Door("program", made, {"size": 2, "rows": None, "counts": None}),
        Door("program of rows", made, {"rows": codes[:3].long()}),
        Door("program of counts", made, {"counts": counts}),
        Door("match_sources", px.match_sources, {"reference": mixture, "mixture": mixture,
                                                 "row_masses": None}),
        Door("population", px.population, {"mixture": mixture}),
        Door("random_mixture", px.random_mixture, {"spec": spec, "random_state": 0,
                                                   "separation": 0.2, "batch_shape": (2,)}),
        Door("fit_iid", px.fit_iid, {
            "successes": [1, 2, 3, 0] * 5, "trials": 3, "n_sources": 1, "random_state": 0,
            "n_init": 1, "max_iter": 5, "method": "hankel", **tabled}),
        Door("identify_iid", px.identify_iid, {"moments": [1, 0.5, 0.3, 0.2], "n_sources": 1,
                                               "method": "hankel", "covariance": None}),
        Door("IIDFit.predict_proba", coins.predict_proba, {"successes": [1, 2], "trials": 3}),
        Door("datasets.load", px.datasets.load, {"name": "hidden-group"}),
        Door("datasets.read_card", px.datasets.read_card, {"name": "hidden-group"}),
        Door("MixtureEstimator", _estimated, {
            "model": network, "data": frame, "latent_card": {"U": 2}, "n_sources": 2,
            "state_names": None, "method": "em", "n_init": 1, "prior": 1.0, "max_iter": 5,
            "missing": "mar", "missing_values": None, "weights_are": "counts", "seed": 0,
            "random_state": 0, "device": None, "show_progress": False, "sample_weight": None}),
        # -- what is held, and what it can do
        Door("MixtureSpec", px.MixtureSpec, {
            "variables": ("A", "B"), "states": ((0, 1), (0, 1)), "parents": ((), (0,)),
            "n_sources": 2, "source": "U", "uninfluenced": frozenset(), "source_states": (),
            "roles": ()}),
        Door("MixtureSpec.from_parents", px.MixtureSpec.from_parents, {
            "states": {"A": (0, 1), "B": (0, 1)}, "parents": {"B": ["A"]}, "n_sources": 2,
            "source": "U", "uninfluenced": ["A"], "source_states": ("a", "b"),
            "roles": {"outcomes": ["B"]}}),
        Door("spec.with_n_sources", spec.with_n_sources, {"n_sources": 3, "source_states": ()}),
        Door("spec.without", spec.without, {"vertices": [0]}),
        Door("spec.d_separated", spec.d_separated, {"left": [0], "right": [1], "given": [2]}),
        Door("spec.vertex", spec.vertex, {"name": "A"}),
        Door("spec.state", spec.state, {"vertex": 0, "state": "no"}),
        Door("spec.ordered", spec.ordered, {"names": ["A"]}),
        Door("Schema", px.Schema, {"variables": ("A",), "states": ((0, 1),)}),
        Door("Schema.from_states", px.Schema.from_states, {"states": {"A": (0, 1)}}),
        Door("DoQuery", px.DoQuery, {"outcomes": (0,), "do": {1: 0}, "evidence": {2: 0},
                                          "natural": {1: 1}}),
        Door("DoQuery.from_names", px.DoQuery.from_names, {
            "spec": spec, **asked, "natural": {"X": "no"}}),
        Door("BayesNetMixture", px.BayesNetMixture, {
            "spec": spec, "weights": mixture.weights, "cpts": mixture.cpts}),
        Door("mixture.relabel", mixture.relabel, {"order": [1, 0]}),
        Door("mixture.to", mixture.to, {"device": "cpu"}),
        Door("mixture.joint_table", mixture.joint_table, {"with_source": True}),
        Door("mixture[...]", drawn.draws.__getitem__, {"index": 0}),
        Door("ProductMixture", px.ProductMixture, {
            "weights": mixture.weights, "tables": mixture.cpts[:2]}),
        Door("ProductMixture.as_bayes_net",
             px.ProductMixture(mixture.weights, mixture.cpts[:1]).as_bayes_net,
             {"spec": px.MixtureSpec.from_parents({"A": (0, 1)}, {}, 2)}),
        Door("Population", px.Population, {"spec": spec, "mixture": mixture}),
        Door("population.table", px.population(mixture).table, vertices),
        Door("population.mass", px.population(mixture).mass, {"given": [0],
                                                              "assignments": codes[:2, :1]}),
        Door("population.as_counts", px.population(mixture).as_counts, {"max_cells": 64}),
        Door("population.with_spec", px.population(mixture).with_spec, {"spec": spec}),
        Door("population.to", px.population(mixture).to, {"device": "cpu"}),
        Door("Counts", px.Counts, {"schema": spec, "rows": codes, "weights": counts.weights,
                                   "report": counts.report}),
        Door("Counts.from_frame", px.Counts.from_frame, {
            "data": frame, "spec": spec, "missing": "mar", "device": None, **tabled}),
        Door("Counts.from_codes", px.Counts.from_codes, {
            "spec": spec, "codes": codes, "weights": counts.weights, "weights_are": "counts"}),
        Door("counts.table", counts.table, vertices),
        Door("counts.mass", counts.mass, {"given": [0], "assignments": codes[:2, :1]}),
        Door("counts.noise", counts.noise, {"given": [0], "assignments": codes[:2, :1]}),
        Door("counts.with_spec", counts.with_spec, {"spec": spec}),
        Door("counts.on", counts.on, {"spec": px.Schema(("A",), (("no", "yes"),))}),
        Door("counts.merge", counts.merge, {"other": counts}),
        Door("counts.to", counts.to, {"device": "cpu"}),
        Door("answer.interval", answer.interval, {"level": 0.9, "method": "draws"}),
        Door("answer.prob", answer.prob, {"Y": "yes"}),
        Door("answer.to_frame", answer.to_frame, {"level": 0.9}),
        Door("effect.interval", effect.interval, {"level": 0.9, "method": "draws"}),
        Door("Certainty.at_least", px.Certainty.LOCAL.at_least, {"other": px.Certainty.WEAK}),
    ]  # fmt: skip


def _slow_doors(folder: Path, frame: Any, fit: Any, drawn: Any) -> list[Door]:
    """Methods of fits whose valid call takes long."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", px.PyromixWarning)
        selection = px.select_n_sources(SPEC, frame, [1, 2], n_folds=2, n_init=1, max_iter=20)
        sensitivity = fit.sensitivity("Y", {"X": "yes"}, n_starts=0)
        report = fit.report(show=False, sensitivity=False)
    of_effect = {"treatment": "X", "outcome": "Y", "contrast": ("no", "yes")}
    sampled = {"num_samples": 4, "warmup_steps": 2, "random_state": 0, "show_progress": False}
    return [
        Door("fit.sensitivity", fit.sensitivity, {"variables": "Y", "do": {"X": "yes"},
                                                  "evidence": None, "n_starts": 1, "within": 2.0,
                                                  "random_state": 0}),
        Door("fit.plot", drawn.plot, {"kind": "effect", **of_effect, "outcome_state": "yes",
                                      "ax": None}),
        Door("fit.plot sources", fit.plot, {"kind": "sources", "ax": None}),
        Door("fit.report", fit.report, {"path": folder / "r.txt", **of_effect,
                                        "outcome_state": "yes", "selection": selection,
                                        "sensitivity": False, "show": False}),
        Door("fit.refine nuts", fit.refine, {"method": "nuts", "num_chains": 1,
                                             "target_accept_prob": 0.8, "max_tree_depth": 3,
                                             **sampled, "warmup_steps": 20}),
        Door("fit.refine svi", fit.refine, {
            "method": "svi", "guide": "normal", "num_steps": 3, "learning_rate": 0.02,
            "num_samples": 3, "num_particles": 1, "batch_size": 8, "random_state": 0,
            "show_progress": False}),
        Door("selection.to_frame", selection.to_frame, {}),
        Door("sensitivity.to_frame", sensitivity.to_frame, {}),
        Door("report.section", report.section, {"key": "verdict"}),
        Door("report.save", report.save, {"path": folder / "r.txt"}),
    ]  # fmt: skip


def _estimated(model: Any, data: Any, sample_weight: Any, **options: Any) -> object:
    """The estimator, made and fitted."""
    return px.MixtureEstimator(**options).fit(model, data, sample_weight=sample_weight)


def cases(all_doors: list[Door], n: int | None = None, seed: int = 0) -> Iterator[tuple]:
    """Every argument of every door with every value, or so many of them, drawn by a seed."""
    every = [
        (door, name, value)
        for door in all_doors
        for name in door.arguments
        for value in VALUES
        if (door.name, name, value) not in LONG_WORK
    ]
    yield from every if n is None else random.Random(seed).sample(every, n)


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Bound memory, and let a call that computes for too long end in a ``TooLongError``."""

    def over(*_: object) -> None:
        raise TooLongError

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGPROF, over)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def is_named(error: BaseException) -> bool:
    """Whether an error is one of ours, or Python's own on a keyword."""
    if isinstance(error, px.PyromixError):
        return True
    keyword = ("unexpected keyword argument", "required positional argument")
    return type(error) is TypeError and any(words in str(error) for words in keyword)


def run(
    folder: Path, n: int | None = None, seed: int = 0, only: str = "", *, light: bool = False
) -> Outcomes:
    """Call every door; whatever ends otherwise than it should is a failure."""
    outcomes = Outcomes()
    found = [door for door in doors(folder, light=light) if re.search(only, door.name)]
    with limits(), contextlib.redirect_stdout(io.StringIO()):
        for door, name, value in cases(found, n, seed):
            call = f"{door.name}({name}={value})"
            start = time.process_time()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    warnings.simplefilter("ignore", px.PyromixWarning)
                    signal.setitimer(signal.ITIMER_PROF, LONGEST)
                    door.function(**{**door.arguments, name: VALUES[value]()})
                outcomes.found["done"] += 1
                outcomes.accepted.append(call)
            except TooLongError:
                outcomes.failures.append(f"{call} -> more than {LONGEST} seconds")
            except BaseException as error:  # the one place that must see everything
                if is_named(error):
                    outcomes.found[type(error).__name__] += 1
                else:
                    outcomes.failures.append(f"{call} -> {traceback.format_exc()}")
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            outcomes.slowest = max(outcomes.slowest, (time.process_time() - start, call))
    return outcomes


def by_place(failures: list[str]) -> list[str]:
    """Failures, one line for each place where they ended and each kind of error."""
    places: dict[str, list[str]] = {}
    for failure in failures:
        call, _, rest = failure.partition(") -> ")
        lines = [line.strip() for line in rest.splitlines() if line.strip()]
        files = [line for line in lines if line.startswith("File ") and "pyromix/" in line]
        where = files[-1].partition("pyromix/")[2] if files else "-"
        places.setdefault(f"{where} | {lines[-1].partition(': ')[0]}", []).append(call)
    return [
        f"{len(calls):4d}  {place}  <- {'; '.join(itertools.islice(calls, 6))}"
        for place, calls in sorted(places.items(), key=lambda item: -len(item[1]))
    ]
