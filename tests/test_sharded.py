"""Several processes: each sums over its share, and every one ends at what one process finds."""

from __future__ import annotations

import multiprocessing
import warnings

import pytest
import torch

import pyromix as px
from pyromix.errors import DataError

SPEC = px.MixtureSpec.from_parents(
    {f"v{i}": (0, 1, 2)[: 2 + i % 2] for i in range(6)}, {"v1": ["v0"], "v3": ["v2"]}, 3
)
FRAME = px.simulate(px.random_mixture(SPEC, 3, separation=0.3), 1500, random_state=1)


def fitted(frame) -> px.MixtureFit:
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return px.fit(SPEC, frame, n_init=6, method="em", prior=None, random_state=0)


def in_a_process(rank: int, n: int, store: str, differing: bool, results) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=n
    )
    try:
        fit = fitted(FRAME[rank:] if differing else FRAME)
        found = (fit.log_likelihood, fit.mixture.weights.tolist(), fit.climb.log_likelihoods)
    except DataError as error:
        found = str(error)
    results.put((rank, found))
    results.close()
    results.join_thread()
    torch.distributed.destroy_process_group()


def run(n: int, store: str, differing: bool = False) -> list:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [
        context.Process(target=in_a_process, args=(rank, n, store, differing, results))
        for rank in range(n)
    ]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=240) for _ in processes)
    for process in processes:
        process.join(60)
    return [found[rank] for rank in range(n)]


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks
def test_every_process_ends_where_one_alone_ends(n, tmp_path):
    alone = fitted(FRAME)
    found = run(n, str(tmp_path / "store"))
    assert all(one == found[0] for one in found)
    log_likelihood, weights, starts = found[0]
    assert log_likelihood == pytest.approx(alone.log_likelihood, rel=1e-12)
    assert weights == pytest.approx(alone.mixture.weights.tolist(), abs=1e-7)
    assert starts == pytest.approx(alone.climb.log_likelihoods, rel=1e-9)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_processes_with_different_tables_are_refused(tmp_path):
    found = run(2, str(tmp_path / "store"), differing=True)
    assert ["found others in processes [1] than in process 0" in said for said in found] == [1, 1]
