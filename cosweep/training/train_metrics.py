"""What the training passes themselves show, from one probe to the next."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from cosweep.methods import Batch
from cosweep.parallel import Workers


class TrainMeans(NamedTuple):
    """Means over the training examples since the last probe.

    Attributes:
        train_loss: Training loss, nats.
        train_acc: Accuracy on the images as the method perturbed them.
        train_abnormal: Share of the examples whose cross-entropy the perturbation lowers, from where its gradient was
            taken to where the model trains: the abnormal ones of Lin et al. (NeurIPS 2023). None if the method has
            no such pass.
        train_gain: Accuracy with the perturbation minus accuracy where its gradient was taken; None likewise.
    """

    train_loss: float
    train_acc: float
    train_abnormal: float | None
    train_gain: float | None


_KEPT = 0.7, 0.95
"""Parts of the exponential means that a step keeps: they remember some 3 and 20 steps."""


class AbnormalShare(NamedTuple):
    """Exponential means over the steps of the share of abnormal examples; 0 if the method shows none.

    Attributes:
        now: Over some three steps.
        lately: Over some twenty.
    """

    now: float
    lately: float


class TrainMetrics:
    """Sums since the last probe, and exponential means, that stay on the device until they are read."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(4, device=device)
        self._kept = torch.tensor(_KEPT).to(device)
        self._recent = torch.zeros_like(self._kept)
        self._examples = self._compared = 0

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, batch: Batch) -> None:
        """Count a step.

        Args:
            loss: This worker's share of the mean loss of the global batch.
            logits: (N, K) at the images that were trained on.
            batch: What was trained on, and what the method's other passes showed.
        """
        right = (logits.argmax(dim=1) == batch.y).sum()
        abnormal = gain = torch.zeros_like(loss)
        if (before := batch.start_logits) is not None:
            fall = functional.cross_entropy(before, batch.y, reduction="none") - functional.cross_entropy(
                logits, batch.y, reduction="none"
            )
            abnormal, gain = (fall > 0).sum(), right - (before.argmax(dim=1) == batch.y).sum()
            self._recent = self._kept * self._recent + (1 - self._kept) * (abnormal / batch.total)
            self._compared += batch.total
        self._sums += torch.stack([part.to(self._sums.dtype) for part in (loss * batch.total, right, abnormal, gain)])
        self._examples += batch.total

    def take(self, workers: Workers) -> TrainMeans:
        """Read the means since the last call, over the examples of all workers."""
        loss, right, abnormal, gain = workers.sum(self._sums).cpu().tolist()
        examples, compared = max(self._examples, 1), self._compared
        self._sums.zero_()
        self._examples = self._compared = 0
        if not compared:
            return TrainMeans(loss / examples, right / examples, None, None)
        return TrainMeans(loss / examples, right / examples, abnormal / compared, gain / compared)

    def abnormal_share(self, workers: Workers) -> AbnormalShare:
        """Read the share over the examples of all workers; on a GPU this waits for its queue."""
        return AbnormalShare(*workers.sum(self._recent.clone()).cpu().tolist())

    def snapshot(self) -> dict[str, Any]:
        """Copy all sums and means."""
        counts = {"examples": self._examples, "compared": self._compared}
        return {"sums": self._sums.clone(), "recent": self._recent.clone(), **counts}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot, which stays usable."""
        self._sums, self._recent = snapshot["sums"].clone(), snapshot["recent"].clone()
        self._examples, self._compared = snapshot["examples"], snapshot["compared"]
