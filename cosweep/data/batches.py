"""A data set on the trial's device: seeded batches by indexing, augmentation, interventions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cosweep.data.ablations import ablated
from cosweep.data.dataset import Dataset
from cosweep.data.interventions import ImageSet, Intervention
from cosweep.data.sources import Source
from cosweep.metrics import Ablation
from cosweep.seeding import RandomStream, generator
from cosweep.units import Box

_CROP_PADDING = 4
_CHUNK = 4096


class DeviceData:
    """Train and test images of a trial, whole on one device, with its interventions.

    Interventions act after augmentation, so that a flip does not turn a carrier into another class's.

    Attributes:
        box: As given, or [0, 1] widened to what the intervened images reach. An image outside a given box
            may be perturbed back towards it, no further out.
        mean, std: (C,) of the training images before intervention.
    """

    def __init__(
        self,
        dataset: Dataset,
        source: Source,
        interventions: Sequence[Intervention],
        seed: int,
        device: torch.device,
    ) -> None:
        self.num_classes, self.shape = dataset.num_classes, dataset.shape
        self.augment, self.seed, self.device = source.augment, seed, device
        self.x_train = _images(dataset.x_train, dataset.max_value, device)
        self.x_test = _images(dataset.x_test, dataset.max_value, device)
        self.y_train = torch.tensor(dataset.y_train, device=device)
        self.y_test = torch.tensor(dataset.y_test, device=device)
        self.mean = self.x_train.mean(dim=(0, 2, 3))
        self.std = self.x_train.std(dim=(0, 2, 3)).clamp_min(1e-3)
        examples = len(self.y_test) + len(self.y_train)
        images = ImageSet(dataset.num_classes, dataset.shape, examples, device)
        self.interventions = [i.bind(images) for i in interventions]
        self.box = self._box(source)

    @property
    def train_examples(self) -> int:
        """Number of training examples."""
        return len(self.y_train)

    def epoch_order(self, epoch: int) -> Tensor:
        """(N,) order of the training examples in an epoch; depends on seed and epoch alone."""
        shuffle = generator(self.seed, "order", epoch)
        return torch.randperm(self.train_examples, generator=shuffle).to(self.device)

    def train_batch(self, index: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Augmented, intervened images (N, C, H, W) and labels (N,) at ``index``."""
        x, y = self.x_train[index], self.y_train[index]
        if self.augment != "none":
            x = _augment(x, RandomStream(self.seed, "augment", step), self.augment)
        # Test examples have the first numbers, so that theirs do not change with how many are trained on.
        return self.intervene(x, y, index + len(self.y_test)), y

    def test_subset(self, examples: int, ablation: Ablation = "injected") -> tuple[Tensor, Tensor]:
        """The first ``examples`` held-out images, intervened or ablated, and their labels; all if there are fewer."""
        index = self.test_index(examples)
        x, y = self.x_test[index], self.y_test[index]
        return self.intervene(x, y, index, ablation), y

    def test_index(self, examples: int) -> Tensor:
        """Where the first ``examples`` held-out images are in ``x_test``; the same for every seed."""
        order = torch.randperm(len(self.y_test), generator=generator(0, "held out"))
        return order[:examples].to(self.device)

    def intervene(self, x: Tensor, y: Tensor, example: Tensor, ablation: Ablation = "injected") -> Tensor:
        """Images with every intervention applied, in order, or as an ablation has them."""
        return ablated(self.interventions, ablation, x, y, example)

    def _box(self, source: Source) -> Box:
        if source.box == "as_released":
            return Box(0.0, 1.0, pulls=True)
        if source.box is not None:
            low, high = source.box
            return Box(float(low), float(high))
        return self._measured_box()

    def _measured_box(self) -> Box:
        low, high = 0.0, 1.0
        if not self.interventions:
            return Box(low, high)
        number = torch.arange(len(self.y_test) + len(self.y_train), device=self.device)
        views: list[Callable[[Tensor], Tensor]] = [lambda x: x]
        if "flip" in self.augment:
            views.append(lambda x: x.flip(-1))
        if "crop" in self.augment:  # the padding is black
            views.append(torch.zeros_like)
        parts = ((self.x_test, self.y_test), (self.x_train, self.y_train))
        for (images, labels), numbers in zip(parts, torch.split(number, [len(y) for _, y in parts]), strict=True):
            chunks = (torch.split(part, _CHUNK) for part in (images, labels, numbers))
            for x, y, example in zip(*chunks, strict=True):
                for view in views:
                    intervened = self.intervene(view(x), y, example)
                    low, high = min(low, intervened.min().item()), max(high, intervened.max().item())
        return Box(low, high)


def _images(pixels: NDArray[np.uint8], max_value: int, device: torch.device) -> Tensor:
    """(N, C, H, W) pixels in [0, 1], laid out in that order.

    An array's own strides would carry over, and kernels that sum in another order for another layout of a
    single channel would give other bits to the same images.
    """
    images = torch.empty(pixels.shape, dtype=torch.float32, device=device)
    return images.copy_(torch.tensor(pixels)) / max_value


def _augment(x: Tensor, rng: RandomStream, augment: str) -> Tensor:
    """Random horizontal flips, shifts by up to four pixels with zero padding, or both."""
    n, _, height, width = x.shape
    flip, top, left = rng.uniform((n, 3), x).unbind(1)
    if "flip" in augment:
        x = torch.where(flip.view(-1, 1, 1, 1) < 0.5, x.flip(-1), x)
    if "crop" not in augment:
        return x
    pad = _CROP_PADDING
    padded = torch.nn.functional.pad(x, (pad, pad, pad, pad))
    shifts = 2 * pad + 1
    rows = (shifts * top).long()[:, None] + torch.arange(height, device=x.device)
    columns = (shifts * left).long()[:, None] + torch.arange(width, device=x.device)
    picked = padded[torch.arange(n, device=x.device)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2).contiguous()
