"""RS-FGSM adversarial training with the smallest perturbation that fools; its paper gives it no name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from cosweep.attacks import clip_box, correct, labels_right
from cosweep.methods.base import Batch, Method, batch_norm_in
from cosweep.methods.rs_fgsm import RSFGSM
from cosweep.specs import number


@dataclass(frozen=True, kw_only=True)
class Kim(Method):
    """RS-FGSM's delta, shortened to the first of ``checkpoints`` equal parts of the way at which the label is wrong.

    Where the label is right at k/c of delta for every k < c, delta stays whole. As in the authors' code, the gradient
    and the checkpoints are those of batch-norm layers in eval mode, and an image that is labelled wrong already at
    RS-FGSM's random start, which saves a pass at the image, is trained on unperturbed. ``attack_mode: train`` takes
    the gradient in train mode; checkpoints stay in eval mode.
    """

    name: ClassVar[str] = "kim"
    source: ClassVar[str] = "Kim et al., AAAI 2021"

    attack_mode: Literal["train", "eval"] = "eval"
    checkpoints: int = number(3, low=1)

    @property
    def cost(self) -> tuple[float, float]:
        return 2 + self.checkpoints - 1, 2

    def perturb(self, model: nn.Module, batch: Batch) -> Tensor:
        rs_fgsm = RSFGSM(epsilon=self.epsilon)
        start = rs_fgsm.start(batch)
        gradient, logits = batch.gradient_at(model, start)
        delta = rs_fgsm.take(gradient, start, batch)
        undecided = labels_right(logits, batch.y)
        share = undecided.to(delta.dtype)
        with batch_norm_in("eval", model):
            for part in range(1, self.checkpoints):
                reached = part / self.checkpoints
                wrong = undecided & ~correct(model, batch.x + reached * delta, batch.y)
                share = torch.where(wrong, reached, share)
                undecided = undecided & ~wrong
        return clip_box(share.view(-1, 1, 1, 1) * delta, batch.x, batch.box)
