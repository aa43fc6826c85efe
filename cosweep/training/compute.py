"""How a trial computes: in which numbers, in which order of memory, compiled or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cosweep.errors import Fault
from cosweep.specs import Spec

Precision = Literal["fp32", "tf32", "bf16"]
_TENSOR_CORES = (8, 0)
"""CUDA capability from which devices multiply in tf32 and bf16; torch ignores or imitates them on older ones."""


@dataclass(frozen=True, kw_only=True)
class ComputeSpec(Spec):
    """How the network's passes are computed, the same in training, attacks, probes and the final evaluation.

    Attributes:
        precision: ``fp32``; ``tf32``, which multiplies float32 numbers by their first ten bits; or ``bf16``, in which
            the network passes its activations on. Weights, losses and the optimiser are float32 in all of them.
        channels_last: Whether the channels of a pixel stand side by side in memory.
        compile: Whether torch.compile makes the training passes; measurements run the same network without.
    """

    precision: Precision = "fp32"
    channels_last: bool = False
    compile: bool = False


def compute_faults(spec: ComputeSpec, device: torch.device, workers: int = 1) -> Iterator[Fault]:
    """What a kind of device, or several workers, cannot do, with paths in the trial."""
    where = "the CPU" if device.type == "cpu" else f"device {device.type}"
    remedy = "run it on a GPU (resources: {gpu: 1})"
    allowed = {"fp32": None, "tf32": ("cuda",), "bf16": ("cpu", "cuda")}[spec.precision]
    if allowed is not None and device.type not in allowed:
        text = f"{spec.precision} needs a CUDA device, and the trial is to run on {where}; {remedy}, or write fp32"
        yield Fault("compute.precision", text)
    for name in ("channels_last", "compile"):
        if getattr(spec, name) and device.type != "cuda":
            text = f"needs a CUDA device, and the trial is to run on {where}"
            if device.type == "cpu":
                text = f"{text}, where torch 2.14.1 was seen to corrupt memory with it (free(): invalid next size)"
            yield Fault(f"compute.{name}", f"{text}; {remedy}, or set it to false")
    if spec.compile and workers > 1:
        text = f"is not supported for {workers} workers, whose batch-norm layers wait for each other inside a pass"
        yield Fault("compute.compile", f"{text}; set it to false, or resources.workers to 1")


def capability_faults(spec: ComputeSpec, device: torch.device) -> Iterator[Fault]:
    """What a CUDA device of this machine is too old for, which torch would pass over."""
    if spec.precision == "fp32" or device.type != "cuda":
        return
    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) < _TENSOR_CORES:
        has = f"{torch.cuda.get_device_name(device)} has {major}.{minor}"
        text = f"{spec.precision} needs a CUDA device of capability 8.0 or more, and {has}"
        yield Fault("compute.precision", f"{text}; write fp32, or use a newer GPU")


class ComputedNetwork(nn.Sequential):
    """A model whose last layer, the network, computes as a spec says; names in the state stay those of the model.

    The filter and the normalisation before it stay in float32, so that a filter passes nothing of what it removes.
    """

    def __init__(self, model: nn.Sequential, spec: ComputeSpec) -> None:
        super().__init__(*model)
        self.spec = spec
        if spec.channels_last:
            self.to(memory_format=torch.channels_last)
        # A shape that is compiled once and for itself has the same bits whenever it returns, as the replay needs.
        # Attacks of measurements drop examples as they fall, so they have too many shapes to compile.
        self._compiled = torch.compile(self[-1].forward, dynamic=False) if spec.compile else None

    def forward(self, x: Tensor) -> Tensor:
        *before, network = self
        for layer in before:
            x = layer(x)
        if self.spec.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        run = self._compiled if self._compiled is not None and self.training else network
        logits: Tensor
        if self.spec.precision != "bf16":
            logits = run(x)
            return logits
        # Without the cache of cast weights, which would outlive a change of the weights between two passes.
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
            logits = run(x)
        return logits.float()
