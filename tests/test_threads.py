"""Small products run on one thread, and the number of threads is as found afterwards."""

from __future__ import annotations

import pytest
import torch

from pyromix.exact import threads
from pyromix.exact.threads import one_thread_unless


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_small_work_runs_on_one_thread_and_large_work_as_it_was():
    with one_thread_unless(10):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with one_thread_unless(threads.MANY_OPERATIONS):
        assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_the_number_is_restored_after_an_error():
    with pytest.raises(KeyError), one_thread_unless(10):
        raise KeyError
    assert torch.get_num_threads() == 2
