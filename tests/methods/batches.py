"""What a method trains on in one step, made by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from cosweep.methods import Batch, Method
from cosweep.seeding import RandomStream
from cosweep.units import Box
from tests.tiny import CPU, UNIT_BOX

WIDE_BOX = Box(-9.0, 9.0)


def rng(seed: int = 0) -> RandomStream:
    """Random numbers of which none has been drawn."""
    return RandomStream(seed)


def whole(method: Method, x: Tensor, y: Tensor, box: Box = UNIT_BOX, seed: int = 0) -> Batch:
    """All images as the batch of the method's first step."""
    channels, height, width = x.shape[1:]
    memory = method.fresh_memory(len(x), (channels, height, width), len(x), CPU)
    return Batch(x, y, box, rng(seed), torch.arange(len(y)), memory)


def following(batch: Batch, seed: int = 0) -> Batch:
    """The same images in a later step: with what the method remembers by now, and other randomness."""
    return Batch(batch.x, batch.y, batch.box, rng(seed), batch.example, batch.memory)
