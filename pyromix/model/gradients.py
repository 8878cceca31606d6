"""Gradients whatever the caller has switched off: ``torch.no_grad`` and ``inference_mode``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def gradients() -> Iterator[None]:
    """Record what is computed; what the caller had switched off is so again afterwards."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def ordinary(tensor: Tensor) -> Tensor:
    """Return a tensor that gradients can be taken through: a copy of an inference tensor."""
    if not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()
