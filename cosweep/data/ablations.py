"""Ablations: held-out images that show which part of the data a trained model uses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cosweep.data.injections import project_out
from cosweep.data.interventions import BoundIntervention
from cosweep.metrics import Ablation
from cosweep.seeding import generator


def ablated(
    interventions: Sequence[BoundIntervention], ablation: Ablation, x: Tensor, y: Tensor, example: Tensor, classes: int
) -> Tensor:
    """Images (N, C, H, W) as an ablation shows them (paper, section 4, and the released code's loaders).

    Args:
        interventions: Those of the trial, in order.
        ablation: ``injected``: as trained on. ``clean``: x itself. ``carrier_only``: an image of zeros in place of x.
            ``reversed``: the feature subtracted. ``permuted``: the feature of a wrong class, drawn once for each
            example. ``orthogonal``: no feature, and its span taken out of x.
        x: (N, C, H, W) original images.
        y: (N,) labels.
        example: (N,) numbers of the examples.
        classes: K.
    """
    if ablation == "clean":
        return x.clone()
    if ablation == "carrier_only":
        x = torch.zeros_like(x)
    if ablation == "permuted":
        y = wrong_classes(y, example, classes)
    strength = {"reversed": -1.0, "orthogonal": 0.0}.get(ablation, 1.0)
    for intervention in interventions:
        x = intervention(x, y, example, strength)
        if ablation == "orthogonal" and intervention.basis is not None:
            x = project_out(x, intervention.basis)
    return x


def wrong_classes(y: Tensor, example: Tensor, classes: int) -> Tensor:
    """(N,) a class for each example that is not its own, each of the others as likely."""
    count = int(example.max()) + 1 if len(example) else 0
    drawn = torch.randint(1, max(classes, 2), (count,), generator=generator(0, "wrong class")).to(y.device)
    return (y + drawn[example]) % classes
