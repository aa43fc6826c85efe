"""What a model of the menu is."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cosweep.models.normalize import Normalize
from cosweep.specs import Component


@dataclass(frozen=True, kw_only=True)
class Model(Component):
    """Base of the models: describes a network and builds it."""

    @abstractmethod
    def network(self, num_classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """Network from normalised (N, C, H, W) images to (N, K) logits, freshly initialised."""

    def build(
        self, num_classes: int, shape: tuple[int, int, int], mean: Tensor, std: Tensor, seed: int
    ) -> nn.Sequential:
        """Network behind its normalisation, on the CPU; same seed, same weights on every machine."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.network(num_classes, shape)
        return nn.Sequential(Normalize(mean.cpu(), std.cpu()), network)
