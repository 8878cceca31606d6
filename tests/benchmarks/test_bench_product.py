"""k-MixProd: three algorithms side by side, stacked tables against a loop, moments against EM.

Bits are `separated_bits`: means (j + 1/2) / k in an order of their own. Synthetic bits use 3k - 3
of them; the pencil 2k - 1; the robust form is run on both numbers.
"""

from __future__ import annotations

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from product_cases import (
    as_network,
    draw_rows,
    draw_table,
    edgeless,
    element,
    error,
    joint_table,
    random_product,
    separated_bits,
)
from synthetic_bits import ROUNDING, synthetic_bits

import pyromix as px
from pyromix.estimate.em import random_starts
from pyromix.estimate.step import EMMap, Point
from pyromix.exact.rows import CellIndex
from pyromix.identify.product.hadamard import multilinear_moments
from pyromix.identify.product.pencil import two_slice_pencil
from pyromix.identify.product.solver import identify_product, identify_tables
from pyromix.model.prior import PseudoCounts
from pyromix.model.status import Status

MODELS = 40
"""Mixtures per line, each with a sample of its own."""


def seconds(function, rounds=5):
    """Best of several runs after a warm-up."""
    function()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


class Sample:
    """Exact statistics of a mixture of bits, or a sample, as each algorithm wants them."""

    def __init__(self, truth, n_rows, seed):
        self.truth, self.k, self.n = truth, len(truth[0]), len(truth[1])
        joint = joint_table(*truth).flatten()
        exact = math.isinf(n_rows)
        if not exact:
            counts = np.random.default_rng(seed).multinomial(n_rows, (joint / joint.sum()).numpy())
            joint = torch.from_numpy(counts / n_rows)
        self.moments = multilinear_moments(joint)
        if exact:
            self.moments = px.population(as_network(truth))
        else:
            cells = torch.cartesian_prod(*[torch.arange(2)] * self.n)
            spec = edgeless((2,) * self.n, self.k)
            self.moments = px.Counts.from_codes(spec, cells, n_rows * joint)
        # Half a standard error of a moment is the most that is surely noise.
        self.least = ROUNDING if exact else 0.5 / math.sqrt(n_rows)

    def bits(self):
        return synthetic_bits(self.moments, self.k, self.least)

    def pencil(self):
        k = self.k
        return two_slice_pencil(self.moments, k, range(k - 1), range(k - 1, 2 * k - 2), 2 * k - 2)

    def robust(self):
        return identify_product(self.moments, self.k)


def error_of(sample, found):
    """Largest error over weights and tables; infinite where the algorithm says that it failed."""
    failed = found.failed if hasattr(found, "failed") else int(found.status) != Status.OK
    if failed:
        return math.inf
    if hasattr(found, "tables"):
        return error(found, sample.truth)
    means = torch.as_tensor(found.means)
    tables = list(torch.stack([1 - means, means], -1).unbind(1))
    return error(
        SimpleNamespace(weights=torch.as_tensor(found.weights), tables=tables), sample.truth
    )


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_error_and_time_of_three_algorithms(benchmark, k, capsys):
    few, many = 2 * k - 1, 3 * k - 3
    lines = [
        ("synthetic bits", many, Sample.bits),
        ("two-slice pencil", few, Sample.pencil),
        ("robust form", few, Sample.robust),
        ("robust form", many, Sample.robust),
    ]
    timed = Sample(separated_bits(k, few, 0), 10**5, 0)
    benchmark.pedantic(timed.pencil, rounds=20, warmup_rounds=2)
    unit = benchmark.stats.stats.min
    report = [
        f"\nk = {k}, {MODELS} mixtures; exact: most; N rows: median, failures as infinite (share "
        f"that failed or was flagged); time / time of the pencil ({1e3 * unit:.2f} ms)"
    ]
    for name, n, solve in lines:
        cells = []
        for n_rows in (math.inf, 10**5, 10**6):
            errors = []
            for seed in range(MODELS):
                sample = Sample(separated_bits(k, n, seed), n_rows, seed)
                errors.append(error_of(sample, solve(sample)))
            lost = np.isinf(errors).mean()
            size = max(errors) if math.isinf(n_rows) else np.median(errors)
            cells.append(f"{size:8.1e} ({100 * lost:3.0f}%)")
        sample = Sample(separated_bits(k, n, 0), 10**5, 0)
        ratio = seconds(lambda solve=solve, sample=sample: solve(sample)) / unit
        report.append(
            f"  {name:16} {n:2} bits: exact {cells[0]}, N = 1e5 {cells[1]}, N = 1e6 {cells[2]}, "
            f"time {ratio:6.1f}"
        )
    with capsys.disabled():
        print("\n".join(report))  # noqa: T201


@pytest.mark.parametrize(("cards", "k"), [((2, 2, 2), 2), ((4, 4, 4), 3), ((8, 8, 3), 4)])
def test_stacked_tables_against_a_loop(benchmark, cards, k, capsys):
    joint = draw_table(joint_table(*random_product(cards, k, 0, (1000,))), 10_000, 0)

    def stacked():
        return identify_tables(joint, k, n_rows=1e4)

    solution = benchmark.pedantic(stacked, rounds=3, warmup_rounds=1)
    start = time.perf_counter()
    looped = [identify_tables(table, k, n_rows=1e4) for table in joint]
    loop = time.perf_counter() - start
    for i, one in enumerate(looped):
        assert int(one.status) == int(solution.status[i])
        if int(one.status) == Status.OK and float(one.diagnostics.separation) > 3:
            assert error(element(solution, i), (one.weights, list(one.tables))) < 1e-6
    ours = benchmark.stats.stats.min
    share = float((solution.status == Status.OK).double().mean())
    with capsys.disabled():
        print(  # noqa: T201
            f"\n1,000 tables {cards}, k = {k} ({100 * share:.0f}% OK): loop {loop:.2f} s, stacked "
            f"{ours:.3f} s, loop / stacked = {loop / ours:.0f}"
        )


@pytest.mark.parametrize(("n", "k", "n_rows"), [(20, 3, 10**5), (100, 8, 10**4), (20, 4, 10**6)])
def test_moments_against_an_em_iteration(benchmark, n, k, n_rows, capsys):
    truth = random_product((2,) * n, k, 0)
    spec = edgeless((2,) * n, k)
    counts = px.Counts.from_codes(spec, draw_rows(truth, n_rows, 1).to(torch.int8))
    em = EMMap(spec, CellIndex(spec, counts.rows), counts.weights, PseudoCounts.of(spec, None))
    point = Point.of(random_starts(spec, 1, 0, counts=counts))
    step = seconds(lambda: em(point))
    found = benchmark.pedantic(identify_product, (counts, k), rounds=3, warmup_rounds=1)
    ours = benchmark.stats.stats.min
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{n} bits, k = {k}, {n_rows:.0e} rows, {counts.n_patterns} distinct: moments "
            f"{1e3 * ours:.0f} ms ({Status(int(found.status)).name}), EM iteration "
            f"{1e3 * step:.1f} ms, moments / EM iteration = {ours / step:.0f}"
        )
