"""EM: an iteration against a copy, acceleration against plain steps, fits against pgmpy's EM."""

from __future__ import annotations

import time
import warnings

import pytest
import torch
from published import latent_class

from pyromix import datasets
from pyromix.data.counts import Counts
from pyromix.errors import PyromixWarning
from pyromix.estimate.em import fit_em, random_starts
from pyromix.estimate.step import EMMap, Point
from pyromix.exact import rows as cell_index
from pyromix.exact.rows import CellIndex
from pyromix.exact.sampling import sample
from pyromix.model.prior import PseudoCounts
from pyromix.model.randomness import random_mixture
from pyromix.model.spec import MixtureSpec


@pytest.fixture
def threads(request):
    """Torch threads for one test."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def seconds(function, rounds=7):
    """Best of several runs after a warm-up."""
    function()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def binary_network(n, k):
    """Every vertex has the two before it as parents."""
    names = [f"V{i:02}" for i in range(n)]
    parents = {name: names[max(0, i - 2) : i] for i, name in enumerate(names)}
    return MixtureSpec.from_parents(dict.fromkeys(names, (0, 1)), parents, k)


def a_million_rows(spec):
    generator = torch.Generator().manual_seed(0)
    shape = (10**6, spec.n_variables)
    return torch.randint(0, 2, shape, dtype=torch.int8, generator=generator)


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
@pytest.mark.parametrize("n_starts", [1, 10])
def test_an_iteration_against_a_copy_of_the_index(benchmark, threads, n_starts, capsys):
    spec = binary_network(30, 3)
    rows = a_million_rows(spec)
    em = EMMap(
        spec,
        CellIndex(spec, rows),
        torch.ones(len(rows), dtype=torch.float64),
        PseudoCounts.of(spec, None),
    )
    point = Point.of(random_mixture(spec, 0, batch_shape=(n_starts,)))
    source = torch.zeros(rows.shape, dtype=torch.int64)
    target = torch.empty_like(source)
    copy, clone = seconds(lambda: target.copy_(source)), seconds(source.clone)
    benchmark.pedantic(em, (point,), rounds=7, warmup_rounds=1)
    ours = benchmark.stats.stats.min
    with capsys.disabled():
        print(  # noqa: T201
            f"\nEM iteration, 1e6 x 30 binary, k = 3, {n_starts} starts, {threads} threads: "
            f"{1e3 * ours:.0f} ms; per start / copy into place ({1e3 * copy:.0f} ms) = "
            f"{ours / n_starts / copy:.2f}, per start / fresh copy ({1e3 * clone:.0f} ms) = "
            f"{ours / n_starts / clone:.2f}"
        )


def test_joint_cells_against_single_cells(benchmark, monkeypatch, capsys):
    spec = binary_network(30, 3)
    rows = a_million_rows(spec)
    weights = torch.ones(len(rows), dtype=torch.float64)
    point = Point.of(random_mixture(spec, 0, batch_shape=(1,)))
    joined = EMMap(spec, CellIndex(spec, rows), weights, PseudoCounts.of(spec, None))
    benchmark.pedantic(joined, (point,), rounds=7, warmup_rounds=1)
    monkeypatch.setattr(cell_index, "JOINT_CELLS", 0)
    single = EMMap(spec, CellIndex(spec, rows), weights, PseudoCounts.of(spec, None))
    ratio = seconds(lambda: single(point)) / benchmark.stats.stats.min
    with capsys.disabled():
        print(  # noqa: T201
            f"\nEM iteration, {len(single.index.groups)} lookups per row / "
            f"{len(joined.index.groups)} lookups = {ratio:.1f}"
        )


def planted(name, k):
    """Rows of a network with sources planted in it."""
    model, _, _ = datasets.load(name)
    from pyromix.bridges.pgmpy import from_pgmpy

    spec = from_pgmpy(model, 2).with_n_sources(k)
    return Counts.from_codes(spec, sample(random_mixture(spec, 1), 10_000, 0)[0])


@pytest.mark.parametrize(
    "case",
    [
        ("lsat7", 2),
        ("lsat7", 3),
        ("lsat7", 4),
        ("opinions", 3),
        ("firms", 4),
        ("asia", 3),
        ("sachs", 3),
    ],
)
def test_accelerated_against_plain_steps(benchmark, case, capsys):
    name, k = case
    counts = planted(name, k) if name in ("asia", "sachs") else latent_class(name, k)[0]
    starts = random_starts(counts.spec, 20, 0, counts=counts)
    options = {"max_iter": 20_000, "check_saddle": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PyromixWarning)
        alone = [
            [
                fit_em(counts, starts[i : i + 1], accelerate=accelerate, **options).n_iter
                for i in range(20)
            ]
            for accelerate in (False, True)
        ]
        plain = seconds(lambda: fit_em(counts, starts, accelerate=False, **options), rounds=1)
        benchmark.pedantic(fit_em, (counts, starts), options, rounds=2, warmup_rounds=1)
    slow, fast = (sorted(steps) for steps in alone)
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{name}, k = {k}, 20 starts: steps plain median {slow[10]} most {slow[-1]}, "
            f"accelerated median {fast[10]} most {fast[-1]}; median plain / accelerated = "
            f"{slow[10] / fast[10]:.1f}, most {slow[-1] / fast[-1]:.1f}, time "
            f"{plain / benchmark.stats.stats.min:.1f}"
        )


def test_a_whole_fit_against_pgmpy(benchmark, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pgmpy.parameter_estimator import DiscreteEM
    model, frame, _ = datasets.load("asia")
    from pyromix.bridges.pgmpy import from_pgmpy

    spec = from_pgmpy(model, 2)
    assert len(frame) == 10_000

    def ours():
        counts = Counts.from_frame(frame, spec)
        return fit_em(counts, random_starts(spec, 1, 0, counts=counts), check_saddle=False)

    def theirs(max_iter):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator = DiscreteEM(
                latent_card={"U": 2}, max_iter=max_iter, seed=0, show_progress=False
            )
            start = time.perf_counter()
            estimator.fit(model, frame)
        return time.perf_counter() - start

    result = benchmark.pedantic(ours, rounds=5, warmup_rounds=1)
    whole = benchmark.stats.stats.min
    counts = Counts.from_frame(frame, spec)
    starts = random_starts(spec, 1, 0, counts=counts)
    plain = fit_em(counts, starts, accelerate=False, check_saddle=False).n_iter
    em = EMMap(spec, CellIndex(spec, counts.rows), counts.weights, PseudoCounts.of(spec, None))
    step = seconds(lambda: em(Point.of(starts)))
    first, third = theirs(1), theirs(3)
    per_step = (third - first) / 2
    with capsys.disabled():
        print(  # noqa: T201
            f"\nasia, 10,000 rows, k = 2: pgmpy {per_step:.2f} s per EM step, ours "
            f"{1e3 * step:.2f} ms, ratio {per_step / step:.0f}. Whole fit: ours {1e3 * whole:.0f} "
            f"ms with counting the frame and {result.n_iter} steps; pgmpy, extrapolated to the "
            f"{plain} plain steps that our tolerance asks for, {first + (plain - 1) * per_step:.0f}"
            f" s, ratio {(first + (plain - 1) * per_step) / whole:.0f}"
        )
